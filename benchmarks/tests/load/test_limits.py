"""The limit of a makespan under rate limits, and the calls it is of."""

import pytest

from benchmarks.load.limits import best_seconds, in_virtual_time, paced_calls
from callwise.simulator.service_limits import SimulatedLimits


def test_the_best_makespan_is_that_of_the_binding_limit():
    """After a full bucket of 60, 100 requests need 40 seconds at one per second."""
    calls = paced_calls(100, mean_tokens=400)
    limits = SimulatedLimits(requests_per_minute=60, tokens_per_minute=10**6)
    seconds, binding = best_seconds(calls, limits)
    assert (round(seconds, 3), binding) == (40.0, "requests")
    tokens = SimulatedLimits(requests_per_minute=10**6, tokens_per_minute=6_000)
    assert best_seconds(calls, tokens)[1] == "tokens"


@pytest.mark.parametrize("mean_tokens", [800, 2400])
def test_calls_are_paced_within_two_percent_of_it(mean_tokens):
    """With estimates that are off by 40 %, no request is over, and little is left unused."""
    paced = in_virtual_time("bucket", mean_tokens)
    assert paced.seconds <= 1.02 * paced.best
    assert paced.over == 0
    assert paced.used >= 0.97
