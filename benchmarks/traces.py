"""Cost of traces per call: in the loop that asks, and in the thread that makes the spans.

python -m benchmarks.traces
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from statistics import median

from callwise.budget import Budgeter
from callwise.calls import Call, Endpoint, Message, Purpose, Reply, ReportedUsage, Role
from callwise.report.traces import SpanExporter, TurnTraces

__all__ = ["main"]

TURNS, CALLS, NODES, PASSES = 300, 16, 5, 7

MICROSECONDS = 1e6


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


async def _measured(mode: str) -> tuple[float, float]:
    """Return microseconds per call of the loop's wall time, and of the exporter's CPU time."""
    endpoint = Endpoint("api.openai.com", "gpt-5-mini", _Instant())
    budgeter = Budgeter(dict.fromkeys(Role, endpoint), max_kept_rows=0)
    exporter = SpanExporter(lambda _: None, delay_seconds=0.0)
    if mode != "off":
        traces = TurnTraces(exporter.put if mode == "sent" else lambda _: None)
        traces.watch(budgeter)
    questions = [(Message("user", f"question {number}"),) for number in range(CALLS)]
    began = time.perf_counter()
    for turn in range(TURNS):
        with budgeter.scope("turn", str(turn)):
            for place, messages in enumerate(questions):
                with budgeter.scope("node", f"node{place % NODES}"):
                    await budgeter.ask(Call(Role.MAIN, Purpose.REASON, messages, sample=turn))
    took = time.perf_counter() - began
    exporter.close(60.0)
    await budgeter.aclose()
    count = TURNS * CALLS
    return took / count * MICROSECONDS, exporter.cpu_seconds / count * MICROSECONDS


async def _run() -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {"off": [], "noted": [], "sent": []}
    for _ in range(PASSES):
        for mode, passes in found.items():
            passes.append(await _measured(mode))
    return found


def main() -> None:
    """Print the least and the median of the passes."""
    found = asyncio.run(_run())
    least_off, median_off = _of(found["off"], 0)
    print(f"{TURNS} turns of {CALLS} calls, {PASSES} passes; us per call: least, median")
    print(f"without traces:          {least_off:6.1f} {median_off:6.1f}")
    for mode, name in (("noted", "more with notes alone"), ("sent", "more with spans sent")):
        least, middle = _of(found[mode], 0)
        print(f"{name + ':':24} {least - least_off:6.1f} {middle - median_off:6.1f}")
    least, middle = _of(found["sent"], 1)
    print(f"CPU of the other thread: {least:6.1f} {middle:6.1f}")


def _of(passes: Sequence[tuple[float, float]], place: int) -> tuple[float, float]:
    values = [each[place] for each in passes]
    return min(values), median(values)


if __name__ == "__main__":
    main()
