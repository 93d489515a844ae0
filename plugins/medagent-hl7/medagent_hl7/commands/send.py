"""`medagent send`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import typer

from medagent.cli.output import Format, print_json
from medagent.errors import MedagentError
from medagent_hl7.answers import Expect
from medagent_hl7.client import Remote
from medagent_hl7.client_tls import client_context
from medagent_hl7.commands.sending import Outcome, Outgoing, milliseconds, send_all
from medagent_hl7.commands.split import split
from medagent_hl7.commands.target import TargetArgument
from medagent_hl7.message import Header, Hl7Error
from medagent_hl7.samples import with_control_id
from medagent_hl7.samples.generate import unique_prefix


def register(app: typer.Typer) -> None:
    app.command("send")(send)


def send(
    target: TargetArgument,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Files of one or more messages.", exists=True, dir_okay=False, readable=True),
    ],
    expect: Annotated[
        Expect | None,
        typer.Option(help="Acknowledgments to wait for. Default: the first, and after a CA 2 s more for the application's."),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds to wait for each message's acknowledgment.")] = 30.0,
    release: Annotated[
        int,
        typer.Option("--mllp-release", min=1, max=2, help="Of MLLP; with 2 each message waits for the commit block 0x06."),
    ] = 1,
    ca_file: Annotated[
        Path | None,
        typer.Option(help="CA certificates (PEM) for mllps://; default: the system's.", exists=True, dir_okay=False),
    ] = None,
    cert_file: Annotated[
        Path | None, typer.Option(help="Own certificate (PEM) for mllps://.", exists=True, dir_okay=False)
    ] = None,
    key_file: Annotated[Path | None, typer.Option(help="Key (PEM) of --cert-file.", exists=True, dir_okay=False)] = None,
    unique: Annotated[bool, typer.Option("--unique", help="Give each message a new control ID (MSH-10).")] = False,
    output: Annotated[Format, typer.Option("--format", help="For people or for machines.")] = Format.TEXT,
) -> None:
    """Send HL7 v2 messages over MLLP, one after the other, and show what the receiver answers.

    A file may hold several messages: each begins with an MSH segment. Their bytes go out as they are, whatever the character
    set. The batch segments FHS, BHS, BTS and FTS are left out.

    Exits with 0 only if every answer was AA or CA. A message with NE in MSH-15 and MSH-16 asks for none: without `--expect` it
    is sent, and that is all. With `--mllp-release 2` a message is written up to three times until the receiver sends the block
    0x06; `--expect none` then asks for nothing else.

    Example: medagent send 127.0.0.1:2575 admission.hl7
    """
    if expect is Expect.NONE and release == 1:
        raise typer.BadParameter(
            "without an acknowledgment nothing tells whether the receiver has a message", param_hint="--expect"
        )
    given = {"--ca-file": ca_file, "--cert-file": cert_file, "--key-file": key_file}
    if not target.tls and (files_of_tls := [option for option, path in given.items() if path is not None]):
        raise typer.BadParameter("only for mllps://", param_hint=" ".join(files_of_tls))
    messages = list(_read(files, unique=unique))
    tls = client_context(ca_file, cert_file, key_file) if target.tls else None
    remote = Remote(target.host, target.port, tls, release)
    outcomes = asyncio.run(_run(remote, messages, expect, timeout, show=output is Format.TEXT))
    failed = sum(not outcome.ok for outcome in outcomes)
    if output is Format.JSON:
        print_json({"sent": len(outcomes), "failed": failed, "messages": [outcome.as_json() for outcome in outcomes]})
    else:
        unasked = sum(outcome.ok and outcome.nothing_due for outcome in outcomes)
        summary = f"{failed} not accepted" if failed else "all accepted"
        if unasked:
            summary = f"{summary}, {unasked} without an acknowledgment" if failed else f"{unasked} without an acknowledgment"
        typer.echo(f"{len(outcomes)} sent, {summary}")
    if failed:
        raise typer.Exit(1)


def _read(files: list[Path], *, unique: bool) -> Iterator[Outgoing]:
    prefix = unique_prefix()
    control_ids = (f"{prefix}{number:09}" for number in itertools.count(1))
    for path in files:
        try:
            found = split(path.read_bytes())
        except (OSError, Hl7Error) as error:
            raise MedagentError(f"{path}: {error}") from None
        if found.batch_segments:
            names = ", ".join(dict.fromkeys(found.batch_segments))
            typer.echo(f"{path}: the batch segments {names} are not sent, only the messages between them", err=True)
        for number, body in enumerate(found.messages, 1):
            try:
                Header.parse(body)
            except Hl7Error as error:
                raise MedagentError(f"{path}, message {number}: {error}") from None
            yield Outgoing(str(path), with_control_id(body, next(control_ids)) if unique else body)


async def _run(remote: Remote, messages: list[Outgoing], expect: Expect | None, timeout: float, *, show: bool) -> list[Outcome]:
    outcomes = []
    async with aclosing(send_all(remote, messages, expect=expect, timeout=timeout)) as results:
        async for outcome in results:
            outcomes.append(outcome)
            if show:
                typer.echo(_line(outcome))
    return outcomes


def _line(outcome: Outcome) -> str:
    answers = [f"{answer.code} {milliseconds(answer.seconds):g} ms" for answer in outcome.answers]
    if outcome.block:
        answers.insert(0, outcome.block.hex())
    if outcome.nothing_due and not outcome.failure:
        answers.append("no acknowledgment asked for")
    results = [*answers, *([outcome.failure] if outcome.failure else [])]
    return f"{outcome.name}  {outcome.control_id}  {outcome.message_type}  {', '.join(results)}"
