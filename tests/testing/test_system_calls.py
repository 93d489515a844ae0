"""Reading strace's record."""

from __future__ import annotations

from pathlib import Path

from medagent.testing.evidence import Flush
from medagent.testing.system_calls import Call, acknowledgments, flushes, read_calls

FOLDER = Path("/s")


def hexed(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def calls_of(tmp_path: Path, *lines: str) -> list[Call]:
    record = tmp_path / "calls"
    record.write_text("\n".join(lines) + "\n")
    return read_calls(record, FOLDER)


WAL, SOCKET = hexed("/s/queue.db-wal"), hexed("socket:[4711]")


def test_calls_are_read(tmp_path):
    assert calls_of(
        tmp_path,
        f'7 openat(AT_FDCWD<{hexed("/")}>, "{WAL}", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 14<{WAL}>',
        f'7 pwrite64(14<{WAL}>, "{hexed("abc")}", 3, 4096) = 2',
        f'7 write(14<{WAL}>, ""..., 0)              = 0',
        f"7     fdatasync(14<{WAL}>) = 0",
        f"7 ftruncate(14<{WAL}>, 32) = 0",
        f'7 rename("{hexed("/s/a")}", "{hexed("/s/b")}") = 0',
        f'7 unlink("{hexed("/s/b")}") = -1 ENOENT (No such file or directory)',
        f'7 sendmsg(9<{SOCKET}>, {{msg_name=NULL, msg_iov=[{{iov_base="{hexed("ab")}", iov_len=2}}, '
        f'{{iov_base="{hexed("c")}", iov_len=1}}], msg_iovlen=2, msg_flags=0}}, 0) = 3',
        f'7 write(2<{hexed("/dev/null")}>, "{hexed("x")}", 1) = 1',
        "7 +++ exited with 0 +++",
    ) == [
        Call("openat", 0, 0, "/s/queue.db-wal", creates=True),
        Call("pwrite64", 1, 1, "/s/queue.db-wal", b"ab", 4096),
        Call("write", 2, 2, "/s/queue.db-wal"),
        Call("fdatasync", 3, 3, "/s/queue.db-wal"),
        Call("ftruncate", 4, 4, "/s/queue.db-wal", offset=32),
        Call("rename", 5, 5, "/s/a", target="/s/b"),
        Call("sendmsg", 7, 7, "socket:[4711]", b"abc"),
    ]


def test_a_call_during_another_keeps_its_begin_and_end(tmp_path):
    assert calls_of(
        tmp_path,
        f"8 fdatasync(14<{WAL}> <unfinished ...>",
        f'7 sendto(9<{SOCKET}>, "{hexed("ab")}", 2, 0, NULL, 0) = 2',
        "8 <... fdatasync resumed>)          = 0",
    ) == [Call("fdatasync", 0, 2, "/s/queue.db-wal"), Call("sendto", 1, 1, "socket:[4711]", b"ab")]


def write(at: int, control_id: str) -> Call:
    return Call("pwrite64", at, at, "/s/queue.db-wal", f"\0MSH|^~\\&|X|{control_id}|P".encode(), 0)


def sync(started: int, ended: int) -> Call:
    return Call("fdatasync", started, ended, "/s/queue.db-wal")


def answer(at: int, text: str) -> Call:
    return Call("write", at, at, "socket:[1]", text.encode())


def test_acknowledgments_are_found_even_in_pieces():
    calls = [
        answer(1, "\x0bMSH|\rMSA|CA|A1\r\x1c\r\x0bMSH|\rMSA|A"),
        answer(5, "A|A2\r\rMSA|AE|A3\r"),
        answer(6, "\rMSA|AA|A1\r"),
    ]
    assert list(acknowledgments(calls)) == [(1, "A1"), (5, "A2")]


def test_the_flush_that_covers_a_message_is_found():
    calls = [
        sync(0, 1),
        write(2, "A1"),
        write(3, "A2"),
        sync(4, 6),
        # begun before the row was written: it covers nothing of it
        write(5, "A3"),
        answer(7, "\rMSA|CA|A1\r"),
        answer(8, "\rMSA|CA|A3\r"),
        sync(9, 10),
        answer(11, "\rMSA|CA|A4\r"),
    ]
    assert flushes(calls, {f"A{number}": "adt" for number in range(1, 6)}) == [
        Flush("adt", "A1", 7, 6),
        Flush("adt", "A3", 8, 10),
        Flush("adt", "A4", 11, None),
    ]
