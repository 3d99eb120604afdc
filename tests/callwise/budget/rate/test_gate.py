"""The gate of one endpoint: all limits together, refunds, learned limits, notices."""

import logging
import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from callwise.budget import Budgeter
from callwise.budget.rate.gate import EndpointGate
from callwise.budget.rate.meters import SharedMeters
from callwise.budget.rate.need import RateNeed, RatePart
from callwise.calls.call import Purpose, Role
from callwise.calls.client import Endpoint, OfflineClient
from callwise.calls.errors import ConfigError, RateLimited
from callwise.calls.kinds import WorkKind
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import RateLimits, Rates
from callwise.calls.reply import ReportedUsage

EXACT = {"slack_seconds": 0.0, "token_margin": 1.0}


def gate_of(
    shared: SharedMeters | None = None,
    /,
    notify: Callable[[str], None] | None = None,
    **limits: object,
) -> EndpointGate:
    """Return a gate with these limits, exact where they do not set it otherwise."""
    settings = RateLimits.model_validate(EXACT | limits)
    return EndpointGate(
        settings, endpoint="host", key="KEY", shared=shared or SharedMeters(), notify=notify
    )


def need(tokens: int = 0, output: int = 0, **part: object) -> RateNeed:
    """Return the need of one call."""
    return RateNeed([RatePart(tokens, output, **part)])  # type: ignore[arg-type]


def take(gate: EndpointGate, wanted: RateNeed, now: float = 0.0) -> RateNeed:
    """Take what must be ready."""
    assert gate.ready_in(wanted, now) == 0
    gate.take(wanted, now)
    return wanted


def use(gate: EndpointGate, wanted: RateNeed, now: float = 0.0) -> None:
    """Take and settle as estimated."""
    used = ReportedUsage(
        sum(part.input_tokens for part in wanted.parts),
        sum(part.output_tokens for part in wanted.parts),
    )
    gate.settle(take(gate, wanted, now), used, now, was_sent=True)


def test_a_request_takes_from_all_limits_or_from_none() -> None:
    """A request that waits for tokens has not taken its place among the requests."""
    gate = gate_of(requests_per_minute=2, tokens_per_minute=100)
    use(gate, need(90))
    large = need(50)
    assert gate.ready_in(large, 0.0) == pytest.approx(24)
    use(gate, need(10))
    assert gate.ready_in(need(1), 0.0) > 0


@pytest.mark.parametrize(
    ("limit", "first", "second"),
    [
        ("requests_per_minute", (0, 0), (0, 0)),
        ("tokens_per_minute", (1, 0), (0, 1)),
        ("input_tokens_per_minute", (1, 0), (1, 0)),
        ("output_tokens_per_minute", (0, 1), (0, 1)),
    ],
)
def test_each_quantity_is_limited(
    limit: str, first: tuple[int, int], second: tuple[int, int]
) -> None:
    """One per minute of each quantity: the second waits for a minute, and the limit is named."""
    gate = gate_of(**{limit: 1})
    use(gate, need(*first))
    waiting = need(*second)
    assert gate.ready_in(waiting, 0.0) == pytest.approx(60)
    assert gate.bound_by(waiting, 0.0) is None
    assert gate.statistics()[f"rate_delayed_by_{limit}"] == 1


def test_what_was_not_used_is_given_back() -> None:
    """A reservation of everything that used a tenth leaves nine tenths."""
    gate = gate_of(tokens_per_minute=100)
    taken = take(gate, need(100))
    assert gate.ready_in(need(1), 0.0) > 0
    gate.settle(taken, ReportedUsage(10, 0), 0.0, was_sent=True)
    assert gate.ready_in(need(90), 0.0) == 0


def test_a_request_that_never_left_gives_everything_back() -> None:
    """Its request, too; and settling twice changes nothing."""
    gate = gate_of(requests_per_minute=1, tokens_per_minute=100)
    taken = take(gate, need(100))
    gate.settle(taken, None, 0.0, was_sent=False)
    gate.settle(taken, None, 0.0, was_sent=False)
    taken = take(gate, need(100))
    gate.settle(taken, None, 0.0, was_sent=True)
    assert gate.ready_in(need(100), 0.0) > 0


def test_unknown_usage_counts_as_estimated() -> None:
    """A timeout after sending keeps its estimate."""
    gate = gate_of(tokens_per_minute=100)
    gate.settle(take(gate, need(60)), None, 0.0, was_sent=True)
    assert gate.ready_in(need(40), 0.0) == 0
    assert gate.ready_in(need(41), 0.0) > 0


def test_max_tokens_count_where_the_provider_counts_them() -> None:
    """With `counts: asked` unused output tokens are not given back."""
    gate = gate_of(tokens_per_minute=100, counts="asked")
    gate.settle(take(gate, need(10, 50)), ReportedUsage(10, 1), 0.0, was_sent=True)
    assert gate.ready_in(need(40), 0.0) == 0
    assert gate.ready_in(need(41), 0.0) > 0


def test_estimates_are_taken_by_what_answers_have_used() -> None:
    """Answers that use twice the estimate raise what later ones take; another purpose keeps it."""
    gate = gate_of(tokens_per_minute=1_000_000)
    for _ in range(10):
        gate.settle(take(gate, need(100)), ReportedUsage(200, 0), 0.0, was_sent=True)
    later, other = need(100), need(100, purpose=Purpose.JUDGE)
    gate.ready_in(later, 0.0)
    gate.ready_in(other, 0.0)
    assert later.amounts[1] == 200
    assert other.amounts[1] == 100


def test_users_and_tenants_have_their_limits() -> None:
    """The limit of one user delays no other; a user with limits that are set has those."""
    gate = gate_of(
        user=Rates(requests_per_minute=1),
        users={"big": Rates(requests_per_minute=3)},
        tenant=Rates(requests_per_minute=4),
    )
    use(gate, need(user="a", tenant="t"))
    again = need(user="a", tenant="t")
    assert gate.ready_in(again, 0.0) == pytest.approx(60)
    assert gate.bound_by(again, 0.0) == ("user", "a")
    for _ in range(3):
        use(gate, need(user="big", tenant="t"))
    third = need(user="c", tenant="t")
    assert gate.ready_in(third, 0.0) > 0
    assert gate.bound_by(third, 0.0) == ("tenant", "t")
    for _ in range(20):
        use(gate, need())  # of no known user


def test_keys_and_users_are_counted_over_all_endpoints() -> None:
    """Two endpoints with one key and one user share their limits."""
    shared = SharedMeters()
    limits = {"key": Rates(tokens_per_minute=100), "user": Rates(requests_per_minute=1)}
    first, second = gate_of(shared, **limits), gate_of(shared, **limits)
    use(first, need(80, user="a"))
    assert second.ready_in(need(10, user="b"), 0.0) == 0
    assert second.ready_in(need(30, user="b"), 0.0) > 0
    assert second.ready_in(need(10, user="a"), 0.0) > 0


def test_purposes_and_kinds_have_their_limits() -> None:
    """A limit on judging delays judges alone; one on embeddings all purposes of that kind."""
    gate = gate_of(
        purposes={Purpose.JUDGE: Rates(requests_per_minute=1)},
        kinds={WorkKind.EMBEDDING: Rates(input_tokens_per_minute=10)},
    )
    use(gate, need(purpose=Purpose.JUDGE))
    judging = need(purpose=Purpose.JUDGE)
    assert gate.ready_in(judging, 0.0) > 0
    assert gate.bound_by(judging, 0.0) == ("purpose", "judge")
    use(gate, need(10, purpose=Purpose.EMBED))
    assert gate.ready_in(need(1, purpose=Purpose.EMBED), 0.0) > 0
    assert gate.ready_in(need(1, purpose=Purpose.PLAN), 0.0) == 0


def test_a_batch_is_one_request_and_the_sum_of_its_tokens() -> None:
    """Each user of a batch pays for what it asked, of what was used in all."""
    gate = gate_of(requests_per_minute=2, tokens_per_minute=1000, user=Rates(tokens_per_minute=100))
    batch = RateNeed([RatePart(60, 0, user="a"), RatePart(30, 0, user="b")])
    gate.settle(take(gate, batch), ReportedUsage(90, 0), 0.0, was_sent=True)
    assert gate.ready_in(need(41, user="a"), 0.0) > 0
    assert gate.ready_in(need(70, user="b"), 0.0) == 0


def test_users_may_burst_while_the_endpoint_is_little_used() -> None:
    """Twice their limit below the threshold, their limit from there on."""
    gate = gate_of(
        requests_per_minute=10,
        user=Rates(requests_per_minute=2),
        burst_factor=2,
        adaptive_threshold=0.6,
    )
    for _ in range(4):
        use(gate, need(user="a"))
    assert gate.ready_in(need(user="a"), 0.0) > 0
    use(gate, need(user="b"))
    use(gate, need(user="b"))
    assert gate.ready_in(need(user="b"), 0.0) > 0
    assert gate.ready_in(need(user="c"), 0.0) == 0


def test_a_request_larger_than_a_bucket_does_not_wait_for_ever() -> None:
    """It goes when nothing else is in use."""
    gate = gate_of(tokens_per_minute=100)
    use(gate, need(50))
    large = need(500)
    wait = gate.ready_in(large, 0.0)
    assert 0 < wait < 61
    use(gate, large, wait)


# Learned limits.


def headers(limit: object = 60, remaining: object = 59, reset: str = "1s") -> dict[str, str]:
    """Return the headers of a response, about requests."""
    return {
        "x-ratelimit-limit-requests": str(limit),
        "x-ratelimit-remaining-requests": str(remaining),
        "x-ratelimit-reset-requests": reset,
    }


def learned(
    told: Sequence[dict[str, str]],
    /,
    notify: Callable[[str], None] | None = None,
    **limits: object,
) -> EndpointGate:
    """Return a gate that has seen these headers."""
    gate = gate_of(notify=notify, **limits)
    for each in told:
        gate.observe(each, None, 0.0)
    return gate


def test_limits_are_learned_from_two_responses_that_agree() -> None:
    """One alone changes nothing."""
    noted: list[str] = []
    assert learned([headers(remaining=0)]).ready_in(need(), 0.0) == 0
    gate = learned([headers(remaining=1), headers(remaining=0)], notify=noted.append)
    assert noted == ["host states a limit of 60 requests per minute: calls to it keep to that"]
    assert gate.statistics()["rate_learned_requests_per_minute"] == 60
    assert gate.ready_in(need(), 0.0) == pytest.approx(1)


def test_what_is_left_of_a_limit_is_less_than_stated_while_requests_are_under_way() -> None:
    """Its response was counted, and the requests that left before the limit was known are too."""
    gate = gate_of()
    under_way = [take(gate, need()) for _ in range(3)]
    for _ in range(2):
        gate.observe(headers(60, 10), None, 0.0)
    for _ in range(7):
        use(gate, need())
    assert gate.ready_in(need(), 0.0) == pytest.approx(1)
    for each in under_way:
        gate.settle(each, None, 0.0, was_sent=True)
    assert gate.ready_in(need(), 0.0) == pytest.approx(1)


def test_a_request_that_waits_is_under_a_limit_that_is_learned_meanwhile() -> None:
    """It was asked about before the limit was known."""
    gate, waiting = gate_of(), need()
    assert gate.ready_in(waiting, 0.0) == 0
    gate.observe(headers(remaining=0), None, 0.0)
    gate.observe(headers(remaining=0), None, 0.0)
    assert gate.ready_in(waiting, 0.0) > 0


def test_learned_limits_only_lower_those_that_are_set() -> None:
    """A header with more changes nothing; one with less binds until it is old."""
    more = learned([headers(900, 900)] * 2, requests_per_minute=1)
    use(more, need())
    assert more.ready_in(need(), 0.0) == pytest.approx(60)
    less = learned([headers(6, 6)] * 2, requests_per_minute=60)
    for _ in range(6):
        use(less, need())
    assert less.ready_in(need(), 0.0) == pytest.approx(10)
    for _ in range(60):
        use(less, need(), 700.0)
    assert less.ready_in(need(), 700.0) == pytest.approx(1)


LIES = [
    headers(-5, 3),
    headers(0, 0),
    headers("1e99", 0),
    headers("nan", "nan", "nan"),
    headers("inf", "-inf"),
    headers("sixty", "many", "soon"),
    headers("", "", ""),
    headers(500, 499, "23h59m54s"),  # per day: never paced by it
    {"x-ratelimit-remaining-requests": "0"},
    {"x-ratelimit-reset-requests": "-1"},
    {},
]


@pytest.mark.parametrize("lie", LIES)
def test_headers_that_cannot_be_right_change_nothing(lie: dict[str, str]) -> None:
    """A thousand requests leave as if they had not come."""
    gate = learned([lie] * 3)
    for _ in range(1000):
        use(gate, need())


@pytest.mark.parametrize("remaining", ["-1", "61", "nan", "1e300", "none"])
def test_what_is_left_is_believed_within_the_limit_only(remaining: str) -> None:
    """The limit counts all the same."""
    gate = learned([headers(60, remaining)] * 2)
    for _ in range(60):
        use(gate, need())
    assert gate.ready_in(need(), 0.0) == pytest.approx(1)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["-1", "0", "1", "7", "60", "1e13", "x", "nan", ""]),
            st.sampled_from(["-1", "0", "1", "6", "60", "1e13", "x", "nan", ""]),
            st.sampled_from(["-1", "0", "1s", "6m0s", "120ms", "1e9", "x", ""]),
            st.floats(-10, 200),
        ),
        max_size=30,
    )
)
def test_no_headers_delay_for_longer_than_the_slowest_limit_that_was_stated(
    told: list[tuple[str, str, str, float]],
) -> None:
    """Whatever comes, on a clock that jumps too: nothing raises, and waits stay bounded."""
    gate = gate_of(requests_per_minute=600)
    now = 1000.0
    for limit, remaining, reset, seconds in told:
        now += seconds
        gate.observe(headers(limit, remaining, reset), None, now)
        wanted = need()
        wait = gate.ready_in(wanted, now)
        assert 0 <= wait <= 60 * 60
        if not wait:
            gate.take(wanted, now)
            gate.settle(wanted, None, now, was_sent=True)
    later = now + 3600
    assert math.isclose(gate.ready_in(need(), later), 0)


def test_a_refusal_empties_the_buckets_and_goes_on_at_their_rate() -> None:
    """A 429 delays the next request by one interval, not by the Retry-After of its call."""
    gate = gate_of(requests_per_minute=60)
    gate.observe(None, RateLimited("slow down", retry_after_seconds=89.0), 0.0)
    assert gate.ready_in(need(), 0.0) == pytest.approx(1)
    assert gate.statistics()["rate_refused"] == 1
    sliding = gate_of(requests_per_minute=60, window="sliding")
    for now in range(5):
        sliding.observe(None, RateLimited("slow down"), float(now))
        assert sliding.ready_in(need(), float(now)) == pytest.approx(1)
    for second in range(5, 24):  # then so many are refused that the limit is lowered
        take(sliding, need(), second + 0.1)
    unmoved = gate_of(requests_per_minute=60, learn=False)
    unmoved.observe(headers(1, 0), RateLimited("slow down"), 0.0)
    assert unmoved.ready_in(need(), 0.0) == 0


# Notices.


def test_a_limit_that_binds_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """The line names endpoint, limit and value; a hundred requests that wait make one line."""
    gate = gate_of(requests_per_minute=1)
    use(gate, need())
    with caplog.at_level(logging.INFO, logger="callwise.budget.rate.gate"):
        for _ in range(100):
            assert gate.ready_in(need(), 1.0) > 0
        assert gate.ready_in(need(), 59.9) > 0
    assert [record.getMessage() for record in caplog.records] == [
        "endpoint host: requests_per_minute=1 binds; the next request can leave in 59.00 s"
    ]
    assert gate.statistics()["rate_delayed_by_requests_per_minute"] == 101


# Knobs.


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"requests_per_minute": 5e-324}, "0.001"),
        ({"tokens_per_minute": -1}, "tokens_per_minute"),
        ({"tokens_per_minute": math.inf}, "tokens_per_minute"),
        ({"tokens_per_minute": 10, "output_tokens_per_minute": 11}, "output_tokens_per_minute=11"),
        ({"user": {"requests_per_minute": 0}}, "requests_per_minute"),
        ({"window": "sliding", "burst_seconds": 3}, "burst_seconds=3"),
        ({"purposes": {"no such": {}}}, "no such"),
    ],
)
def test_limits_that_cannot_be_are_refused_by_name(given: dict[str, object], named: str) -> None:
    """Zero, negative and contradictory limits do not wait until a call would."""
    with pytest.raises(ValidationError, match=named):
        LoadKnobs.model_validate({"rate": given})


def test_the_limits_of_run_and_endpoint_are_checked_before_anything_is_asked() -> None:
    """Each fits by itself, and both together contradict each other: an error that names them."""
    run = LoadKnobs(rate=RateLimits(burst_seconds=3.0))
    own = LoadKnobs(rate=RateLimits(window="sliding"))
    endpoint = Endpoint("host", "m", OfflineClient(), load=own)
    with pytest.raises(ConfigError, match=r"load\.rate of an endpoint.*burst_seconds=3"):
        Budgeter({Role.MAIN: endpoint}, load=run)
