"""docs/playground.md: an agent works against its program, with the options that this prints."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from medagent.testing.markdown import Page
from medagent.testing.mllp import MllpClient
from medagent.testing.process import AgentProcess

PAGE = Page(Path(__file__).resolve().parents[2] / "docs" / "playground.md")
MESSAGE = "MSH|^~\\&|LAB|HOSP|EHR|HOSP|20260105120000||ADT^A01|PLAY-1|P|2.5\rPID|1||4711^^^HOSP^MR\r"


async def test_an_agent_works_with_the_options_that_the_program_prints(tmp_path: Path) -> None:
    (block,) = [block for block in PAGE.blocks if block.language == "python"]
    # ports of the page may be taken on the machine of the test
    program = block.text.replace("127.0.0.1:2575", "127.0.0.1:0").replace("port=8103", "port=0")
    process = await asyncio.create_subprocess_exec(sys.executable, "-u", "-c", program, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            options = (await process.stdout.readline()).decode().split()
            async with AgentProcess(*options, "--state-dir", str(tmp_path)) as agent:
                await agent.listening("adt")
                async with await MllpClient.connect(*agent.addresses["adt"]) as device:
                    await device.send(MESSAGE.encode())
                    answers = [await device.receive() for _ in ("CA", "AA")]
                assert [b"MSA|%b|PLAY-1" % code in answer for code, answer in zip((b"CA", b"AA"), answers, strict=True)] == [
                    True,
                    True,
                ]
                printed = [(await process.stdout.readline()).decode().rstrip("\n") for _ in MESSAGE.splitlines()]
                assert printed == MESSAGE.splitlines()
                assert await agent.stop() == 0
    finally:
        process.kill()
        await process.wait()
