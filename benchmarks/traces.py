"""Cost per call of traces, of metrics, and of both together.

Budgeters with and without them take turns in one run; each pass is compared with the pass without
them just before it. Both times end when all spans are handed to the sender; processor time is that
of all threads. Spans travel as they do by default, up to 1,000 calls in a request.

A full garbage collection of everything that Python has imported takes as long as 500 calls, and
falls into every few passes. What was there before a pass is left out of its collections
(`gc.freeze`), so that each pass pays for its own objects alone.

    python -m benchmarks.traces     writes benchmarks/results/observing.md
"""

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from statistics import median, quantiles

from benchmarks.figures import ROOT, Figure, Measured, markdown, provenance
from callwise.budget import Budgeter
from callwise.calls import Call, Endpoint, Message, Purpose, Reply, ReportedUsage, Role
from callwise.report.traces import SpanExporter, TurnTraces

__all__ = ["main"]

TURNS, CALLS, NODES, PASSES = 60, 16, 5, 60

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


async def _measured(mode: str, turns: int) -> tuple[float, float]:
    """Return microseconds per call: wall time and processor time."""
    endpoint = Endpoint("api.openai.com", "gpt-5-mini", _Instant())
    budgeter = Budgeter(dict.fromkeys(Role, endpoint), max_kept_rows=0)
    exporter = SpanExporter(lambda _: None)
    if mode in ("metrics", "both"):
        budgeter.metrics()
    if mode in ("noted", "sent", "both"):
        traces = TurnTraces((lambda _: None) if mode == "noted" else exporter.put)
        traces.watch(budgeter)
    questions = [(Message("user", f"question {number}"),) for number in range(CALLS)]
    gc.collect()
    gc.freeze()
    began, cpu = time.perf_counter(), time.process_time()
    for turn in range(turns):
        with budgeter.scope("turn", str(turn)):
            for place, messages in enumerate(questions):
                with budgeter.scope("node", f"node{place % NODES}"):
                    await budgeter.ask(Call(Role.MAIN, Purpose.REASON, messages, sample=turn))
    exporter.close(60.0)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    gc.unfreeze()
    await budgeter.aclose()
    scale = MICROSECONDS / (turns * CALLS)
    return took * scale, cpu * scale


async def _differences(turns: int, passes: int) -> dict[str, list[tuple[float, float]]]:
    """Return what each mode adds to the pass without it just before it."""
    found: dict[str, list[tuple[float, float]]] = {mode: [] for mode in MODES}
    for _ in range(passes):
        for mode, added in found.items():
            wall, cpu = await _measured("off", turns)
            more_wall, more_cpu = await _measured(mode, turns)
            added.append((more_wall - wall, more_cpu - cpu))
    return found


def measure(turns: int = TURNS, passes: int = PASSES) -> Measured:
    """Return what each mode adds to a call."""
    figures = []
    for mode, added in asyncio.run(_differences(turns, passes)).items():
        wall, cpu = zip(*added, strict=True)
        for name, values in (("wall time", wall), ("processor time", cpu)):
            is_target = mode == "both"
            figures.append(
                Figure(
                    f"{MODES[mode]}, added {name}, us per call: median (middle half)",
                    _spread(values),
                    f"<= {MAX_CALL_MICROSECONDS:g}" if is_target else "",
                    median(values) <= MAX_CALL_MICROSECONDS if is_target else None,
                )
            )
    return Measured("traces", figures)


def main() -> None:
    """Print the table and write it."""
    table = markdown([measure()])
    heading = "\n".join(f"- {name}: {value}" for name, value in provenance().items())
    counts = f"- {TURNS} turns of {CALLS} calls, {NODES} nodes, {PASSES} pairs of passes"
    text = f"- command: `python -m benchmarks.traces`\n{heading}\n{counts}\n\n{table}"
    print(text)
    RESULTS.write_text(text, encoding="utf-8")


def _spread(values: Sequence[float]) -> str:
    low, _, high = quantiles(values, n=4)
    return f"{median(values):.1f} ({low:.1f}-{high:.1f})"


if __name__ == "__main__":
    main()
