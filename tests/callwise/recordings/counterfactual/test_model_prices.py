"""Prices of calls that another model would answer."""

from callwise.budget.recorder import RecordedExchange
from callwise.budget.usage import NO_USAGE
from callwise.calls.call import Call, Message, Outcome, Purpose, Role
from callwise.calls.client import Prices
from callwise.recordings.counterfactual.model_prices import repriced

USAGE = NO_USAGE._replace(
    requests=1, attempts=1, input_tokens=1000, output_tokens=100, picodollars=10**10
)
STAND_IN = RecordedExchange(Outcome.SERVED, usage=USAGE)
PRICES = {"small": Prices(1, 10), "free of a list": None, "main": Prices(10, 100)}


def _call(model: str = "") -> Call:
    return Call(Role.MAIN, Purpose.JUDGE, (Message("user", "Hello"),), model=model)


def test_a_stand_in_costs_what_the_model_asked_would() -> None:
    """Its tokens at that model's prices; a role has its own."""
    assert repriced(STAND_IN, _call("small"), PRICES).usd == 0.002
    assert repriced(STAND_IN, _call(), PRICES).usd == 0.02


def test_a_model_without_prices_has_no_known_cost() -> None:
    """Unknown is not 0."""
    assert repriced(STAND_IN, _call("free of a list"), PRICES).usd is None


def test_without_policies_a_stand_in_keeps_its_cost() -> None:
    """No model is asked in another's place."""
    assert repriced(STAND_IN, _call(), {}) is STAND_IN
