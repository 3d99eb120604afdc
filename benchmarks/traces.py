"""Processor time per call of traces, of metrics, and of both together.

One budgeter per mode and one without either take turns: each runs a turn of some calls, then the
next does. A figure is the difference to the budgeter without them over a block of such turns, so
that other work on the machine disturbs both alike. The time of the loop's thread is measured by
the turn, that of the thread of spans by the request that it sends, by default up to 1,000 calls.
What a loop that never waits takes longer is their sum: one thread at a time has the interpreter.

    python -m benchmarks.traces     writes benchmarks/results/observing.md
"""

import asyncio
import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from statistics import median, quantiles
from typing import NamedTuple

from benchmarks.figures import ROOT, Figure, Measured, markdown, provenance
from callwise.budget import Budgeter
from callwise.calls import Call, Endpoint, Message, Purpose, Reply, ReportedUsage, Role
from callwise.report.traces import SpanExporter, TurnTraces

__all__ = ["main"]

BLOCKS, TURNS, CALLS, NODES = 100, 20, 16, 5

MICROSECONDS = 1e6

MAX_CALL_MICROSECONDS = 25.0
"""Most that metrics and spans together may add to a call."""

RESULTS = ROOT / "benchmarks" / "results" / "observing.md"

MODES = {
    "noted": "traces, notes alone",
    "sent": "traces, spans made",
    "metrics": "metrics",
    "both": "metrics and spans together",
}

QUESTIONS = [(Message("user", f"question {number}"),) for number in range(CALLS)]


class _Instant:
    """A client that answers immediately."""

    is_simulated = False

    async def answer(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        on_sent: Callable[[int], None] | None = None,
    ) -> Sequence[Reply]:
        """Return the same answer to each."""
        del model
        if on_sent is not None:
            on_sent(0)
        return [Reply("ok", usage=ReportedUsage(1000, 100, 0))] * len(calls)

    async def aclose(self) -> None:
        """Do nothing."""


class _Watched:
    """A budgeter with traces, metrics, both or neither, and the time that its turns take."""

    def __init__(self, mode: str) -> None:
        endpoint = Endpoint("api.openai.com", "gpt-5-mini", _Instant())
        self.budgeter = Budgeter(dict.fromkeys(Role, endpoint), max_kept_rows=0)
        self.exporter = SpanExporter(self._send)
        self._requests = [(0.0, 0)]
        if mode in ("metrics", "both"):
            self.budgeter.metrics()
        if mode in ("noted", "sent", "both"):
            traces = TurnTraces((lambda _: None) if mode == "noted" else self.exporter.put)
            traces.watch(self.budgeter)

    def _send(self, _: bytes) -> None:
        self._requests.append((time.thread_time(), self.exporter.sent_calls))

    async def turn(self, number: int) -> float:
        """Return seconds of the loop's thread for one turn."""
        began, budgeter = time.thread_time(), self.budgeter
        with budgeter.scope("turn", str(number)):
            for place, messages in enumerate(QUESTIONS):
                with budgeter.scope("node", f"node{place % NODES}"):
                    await budgeter.ask(Call(Role.MAIN, Purpose.REASON, messages, sample=number))
        return time.thread_time() - began

    async def close(self) -> list[float]:
        """Return microseconds of the thread of spans per call, by request."""
        self.exporter.close(60.0)
        await self.budgeter.aclose()
        counts = [sent for _, sent in self._requests[1:]] + [self.exporter.sent_calls]
        calls = [after - before for before, after in pairwise(counts)]
        spent = [after - before for (before, _), (after, _) in pairwise(self._requests)]
        return [each * MICROSECONDS / count for each, count in zip(spent, calls, strict=True)]


class _Added(NamedTuple):
    """Microseconds per call that a mode adds: by block, and by request of the other thread."""

    loop: list[float]
    exporter: list[float]


async def _added(blocks: int, turns: int) -> tuple[list[float], dict[str, _Added]]:
    """Return what a call takes without either, by block, and what each mode adds."""
    watched = {mode: _Watched(mode) for mode in ("off", *MODES)}
    alone: list[float] = []
    loops: dict[str, list[float]] = {mode: [] for mode in MODES}
    scale = MICROSECONDS / (turns * CALLS)
    for block in range(-1, blocks):  # the first one fills caches
        spent = dict.fromkeys(watched, 0.0)
        for turn in range(turns):
            for mode, each in watched.items():
                spent[mode] += await each.turn((block + 1) * turns + turn)
        if block < 0:
            continue
        alone.append(spent["off"] * scale)
        for mode, added in loops.items():
            added.append((spent[mode] - spent["off"]) * scale)
    by_request = {mode: await each.close() for mode, each in watched.items()}
    return alone, {mode: _Added(added, by_request[mode]) for mode, added in loops.items()}


def measure(blocks: int = BLOCKS, turns: int = TURNS) -> Measured:
    """Return what each mode adds to a call."""
    gc.collect()
    gc.freeze()  # a collection of all that is imported takes as long as 500 calls
    alone, found = asyncio.run(_added(blocks, turns))
    gc.unfreeze()
    figures = [Figure("a call without either, us", _spread(alone))]
    return Measured("traces", figures + [each for m in MODES for each in _figures(m, found[m])])


def _figures(mode: str, added: _Added) -> Iterator[Figure]:
    yield Figure(f"{MODES[mode]}: added in the loop's thread, us per call", _spread(added.loop))
    if not added.exporter:
        return
    yield Figure(f"{MODES[mode]}: in the thread of spans, us per call", _spread(added.exporter))
    both, is_target = median(added.loop) + median(added.exporter), mode == "both"
    yield Figure(
        f"{MODES[mode]}: sum of the two medians, us per call",
        f"{both:.1f}",
        f"<= {MAX_CALL_MICROSECONDS:g}" if is_target else "",
        both <= MAX_CALL_MICROSECONDS if is_target else None,
    )


def main() -> None:
    """Print the table and write it."""
    table = markdown([measure()])
    heading = "\n".join(f"- {name}: {value}" for name, value in provenance().items())
    counts = (
        f"- processes that wanted a core, over a minute: {os.getloadavg()[0]:.1f}\n"
        f"- {BLOCKS} blocks of {TURNS} turns of {CALLS} calls in {NODES} nodes; each figure is "
        "the median of the blocks, or of the requests, and their middle half"
    )
    text = f"- command: `python -m benchmarks.traces`\n{heading}\n{counts}\n\n{table}"
    print(text)
    RESULTS.write_text(text, encoding="utf-8")


def _spread(values: Sequence[float]) -> str:
    low, _, high = quantiles(values, n=4) if len(values) > 1 else [*values] * 3
    return f"{median(values):.1f} ({low:.1f}-{high:.1f})"


if __name__ == "__main__":
    main()
