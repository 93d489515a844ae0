"""A process's writes, flushes and answers in their order, recorded by strace: evidence of what is on disk when.

What `strace` gives, put before a command, records it; `read_calls` reads the record, and keeps what concerns sockets and the
files of one folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from medagent.testing.evidence import Flush

_TRACED = (
    "openat,write,pwrite64,writev,pwritev,fsync,fdatasync,ftruncate,"
    "mkdir,rename,renameat,renameat2,unlink,unlinkat,sendto,sendmsg"
)


def strace(output: Path) -> list[str]:
    """The command to put before another. The tracer is a grandchild, so that the process keeps its id and its parent."""
    options = ("-D", "-f", "-y", "-xx", "-s", "100000000", "--seccomp-bpf", "-e", "signal=none", "-e", f"trace={_TRACED}")
    return ["strace", *options, "-o", str(output)]


async def complete(record: Path, process_id: int, timeout: float = 30.0) -> None:
    """Wait for the end of the record: the tracer outlives the process it traces by a moment."""
    end = re.compile(rb"(?:^|\n)%d +\+\+\+ " % process_id)
    async with asyncio.timeout(timeout):
        while True:
            if end.search(_tail(record)):
                return
            await asyncio.sleep(0.01)


def _tail(record: Path) -> bytes:
    with contextlib.suppress(FileNotFoundError), record.open("rb") as file:
        file.seek(max(0, record.stat().st_size - 4096))
        return file.read()
    return b""


@dataclass(frozen=True, slots=True)
class Call:
    """One call that succeeded. Positions are those of lines in the record: `a.ended < b.started` says that a was before b."""

    name: str
    started: int
    ended: int
    path: str
    """Of the file, or `socket:[…]`."""
    data: bytes = b""
    """What was written."""
    offset: int | None = None
    """Where; None is the file's own position. Of ftruncate, the new size."""
    target: str = ""
    """The new name, of a rename."""
    creates: bool = False
    truncates: bool = False

    @property
    def to_socket(self) -> bool:
        return self.path.startswith("socket:")


_LINE = re.compile(r"(\d+) +(?:<\.\.\. \w+ resumed>|(\w+)\()")
_UNFINISHED = " <unfinished ...>"
_RESULT = re.compile(r"\)\s+= (-?\d+)")
_FILE = re.compile(r"\d+<([^>]*)>")
_TEXT = re.compile(r'"([^"]*)"')


def read_calls(record: Path, folder: Path) -> list[Call]:
    """The calls that concern files below `folder`, or sockets, in the order of their starts."""
    wanted = [_hex(str(folder)), _hex("socket:")]
    unfinished: dict[str, tuple[int, str, str]] = {}
    calls: list[Call] = []
    with record.open(encoding="ascii") as lines:
        for number, line in enumerate(lines):
            text = line.rstrip("\n")
            is_unfinished = text.endswith(_UNFINISHED)
            found = _LINE.match(text)
            if found is None:
                continue
            process, name = found.groups()
            # lines are long: no regular expression looks at the rest
            arguments = text[found.end() :].removesuffix(_UNFINISHED)
            started = number
            if name is None:
                if process not in unfinished:
                    continue
                started, name, begun = unfinished.pop(process)
                arguments = begun + arguments
            if is_unfinished:
                unfinished[process] = (started, name, arguments)
            elif any(text in arguments for text in wanted) and (call := _call(name, started, number, arguments)):
                calls.append(call)
    return sorted(calls, key=lambda call: call.started)


def _hex(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", "")) if text.startswith("\\x") else text.encode()


def _call(name: str, started: int, ended: int, arguments: str) -> Call | None:
    result = _RESULT.search(arguments)
    if result is None or (value := int(result[1])) < 0:
        return None
    head = arguments[: result.start()]
    texts = _TEXT.findall(head)
    file = _FILE.match(head)
    path = _bytes(file[1]).decode() if file else ""
    match name:
        case "openat":
            flags = head.rpartition('"')[2]
            path = _bytes(texts[-1]).decode()
            return Call(name, started, ended, path, creates="O_CREAT" in flags, truncates="O_TRUNC" in flags)
        case "write" | "writev" | "sendto" | "sendmsg":
            return Call(name, started, ended, path, b"".join(map(_bytes, texts))[:value])
        case "pwrite64" | "pwritev":
            return Call(name, started, ended, path, b"".join(map(_bytes, texts))[:value], int(head.rpartition(", ")[2]))
        case "ftruncate":
            return Call(name, started, ended, path, offset=int(head.rpartition(", ")[2]))
        case "fsync" | "fdatasync":
            return Call(name, started, ended, path)
        case "rename" | "renameat" | "renameat2":
            return Call("rename", started, ended, _bytes(texts[0]).decode(), target=_bytes(texts[1]).decode())
        case "unlink" | "unlinkat":
            return Call("unlink", started, ended, _bytes(texts[0]).decode())
        case "mkdir":
            return Call(name, started, ended, _bytes(texts[0]).decode())
    return None


_POSITIVE = re.compile(rb"\rMSA\|(?:AA|CA)\|([^|\r]+)")
_FIELD = re.compile(rb"(?<=\|)[^|\r\x0b]+(?=\|)")


def acknowledgments(calls: Iterable[Call]) -> Iterator[tuple[int, str]]:
    """(start of the write, control ID) of the first positive acknowledgment of each message that went to a socket."""
    streams: dict[str, bytes] = {}
    seen = set()
    for call in calls:
        if not call.to_socket:
            continue
        stream = streams.get(call.path, b"") + call.data
        for found in _POSITIVE.finditer(stream):
            if (control_id := found[1].decode()) not in seen:
                seen.add(control_id)
                yield call.started, control_id
        # an acknowledgment may be cut by the end of a write
        streams[call.path] = stream[-4096:]


def flushes(calls: list[Call], channels: Mapping[str, str]) -> list[Flush]:
    """When each acknowledged message was flushed: the end of the first flush of a file that began after the first write to
    that file that holds the message's MSH-10 had ended. `channels`: of each control ID."""
    written: dict[str, tuple[int, str]] = {}
    syncs: dict[str, list[Call]] = {}
    for call in calls:
        if call.name in ("fsync", "fdatasync"):
            syncs.setdefault(call.path, []).append(call)
        elif call.data and not call.to_socket:
            for field in _FIELD.findall(call.data):
                written.setdefault(field.decode("latin-1"), (call.ended, call.path))
    found = []
    for at, control_id in acknowledgments(calls):
        if control_id in channels:
            ended, path = written.get(control_id, (0, ""))
            covering = (sync.ended for sync in syncs.get(path, ()) if sync.started > ended)
            found.append(Flush(channels[control_id], control_id, at, next(covering, None)))
    return found
