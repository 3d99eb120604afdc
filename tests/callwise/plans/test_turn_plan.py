"""A turn's plan, measured and written down."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from callwise.calls.call import Purpose, Role
from callwise.calls.client import Prices
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import RateLimits
from callwise.plans import (
    Assumptions,
    InParallel,
    Network,
    PlannedCall,
    ScenarioPlan,
    TurnPlan,
    plan_rows,
)

EVENLY = LoadKnobs(rate=RateLimits(requests_per_minute=60.0, burst_seconds=0.0, slack_seconds=0.0))

THINK = PlannedCall("think", Role.MAIN, Purpose.PLAN, input_tokens=1000, output_tokens=100)
GUESS = PlannedCall(
    "think", Role.JUDGE, Purpose.JUDGE, input_tokens=500, output_tokens=50, speculative=True
)
NOTE = PlannedCall("note", Role.FAST, Purpose.REMEMBER, input_tokens=200, output_tokens=20)


def _plan(prices: dict[Role, Prices], max_calls: int | None = None) -> TurnPlan:
    steps = Network({"think": InParallel((THINK, GUESS)), "note": NOTE}, {"note": ("think",)})
    return TurnPlan(
        preset="toy",
        scenarios=(ScenarioPlan("default", "as usual", steps),),
        reply_part="think",
        prices=prices,
        max_attempts=3,
        max_calls=max_calls,
    )


def test_the_json_form() -> None:
    """It contains every figure of a scenario under its name."""
    prices = dict.fromkeys((Role.MAIN, Role.JUDGE, Role.FAST), Prices(1.0, 2.0))
    document = _plan(prices).as_json(Assumptions(2.0, load=EVENLY))
    assert document["preset"] == "toy"
    assert document["scenarios"]["default"] == {
        "meaning": "as usual",
        "asked": 3,
        "accepted": 3,
        "speculative": 1,
        "by_role": {"main": 1, "judge": 1, "fast": 1},
        "by_node": {"think": 2, "note": 1},
        "by_purpose": {"plan": 1, "judge": 1, "remember": 1},
        "rounds": {"reply": 1, "turn": 2},
        "requests": 3,
        "max_requests": 9,
        "tokens_by_purpose": {
            "plan": {"input": 1000, "output": 100},
            "judge": {"input": 500, "output": 50},
            "remember": {"input": 200, "output": 20},
        },
        "tokens": {"input": 1700, "output": 170, "total": 1870},
        "usd": pytest.approx((1700 + 2 * 170) / 1e6),
        "unpriced_roles": [],
        "seconds": {"reply": 3.0, "turn": 5.0},
        "makespan": {
            "seconds": 5.0,
            "longest_turn": 5.0,
            "delayed": {"requests_per_minute": 1},
        },
    }
    assert json.loads(json.dumps(document)) == document


def test_a_scenario_of_several_ways_has_the_largest_of_each_figure() -> None:
    """Two calls of main, or one of judge and one of fast: each is bounded by itself."""
    prices = dict.fromkeys((Role.MAIN, Role.JUDGE, Role.FAST), Prices(1.0, 2.0))
    other = InParallel((GUESS, NOTE))
    ways = ScenarioPlan("worst", "a bound", InParallel((THINK, THINK)), other_ways=(other,))
    plan = replace(_plan(prices), scenarios=(ways,))
    found = plan.as_json()["scenarios"]["worst"]
    assert (found["asked"], found["speculative"]) == (2, 1)
    assert found["by_role"] == {"main": 2, "judge": 1, "fast": 1}
    assert found["by_node"] == {"think": 2, "note": 1}
    assert found["by_purpose"] == {"plan": 2, "judge": 1, "remember": 1}
    assert found["tokens"] == {"input": 2000, "output": 200, "total": 2200}
    assert found["tokens_by_purpose"]["judge"] == {"input": 500, "output": 50}
    assert found["usd"] == pytest.approx(2400 / 1e6)
    assert any("may add up to more than asked" in row for row in plan_rows(plan))
    assert not any("may add up" in row for row in plan_rows(_plan(prices)))
    unpriced = replace(plan, prices={Role.MAIN: Prices(1.0, 2.0)})
    assert unpriced.as_json()["scenarios"]["worst"]["usd"] is None
    assert unpriced.as_json()["scenarios"]["worst"]["unpriced_roles"] == ["judge", "fast"]


def test_an_unknown_price_is_unknown() -> None:
    """One role without a price list leaves the cost open, and says which."""
    scenario = _plan({Role.MAIN: Prices(1.0, 2.0)}).as_json()["scenarios"]["default"]
    assert scenario["usd"] is None
    assert scenario["unpriced_roles"] == ["judge", "fast"]


def test_a_limit_says_what_it_accepts() -> None:
    """The turn's own limit is shown next to what is asked."""
    plan = _plan({}, max_calls=2)
    scenario = plan.as_json()["scenarios"]["default"]
    assert (scenario["asked"], scenario["accepted"]) == (3, 2)
    assert any("max_calls=2" in row for row in plan_rows(plan))


def test_the_rows_are_plain_text() -> None:
    """A table a line, with unknown costs named."""
    rows = plan_rows(_plan({}), Assumptions(2.0, load=EVENLY))
    row, waits = [row.split() for row in rows if row.startswith("default ")]
    expected = "default 3 1 1 1 1/2 3/5 3-9 1,700 170 unknown"
    assert row == expected.split()
    assert waits == ["default", "3", "5", "5", "requests_per_minute", "1"]
    assert "USD is unknown: no price list for fast, judge, main." in rows
    assert all("\x1b" not in row and row == row.rstrip() for row in rows)


def test_plans_are_light_to_import() -> None:
    """`callwise plan` starts at once: nothing heavy comes with the plans."""
    code = (
        "import sys, callwise.plans, graph.app; "
        "heavy = {'numpy', 'langgraph', 'langchain_core', 'openai', 'aiohttp', 'tiktoken', "
        "'diskcache'}; print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
