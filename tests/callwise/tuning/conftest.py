"""Rows of sweeps."""

from typing import Any

from callwise.tuning.row import Coverage, TurnRow


def tune_row(setting: str = "a", turn: int = 0, **fields: Any) -> TurnRow:
    """Return a row: 3 calls, exact, quality .5, unless given otherwise."""
    row: dict[str, Any] = {
        "conversation": "one",
        "seed": 0,
        "coverage": Coverage.EXACT,
        "diverged_at": None,
        "missing_calls": 0,
        "missing_tokens": 0,
        "missing_usd": None,
        "asked": 3,
        "requests": 3,
        "input_tokens": 90,
        "output_tokens": 10,
        "usd": None,
        "rounds_reply": 2,
        "rounds_turn": 3,
        "seconds_reply": 1.0,
        "seconds_turn": 1.5,
        "is_reply_exact": True,
        "reply_id": "",
        "is_simulated": True,
        "quality": 0.5,
        "quality_by": "truth:simulated",
    }
    return TurnRow(setting=setting, turn=turn, **{**row, **fields})
