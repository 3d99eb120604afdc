"""A simulated service keeps its limits exactly, over HTTP and in process."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.calls import Call, Message, Purpose, Reply, Role
from callwise.calls.errors import RateLimited
from callwise.calls.openai_http import OpenAIClient
from callwise.simulator import SimulatedClient, SimulatedSettings
from callwise.simulator.server import SimServer
from callwise.simulator.service_limits import ServiceGate, SimulatedLimits


def call(number):
    """Return one of many different calls."""
    return Call(Role.MAIN, Purpose.REASON, (Message("user", f"Question {number}"),))


class Time:
    """Seconds that a test sets."""

    now_seconds = 0.0

    def __call__(self):
        """Return them."""
        return self.now_seconds


arrivals = st.lists(st.tuples(st.floats(0, 30), st.integers(0, 400)), min_size=1, max_size=60)


def _admitted(gate, steps):
    now, admitted = 0.0, []
    for step, tokens in steps:
        now += step
        if gate.admit(now, input_tokens=tokens, output_tokens=0) is None:
            admitted.append((now, tokens))
    return admitted


@settings(max_examples=100, deadline=None)
@given(arrivals)
def test_no_window_has_more_than_the_limit(steps):
    """Of a sliding limit any 60 seconds have at most its amount."""
    gate = ServiceGate(SimulatedLimits(tokens_per_minute=1000, window="sliding"))
    admitted = _admitted(gate, steps)
    for start, _ in admitted:
        assert sum(n for at, n in admitted if start <= at < start + 59.99) <= 1000


@settings(max_examples=100, deadline=None)
@given(arrivals)
def test_no_time_has_more_than_the_bucket_and_its_refill(steps):
    """Between any two arrivals at most a full bucket and the refill are taken."""
    gate = ServiceGate(SimulatedLimits(tokens_per_minute=1200, burst_seconds=30))
    admitted = _admitted(gate, steps)
    for index, (start, _) in enumerate(admitted):
        taken = 0
        for at, tokens in admitted[index:]:
            taken += tokens
            assert taken <= 600 + 20 * (at - start) + 0.01


@settings(max_examples=100, deadline=None)
@given(arrivals, st.sampled_from(["bucket", "sliding"]))
def test_the_wait_of_a_refusal_is_enough(steps, window):
    """What was refused fits after the time that the refusal names, or never."""
    gate = ServiceGate(SimulatedLimits(tokens_per_minute=1000, window=window, burst_seconds=20))
    now = 0.0
    for step, tokens in steps:
        now += step
        refused = gate.admit(now, input_tokens=tokens, output_tokens=0)
        if refused is not None and refused.wait_seconds < float("inf"):
            now += refused.wait_seconds
            assert gate.admit(now, input_tokens=tokens, output_tokens=0) is None


def test_a_refused_request_takes_nothing():
    """A request beyond one limit leaves the others as they were."""
    gate = ServiceGate(SimulatedLimits(requests_per_minute=2, input_tokens_per_minute=100))
    assert gate.admit(0.0, input_tokens=60, output_tokens=0) is None
    assert gate.admit(0.0, input_tokens=60, output_tokens=0).dimension == "input_tokens"
    assert gate.headers(0.0)["x-ratelimit-remaining-requests"] == "1"
    assert gate.taken["requests"] == 1
    assert gate.refused == {"input_tokens": 1}


def test_headers_are_written_as_openai_does():
    """The time until a limit is whole again is written with its unit."""
    gate = ServiceGate(SimulatedLimits(requests_per_minute=60, tokens_per_minute=600))
    gate.admit(0.0, input_tokens=500, output_tokens=0)
    assert gate.headers(0.5) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "500ms",
        "x-ratelimit-limit-tokens": "600",
        "x-ratelimit-remaining-tokens": "105",
        "x-ratelimit-reset-tokens": "49.5s",
    }


async def test_a_client_in_process_is_limited_on_its_clock():
    """The third of two requests a minute is refused, and served when its wait is over."""
    time = Time()
    limits = SimulatedLimits(requests_per_minute=2, window="sliding")
    client = SimulatedClient(SimulatedSettings(limits=limits), now=time)
    outcomes = await client.answer([call(number) for number in range(3)], model="m")
    assert [type(outcome) for outcome in outcomes] == [Reply, Reply, RateLimited]
    time.now_seconds = outcomes[2].retry_after_seconds
    assert isinstance((await client.answer([call(3)], model="m"))[0], Reply)
    assert client.gate.in_flight == 0


async def test_without_a_clock_nothing_is_limited():
    """On the virtual clock of a replay no time passes, so limits per minute have no meaning."""
    client = SimulatedClient(SimulatedSettings(limits=SimulatedLimits(requests_per_minute=1)))
    outcomes = await client.answer([call(number) for number in range(3)], model="m")
    assert all(isinstance(outcome, Reply) for outcome in outcomes)


async def test_a_server_is_limited_and_logs_what_it_served():
    """A request beyond the limit is a 429 with its wait; the log has tokens and connections."""
    time = Time()
    limits = SimulatedLimits(requests_per_minute=1)
    async with SimServer(SimulatedSettings(limits=limits), now=time) as server:
        client = OpenAIClient(server.base_url, api_key="any")
        (reply,) = await client.answer([call(1)], model="m")
        (refusal,) = await client.answer([call(2)], model="m")
        time.now_seconds = refusal.retry_after_seconds
        (again,) = await client.answer([call(2)], model="m")
        await client.aclose()
    assert isinstance(refusal, RateLimited)
    assert refusal.retry_after_seconds == pytest.approx(60.0, abs=0.01)
    served = [entry for entry in server.log if entry.is_answered]
    assert [entry.limit for entry in server.log] == ["", "requests", ""]
    assert [(entry.input_tokens, entry.output_tokens) for entry in served] == [
        (each.usage.input_tokens, each.usage.output_tokens) for each in (reply, again)
    ]
    assert len({entry.client_port for entry in server.log}) == 1
