"""The adaptive limit: slow start, one cut per episode, and what is neutral."""

from callwise.budget.schedule.adaptive_concurrency import AdaptiveConcurrency


def grown(limit, *, rounds=1):
    """Answer all requests of full rounds."""
    for _ in range(rounds):
        for mark in [limit.sent(n + 1) for n in range(limit.limit)]:
            limit.succeeded(mark)
    return limit.limit


def test_the_limit_doubles_per_round_until_the_first_429():
    """Of a full round, the requests close to the limit count; it never passes the most."""
    limit = AdaptiveConcurrency(5, 200)
    assert [limit.limit, grown(limit), grown(limit)] == [5, 7, 9]
    limit = AdaptiveConcurrency(5, 200)
    for _ in range(5):
        limit.succeeded(limit.sent(limit.limit))
    assert limit.limit == 10
    assert grown(AdaptiveConcurrency(5, 8), rounds=50) == 8
    assert AdaptiveConcurrency(50, 8).limit == 8


def test_one_episode_cuts_once():
    """429s of requests that were sent before the cut change nothing; later ones do."""
    limit = AdaptiveConcurrency(20, 200)
    marks = [limit.sent(n + 1) for n in range(20)]
    for mark in marks:
        limit.rate_limited(mark)
    assert (limit.limit, limit.cuts) == (16, 1)
    limit.rate_limited(limit.sent(15))
    assert (limit.limit, limit.cuts) == (12, 2)


def test_it_never_falls_below_one():
    """Whatever comes."""
    limit = AdaptiveConcurrency(3, 200)
    for _ in range(20):
        limit.rate_limited(limit.sent(1))
    assert limit.limit == 1
    for _ in range(200):
        limit.succeeded(limit.sent(1))
    assert limit.limit > 1


def test_nothing_grows_while_few_are_under_way():
    """Below four fifths of the limit a success shows nothing."""
    limit = AdaptiveConcurrency(10, 200)
    for _ in range(100):
        limit.succeeded(limit.sent(7))
    assert limit.limit == 10
    limit.succeeded(limit.sent(8))
    assert limit.limit == 11


def test_it_returns_to_the_ceiling_and_waits_there_for_successes():
    """Only the answer of one request above it opens the way."""
    limit = AdaptiveConcurrency(20, 200)
    limit.rate_limited(limit.sent(20))
    assert limit.limit == 16
    successes = 0
    while limit.limit < 20:
        successes += 1
        limit.succeeded(limit.sent(limit.limit))
    assert 5 * 19 <= successes <= 6 * 19
    probe, other = limit.sent(20), limit.sent(20)
    assert (probe.is_probe, other.is_probe) == (True, False)
    limit.succeeded(other)
    assert limit.limit == 20
    limit.succeeded(probe)
    assert limit.limit == 21
    limit.succeeded(limit.sent(21))
    assert limit.limit == 22


def test_a_probe_that_ends_otherwise_leaves_it_to_the_next():
    """A timeout or a cancellation shows nothing about the limit."""
    limit = AdaptiveConcurrency(4, 200)
    limit.rate_limited(limit.sent(4))
    while limit.limit < 4:
        limit.succeeded(limit.sent(limit.limit))
    probe = limit.sent(4)
    assert probe.is_probe
    limit.ended(probe)
    assert limit.limit == 4
    assert limit.sent(4).is_probe
