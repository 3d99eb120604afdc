"""Changes of a knob that find their calls in a recording, and those that do not.

Three recordings of the same conversations on the simulated model, and single knobs changed.
Whether a call is recorded follows from what is asked, so the shares hold for any model that
answers as usably; which calls a search asks depends on its answers, so they are no constants.

    python -m benchmarks.run reuse
"""

import asyncio
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import ROOT, Figure, Measured
from callwise.recordings import read_conversations
from callwise.recordings.app_protocol import load_app
from callwise.recordings.replay_run import RunRequest, run_replay
from callwise.tuning.replay_evaluator import CounterfactualEvaluator
from callwise.tuning.row import Coverage
from callwise.tuning.setting import make_setting

__all__ = ["measure"]

APP = "graph.app:app"
TALKS = ROOT / "notebooks" / "data" / "small_talks.jsonl"

CHANGES: Mapping[tuple[str, ...], Sequence[dict[str, Any]]] = {
    ("balanced", "search.max_calls=11"): [
        {"search.max_calls": 3},
        {"search.max_calls": 4},
        {"search.max_calls": 6},
        {"search.max_calls": 8},
        {"search.max_passes": 3},
        {"search.refine": True},
        {"search.stop_score": 0.7},
        {"search.early_exit.min_root_score": 0.6},
        {"search.min_gain": 0.02},
        {"fuse.bookkeeping": False},
        {"memory.history_turns": 4},
        {"processor.llm": "never"},
    ],
    ("classic",): [
        {"search.rollouts": 1},
        {"search.rollouts": 2},
        {"search.rollouts": 3},
        {"search.expand_k": 1},
        {"search.soft_top_n": 2},
        {"overlap": True},
        {"search.prefetch": True, "search.soft_max_concurrency": 4},
    ],
    ("thorough",): [
        {"search.max_calls": 8},
        {"search.max_calls": 11},
        {"search.max_calls": 14},
        {"search.min_gain": 0.1},
    ],
}
"""Recordings, and what is changed of each."""


def _record(folder: Path, preset: str, overrides: Sequence[str]) -> None:
    app = load_app(APP)
    request = RunRequest(
        app=app,
        app_target=APP,
        settings=app.settings(preset, overrides),
        conversations=read_conversations([TALKS]).conversations,
        folder=folder,
    )
    asyncio.run(run_replay(request))


def _figures(folder: Path) -> Iterator[Figure]:
    for number, ((preset, *overrides), changes) in enumerate(CHANGES.items()):
        recording = folder / str(number)
        _record(recording, preset, overrides)
        named = " ".join((preset, *overrides))
        settings = [make_setting("recorded", {}, change) for change in changes]
        for result in CounterfactualEvaluator(recording).evaluate(settings):
            rows = result.rows
            replies = sum(row.is_reply_exact for row in rows) / len(rows)
            turns = sum(row.coverage is Coverage.EXACT for row in rows) / len(rows)
            yield Figure(
                f"`{named}` recorded, `{result.setting}` asked: replies / whole turns exact",
                f"{replies:.0%} / {turns:.0%}",
                note=f"{len(rows)} turns, simulated",
            )


def measure() -> Measured:
    """Return what share of turns each change finds recorded."""
    with tempfile.TemporaryDirectory() as folder:
        return Measured("reuse", list(_figures(Path(folder))))
