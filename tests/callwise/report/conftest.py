"""A small run to report on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RunWriter = Callable[..., Path]


def call_row(turn: int | None = 0, **fields: Any) -> dict[str, Any]:
    """Return a ledger line; a served call of the search unless told otherwise."""
    row: dict[str, Any] = {
        "sequence": 1,
        "conversation": None if turn is None else "one",
        "turn": None if turn is None else str(turn),
        "node": "lats_search",
        "role": "main",
        "purpose": "expand",
        "outcome": "served",
        "attempts": 1,
        "requests": 1,
        "input_tokens": 100,
        "output_tokens": 10,
        "usd": 0.5,
        "work_seconds": 1.5,
    }
    return {**row, **fields}


def turn_row(turn: int = 0, **fields: Any) -> dict[str, Any]:
    """Return a turn's line."""
    row: dict[str, Any] = {
        "conversation_id": "one",
        "turn": turn,
        "user_text": "hi",
        "reply": "hello",
        "rounds": {"reply": 2, "turn": 3},
        "path_seconds": {"reply": 2.5, "turn": 3.5},
        "search": {"stop_reason": "early_exit"},
        "simulated": True,
    }
    return {**row, **fields}


ROWS = [
    call_row(node="detection", role="fast", purpose="detect", queue_seconds=0.5),
    call_row(),
    call_row(outcome="cached", attempts=0, requests=0, input_tokens=0, output_tokens=0, usd=0.0),
    call_row(turn=1, attempts=3, requests=3, unknown_usage=2, usd=None, retry_seconds=1.0),
]
TURNS = [turn_row(asked=3), turn_row(1, asked=1, reply="", degraded=[{"node": "reasoner"}])]
PLAN: dict[str, Any] = {
    "preset": "toy",
    "scenarios": {
        "default": {
            "asked": 3,
            "requests": 3,
            "by_role": {"main": 2, "fast": 1},
            "by_node": {"detection": 1, "lats_search": 2},
            "by_purpose": {"detect": 1, "expand": 2},
            "rounds": {"reply": 2, "turn": 3},
            "tokens": {"input": 250, "output": 30},
            "tokens_by_purpose": {
                "detect": {"input": 50, "output": 10},
                "expand": {"input": 200, "output": 20},
            },
            "usd": None,
        },
        "worst": {"asked": 4, "max_requests": 12, "by_role": {"main": 3, "fast": 1}},
    },
}


@pytest.fixture(name="call_row")
def _call_row() -> Callable[..., dict[str, Any]]:
    return call_row


@pytest.fixture(name="turn_row")
def _turn_row() -> Callable[..., dict[str, Any]]:
    return turn_row


@pytest.fixture
def write_run(tmp_path: Path) -> RunWriter:
    """Return a function that writes a run's folder."""

    def write(
        rows: list[dict[str, Any]] | None = None,
        turns: list[dict[str, Any]] | None = None,
        **manifest: Any,
    ) -> Path:
        for name, lines in (("ledger", ROWS if rows is None else rows), ("turns", turns or TURNS)):
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
        document = {"callwise_run": 1, "simulated": True, "plan": PLAN, **manifest}
        (tmp_path / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
        return tmp_path

    return write
