"""A disk that keeps only what was flushed: rebuilds what a power cut at any moment of a recording would have left behind.

What no flush covers is lost, kept in part, or kept out of order, down to single sectors; a file's name is safe only once its
folder was flushed. That is what POSIX allows, and more than most file systems do.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medagent.testing.system_calls import Call

SECTOR = 512


class Cut(enum.Enum):
    """What becomes of writes that no flush covers."""

    DROP = "drop"
    """None is kept."""
    PREFIX = "prefix"
    """Of each file, the first few are kept; the last of them in part."""
    SUBSET = "subset"
    """Any sectors are kept, whatever their order."""


@dataclass(slots=True)
class _Write:
    ended: int
    offset: int
    data: bytes | None
    """None: the file is cut to `offset` bytes."""

    def apply(self, content: bytearray) -> None:
        if self.data is None:
            del content[self.offset :]
            content.extend(bytes(self.offset - len(content)))
            return
        content.extend(bytes(max(0, self.offset - len(content))))
        content[self.offset : self.offset + len(self.data)] = self.data


@dataclass(slots=True)
class _File:
    flushed: bytearray = field(default_factory=bytearray)
    pending: list[_Write] = field(default_factory=list)
    position: int = 0
    """Of the descriptor opened last."""


@dataclass(slots=True)
class _Naming:
    ended: int
    name: str
    file: _File | None
    """None: the name is gone."""


class Disk:
    """One folder. Give it the calls in the order of `steps`, and ask for an image after any of them."""

    def __init__(self, folder: Path, files: Mapping[str, bytes] | None = None, *, lies: bool = False) -> None:
        """`files` are there from the beginning. A disk that `lies` flushes nothing."""
        self._folder = str(folder)
        self._names = {name: _File(bytearray(data)) for name, data in (files or {}).items()}
        self._flushed_names = dict(self._names)
        self._namings: list[_Naming] = []
        self._lies = lies

    def apply(self, call: Call) -> None:
        """A write has begun, or a flush has ended."""
        if call.path == self._folder:
            if call.name in ("fsync", "fdatasync") and not self._lies:
                self._flush_names(call.started)
            return
        folder, _, name = call.path.rpartition("/")
        if folder != self._folder:
            return
        if call.name == "openat":
            self._open(call, name)
        elif call.name == "rename":
            self._name(call.ended, call.target.rpartition("/")[2], self._names.get(name))
            self._name(call.ended, name, None)
        elif call.name == "unlink":
            self._name(call.ended, name, None)
        elif (file := self._names.get(name)) is not None:
            self._change(call, file)

    def _open(self, call: Call, name: str) -> None:
        if name not in self._names:
            if not call.creates:
                return
            self._name(call.ended, name, _File())
        file = self._names[name]
        file.position = 0
        if call.truncates:
            file.pending.append(_Write(call.ended, 0, None))

    def _change(self, call: Call, file: _File) -> None:
        if call.name in ("fsync", "fdatasync"):
            if not self._lies:
                self._flush(file, call.started)
        elif call.name == "ftruncate":
            file.pending.append(_Write(call.ended, call.offset or 0, None))
        elif call.offset is not None:
            file.pending.append(_Write(call.ended, call.offset, call.data))
        else:
            file.pending.append(_Write(call.ended, file.position, call.data))
            file.position += len(call.data)

    @staticmethod
    def _flush(file: _File, started: int) -> None:
        while file.pending and file.pending[0].ended < started:
            file.pending.pop(0).apply(file.flushed)

    def _name(self, ended: int, name: str, file: _File | None) -> None:
        self._set(self._names, name, file)
        self._namings.append(_Naming(ended, name, file))

    @staticmethod
    def _set(names: dict[str, _File], name: str, file: _File | None) -> None:
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file

    def _flush_names(self, started: int) -> None:
        while self._namings and self._namings[0].ended < started:
            naming = self._namings.pop(0)
            self._set(self._flushed_names, naming.name, naming.file)

    def image(self, cut: Cut, rng: random.Random) -> dict[str, bytes]:
        """What is there after the power has come back: contents by name."""
        names = dict(self._flushed_names)
        for naming in _some(self._namings, cut, rng):
            self._set(names, naming.name, naming.file)
        return {name: bytes(_content(file, cut, rng)) for name, file in names.items()}


def _some(namings: list[_Naming], cut: Cut, rng: random.Random) -> list[_Naming]:
    if cut is Cut.DROP or not namings:
        return []
    if cut is Cut.PREFIX:
        return namings[: rng.randint(0, len(namings))]
    return [naming for naming in namings if rng.random() < 0.5]


def _content(file: _File, cut: Cut, rng: random.Random) -> bytearray:
    content = bytearray(file.flushed)
    if cut is Cut.DROP or not file.pending:
        return content
    if cut is Cut.PREFIX:
        kept = rng.randint(0, len(file.pending))
        for write in file.pending[:kept]:
            write.apply(content)
        if kept < len(file.pending):
            _tear(file.pending[kept], content, rng, share=rng.random(), in_order=True)
        return content
    share = rng.random()
    for write in file.pending:
        _tear(write, content, rng, share=share, in_order=False)
    return content


def _tear(write: _Write, content: bytearray, rng: random.Random, *, share: float, in_order: bool) -> None:
    """Keep a share of a write's sectors: the first ones, or any."""
    if write.data is None:
        if not in_order and rng.random() < share:
            write.apply(content)
        return
    # sectors lie on the disk, so the first one may be a part of one
    last = write.offset + len(write.data)
    ends = [*range((write.offset // SECTOR + 1) * SECTOR, last, SECTOR), last]
    begin = write.offset
    for number, end in enumerate(ends):
        if number < share * len(ends) - 1 if in_order else rng.random() < share:
            _Write(0, begin, write.data[begin - write.offset : end - write.offset]).apply(content)
        begin = end


def steps(calls: Iterable[Call]) -> list[tuple[int, Call]]:
    """(position, call) in the order in which they touch a disk: a write when it begins, a flush when it has ended."""
    return sorted(
        ((call.ended if call.name in ("fsync", "fdatasync") else call.started, call) for call in calls if not call.to_socket),
        key=lambda step: step[0],
    )
