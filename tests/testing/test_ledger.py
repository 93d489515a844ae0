"""The sender's ledger."""

from __future__ import annotations

from medagent.testing.ledger import Ledger, read_ledger, sha256_of


def test_what_was_noted_is_read_again(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    ledger.sent("lab", "lab/1", "adt", [("A1", b"one"), ("A2", b"two")])
    ledger.acknowledged("lab/1", "adt", [("A1", "CA"), ("A1", "AA", sha256_of(b"one"))])
    ledger.sent("lab", "lab/2", "adt", [("A2", b"two")])
    ledger.acknowledged("lab/2", "adt", [("A2", "CE"), ("A3", "AA")])
    ledger.close()
    record = read_ledger(ledger.path)
    assert [(str(entry), entry.sha256, entry.acknowledged) for entry in record.entries] == [
        ("adt/A1", sha256_of(b"one"), True),
        ("adt/A2", sha256_of(b"two"), False),
    ]
    assert [(answer.code, answer.about) for answer in record.entries[0].answers] == [("CA", ""), ("AA", sha256_of(b"one"))]
    assert record.entries[1].connections == {"lab/1": 1, "lab/2": 1}
    assert [(channel, control_id, answer.code) for channel, control_id, answer in record.strays] == [("adt", "A3", "AA")]


def test_a_control_id_used_again_is_another_message(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    for body in (b"one", b"two"):
        ledger.sent("lab", "lab/1", "adt", [("A1", body)])
        ledger.acknowledged("lab/1", "adt", [("A1", "AA")])
    ledger.close()
    assert [len(entry.answers) for entry in read_ledger(ledger.path).entries] == [1, 1]


def test_a_line_cut_short_is_left_out(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    ledger.sent("lab", "lab/1", "adt", [("A1", b"one"), ("A2", b"two")])
    ledger.close()
    ledger.path.write_bytes(ledger.path.read_bytes()[:-5])
    assert [entry.control_id for entry in read_ledger(ledger.path).entries] == ["A1"]


def test_it_is_appended_to(tmp_path):
    for name in ("A1", "A2"):
        ledger = Ledger(tmp_path / "ledger")
        ledger.sent("lab", "lab/1", "adt", [(name, b"one")])
        ledger.close()
    assert [entry.control_id for entry in read_ledger(tmp_path / "ledger").entries] == ["A1", "A2"]
