"""The simulated tables: equal runs give equal figures, and the parts help where they can."""

from benchmarks.load.headlines import DOCUMENT_004, outcome_of
from callwise.calls import Purpose


def test_a_short_run_is_deterministic_and_better_with_the_parts_on():
    """Fewer requests, a lower price, and no query without an answer."""
    load = DOCUMENT_004._replace(rate=10)
    off, on, again = (outcome_of(load, is_on=is_on, seconds=10.0) for is_on in (False, True, True))
    assert on == again
    assert off.hits[Purpose.REASON] == 0.0 < on.hits[Purpose.REASON]
    assert on.requests < off.requests
    assert on.usd < off.usd
    assert on.available == 1.0
