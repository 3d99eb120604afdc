"""Conversations that travel together: what they share, whose tokens are whose, and failures."""

import asyncio
import random

import pytest
from pydantic import BaseModel

from callwise.budget import Limits
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Priority, Sampling
from callwise.calls.errors import (
    AuthFailed,
    BadRequest,
    BatchFailed,
    CallRefused,
    CallTimeout,
    InvalidAnswer,
    RateLimited,
    ServerFailed,
    UnknownModel,
    WrongAddress,
)
from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.reply import Reply
from tests.callwise.budget.batch.batch_service import PATH, budgeter, chat

FIXED = BatchKnobs(chat_path=PATH, is_adaptive=False)


class Verdict(BaseModel):
    """A form of an answer."""

    score: float


def asked_together(service, calls, *, batch=FIXED, **changes):
    """Return the budgeter and the results of calls that were asked at one time."""

    async def main():
        engine = budgeter(service, batch=batch, **changes)
        results = await asyncio.gather(*map(engine.ask, calls), return_exceptions=True)
        return engine, results

    engine, results = run_in_virtual_time(main())
    engine.ledger.check()
    return engine, results


def test_conversations_of_equal_parameters_share_requests(service):
    """Eight in each; who asked does not matter, and rows keep their scope and tokens."""

    async def main():
        engine = budgeter(service, batch=FIXED)

        async def ask(user):
            with engine.scope("conv", str(user)):
                return await engine.ask(chat(f"question of user {user}"))

        return engine, await asyncio.gather(*map(ask, range(16)))

    engine, replies = run_in_virtual_time(main())
    assert [reply.text for reply in replies] == [f"echo question of user {i}" for i in range(16)]
    assert [len(texts) for _, texts in service.requests] == [8, 8]
    rows = engine.ledger.rows
    assert sorted(row.scope for row in rows) == sorted(f"run/conv:{user}" for user in range(16))
    assert {(row.delivery.batch_size, row.delivery.is_apportioned) for row in rows} == {(8, True)}
    assert len({row.delivery.batch for row in rows}) == 2
    usage = engine.ledger.counts().usage
    assert (usage.requests, usage.tokens) == (2, service.tokens)
    engine.ledger.check()


@pytest.mark.parametrize(
    "changed",
    [
        {"sampling": Sampling(temperature=0.3)},
        {"sampling": Sampling(max_tokens=9)},
        {"sampling": Sampling(seed=1)},
        {"sampling": Sampling(extra_body={"top_k": 3})},
        {"sample": 1},
        {"unkeyed_body": {"user": "x"}},
        {"batch_key": "other"},
        {"batch_key": None},
    ],
)
def test_what_a_request_has_once_keeps_calls_apart(service, changed):
    """Else one of them would be asked something else."""
    asked_together(service, [chat("one"), chat("two", **changed)])
    assert [len(texts) for _, texts in service.requests] == [1, 1]


def test_calls_of_another_form_of_answer_have_another_request(service):
    """A request names one form."""
    form = {"response_model": Verdict, "max_repairs": 0}
    _, results = asked_together(service, [chat("one"), chat("two", **form)])
    assert [len(texts) for _, texts in service.requests] == [1, 1]
    assert isinstance(results[1], InvalidAnswer)


@pytest.mark.parametrize(
    "changed",
    [
        {"tools": ({"type": "function"},)},
        {"stream": True},
        {"sampling": Sampling(n=2)},
        {"batch_key": None},
    ],
)
def test_tools_streams_several_choices_and_calls_without_a_key_travel_alone(service, changed):
    """The route takes none of the first three, so they wait for none; the last asks for it."""
    asked_together(service, [chat("one", **changed), chat("two", **changed)])
    assert service.times == [0.0, 0.0]


def test_a_call_that_travels_alone_does_not_wait_for_an_equal_one_in_a_batch(service):
    """It is sent immediately, and both are answered alike; two such calls share one request."""
    equal = {"share": True}
    calls = [chat("one", **equal), *(chat("one", batch_key=None, **equal) for _ in range(2))]
    _, results = asked_together(service, calls)
    assert {each.text for each in results} == {"echo one"}
    assert service.times[0] == 0.0
    assert len(service.requests) == 3
    service.times.clear()
    asked_together(service, calls[1:])
    assert service.times == [0.0]


def test_a_lone_conversation_is_sent_as_usual_and_soon(service):
    """While no other call is under way it waits for 10 ms, which suffice for one of its turn."""
    engine, [reply] = asked_together(service, [chat("alone")])
    assert reply.text == "echo alone"
    assert service.requests == [("/chat/completions", ("alone",))]
    assert service.times == [pytest.approx(0.008)]
    assert engine.ledger.rows[0].delivery.batch_size == 0


def test_a_conversation_waits_for_the_window_while_another_call_is_under_way(service):
    """What is asked after that one may travel with it; then nothing else is waited for."""

    async def main():
        engine = budgeter(service, batch=FIXED)

        async def turn(number, delay):
            await asyncio.sleep(delay)
            for step in range(2):
                await engine.ask(chat(f"question {step} of {number}"))

        await asyncio.gather(turn(1, 0.0), turn(2, 0.45))
        return engine

    run_in_virtual_time(main()).ledger.check()
    assert [len(texts) for _, texts in service.requests] == [1, 2, 1]
    assert service.times == [pytest.approx(each) for each in (0.008, 0.516, 1.024)]


def test_without_a_path_nothing_waits(service):
    """Each chat call is sent alone, immediately."""
    asked_together(service, [chat("one"), chat("two")], batch=BatchKnobs())
    assert service.times == [0.0, 0.0]


def test_independent_equal_prompts_have_independent_answers(service):
    """Each is a conversation of its request: none is merged with another."""
    sampling = Sampling(temperature=1.0)
    engine, replies = asked_together(service, [chat("same", sampling=sampling)] * 5)
    assert service.requests == [(PATH, ("same",) * 5)]
    assert all(isinstance(reply, Reply) for reply in replies)
    assert engine.ledger.counts().usage.tokens == service.tokens


def test_resamples_keep_their_seed(service):
    """Samples that differ by their seed are not in one request."""
    asked_together(service, [chat("same").resample(index) for index in range(4)])
    assert len(service.requests) == 4


@pytest.mark.parametrize("failure", [ServerFailed("boom", status=500), CallTimeout("late")])
def test_a_batch_that_fails_is_asked_one_by_one(service, failure):
    """Forty calls of three parameter sets: all are served, and no token is lost."""
    service.script.extend([failure] * 6)
    calls = [
        chat(f"question {index}", sampling=Sampling(temperature=index % 3)) for index in range(40)
    ]
    engine, replies = asked_together(service, calls)
    assert [reply.text for reply in replies] == [f"echo question {i}" for i in range(40)]
    batches = [texts for path, texts in service.requests if path == PATH]
    assert len(batches) == 6
    assert len(service.requests) == 46
    usage = engine.ledger.counts().usage
    assert (usage.requests, usage.tokens) == (46, service.tokens)
    assert (usage.unknown_usage, usage.unknown_usd) == (6, 6)  # of a request, not of each call
    assert {row.usage.attempts for row in engine.ledger.rows} == {2}


@pytest.mark.parametrize("failure", [ServerFailed("boom", status=500), None])
def test_unknown_usage_is_counted_once_for_a_request_and_charged_in_parts(service, failure):
    """Whether it failed or all its callers left: each call is charged its own estimate."""
    service.script.extend([failure] * 2)
    calls = [chat(f"question {index}") for index in range(3)]

    async def main():
        engine = budgeter(service, batch=FIXED, limits=Limits(max_tokens=10**6, max_requests=3))
        tasks = [asyncio.create_task(engine.ask(call)) for call in calls]
        await asyncio.sleep(0.3)  # the request is under way: it takes half a second
        if failure is None:
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return engine

    engine = run_in_virtual_time(main())
    first = engine.ledger.rows[0].usage
    assert [len(texts) for _, texts in service.requests] == ([3] if failure is None else [3, 1, 1])
    usage = engine.ledger.counts().usage
    assert usage.requests == len(service.requests)
    assert (usage.unknown_usage, usage.unknown_usd) == (1, 1)
    if failure is None:
        assert usage.charged_tokens == 3 * first.charged_tokens
    else:
        assert all(row.delivery.is_apportioned for row in engine.ledger.rows)


def test_the_usage_of_a_failed_request_is_on_its_rows(service):
    """What the server says that it used is counted, to the token, next to the single calls."""

    def without_answers(document):
        return {**document, "choices": []}

    service.script.append(without_answers)
    engine, replies = asked_together(service, [chat("one"), chat("two and three")])
    assert [reply.text for reply in replies] == ["echo one", "echo two and three"]
    usage = engine.ledger.counts().usage
    assert (usage.requests, usage.tokens, usage.unknown_usage) == (3, service.tokens, 0)
    assert all(row.delivery.is_apportioned for row in engine.ledger.rows)


def test_calls_without_an_answer_of_their_index_are_asked_alone(service):
    """The others keep theirs."""

    def other_ids(document):
        first, *others = document["choices"]
        return {**document, "choices": [first, *({**each, "index": 99} for each in others)]}

    service.script.append(other_ids)
    engine, replies = asked_together(service, [chat("one"), chat("two"), chat("three")])
    assert sorted(reply.text for reply in replies) == ["echo one", "echo three", "echo two"]
    assert len(service.requests) == 3
    assert engine.ledger.counts().usage.tokens == service.tokens


def test_a_limit_of_the_rate_is_met_by_all_and_they_meet_again(service):
    """The next attempt is a batch as well."""
    service.script.append(RateLimited("slow down", retry_after_seconds=3.0))
    engine, _ = asked_together(service, [chat("one"), chat("two")])
    assert [len(texts) for _, texts in service.requests] == [2, 2]
    assert engine.ledger.counts().usage.requests == 2


def test_a_wrong_key_ends_each_call(service):
    """It is not a failure of the batch."""
    service.script.append(AuthFailed("no", status=401))
    _, results = asked_together(service, [chat("one"), chat("two")])
    assert [type(each) for each in results] == [AuthFailed, AuthFailed]
    assert results[0] is not results[1]
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    "error",
    [
        WrongAddress("an HTML page", status=404),
        WrongAddress("a redirect", status=308),
        UnknownModel("odd JSON", status=404),
        BadRequest("method not allowed", status=405),
    ],
)
def test_a_route_that_is_not_there_is_not_asked_again(service, caplog, error):
    """Its calls are served one by one, and so are all that come later."""
    service.script.append(error)

    async def main():
        engine = budgeter(service, batch=FIXED)
        for _ in range(2):
            await asyncio.gather(*(engine.ask(chat(text)) for text in ("one", "two")))
        return engine

    run_in_virtual_time(main()).ledger.check()
    assert [path for path, _ in service.requests].count(PATH) == 1
    assert len(service.requests) == 5
    assert "no route /chat/completions/batch" in caplog.text


def test_a_model_that_is_not_there_is_found_by_single_calls(service):
    """A batch cannot tell it from a missing route, so each call is asked alone, once."""
    service.script.append(UnknownModel("no such model", status=404))
    service.failures.extend([UnknownModel("no such model", status=404)] * 2)
    _, results = asked_together(service, [chat("one"), chat("two")])
    assert [type(each) for each in results] == [UnknownModel, UnknownModel]
    assert len(service.requests) == 3


def test_without_quota_for_the_single_calls_the_failure_is_the_end(service):
    """The batch took the last requests."""
    service.script.append(ServerFailed("boom", status=500))
    _, results = asked_together(service, [chat("one"), chat("two")], limits=Limits(max_requests=2))
    assert sorted(type(each).__name__ for each in results) == ["BatchFailed", "Reply"]
    failed = next(each for each in results if isinstance(each, BatchFailed))
    assert isinstance(failed.cause, ServerFailed)


def test_a_batch_takes_one_request_of_the_limit_however_many_calls_it_has(service):
    """Sixteen calls are two requests, which the first have; all others are refused."""
    calls = [chat(f"question {index}") for index in range(24)]
    engine, results = asked_together(service, calls, limits=Limits(max_requests=2))
    assert len(service.requests) == 2
    refused = [each for each in results if isinstance(each, CallRefused)]
    assert len(refused) == 8
    assert sum(isinstance(each, Reply) for each in results) == 16
    assert engine.ledger.counts().usage.requests == 2
    assert {each.limit for each in refused} == {"max_requests"}


def test_the_first_of_a_batch_that_has_quota_pays_for_it(service):
    """A call of a scope without any travels with those of others; alone it is refused."""

    async def main():
        engine = budgeter(service, batch=FIXED)

        async def ask(user, most):
            with engine.scope("conv", user, limits=Limits(max_requests=most)):
                return await engine.ask(chat(f"question of {user}"))

        users = [("a", 0), ("b", 1), ("c", 0)]
        together = await asyncio.gather(*(ask(*user) for user in users))
        alone = await asyncio.gather(ask("d", 0), return_exceptions=True)
        return engine, together, alone

    engine, together, [alone] = run_in_virtual_time(main())
    engine.ledger.check()
    assert all(isinstance(each, Reply) for each in together)
    assert len(service.requests) == 1
    paid = {row.scope: row.usage.requests for row in engine.ledger.rows}
    assert paid == {"run/conv:a": 0, "run/conv:b": 1, "run/conv:c": 0, "run/conv:d": 0}
    assert isinstance(alone, CallRefused)
    assert "conv:d" in alone.scope


def test_without_the_payer_a_batch_that_has_not_left_goes_on_or_is_refused(service):
    """The next that has quota takes over; where none has, each is refused by its own limit."""

    class Connecting(type(service)):
        def __init__(self):
            super().__init__()
            self.connected = asyncio.Event()

        async def answer_conversations(self, calls, *, model, path, on_sent=None):
            await self.connected.wait()
            return await super().answer_conversations(
                calls, model=model, path=path, on_sent=on_sent
            )

    async def main(quotas, leaves):
        slow = Connecting()
        engine = budgeter(slow, batch=FIXED)

        async def ask(user, most):
            with engine.scope("conv", user, limits=Limits(max_requests=most)):
                return await engine.ask(chat(f"question of {user}"))

        tasks = {user: asyncio.create_task(ask(user, most)) for user, most in quotas.items()}
        await asyncio.sleep(1.0)  # the batch has its turn, and waits for a connection
        tasks[leaves].cancel()
        await asyncio.sleep(0)
        slow.connected.set()
        ends = await asyncio.gather(*tasks.values(), return_exceptions=True)
        engine.ledger.check()
        usage = engine.ledger.counts().usage
        assert usage.requests == len(slow.requests)
        return dict(zip(tasks, ends, strict=True)), slow.requests

    for leaves, stays in (("rich", "richer"), ("richer", "rich")):  # one of them is the payer
        quotas = {"rich": 1, "poor": 0, "richer": 2}
        ends, requests = run_in_virtual_time(main(quotas, leaves))
        assert isinstance(ends["poor"], Reply)
        assert isinstance(ends[stays], Reply)
        assert len(requests) == 1
    ends, requests = run_in_virtual_time(main({"payer": 1, "poor": 0, "as poor": 0}, "payer"))
    assert not requests
    for user in ("poor", "as poor"):
        assert isinstance(ends[user], CallRefused)
        assert ends[user].scope == f"run/conv:{user}"


def test_size_and_window_follow_the_load(service):
    """4 and 50 ms without load, 8 and 100 ms with one batch under way, at most 16 and 200 ms."""
    knobs = BatchKnobs(chat_path=PATH)
    rules = [knobs.chat_rule(under_way) for under_way in range(5)]
    assert rules == [
        (4, pytest.approx(0.05)),
        (8, pytest.approx(0.1)),
        (12, pytest.approx(0.15)),
        (16, pytest.approx(0.2)),
        (16, pytest.approx(0.2)),
    ]
    asked_together(service, [chat(f"question {index}") for index in range(40)], batch=knobs)
    assert sorted(len(texts) for _, texts in service.requests) == [4, 8, 12, 16]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_asking_does_not_change_what_is_asked(seed, service):
    """The members of a request are in the order of their keys."""
    calls = [chat(f"question {index}") for index in range(8)]
    random.Random(seed).shuffle(calls)
    engine, _ = asked_together(service, calls)
    [(_, texts)] = service.requests
    in_order = sorted(engine.ledger.rows, key=lambda row: row.key)
    assert [row.usage.requests for row in in_order] == [1] + [0] * 7
    expected = type(service)()
    asked_together(expected, sorted(calls, key=lambda call: call.messages[-1].content))
    assert expected.requests == [(PATH, texts)]


def test_a_call_that_is_cancelled_while_it_waits_is_not_sent(service):
    """The others go without it."""

    async def main():
        engine = budgeter(service, batch=FIXED)
        first, second = (asyncio.create_task(engine.ask(chat(text))) for text in ("one", "two"))
        await asyncio.sleep(0.005)
        first.cancel()
        await asyncio.wait((first, second))
        return engine

    engine = run_in_virtual_time(main())
    assert service.requests == [("/chat/completions", ("two",))]
    assert engine.ledger.counts().usage.requests == 1
    engine.ledger.check()


@pytest.mark.parametrize("cancelled", [0, 1])
def test_a_call_that_is_cancelled_under_way_leaves_the_others_their_answer(service, cancelled):
    """Its request was sent: its usage is unknown, and the request is counted once."""

    async def main():
        engine = budgeter(service, batch=FIXED)
        tasks = [asyncio.create_task(engine.ask(chat(text))) for text in ("one", "two")]
        await asyncio.sleep(0.3)
        tasks[cancelled].cancel()
        await asyncio.wait(tasks)
        return engine, tasks[1 - cancelled].result()

    engine, reply = run_in_virtual_time(main())
    assert reply.text == ("echo two", "echo one")[cancelled]
    usage = engine.ledger.counts().usage
    assert (usage.requests, usage.unknown_usage) == (1, 1)
    engine.ledger.check()


def test_when_all_have_left_the_request_is_cancelled(service):
    """It is not left running, and is counted, once it has come to rest."""

    async def main():
        engine = budgeter(service, batch=FIXED)
        tasks = [asyncio.create_task(engine.ask(chat(text))) for text in ("one", "two")]
        await asyncio.sleep(0.3)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert service.under_way == 0
        return engine

    engine = run_in_virtual_time(main())
    assert engine.ledger.counts().usage.requests == 1
    engine.ledger.check()


def test_one_deadline_ends_one_call_alone(service):
    """The other one of its request is answered."""
    service.seconds = 1.0

    async def main():
        engine = budgeter(service, batch=FIXED)
        calls = chat("one", deadline_seconds=0.5), chat("two")
        return engine, await asyncio.gather(*map(engine.ask, calls), return_exceptions=True)

    engine, [late, reply] = run_in_virtual_time(main())
    assert isinstance(late, CallTimeout)
    assert reply.text == "echo two"
    assert len(service.requests) == 1
    assert engine.ledger.counts().usage.requests == 1
    engine.ledger.check()


def test_a_batch_in_a_queue_is_as_urgent_as_its_most_urgent_caller(service):
    """Also when that caller joins a call of it later; and calls still join it meanwhile."""
    order = []

    async def main():
        schedule = {"schedule": ScheduleKnobs(max_concurrency=1)}
        engine = budgeter(service, batch=FIXED, load=schedule)

        async def ask(prompt, delay, **changes):
            await asyncio.sleep(delay)
            await engine.ask(chat(prompt, share=True, **changes))
            order.append(prompt)

        low, high = {"priority": Priority.LOW}, {"priority": Priority.HIGH}
        await asyncio.gather(
            ask("first", 0, batch_key="a", **high),
            ask("ahead 1", 0.02, batch_key="b", priority=Priority.NORMAL),
            ask("ahead 2", 0.02, batch_key="b", priority=Priority.NORMAL),
            ask("shared", 0.02, batch_key="c", **low),
            ask("with it", 0.02, batch_key="c", **low),
            ask("later", 0.3, batch_key="c", **low),
            ask("shared", 0.35, batch_key="c", **high),
        )
        return engine

    engine = run_in_virtual_time(main())
    engine.ledger.check()
    assert [len(texts) for _, texts in service.requests] == [1, 3, 2]
    assert sorted(order[1:5]) == ["later", "shared", "shared", "with it"]
