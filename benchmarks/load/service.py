"""The simulated service in a separate process, as the other side of every measurement.

It is the simulator's server (`callwise.simulator.server`), and may answer with as many tokens as
a call asks for, as a recorded trace needs them. The process takes commands by its standard
input: `log` writes the log as one line of JSON, `capacity N` changes the requests in flight,
`crash` breaks every connection and listens no longer.

    python -m benchmarks.load.service '{"error_rate_429": 0.02}'
"""

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import orjson

from benchmarks.figures import ROOT
from callwise.calls.reply import ReportedUsage
from callwise.simulator import SimulatedSettings
from callwise.simulator.model import SimulatedAnswer, SimulatedModel, body_digest, prompt_tokens
from callwise.simulator.request_log import LogEntry
from callwise.simulator.server import SimServer

__all__ = ["FullLengthModel", "Service", "running_service", "serve_commands", "text_for"]

LINE_BYTES = 2**28
"""Longest log that is read."""


def text_for(messages: Sequence[Mapping[str, Any]], *, tokens: int, sample: int = 0) -> str:
    """Return the answer of `FullLengthModel`: it depends on the messages and the sample alone."""
    said = [(message["role"], message["content"]) for message in messages]
    mark = hashlib.blake2b(orjson.dumps(said), digest_size=6).hexdigest()
    return (f"{mark} {sample} " + "and " * tokens)[: 4 * tokens]


class FullLengthModel(SimulatedModel):
    """A model whose answers have exactly `max_tokens` tokens, of four characters each.

    Other fields of the body than the messages change nothing, since each client has its own; at
    temperature 0 the sample does not either.
    """

    def answer(
        self, body: Mapping[str, Any], sample: int = 0, *, digest: str | None = None
    ) -> SimulatedAnswer:
        """Return an answer of the length that was asked for; without a length, a simulated one."""
        most = body.get("max_completion_tokens") or body.get("max_tokens")
        if not most:
            return super().answer(body, sample, digest=digest)
        digest = digest or body_digest(body)
        usage = ReportedUsage(prompt_tokens(body), most, cached_tokens=0)
        drawn = sample if body.get("temperature") else 0
        text = text_for(body["messages"], tokens=most, sample=drawn)
        return SimulatedAnswer(text, usage, self._latency(digest, sample, usage), "stop")


class Service:
    """A running service in another process.

    Attributes:
        base_url: for an OpenAI-compatible client, `/v1` included.
    """

    def __init__(self, process: asyncio.subprocess.Process, base_url: str) -> None:
        self._process = process
        self.base_url = base_url

    async def log(self) -> list[LogEntry]:
        """Return the requests so far, in the order of their arrival."""
        return [LogEntry(**entry) for entry in json.loads(await self._do("log"))]

    async def set_capacity(self, max_in_flight: int) -> None:
        """Change how many requests it answers at one time."""
        await self._do(f"capacity {max_in_flight}")

    async def crash(self) -> None:
        """Let it break its connections and listen no longer; its log can still be read."""
        await self._do("crash")

    async def _do(self, command: str) -> str:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the service was started without pipes")
        self._process.stdin.write(command.encode() + b"\n")
        answer = (await self._process.stdout.readline()).decode().strip()
        if not answer:
            raise RuntimeError(f"the service ended before it answered {command!r}")
        return answer


@asynccontextmanager
async def running_service(
    settings: SimulatedSettings,
    *,
    has_full_length: bool = False,
    program: Sequence[str] = ("benchmarks.load.service",),
) -> AsyncIterator[Service]:
    """Give a service with these settings; its process ends with the block.

    Args:
        has_full_length: answer with exactly `max_tokens` tokens; see `FullLengthModel`.
        program: module that is run, which ends in `serve_commands`, and its arguments after the
            settings.
    """
    module, *arguments = program
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        settings.model_dump_json(exclude_defaults=True),
        *arguments,
        *(["full"] if has_full_length else []),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES,
    )
    try:
        base_url = (await process.stdout.readline()).decode().strip() if process.stdout else ""
        if not base_url:
            raise RuntimeError("the service did not start; its error is above")
        yield Service(process, base_url)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def serve_commands(settings: SimulatedSettings, model: SimulatedModel | None = None) -> None:
    """Serve a model, print the base URL, and take commands until the standard input ends.

    Args:
        model: None for the simulated model of the settings.
    """
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with SimServer(settings, model=model) as server:
        print(server.base_url, flush=True)
        while line := (await commands.readline()).decode().split():
            answer = "done"
            match line:
                case ["log"]:
                    answer = json.dumps([asdict(entry) for entry in server.log])
                case ["capacity", number] if server.gate is not None:
                    server.gate.max_in_flight = int(number)
                case ["crash"]:
                    await server.crash()
                case _:
                    raise SystemExit(f"no command {' '.join(line)!r}")
            print(answer, flush=True)


if __name__ == "__main__":
    GIVEN = SimulatedSettings.model_validate_json(sys.argv[1])
    FULL = FullLengthModel(settings=GIVEN) if "full" in sys.argv else None
    asyncio.run(serve_commands(GIVEN, FULL))
