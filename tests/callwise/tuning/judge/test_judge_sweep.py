"""The part of a sweep's budget that a referee may spend."""

from pathlib import Path

import pytest

from callwise.budget import Limits
from callwise.calls import Endpoint, Prices
from callwise.calls.errors import ConfigError
from callwise.recordings.counterfactual.purchase import SpendingCap
from callwise.testing.fakes import ScriptedClient
from callwise.tuning.judge.judge_sweep import QualityRequest
from callwise.tuning.judge.referee_endpoint import referee_endpoint

PRICED = Endpoint("e", "m", ScriptedClient(), Prices(1.0, 2.0))
UNPRICED = Endpoint("e", "m", ScriptedClient())
SIMULATED = Endpoint("e", "m", ScriptedClient(is_simulated=True))


@pytest.mark.parametrize(
    ("max_calls", "budget", "left"),
    [
        (None, None, None),
        (5, None, 5),
        (None, SpendingCap(max_calls=3, calls=1), 2),
        (1, SpendingCap(max_calls=3), 1),
        (5, SpendingCap(max_calls=3, calls=7), 0),
        (None, SpendingCap(max_usd=1.0), None),
    ],
)
def test_the_tighter_limit_on_calls_counts(max_calls, budget, left):
    """The budget and the referee's own limit both bind, and a budget is never below empty."""
    assert QualityRequest(max_calls=max_calls, budget=budget).calls_left == left


def test_a_limit_in_usd_binds_by_what_is_left_of_it():
    """The referee's budgeter is given the rest, and a simulated referee costs nothing."""
    request = QualityRequest(budget=SpendingCap(max_usd=1.0, usd=0.25))
    assert request.limits(PRICED) == Limits(max_usd=0.75)
    assert request.limits(SIMULATED) is None
    assert QualityRequest(budget=SpendingCap(max_calls=1)).limits(UNPRICED) is None


def test_a_limit_in_usd_that_cannot_bind_is_refused():
    """Unknown is not free: the error names both ways out."""
    request = QualityRequest(budget=SpendingCap(max_usd=1.0))
    with pytest.raises(ConfigError, match=r"CALLWISE_REFEREE_USD_PER_MILLION.*--max-buy-calls"):
        request.limits(UNPRICED)


def test_a_referees_prices_come_from_the_environment():
    """Two numbers, input and output; anything else is an error that names the variable."""
    environ = {
        "CALLWISE_REFEREE_MODEL": "judge",
        "CALLWISE_REFEREE_BASE_URL": "http://127.0.0.1:9/v1",
        "CALLWISE_REFEREE_USD_PER_MILLION": "0.3, 0.5",
    }
    assert referee_endpoint(environ).prices == Prices(0.3, 0.5)
    for wrong in ("0.3", "a,b", "-1,2", "nan,1", "1,2,3"):
        with pytest.raises(ConfigError, match="CALLWISE_REFEREE_USD_PER_MILLION"):
            referee_endpoint({**environ, "CALLWISE_REFEREE_USD_PER_MILLION": wrong})


def test_what_judging_cost_is_taken_off():
    """Calls, known USD, and calls whose cost is not known."""
    budget = SpendingCap(max_calls=10, max_usd=1.0, calls=1, usd=0.1)
    budget.spend(3, 0.2, 1)
    assert (budget.calls, budget.usd, budget.unknown_usd) == (4, pytest.approx(0.3), 1)
    assert (budget.calls_left, budget.usd_left) == (6, pytest.approx(0.7))


def test_a_rubric_needs_a_referee(tmp_path: Path) -> None:
    """A file of marks that no judge would read is refused before anything is evaluated."""
    with pytest.raises(ConfigError, match="add --quality referee"):
        QualityRequest("truth", rubric=tmp_path / "rubric.md")
    assert QualityRequest("referee", rubric=tmp_path / "rubric.md").rubric is not None
