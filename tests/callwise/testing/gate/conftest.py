"""A toy run, in memory and as a folder, that a gate can be held to."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from callwise.testing.gate import Baseline
from callwise.testing.gate.run_figures import baseline_of_rows

Rows = list[dict[str, Any]]

PATHS = (("detection", "fast", "detect"), ("lats_search", "main", "expand"))
KNOBS: dict[str, Any] = {"preset": "toy", "search": {"rollouts": 4, "rubrics": ["overall"]}}


def rows_of(counts: Mapping[tuple[str, int], Sequence[int]] | None = None, **fields: Any) -> Rows:
    """Return a ledger: for each turn, how often each of `PATHS` asked."""
    counts = {("one", 0): (1, 4), ("one", 1): (1, 4), ("two", 0): (1, 2)} | dict(counts or {})
    return [
        {
            "conversation": conversation,
            "turn": str(turn),
            "node": node,
            "role": role,
            "purpose": purpose,
            "outcome": "replayed",
            "is_simulated": False,
            "attempts": 1,
            "requests": 1,
            "input_tokens": 100,
            "output_tokens": 10,
            "usd": 0.001,
            **fields,
        }
        for (conversation, turn), asked in counts.items()
        for (node, role, purpose), count in zip(PATHS, asked, strict=True)
        for _ in range(count)
    ]


def turns_of(rows: Rows) -> Rows:
    """Return the turns of a ledger, with as many rounds as calls."""
    asked = Counter((row["conversation"], int(row["turn"])) for row in rows)
    return [
        {
            "conversation_id": conversation,
            "turn": turn,
            "reply": "hello",
            "asked": count,
            "rounds": {"reply": float(count), "turn": float(count + 1)},
        }
        for (conversation, turn), count in asked.items()
    ]


def toy(
    counts: Mapping[tuple[str, int], Sequence[int]] | None = None,
    *,
    row: Mapping[str, Any] | None = None,
    **facts: Any,
) -> Baseline:
    """Return the baseline of a toy run; `counts` and `facts` say what is unlike the usual."""
    rows = rows_of(counts, **(row or {}))
    given: dict[str, Any] = {
        "app": "toy.app:app",
        "preset": "toy",
        "conversations": "c" * 64,
        "knobs": KNOBS,
        "prompts": {"plan": "0" * 16},
    }
    return baseline_of_rows(rows, turns_of(rows), **(given | facts))


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a toy run's folder."""

    def write(
        name: str = "run", rows: Rows | None = None, turns: Rows | None = None, **manifest: Any
    ) -> Path:
        rows = rows_of() if rows is None else rows
        folder = tmp_path / name
        folder.mkdir()
        for file, lines in (
            ("ledger", rows),
            ("turns", turns_of(rows) if turns is None else turns),
        ):
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (folder / f"{file}.jsonl").write_text(text, encoding="utf-8")
        document = {
            "callwise_run": 1,
            "identity": {
                "app": "toy.app:app",
                "settings": "5" * 64,
                "conversations": "c" * 64,
                "cassette": "/somewhere/secret.jsonl",
                "mode": "strict",
            },
            "simulated": False,
            "started": "2026-11-21T12:25:01+00:00",
            "knobs": KNOBS,
            "prompts": {"plan": "0" * 16},
            **manifest,
        }
        (folder / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
        return folder

    return write
