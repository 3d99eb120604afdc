"""Background calls go to their provider's batch interface, and each is bought once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from callwise.budget import Budgeter
from callwise.budget.clock import Clock, ManualClock
from callwise.calls import Call, Endpoint, Message, Prices, Purpose, Role
from callwise.calls.call import Outcome, Priority
from callwise.calls.errors import AnswerLost, AuthFailed, BadRequest, CallTimeout, ConfigError
from callwise.calls.load.background_knobs import BackgroundKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.route_knobs import RouteKnobs
from callwise.calls.openai_http import OpenAIClient
from callwise.calls.retry import RetryPolicy
from tests.callwise.budget.batch_api.provider import BatchProvider

PRICES = Prices(input_usd_per_million=1.0, output_usd_per_million=2.0)
QUICK = {
    "quiet_seconds": 0.01,
    "max_wait_seconds": 0.1,
    "first_poll_seconds": 0.001,
    "max_poll_seconds": 0.002,
    "settle_seconds": 0.0,
}


@pytest.fixture
async def provider() -> AsyncIterator[BatchProvider]:
    """Yield a provider that listens on loopback."""
    server = BatchProvider()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(params=["openai", "openrouter"])
def budgeter_of(
    provider: BatchProvider, tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[..., Budgeter]:
    """Return a function that makes a budgeter whose calls go to the provider."""

    def make(
        *,
        recorder: Any = None,
        clock: Clock | None = None,
        route: RouteKnobs | None = None,
        **knobs: Any,
    ) -> Budgeter:
        options = {"file": tmp_path / "queue.sqlite", "api": request.param, **QUICK, **knobs}
        endpoint = Endpoint("provider", "model-1", OpenAIClient(provider.url), PRICES)
        retry = RetryPolicy(first_wait_seconds=0.0, max_wait_seconds=0.0, jitter=0.0)
        load = LoadKnobs(background=BackgroundKnobs(**options), route=route)
        options = {"load": load, "retry": retry, "recorder": recorder, "clock": clock}
        return Budgeter(dict.fromkeys(Role, endpoint), **options)

    return make


def background(question: str, **changes: Any) -> Call:
    """Return a call that may wait."""
    changes.setdefault("priority", Priority.BACKGROUND)
    return Call(Role.MAIN, Purpose.OTHER, (Message("user", question),), **changes)


async def test_one_batch_answers_all_calls_that_wait_together_at_half_price(provider, budgeter_of):
    """One row has the requests, those for files and for its state too, and each its tokens."""
    budgeter = budgeter_of()
    replies = await budgeter.ask_all([background(f"q{i}") for i in range(20)])
    assert [reply.text for reply in replies] == [f"echo q{i}" for i in range(20)]
    assert len(provider.batches) == 1
    assert set(provider.bought.values()) == {1}
    rows = budgeter.ledger.rows
    assert {row.outcome for row in rows} == {Outcome.SERVED}
    assert [row.requests for row in rows] == [len(provider.log)] + [0] * 19
    assert budgeter.statistics()["batch_api"]["requests"] == len(provider.log)
    assert {row.delivery.batch for row in rows} == {"batch_1"}
    assert {row.delivery.batch_size for row in rows} == {20}
    assert sum(row.input_tokens for row in rows) == 200
    assert sum(row.usage.picodollars for row in rows) == 20 * (10 + 2 * 5) * 10**6 // 2
    budgeter.ledger.check()
    await budgeter.aclose()


async def test_more_urgent_calls_are_sent_by_themselves(provider, budgeter_of):
    """Only what may wait for a day does."""
    budgeter = budgeter_of()
    reply = await budgeter.ask(background("now", priority=Priority.LOW))
    assert reply.text == "echo now"
    assert not provider.batches
    await budgeter.aclose()


async def test_a_call_without_a_batch_key_is_in_no_batch(provider, budgeter_of):
    """Whatever its class; others of that class are."""
    budgeter = budgeter_of()
    calls = [background("alone", batch_key=None), background("one"), background("two")]
    replies = await budgeter.ask_all(calls)
    assert [reply.text for reply in replies] == ["echo alone", "echo one", "echo two"]
    assert [row.delivery.batch_size for row in budgeter.ledger.rows] == [0, 2, 2]
    await budgeter.aclose()


async def test_the_class_that_is_queued_is_a_knob(provider, budgeter_of):
    """`takes` names the most urgent class."""
    budgeter = budgeter_of(takes="critical")
    await budgeter.ask(background("now", priority=Priority.CRITICAL))
    assert len(provider.batches) == 1
    await budgeter.aclose()


async def test_a_batch_is_split_at_its_limits(provider, budgeter_of):
    """No batch is longer than its interface takes."""
    budgeter = budgeter_of(max_lines=8)
    replies = await budgeter.ask_all([background(f"q{i}") for i in range(20)])
    assert [reply.text for reply in replies] == [f"echo q{i}" for i in range(20)]
    assert sorted(each["request_counts"]["total"] for each in provider.batches) == [4, 8, 8]
    await budgeter.aclose()


async def test_equal_calls_that_do_not_share_are_bought_and_answered_apart(provider, budgeter_of):
    """Five independent samples are five lines."""
    budgeter = budgeter_of()
    await budgeter.ask_all([background("same", share=False) for _ in range(5)])
    assert provider.bought == {"same": 5}
    await budgeter.aclose()


async def test_one_bad_line_fails_alone(provider, budgeter_of):
    """The others keep their answers."""
    provider.outcome_of = lambda question: 400 if question == "q3" else "ok"
    budgeter = budgeter_of()
    results = await budgeter.ask_all([background(f"q{i}") for i in range(6)])
    assert isinstance(results[3], BadRequest)
    assert [each.text for i, each in enumerate(results) if i != 3] == [
        f"echo q{i}" for i in range(6) if i != 3
    ]
    await budgeter.aclose()


async def test_lines_that_a_batch_has_left_undone_are_sent_again_alone(provider, budgeter_of):
    """What was run is not run again."""
    left: set[str] = {"q1", "q4"}

    def outcome(question: str) -> str:
        if question in left:
            left.discard(question)
            return "expired"
        return "ok"

    provider.outcome_of = outcome
    provider.ends_as = "expired"
    budgeter = budgeter_of()
    replies = await budgeter.ask_all([background(f"q{i}") for i in range(6)])
    assert [reply.text for reply in replies] == [f"echo q{i}" for i in range(6)]
    assert [each["request_counts"]["total"] for each in provider.batches] == [6, 2]
    assert set(provider.bought.values()) == {1}
    await budgeter.aclose()


async def test_what_is_sent_again_and_what_waits_are_split_at_the_limits_too(
    provider, budgeter_of, until_in_queue
):
    """Four lines that were left undone and three that wait are no batch of seven."""
    outcomes = iter(["expired"] * 4)
    provider.outcome_of = lambda _question: next(outcomes, "ok")
    provider.ends_as, provider.polls_to_end = "expired", 10**9
    budgeter = budgeter_of(max_lines=4, quiet_seconds=60.0, max_wait_seconds=60.0)
    asking = asyncio.create_task(budgeter.ask_all([background(f"q{i}") for i in range(7)]))
    await until_in_queue(lambda: budgeter.statistics()["batch_api"].get("queued") == 7)
    provider.polls_to_end = 0
    assert [reply.text for reply in await asking] == [f"echo q{i}" for i in range(7)]
    assert sorted(each["request_counts"]["total"] for each in provider.batches) == [3, 4, 4]
    await budgeter.aclose()


async def test_a_line_that_is_never_run_ends_in_a_timeout(provider, budgeter_of):
    """After so many batches as the knob allows."""
    provider.outcome_of = lambda _question: "expired"
    provider.ends_as = "expired"
    budgeter = budgeter_of(max_resends=1)
    with pytest.raises(CallTimeout, match="2 batches ended"):
        await budgeter.ask(background("q", sample=0))
    assert not provider.bought
    await budgeter.aclose()


async def test_a_line_without_an_answer_is_not_bought_again(provider, budgeter_of):
    """It may have been run and billed, so it fails and the others are answered."""
    provider.outcome_of = lambda question: "missing" if question == "q2" else "ok"
    provider.extra_ids, provider.repeats = 3, True
    budgeter = budgeter_of()
    results = await budgeter.ask_all([background(f"q{i}") for i in range(4)])
    assert isinstance(results[2], AnswerLost)
    assert sum(isinstance(each, Exception) for each in results) == 1
    assert set(provider.bought.values()) == {1}
    await budgeter.aclose()


async def test_a_refused_batch_costs_only_the_bad_line(provider, budgeter_of):
    """Whether its provider names the line or not."""

    def refuses(lines: list[dict[str, Any]]) -> tuple[int | None, str] | None:
        questions = [each["body"]["messages"][0]["content"] for each in lines]
        bad = [place for place, each in enumerate(questions) if each == "bad"]
        return (bad[0], "the field messages is wrong") if bad else None

    provider.refuses = refuses
    budgeter = budgeter_of()
    questions = [f"q{i}" for i in range(9)] + ["bad"]
    results = await budgeter.ask_all([background(each) for each in questions])
    assert isinstance(results[-1], BadRequest)
    assert [each.text for each in results[:-1]] == [f"echo q{i}" for i in range(9)]
    assert set(provider.bought.values()) == {1}
    await budgeter.aclose()


async def test_a_batch_refused_for_all_of_it_is_not_sent_in_halves(provider, budgeter_of):
    """A wrong key is wrong for each half."""
    provider.refuses = lambda _lines: (None, "Incorrect API key provided")
    budgeter = budgeter_of()
    with pytest.raises(AuthFailed):
        await budgeter.ask_all([background(f"q{i}") for i in range(8)])
    assert len(provider.batches) == 1
    await budgeter.aclose()


@pytest.mark.parametrize("fault", ["cut", "status"])
async def test_a_creation_without_an_answer_is_found_and_not_repeated(provider, budgeter_of, fault):
    """The batch exists although its creator did not get to know."""
    faults = [fault]

    def once(method: str, path: str) -> web.Response | str | None:
        if method == "POST" and path == "/batches" and faults:
            faults.pop()
            return "cut" if fault == "cut" else web.Response(status=500)
        return None

    provider.faults = once
    budgeter = budgeter_of()
    replies = await budgeter.ask_all([background(f"q{i}") for i in range(4)])
    assert [reply.text for reply in replies] == [f"echo q{i}" for i in range(4)]
    assert set(provider.bought.values()) == {1}
    assert len(provider.batches) == 1
    assert provider.log.count("POST /batches") == (1 if fault == "cut" else 2)
    assert sum(row.requests for row in budgeter.ledger.rows) == len(provider.log)
    await budgeter.aclose()


@pytest.mark.parametrize("budgeter_of", ["openrouter"], indirect=True)
async def test_a_batch_of_another_program_is_not_taken_for_its_own(provider, budgeter_of):
    """It is as long and was created meanwhile, and its results show whose it is."""
    lines = [
        {"custom_id": f"theirs-{i}", "body": {"messages": [{"content": f"t{i}"}]}} for i in range(3)
    ]
    theirs = {"endpoint": "/v1/chat/completions", "model": "model-1", "requests": lines}
    pending = [theirs]

    def refuse_once(method: str, path: str) -> web.Response | None:
        if (method, path) != ("POST", "/batches") or not pending:
            return None
        provider._create(orjson.dumps(pending.pop()))
        return web.Response(status=500)

    provider.faults = refuse_once
    budgeter = budgeter_of()
    replies = await budgeter.ask_all([background(f"q{i}") for i in range(3)])
    assert [reply.text for reply in replies] == [f"echo q{i}" for i in range(3)]
    assert provider.log.count("GET /batches/batch_1") > 0, "it was asked about"
    assert set(provider.bought.values()) == {1}
    await budgeter.aclose()


async def test_failed_questions_and_downloads_are_repeated(provider, budgeter_of):
    """They buy nothing."""
    seen: list[str] = []

    def twice(method: str, path: str) -> web.Response | None:
        seen.append(path)
        is_repeated = method == "GET" and seen.count(path) <= 2
        return web.Response(status=503) if is_repeated else None

    provider.faults = twice
    budgeter = budgeter_of()
    assert (await budgeter.ask(background("q"))).text == "echo q"
    assert provider.bought == {"q": 1}
    await budgeter.aclose()


@pytest.mark.parametrize("budgeter_of", ["openai"], indirect=True)
async def test_a_refusal_is_waited_for_as_long_as_it_asks(provider, budgeter_of, until_in_queue):
    """Of a request that buys nothing, before it is repeated."""
    left, clock = [web.Response(status=429, headers={"Retry-After": "30"})], ManualClock()
    provider.faults = lambda _method, path: left.pop() if left and path == "/files" else None
    waits = {"quiet_seconds": 0.0, "first_poll_seconds": 1.0, "max_poll_seconds": 1.0}
    budgeter = budgeter_of(clock=clock, **waits)
    task = asyncio.create_task(budgeter.ask(background("q")))
    await until_in_queue(lambda: clock.sleeper_count)
    clock.advance(29.9)
    assert clock.sleeper_count
    clock.advance(0.1)
    assert not clock.sleeper_count
    task.cancel()
    await asyncio.wait((task,))
    await budgeter.aclose()


async def test_questions_whether_a_batch_has_ended_become_rarer(
    provider, budgeter_of, until_in_queue
):
    """Each waits half as long again, up to the longest time."""
    provider.polls_to_end, clock = 10**9, ManualClock()
    waits = {"quiet_seconds": 0.0, "first_poll_seconds": 1.0, "max_poll_seconds": 3.0}
    budgeter = budgeter_of(clock=clock, **waits)
    task = asyncio.create_task(budgeter.ask(background("q")))
    for seconds in (1.0, 1.5, 2.25, 3.0, 3.0):
        await until_in_queue(lambda: clock.sleeper_count)
        clock.advance(seconds - 0.01)
        assert clock.sleeper_count, "it is not asked yet"
        clock.advance(0.01)
        assert not clock.sleeper_count
    task.cancel()
    await asyncio.wait((task,))
    await budgeter.aclose()


async def test_an_answer_is_fetched_by_the_next_process_and_not_bought_again(
    provider, budgeter_of, until_in_queue
):
    """The first process ends while its batch is under way."""
    provider.polls_to_end = 10**9
    first = budgeter_of()
    tasks = [asyncio.create_task(first.ask(background(f"q{i}"))) for i in range(4)]
    await until_in_queue(
        lambda: len(provider.batches) == 1 and provider.log.count("GET /batches/batch_1")
    )
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [row.outcome for row in first.ledger.rows] == [Outcome.CANCELLED] * 4
    assert sum(row.usage.unknown_usage for row in first.ledger.rows) == 4, "unknown is not free"
    first.ledger.check()
    await first.aclose()
    provider.polls_to_end, listed = 0, provider.log.count("GET /batches")
    second = budgeter_of()
    replies = await second.ask_all([background(f"q{i}") for i in range(4)])
    assert [reply.text for reply in replies] == [f"echo q{i}" for i in range(4)]
    assert set(provider.bought.values()) == {1}
    assert len(provider.batches) == 1
    assert provider.log.count("GET /batches") == listed, "its id was kept"
    rows = second.ledger.rows
    asked = second.statistics()["batch_api"]["requests"]
    assert sum(row.requests for row in rows) == asked > 0
    assert sum(row.input_tokens for row in rows) == 40
    second.ledger.check()
    await second.aclose()


@pytest.fixture
def until_in_queue() -> Callable[[Callable[[], Any]], Any]:
    """Return a function that waits until a server in this loop has come so far."""

    async def wait(is_so: Callable[[], Any]) -> None:
        async with asyncio.timeout(60.0):
            while not is_so():  # noqa: ASYNC110 - a server has no event for it
                await asyncio.sleep(0.001)

    return wait


async def test_a_strict_replay_repeats_how_each_answer_came(provider, budgeter_of, recorder):
    """Nothing is sent, and no queue is opened."""
    budgeter = budgeter_of(recorder=recorder)
    calls = [background(f"q{i}") for i in range(3)]
    replies = await budgeter.ask_all(calls)
    rows = budgeter.ledger.rows
    await budgeter.aclose()
    log = list(provider.log)
    replay = budgeter_of(recorder=recorder.played(), file="/nowhere/queue.sqlite")
    again = await replay.ask_all(calls)
    assert [each.text for each in again] == [each.text for each in replies]
    assert [row.delivery for row in replay.ledger.rows] == [row.delivery for row in rows]
    assert [row.usd for row in replay.ledger.rows] == [row.usd for row in rows]
    assert sum(row.requests for row in replay.ledger.rows) == len(provider.log)
    assert provider.log == log
    await replay.aclose()


async def test_a_call_waits_for_others_while_they_come_and_no_longer_than_the_longest_wait(
    provider, budgeter_of, until_in_queue
):
    """All of it on the clock: no time passes here but by hand."""
    clock = ManualClock()
    waits = {"quiet_seconds": 2.0, "max_wait_seconds": 4.7, "first_poll_seconds": 1.0}
    budgeter = budgeter_of(clock=clock, max_poll_seconds=1.0, **waits)
    tasks = []
    for number in range(3):
        tasks.append(asyncio.create_task(budgeter.ask(background(f"q{number}"))))
        await until_in_queue(lambda: budgeter.statistics()["batch_api"].get("queued") == len(tasks))
        assert not provider.log, "the last one came 1.5 seconds ago"
        clock.advance(1.5)
    clock.advance(0.1)
    assert budgeter.statistics()["batch_api"]["batches"] == 0
    clock.advance(0.2)  # the last one came 1.8 seconds ago, the first 4.8
    await until_in_queue(lambda: provider.batches)
    assert provider.batches[0]["request_counts"]["total"] == 3

    def is_done() -> bool:
        clock.advance(1.0)
        return all(task.done() for task in tasks)

    await until_in_queue(is_done)
    assert [task.result().text for task in tasks] == ["echo q0", "echo q1", "echo q2"]
    await budgeter.aclose()


async def test_what_waits_for_a_batch_gets_no_second_attempt(provider, budgeter_of):
    """Of whatever class it is: it would be bought twice."""
    provider.polls_to_end = 50
    budgeter = budgeter_of(takes="critical", route=RouteKnobs(hedge_seconds=0.001))
    await budgeter.ask(background("q", priority=Priority.CRITICAL))
    assert provider.bought == {"q": 1}
    assert budgeter.statistics()["hedge"] == {"hedged": 0, "won": 0}
    await budgeter.aclose()


async def test_a_deadline_ends_the_call_and_not_its_line(provider, budgeter_of):
    """The next equal call gets what was paid for."""
    provider.polls_to_end = 10**9
    budgeter = budgeter_of()
    with pytest.raises(CallTimeout):
        await budgeter.ask(background("q", deadline_seconds=0.2))
    provider.polls_to_end = 0
    assert (await budgeter.ask(background("q"))).text == "echo q"
    assert provider.bought == {"q": 1}
    await budgeter.aclose()


async def test_a_queue_is_used_by_one_process_at_a_time(provider, budgeter_of):
    """Two would answer one line twice."""
    first, second = budgeter_of(), budgeter_of()
    await first.ask(background("a"))
    with pytest.raises(ConfigError, match="another process uses it"):
        await second.ask(background("b"))
    await first.aclose()
    await second.aclose()


async def test_a_client_without_a_batch_interface_is_an_error(tmp_path, make_budgeter):
    """It is never sent in another way silently."""
    knobs = BackgroundKnobs(file=tmp_path / "queue.sqlite", api="openai")
    budgeter = make_budgeter(load=LoadKnobs(background=knobs))
    with pytest.raises(ConfigError, match="has no batch interface"):
        await budgeter.ask(background("q"))
    await budgeter.aclose()


@pytest.mark.parametrize("budgeter_of", ["openai"], indirect=True)
async def test_results_that_were_deleted_end_their_calls_alone(provider, budgeter_of):
    """What was bought is unknown, stops no run, and is not asked for again by the next one."""

    def fault(method: str, path: str) -> web.Response | None:
        if not path.endswith("/content"):
            return None
        return web.json_response({"error": {"message": "No such File"}}, status=404)

    provider.faults = fault
    budgeter = budgeter_of()
    results = await asyncio.gather(
        *(budgeter.ask(background(f"q{i}")) for i in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [AnswerLost] * 3
    assert sum(row.usage.unknown_usage for row in budgeter.ledger.rows) == 3
    provider.faults = lambda _method, _path: None
    assert (await budgeter.ask(background("q3"))).text == "echo q3"
    assert [each["request_counts"]["total"] for each in provider.batches] == [3, 1]
    await budgeter.aclose()


@pytest.mark.parametrize("budgeter_of", ["openai"], indirect=True)
async def test_results_that_appear_late_are_waited_for(provider, budgeter_of):
    """A batch may have ended a moment before its file can be read."""
    left = iter([True, True])

    def fault(method: str, path: str) -> web.Response | None:
        if not (path.endswith("/content") and next(left, False)):
            return None
        return web.json_response({"error": {"message": "No such File"}}, status=404)

    provider.faults = fault
    budgeter = budgeter_of()
    assert (await budgeter.ask(background("q"))).text == "echo q"
    assert len(provider.batches) == 1
    await budgeter.aclose()
