"""The routing tables that some models allow on a recording."""

import pytest

from callwise.calls.client import Prices
from callwise.calls.errors import ConfigError
from callwise.calls.policies import RoutePolicy
from callwise.tuning.routing.recorded_calls import RecordedCall
from callwise.tuning.routing.route_space import REFERENCE, RouteSpace, route_space

PRICES = {"main": Prices(10, 30), "small": Prices(1, 3), "medium": Prices(4, 8)}
CALLS = [RecordedCall("judge", "main", at / 10, 1000, 100) for at in range(1, 9)]


def _space(*models: str) -> RouteSpace:
    return route_space(CALLS, PRICES, models, {})


def test_a_weaker_model_answers_up_to_a_quantile_of_the_recorded_complexity() -> None:
    """From a quarter of the calls to all; the role answers the rest."""
    space = _space("small")
    (own,) = space.options.values()
    assert [option.limits for option in own] == [
        (("small", limit),) for limit in (0.2, 0.4, 0.6, 1.0)
    ]
    assert [space.strong_share([option]) for option in own] == [0.75, 0.5, 0.25, 0.0]
    assert space.weakest == (own[-1],)


def test_two_weaker_models_answer_one_above_the_other() -> None:
    """Fifteen options with the one in which the role answers everything."""
    space = _space("medium", "small")
    assert space.models == ("small", "medium")
    assert len(space.options["judge"]) == 14
    assert space.weakest[0].name == "judge: small <= 1"
    assert space.single_options().settings[0].name == REFERENCE


def test_a_policy_asks_the_cheaper_model_first() -> None:
    """Its prices are in the order of its limits, measured ones only where they are, too."""
    space = _space("medium", "small")
    option = next(each for each in space.options["judge"] if each.name.count("<=") == 2)
    policy = RoutePolicy.model_validate(space.policy(option))
    assert policy.models == ("small", "medium", "main")
    assert policy.complexity.seconds == 0.0
    usd = [entry.usd_per_call or 0.0 for entry in policy.table]
    assert usd == sorted(usd)
    wrong = {"small": {"usd_per_call": 5.0}, "medium": {"usd_per_call": 1.0}}
    again = RoutePolicy.model_validate(space.policy(option, wrong))
    assert [entry.usd_per_call for entry in again.table] == usd


def test_what_cannot_be_tuned_is_an_error_with_the_way_out() -> None:
    """No other model, no price, no call, too many models, none that is cheaper."""
    for models, prices, calls, problem in (
        ((), PRICES, CALLS, "one model only"),
        (("small",), {**PRICES, "small": None}, CALLS, "prices of small are not known"),
        (("small",), PRICES, [], "no call that a table could route"),
        (("a", "b", "c", "d"), PRICES, CALLS, "at most 3"),
        (("dear",), {**PRICES, "dear": Prices(99, 99)}, CALLS, "none of dear is cheaper"),
    ):
        with pytest.raises(ConfigError, match=problem):
            route_space(calls, prices, models, {})
