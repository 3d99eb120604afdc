"""Time to the first bubble of a reply, on a real small model and on the simulated server.

Each turn of a shipped conversation is run as a user sees it, with its bubbles as they become
final: the seconds until the first bubble, until the reply is whole, and until the turn has ended,
which is when all of it was printed before bubbles were shown early. The same turns run without
being shown must ask the same calls, and send as many requests.

- `balanced` on the 135-million-parameter model behind the tests' proxy: it reads the real prompts
  and writes at most `MAX_OUTPUT_TOKENS` tokens per answer; the simulated model's answers take the
  place of its text, so that turns go on as with a larger model.
- `instant`, where one call replies, straight at that model, which writes the reply itself; with
  and without `reply.stream`. Its answers differ from run to run, and with them the repairs, so
  counts are not compared.
- the same presets at the simulated server, with its latency at `SCALE`. It sends a stream in one
  piece, so `reply.stream` gains nothing there.

    python -m benchmarks.first_bubble               writes benchmarks/results/first_bubble.md
    python -m benchmarks.first_bubble --simulated   without the real model; writes nothing

`make test-model` installs the real model.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure, Measured, markdown, provenance
from benchmarks.load.service import running_service
from callwise.recordings import read_conversations
from callwise.recordings.app_protocol import TurnInput
from callwise.simulator import SimulatedSettings
from graph.app import app
from tests.model.programs import ROOT, environment_reason, model_server, simulated_server
from tests.model.proxy import Proxy, answered_by

__all__ = ["Waits", "measure", "waits"]

RESULTS = ROOT / "benchmarks" / "results" / "first_bubble.md"
CONVERSATION = ROOT / "configs" / "conversations" / "en_moving_city.jsonl"
TURNS = 6
REAL_TURNS = 3
MAX_OUTPUT_TOKENS = 120
SCALE = 0.25
SAMPLING = {"sampling.default.seed": 7, "sampling.default.extra_body": {"repeat_penalty": 1.1}}
"""Of the model's own replies: so small a model repeats itself until its answer is cut."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds of the turns of one conversation, and what they asked.

    Args:
        first_seconds: until the first bubble, of each turn; empty where they were not shown.
        reply_seconds: until the reply was whole, likewise.
        turn_seconds: until the turn had ended.
    """

    first_seconds: Sequence[float]
    reply_seconds: Sequence[float]
    turn_seconds: Sequence[float]
    calls: int
    requests: int


def _inputs(turns: int) -> list[TurnInput]:
    (conversation,) = read_conversations([CONVERSATION]).conversations
    return [
        TurnInput(conversation.conversation_id, turn.turn, turn.user_text)
        for turn in conversation.turns[:turns]
    ]


async def waits(
    base_url: str,
    preset: str,
    knobs: Mapping[str, object],
    *,
    turns: int = TURNS,
    is_shown: bool = True,
) -> Waits:
    """Return how long a reader waits for the turns of a conversation at an endpoint.

    Args:
        is_shown: whether there is a reader.
    """
    overrides = {
        "endpoints.main.kind": "openai",
        "endpoints.main.base_url": base_url,
        "endpoints.main.model": "model",
        **knobs,
    }
    first, whole, ended = [], [], []
    calls = requests = 0
    with tempfile.TemporaryDirectory() as folder:
        async with app.open(app.settings(preset, overrides), folder=Path(folder)) as session:
            for turn in _inputs(turns):
                begun = time.perf_counter()
                if is_shown:
                    stream = session.astream(turn)
                    times = [time.perf_counter() - begun async for _ in stream]
                    first.append(times[0])
                    whole.append(times[-1])
                    result = await stream.result()
                else:
                    result = await session.run_turn(turn)
                ended.append(time.perf_counter() - begun)
                calls += result.record["asked"]
                requests += result.record["requests"]
    return Waits(first, whole, ended, calls, requests)


def _range(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def _share(parts: Sequence[float], wholes: Sequence[float]) -> float:
    return median(part / whole for part, whole in zip(parts, wholes, strict=True))


def _figures(name: str, shown: Waits, plain: Waits, *, is_repeatable: bool = True) -> list[Figure]:
    """Return the figures of turns with a reader and without.

    Args:
        is_repeatable: whether equal calls have equal answers, so that the counts must be equal.
    """
    seconds = (shown.first_seconds, shown.reply_seconds, shown.turn_seconds)
    return [
        Figure(
            f"{name}: seconds to the first bubble / the whole reply / the end of the turn",
            " / ".join(map(_range, seconds)),
            note=f"median (range) of {len(shown.first_seconds)} turns",
        ),
        Figure(
            f"{name}: time to the first bubble as part of that of the reply / of the turn, medians",
            f"{_share(shown.first_seconds, shown.reply_seconds):.2f} / "
            f"{_share(shown.first_seconds, shown.turn_seconds):.2f}",
        ),
        Figure(
            f"{name}: calls and requests with a reader, without",
            f"{shown.calls} and {shown.requests}, {plain.calls} and {plain.requests}",
            "the same" if is_repeatable else "",
            (shown.calls, shown.requests) == (plain.calls, plain.requests)
            if is_repeatable
            else None,
        ),
    ]


async def _simulated_figures(preset: str) -> list[Figure]:
    found = []
    for is_shown in (True, False):  # each at a new server, whose answers depend on those before
        async with running_service(SimulatedSettings(real_time_scale=SCALE)) as service:
            found.append(await waits(service.base_url, preset, {}, is_shown=is_shown))
    return _figures(f"simulated server, `{preset}`", *found)


@contextmanager
def _behind_proxy(upstream: str) -> Iterator[str]:
    with (
        simulated_server() as simulated,
        Proxy(
            upstream, stand_in=answered_by(simulated), max_output_tokens=MAX_OUTPUT_TOKENS
        ) as proxy,
    ):
        yield proxy.base_url


def _real_figures() -> Iterator[Figure]:
    with model_server("--slots", "2") as upstream:
        found = []
        for is_shown in (True, False):
            with _behind_proxy(upstream) as url:
                found.append(
                    asyncio.run(waits(url, "balanced", {}, turns=REAL_TURNS, is_shown=is_shown))
                )
        yield from _figures("135M model, `balanced`", *found)
        for streams in (False, True):
            knobs = {**SAMPLING, "reply.stream": streams}
            found = [
                asyncio.run(waits(upstream, "instant", knobs, is_shown=is_shown))
                for is_shown in (True, False)
            ]
            name = f"135M model, `instant`, `reply.stream={str(streams).lower()}`"
            yield from _figures(name, *found, is_repeatable=False)


def measure(*, is_real: bool = True) -> Measured:
    """Return the figures of the real model, where it is installed, and of the simulated server."""
    reason = environment_reason() if is_real else ""
    if reason:
        sys.exit(reason)
    figures = list(_real_figures()) if is_real else []
    for preset in ("instant", "balanced", "classic"):
        figures += asyncio.run(_simulated_figures(preset))
    return Measured("first_bubble", figures)


def main() -> None:
    """Print the table, and write it where all was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--simulated", action="store_true", help="without the real model")
    is_real = not parser.parse_args().simulated
    os.environ.setdefault("CALLWISE_API_KEY", "none")
    table = markdown([measure(is_real=is_real)])
    heading = "\n".join(f"- {name}: {value}" for name, value in provenance().items())
    text = f"- command: `python -m benchmarks.first_bubble`\n{heading}\n\n{table}"
    print(text)
    if is_real:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
