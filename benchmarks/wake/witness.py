"""A simulated server that writes down what it receives, and echoes it: `python -m` with a file.

Each conversation and each list of texts to embed is a line of JSON in the file, written before it
is answered. The answer to an agent repeats the ends of what its own prompt has, after a mark of
the whole prompt; so an answer that another agent gets can be seen.
"""

import asyncio
import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from benchmarks.load.service import serve_commands
from callwise.calls.reply import ReportedUsage
from callwise.simulator import SimulatedSettings
from callwise.simulator.model import SimulatedAnswer, SimulatedModel
from callwise.simulator.request import asked_schema

__all__ = ["Received", "WitnessModel", "echo_of", "received_after"]

PROGRAM = "benchmarks.wake.witness"

END_CHARS = 48
"""Length of the ends of persona, memory and notes in an answer."""


def echo_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the answer to an agent: a mark of its prompt, and the ends of what it has."""
    mark = hashlib.blake2b(orjson.dumps(messages), digest_size=12).hexdigest()
    material = orjson.loads(messages[-1]["content"])
    parts = [material["persona"], *material.get("memory", ()), *material.get("notes", ())]
    return " ".join((mark, *(" ".join(part[-END_CHARS:].split()) for part in parts)))


class WitnessModel(SimulatedModel):
    """A model that writes down what it is asked.

    Args:
        file: gets one line for each conversation, and for each list of texts.
    """

    def __init__(self, settings: SimulatedSettings, file: BinaryIO) -> None:
        super().__init__(settings=settings)
        self._file = file

    def answer(
        self, body: Mapping[str, Any], sample: int = 0, *, digest: str | None = None
    ) -> SimulatedAnswer:
        """Return the echo of an agent's prompt; a simulated answer to a structured call."""
        if asked_schema(body) is not None:
            answer = super().answer(body, sample, digest=digest)
        else:
            usage = ReportedUsage(100, 100, cached_tokens=0)
            answer = SimulatedAnswer(echo_of(body["messages"]), usage, 0.0, "stop")
        kind = "intent" if asked_schema(body) is not None else "agent"
        self._note({"kind": kind, "messages": body["messages"], "answer": answer.text})
        return replace(answer, latency_seconds=0.0)

    def embed(self, inputs: list[str]) -> tuple[list[tuple[float, ...]], ReportedUsage, float]:
        """Return the simulated vectors."""
        self._note({"kind": "texts", "messages": inputs, "answer": ""})
        return super().embed(inputs)

    def _note(self, entry: Mapping[str, Any]) -> None:
        self._file.write(orjson.dumps(entry) + b"\n")


class Received(NamedTuple):
    """One line of the file.

    Args:
        kind: `intent`, `agent` or `texts`.
        messages: of the conversation; or the texts.
    """

    kind: str
    messages: list[Any]
    answer: str


def received_after(path: Path, offset: int) -> tuple[list[Received], int]:
    """Return what a file has from an offset in bytes on, and the offset after it."""
    with path.open("rb") as file:
        file.seek(offset)
        lines = file.read()
    return [Received(**orjson.loads(line)) for line in lines.splitlines()], offset + len(lines)


if __name__ == "__main__":
    GIVEN = SimulatedSettings.model_validate_json(sys.argv[1])
    with Path(sys.argv[2]).open("ab", buffering=0) as written:
        asyncio.run(serve_commands(GIVEN, WitnessModel(GIVEN, written)))
