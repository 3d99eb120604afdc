"""The service in another process: its answers, its log and its commands."""

from dataclasses import replace

from benchmarks.load.asking import chat_call
from benchmarks.load.service import FullLengthModel, running_service, text_for
from callwise.calls import Reply, Sampling
from callwise.calls.errors import ConnectionFailed, RateLimited
from callwise.calls.openai_http import OpenAIClient
from callwise.calls.wire import chat_body
from callwise.simulator import SimulatedSettings
from callwise.simulator.service_limits import SimulatedLimits


def test_an_answer_has_the_length_that_is_asked_for():
    """It depends on the messages, on the sample above temperature 0, and on nothing else."""
    model = FullLengthModel()
    call = chat_call("Hello", max_tokens=12)
    body = chat_body(call, model="m")
    answer = model.answer(body, 1)
    assert answer.usage.output_tokens == 12
    assert answer.text == text_for(body["messages"], tokens=12, sample=1)
    cold = replace(call, sampling=Sampling(temperature=0.0, max_tokens=12))
    cold_body = chat_body(cold, model="m")
    assert model.answer(cold_body, 1).text == model.answer({**cold_body, "seed": 9}, 9).text


async def test_its_log_has_what_was_served_and_refused():
    """A request beyond the capacity is a 429; after a crash no connection is made."""
    settings = SimulatedSettings(limits=SimulatedLimits(requests_per_minute=1, max_in_flight=9))
    async with running_service(settings, has_full_length=True) as service:
        client = OpenAIClient(service.base_url)
        first, second = [
            (await client.answer((chat_call(text),), model="m"))[0] for text in ("one", "two")
        ]
        await service.set_capacity(3)
        await service.crash()
        (third,) = await client.answer((chat_call("three"),), model="m")
        log = await service.log()
        await client.aclose()
    assert isinstance(first, Reply)
    assert isinstance(second, RateLimited)
    assert isinstance(third, ConnectionFailed)
    assert [entry.is_answered for entry in log] == [True, False]
    assert [entry.output_tokens for entry in log] == [16, 0]
