"""Limits that reach a gate from the headers of real responses over HTTP."""

import asyncio

import pytest
from aiohttp import web

from callwise.budget import Budgeter
from callwise.budget.rate.headers import seconds_of_duration
from callwise.calls import Call, Endpoint, Message, Purpose, Role
from callwise.calls.call import Sampling
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import RateLimits
from callwise.calls.openai_http import OpenAIClient

ANSWER = {
    "choices": [{"message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
}


async def ask(headers: dict[str, str], count: int, *, stream: bool = False) -> Budgeter:
    """Ask a server on this machine whose answers have these headers; return the budgeter."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        if not stream:
            return web.json_response(ANSWER, headers=headers)
        text = (
            'data: {"choices": [{"index": 0, "delta": {"content": "yes"}}]}\n\n'
            'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
            "data: [DONE]\n\n"
        )
        return web.Response(text=text, content_type="text/event-stream", headers=headers)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        client = OpenAIClient(f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
        load = LoadKnobs(rate=RateLimits())
        budgeter = Budgeter({Role.MAIN: Endpoint("local", "m", client)}, load=load)
        for number in range(count):
            messages = (Message("user", f"{number}"),)
            sampling = Sampling(temperature=1.0)
            call = Call(Role.MAIN, Purpose.PLAN, messages, sampling=sampling, stream=stream)
            await budgeter.ask(call)
        await budgeter.aclose()
        return budgeter
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("stream", [False, True])
def test_a_budgeter_learns_from_the_headers_of_responses(stream: bool) -> None:
    """Whole or streamed; letters of any case; both limits are in the statistics."""
    headers = {
        "X-RateLimit-Limit-Requests": "5000",
        "X-RateLimit-Remaining-Requests": "4999",
        "x-ratelimit-reset-requests": "12ms",
        "x-ratelimit-limit-tokens": "160000",
        "x-ratelimit-remaining-tokens": "159000",
        "x-ratelimit-reset-tokens": "375ms",
    }
    counts = asyncio.run(ask(headers, 3, stream=stream)).statistics()["schedule"]
    assert counts["rate_learned_requests_per_minute"] == 5000
    assert counts["rate_learned_tokens_per_minute"] == 160_000


def test_responses_without_such_headers_teach_nothing() -> None:
    """As most local servers answer."""
    counts = asyncio.run(ask({}, 3)).statistics()["schedule"]
    assert not [name for name in counts if "learned" in name]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360.0),
        ("1s", 1.0),
        ("120ms", 0.12),
        ("1h2m3.5s", 3723.5),
        ("2d", 172_800.0),
        (" 7 ", 7.0),
        ("0.25", 0.25),
        ("-1s", None),
        ("-1", None),
        ("nan", None),
        ("1s later", None),
        ("9" * 50, None),
        ("", None),
        ("2026-11-29T10:00:00Z", None),
    ],
)
def test_durations_of_every_unit(text: str, seconds: float | None) -> None:
    """Anything else is no duration."""
    found = seconds_of_duration(text)
    assert found == seconds if seconds is None else found == pytest.approx(seconds)
