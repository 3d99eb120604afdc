"""The plans of all presets, each with five overrides, as they were written down.

A file has the preset's plan whole, and of each override only what differs from it. Write them
again with `python -m tests.graph.test_plan_golden`.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from graph.app import app

FOLDER = Path(__file__).parent / "plans"
OVERRIDES = (
    "search.max_calls=5",
    "budget.turn.max_calls=9",
    "search.rollouts=2",
    "search.expand_k=3",
    "fuse.thinking=true",
)


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return the values of a plan by their dotted paths."""
    if not isinstance(value, dict) or not value:
        return {path: value}
    inner = (_flat(each, f"{path}.{name}".lstrip(".")) for name, each in value.items())
    return {name: each for flat in inner for name, each in flat.items()}


def golden(preset: str) -> dict[str, Any]:
    """Return what a preset's file has."""
    whole = app.plan(app.settings(preset)).as_json()
    flat = _flat(whole)
    changes: dict[str, Any] = {}
    for override in OVERRIDES:
        changed = _flat(app.plan(app.settings(preset, [override])).as_json())
        changes[override] = {
            "absent": [name for name in flat if name not in changed],
            "values": {
                name: value
                for name, value in changed.items()
                if name not in flat or flat[name] != value
            },
            "scenarios": list(dict.fromkeys(name.split(".")[1] for name in changed if "." in name)),
        }
    return {"plan": whole, "overrides": changes}


@pytest.mark.parametrize("preset", app.presets())
def test_a_plan_is_as_written_down(preset: str) -> None:
    """Same calls, rounds, tokens and order, for a preset and for each override."""
    written = json.loads((FOLDER / f"{preset}.json").read_text(encoding="utf-8"))
    found = golden(preset)
    assert found == written
    assert json.dumps(found["plan"]) == json.dumps(written["plan"]), "the order of fields"


if __name__ == "__main__":
    for each in app.presets():
        text = json.dumps(golden(each), indent=1) + "\n"
        (FOLDER / f"{each}.json").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("overrides", "attempts"),
    [
        ((), 5),
        (("retry.preset=patient",), 10),
        (("retry.preset=patient", "retry.total_attempts=4"), 4),
        (("endpoints={main: {kind: simulated, alternatives: [{model: b}, {model: c}]}}",), 7),
        (("load.route.hedge_seconds=2",), 10),
    ],
)
def test_the_bound_on_requests_counts_every_attempt_that_may_be_made(overrides, attempts):
    """Each alternative once more, and each attempt twice where slow ones get a second one."""
    plan = app.plan(app.settings("instant", list(overrides))).as_json()
    assert plan["assumptions"]["max_attempts"] == attempts
