"""The disk that keeps only what was flushed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from medagent.testing.power_cut import SECTOR, Cut, Disk, steps
from medagent.testing.system_calls import Call

FOLDER = Path("/s")
NAMES = Call("fsync", 90, 91, "/s")


def write(at: int, data: bytes, offset: int | None, name: str = "f") -> Call:
    return Call("write" if offset is None else "pwrite64", at, at, f"/s/{name}", data, offset)


def sync(started: int, name: str = "f") -> Call:
    return Call("fdatasync", started, started + 1, f"/s/{name}")


def disk(*calls: Call, files: dict[str, bytes] | None = None, lies: bool = False) -> Disk:
    made = Disk(FOLDER, {"f": b""} if files is None else files, lies=lies)
    for _, call in steps(calls):
        made.apply(call)
    return made


def rng(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  no secret


def images(made: Disk, cut: Cut, name: str = "f") -> set[bytes | None]:
    return {made.image(cut, rng(seed)).get(name) for seed in range(300)}


@pytest.mark.parametrize("cut", Cut)
def test_what_was_flushed_is_kept(cut):
    made = disk(write(1, b"abc", 0), write(2, b"x", 1), Call("ftruncate", 3, 3, "/s/f", offset=4), sync(4))
    assert images(made, cut) == {b"axc\0"}


@pytest.mark.parametrize("cut", Cut)
def test_a_disk_that_lies_keeps_nothing_for_sure(cut):
    made = disk(write(1, b"abc", 0), sync(2), lies=True)
    assert b"" in images(made, cut)


def test_a_flush_covers_only_what_had_ended_before_it_began():
    during = Call("pwrite64", 2, 5, "/s/f", b"x", 1)
    made = disk(write(1, b"abc", 0), during, Call("fdatasync", 3, 6, "/s/f"))
    assert images(made, Cut.DROP) == {b"abc"}


def test_a_prefix_keeps_the_order():
    made = disk(write(1, b"a", 0), write(2, b"b", 1), write(3, b"c", 2))
    assert images(made, Cut.PREFIX) == {b"", b"a", b"ab", b"abc"}


def test_a_subset_keeps_any():
    made = disk(write(1, b"a", 0), write(2, b"b", 1))
    assert images(made, Cut.SUBSET) == {b"", b"a", b"\0b", b"ab"}


@pytest.mark.parametrize(("cut", "middle_alone"), [(Cut.PREFIX, False), (Cut.SUBSET, True)])
def test_writes_are_torn_at_sectors(cut, middle_alone):
    data = b"a" * (SECTOR - 10) + b"b" * SECTOR + b"c" * 10
    made = disk(write(1, data, 10))
    found = images(made, cut)
    assert bytes(10) + data[: SECTOR - 10] in found
    assert (bytes(SECTOR) + b"b" * SECTOR in found) is middle_alone
    for image in found:
        assert image is not None
        assert all(len(set(image[at : at + SECTOR].strip(b"\0"))) <= 1 for at in range(0, len(image), SECTOR))


def test_a_new_name_is_lost_until_its_folder_is_flushed():
    calls = [Call("openat", 1, 1, "/s/new", creates=True), write(2, b"a", 0, "new"), sync(3, "new")]
    assert images(disk(*calls), Cut.DROP, "new") == {None}
    assert images(disk(*calls), Cut.SUBSET, "new") == {None, b"a"}
    assert images(disk(*calls, NAMES), Cut.DROP, "new") == {b"a"}


def test_a_rename_and_an_end_too():
    files = {"a": b"1", "b": b"2"}
    rename, unlink = Call("rename", 1, 1, "/s/a", target="/s/b"), Call("unlink", 1, 1, "/s/a")
    assert disk(rename, files=files).image(Cut.DROP, rng(1)) == files
    assert disk(rename, NAMES, files=files).image(Cut.DROP, rng(1)) == {"b": b"1"}
    assert disk(unlink, files=files).image(Cut.DROP, rng(1)) == files
    assert disk(unlink, NAMES, files=files).image(Cut.DROP, rng(1)) == {"b": b"2"}


def test_writes_without_an_offset_follow_each_other():
    opened = Call("openat", 1, 1, "/s/f", creates=True, truncates=True)
    made = disk(opened, write(2, b"ab", None), write(3, b"c", None), sync(4), files={"f": b"old content"})
    assert images(made, Cut.DROP) == {b"abc"}


def test_other_folders_do_not_matter():
    made = disk(Call("openat", 1, 1, "/s/deeper/f", creates=True), Call("pwrite64", 2, 2, "/t/f", b"x", 0))
    assert made.image(Cut.SUBSET, rng(1)) == {"f": b""}
