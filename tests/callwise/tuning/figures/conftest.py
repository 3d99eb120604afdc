"""Rows and records to draw, with names that would do harm where they are obeyed."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from callwise.report.run_record import CallLine, TurnLine
from callwise.tuning.figures import (
    ChainStep,
    FigureBasis,
    FigureData,
    TimeScale,
    calls_by_node_of,
    calls_over_turns_of,
    steps_between,
    timeline_of,
    tradeoff_of,
    waterfall_of,
)
from callwise.tuning.row import TurnRow
from tests.callwise.tuning.conftest import tune_row

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = "<b>$\\frac{1}{2}$</b>%{x}"
"""Bold and a formula, where a drawer obeys it."""


def ledger_row(sequence: int, **fields: Any) -> dict[str, Any]:
    """Return a ledger line: a served call of one node, in the round of its sequence."""
    row: dict[str, Any] = {
        "sequence": sequence,
        "node": "search",
        "role": "main",
        "purpose": "expand",
        "outcome": "served",
        "end_round": sequence,
        "path_seconds": 2.0,
        "repair": 0,
    }
    return {**row, **fields}


@pytest.fixture
def row() -> Callable[..., TurnRow]:
    """Make rows."""
    return tune_row


@pytest.fixture
def call() -> Callable[..., dict[str, Any]]:
    """Make ledger lines."""
    return ledger_row


def all_figures(name: str) -> dict[str, FigureData]:
    """Return a record of every kind, with one name wherever there is a name."""
    basis = FigureBasis(4, 2, is_simulated=True)
    rows = [
        tune_row(setting, turn, asked=asked, quality=quality, quality_by=name,
                 asked_by_node={name: asked - 1}, missing_calls=asked - 3)
        for setting, asked, quality in ((name, 3, 0.2), ("b", 5, 0.6))
        for turn in (0, 1)
    ]  # fmt: skip
    chain = [ChainStep(change, 2.0, saved=(1.0, 0.5, 1.5))
             for change in steps_between({name: name}, {name: 1})]  # fmt: skip
    ledger = [ledger_row(1, node=name, purpose=name, role=name),
              ledger_row(2, node=name, outcome="refused", end_round=1),
              ledger_row(3, node=name, repair=1, is_speculative=True)]  # fmt: skip
    calls = [CallLine(conversation=name, turn=0, node=name, role="main",
                      purpose="expand", outcome="served")]  # fmt: skip
    return {
        "tradeoff": tradeoff_of(rows, quality={name: (0.2, 0.1, 0.4)}, knee=name, recommended="b",
                                knob=name, knob_values={name: name, "b": "2"}),
        "calls_by_node": calls_by_node_of(rows, totals={name: (3, 2, 4)}),
        "calls_over_turns": calls_over_turns_of(calls, [TurnLine(conversation_id=name, turn=0)],
                                                name),
        "waterfall": waterfall_of((name, 3.0), chain, (name, 1.5), basis),
        "timeline": timeline_of(ledger, scale=TimeScale.SECONDS, where=name, reply_at=1.0),
    }  # fmt: skip


KINDS = tuple(all_figures("x"))


@pytest.fixture(params=KINDS)
def hostile(request: pytest.FixtureRequest) -> FigureData:
    """Return a record of each kind, full of names that would do harm."""
    return all_figures(HOSTILE)[request.param]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return a headless browser; skips where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)}")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield launched
        launched.close()
