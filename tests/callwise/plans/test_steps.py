"""Steps of a plan."""

import pytest

from callwise.calls.call import Purpose, Role
from callwise.plans import InSequence, Network, PlannedCall, Wave


def test_a_network_waits_backwards_only() -> None:
    """A part that waits for a later or unknown part is refused by name."""
    parts = {"a": InSequence(), "b": InSequence()}
    with pytest.raises(ValueError, match="'a' waits for 'b', which is not before it"):
        Network(parts, {"a": ("b",)})
    with pytest.raises(ValueError, match="'c' waits and is no part"):
        Network(parts, {"c": ("a",)})


def test_a_wave_lets_something_start() -> None:
    """A wave of nothing at a time is refused."""
    with pytest.raises(ValueError, match="at least 1"):
        Wave((), 0)


def test_tokens_are_counts() -> None:
    """Negative tokens are refused."""
    with pytest.raises(ValueError, match="at least 0"):
        PlannedCall("a", Role.MAIN, Purpose.PLAN, input_tokens=-1)
