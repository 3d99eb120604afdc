"""Texts to embed that travel together: how many, how long they wait, and who fails."""

import asyncio

import pytest

from callwise.budget import Limits
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Priority
from callwise.calls.errors import BadRequest, BadResponse, CallRefused, ServerFailed
from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.load.breaker_knobs import BreakerKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.reply import Reply, ReportedUsage
from tests.callwise.budget.batch.batch_service import BatchService, budgeter, chat, embed


def test_a_text_without_a_batch_key_travels_alone_and_waits_for_none(service):
    """Others go together after their window."""

    async def main():
        engine = budgeter(service)
        texts = [embed("now", batch_key=None), embed("a"), embed("b")]
        await asyncio.gather(*map(engine.ask, texts))
        return engine

    run_in_virtual_time(main()).ledger.check()
    assert [texts for _, texts in service.requests] == [("now",), ("a", "b")]
    assert service.times[0] == 0.0


def test_a_thousand_texts_in_ten_milliseconds_are_32_requests(service):
    """Each of 32 texts; each caller gets its own vector."""

    async def main():
        engine = budgeter(service)

        async def ask(index):
            await asyncio.sleep(index * 1e-5)
            reply = await engine.ask(embed(f"{'x' * index} text"))
            assert reply.vectors == ((float(index + 5), 1.0),)

        await asyncio.gather(*(ask(index) for index in range(1000)))
        return engine

    engine = run_in_virtual_time(main())
    assert len(service.requests) == 32
    counts = engine.ledger.counts()
    assert counts.usage.requests == 32
    assert counts.usage.tokens == service.tokens
    engine.ledger.check()


def test_a_lone_text_waits_for_the_window_and_no_longer(service):
    """50 ms, less what a busy loop may take; its request is as usual."""

    async def main():
        engine = budgeter(service)
        await engine.ask(embed("alone"))
        return engine

    [row] = run_in_virtual_time(main()).ledger.rows
    assert service.times == [pytest.approx(0.048)]
    assert (row.delivery.batch, row.usage.requests) == ("", 1)
    assert row.usage.queue_seconds == pytest.approx(0.048)
    assert row.usage.work_seconds == pytest.approx(0.5)


def test_no_text_waits_longer_than_the_longest_wait(service):
    """Texts that come every 40 ms postpone it, up to 200 ms after the first."""

    async def main():
        engine = budgeter(service)

        async def ask(index):
            await asyncio.sleep(0.04 * index)
            await engine.ask(embed(f"text {index}"))

        await asyncio.gather(*map(ask, range(8)))

    run_in_virtual_time(main())
    assert service.times[0] == pytest.approx(0.198)
    assert len(service.requests[0][1]) in {5, 6}


def test_a_call_with_little_time_left_does_not_wait_for_the_window(service):
    """A quarter of what is left, at most."""
    service.seconds = 0.02

    async def main():
        engine = budgeter(service)
        await engine.ask(embed("urgent", deadline_seconds=0.08))

    run_in_virtual_time(main())
    assert service.times == [pytest.approx(0.018)]


@pytest.mark.parametrize("most_bytes", [None, 100])
def test_a_list_over_the_limits_is_split_and_merged_in_order(service, most_bytes):
    """By items and bytes; each piece is a request on its row."""
    texts = [f"{'y' * (index % 13)} {index}" for index in range(250)]

    async def main():
        knobs = BatchKnobs(max_items=100, max_text_bytes=most_bytes)
        engine = budgeter(service, batch=knobs)
        reply = await engine.ask(embed(*texts))
        return engine, reply

    engine, reply = run_in_virtual_time(main())
    assert reply.vectors == tuple((float(len(text)), 1.0) for text in texts)
    sent = [text for _, piece in service.requests for text in piece]
    assert sent == texts
    assert all(len(piece) <= 100 for _, piece in service.requests)
    if most_bytes is not None:
        sizes = [sum(len(text) for text in piece) for _, piece in service.requests]
        assert max(sizes) <= most_bytes
    [row] = engine.ledger.rows
    assert row.usage.requests == len(service.requests)
    assert row.usage.tokens == service.tokens
    engine.ledger.check()


def test_pieces_beyond_the_limit_on_requests_are_refused_before_anything_is_sent(service):
    """A list of three requests does not fit two."""

    async def main():
        engine = budgeter(service, batch=BatchKnobs(max_items=100), limits=Limits(max_requests=2))
        with pytest.raises(CallRefused, match="max_requests"):
            await engine.ask(embed(*map(str, range(250))))
        await engine.ask(embed(*map(str, range(150))))
        return engine

    engine = run_in_virtual_time(main())
    assert len(service.requests) == 2
    engine.ledger.check()


def test_pieces_that_were_answered_are_not_bought_again(service):
    """A retry sends the piece that failed alone."""
    service.failures.append(ServerFailed("boom", status=500))
    texts = [f"{'x' * index} text" for index in range(20)]

    async def main():
        engine = budgeter(service, batch=BatchKnobs(max_items=5))
        return engine, await engine.ask(embed(*texts))

    engine, reply = run_in_virtual_time(main())
    assert reply.vectors == tuple((float(len(text)), 1.0) for text in texts)
    assert [len(sent) for _, sent in service.requests] == [5] * 5
    assert service.requests[4] in service.requests[:4]
    (row,) = engine.ledger.rows
    assert (row.attempts, row.usage.requests, row.usage.tokens) == (2, 5, service.tokens)
    engine.ledger.check()


def test_a_list_with_a_piece_that_is_refused_is_not_asked_again():
    """What its other pieces have used is on its row."""
    service = BatchService(bad={"7"})

    async def main():
        engine = budgeter(service, batch=BatchKnobs(max_items=5))
        with pytest.raises(BadRequest):
            await engine.ask(embed(*map(str, range(20))))
        return engine

    engine = run_in_virtual_time(main())
    assert len(service.requests) == 4
    assert engine.ledger.rows[0].usage.tokens == service.tokens == 15
    engine.ledger.check()


def test_no_more_batches_are_under_way_than_the_limit():
    """The others wait, and may be joined meanwhile."""
    service = BatchService(seconds=1.0)

    async def main():
        knobs = BatchKnobs(embedding_size=4, max_concurrent=2)
        engine = budgeter(service, batch=knobs)
        await asyncio.gather(*(engine.ask(embed(f"text {index}")) for index in range(40)))
        return engine

    engine = run_in_virtual_time(main())
    assert service.most_under_way == 2
    assert len(service.requests) == 10
    engine.ledger.check()


@pytest.mark.parametrize("profile", ["deepseek", "groq"])
def test_the_example_profiles_limit_a_request(service, profile):
    """100 and 500 items."""
    most = {"deepseek": 100, "groq": 500}[profile]

    async def main():
        engine = budgeter(service, batch=BatchKnobs(profile=profile))
        await engine.ask(embed(*map(str, range(501))))

    run_in_virtual_time(main())
    assert max(len(texts) for _, texts in service.requests) == most


def test_one_bad_text_fails_alone():
    """By halves: the others are served, and each failure is a request of its rows."""
    service = BatchService(bad={"bad"})

    async def main():
        engine = budgeter(service)
        texts = [f"text {index}" for index in range(15)] + ["bad"]
        return engine, await asyncio.gather(
            *(engine.ask(embed(text)) for text in texts), return_exceptions=True
        )

    engine, results = run_in_virtual_time(main())
    assert [isinstance(each, Reply) for each in results] == [True] * 15 + [False]
    assert isinstance(results[-1], BadRequest)
    usage = engine.ledger.counts().usage
    assert usage.requests == len(service.requests) == 9
    assert usage.tokens == service.tokens == 30
    engine.ledger.check()


def test_a_profile_that_lies_loses_nothing(caplog):
    """The endpoint takes 10 texts where the profile has 1,000: that is learned, and said."""
    service = BatchService(most_texts=10)

    async def main():
        engine = budgeter(service, batch=BatchKnobs(profile="openai"))
        for start in (0, 100):
            await asyncio.gather(
                *(engine.ask(embed(f"text {index}")) for index in range(start, start + 32))
            )
        return engine

    engine = run_in_virtual_time(main())
    assert [len(texts) for _, texts in service.requests] == [32, 16, 16, 8, 8, 8, 8, 8, 8, 8, 8]
    assert engine.ledger.counts().usage.tokens == service.tokens == 128
    assert "`load.batch.max_items`" in caplog.text
    engine.ledger.check()


def test_a_list_that_is_refused_as_too_long_is_split():
    """Until its pieces are taken; its row has every request."""
    service = BatchService(most_texts=10)
    texts = [f"text {index}" for index in range(64)]

    async def main():
        engine = budgeter(service)
        return engine, await engine.ask(embed(*texts))

    engine, reply = run_in_virtual_time(main())
    assert reply.vectors == tuple((float(len(text)), 1.0) for text in texts)
    [row] = engine.ledger.rows
    assert row.usage.requests == len(service.requests) == 1 + 2 + 4 + 8
    assert row.usage.tokens == service.tokens == 128
    engine.ledger.check()


def test_calls_of_other_keys_never_travel_together(service):
    """A batch key keeps them apart."""

    async def main():
        engine = budgeter(service)
        await asyncio.gather(
            *(engine.ask(embed(f"text {i}", batch_key=str(i % 2))) for i in range(8))
        )

    run_in_virtual_time(main())
    assert sorted(len(texts) for _, texts in service.requests) == [4, 4]


def test_texts_whose_answer_had_other_ids_are_asked_in_halves(service):
    """What the response reports is on the rows, and each text has its vector in the end."""
    failure = BadResponse("expected 4 embeddings, got 3")
    failure.usage = ReportedUsage(8, 0)
    service.tokens += 8
    service.failures.append(failure)

    async def main():
        engine = budgeter(service)
        return engine, await asyncio.gather(
            *(engine.ask(embed(f"{'z' * index} text")) for index in range(4))
        )

    engine, replies = run_in_virtual_time(main())
    assert [reply.vectors for reply in replies] == [((float(i + 5), 1.0),) for i in range(4)]
    usage = engine.ledger.counts().usage
    assert [len(texts) for _, texts in service.requests] == [4, 2, 2]
    assert (usage.tokens, usage.unknown_usage) == (service.tokens, 0)
    engine.ledger.check()


def test_a_request_takes_no_more_bytes_than_the_limit(service):
    """Of several calls together, as of one list."""

    async def main():
        engine = budgeter(service, batch=BatchKnobs(max_text_bytes=20))
        await asyncio.gather(*(engine.ask(embed(f"{index} 8 bytes")) for index in range(5)))

    run_in_virtual_time(main())
    assert [len(texts) for _, texts in service.requests] == [2, 2, 1]


def test_a_request_that_fails_is_one_failure_of_its_endpoint(service):
    """However many calls it carried: its breaker stays closed."""
    service.failures.append(ServerFailed("boom", status=500))

    async def main():
        breaker = BreakerKnobs(min_attempts=4, failure_rate=0.5)
        engine = budgeter(service, load={"breaker": breaker})
        await asyncio.gather(*(engine.ask(embed(f"text {index}")) for index in range(8)))
        return engine.breakers()

    assert [each.trips for each in run_in_virtual_time(main())] == [0]


class LeavingService(BatchService):
    """A service at whose first answer a caller leaves, in the same step."""

    leaver = None

    async def answer(self, calls, *, model, on_sent=None):
        """Answer one call."""
        results = await super().answer(calls, model=model, on_sent=on_sent)
        self.leaver.cancel()
        return results


def test_what_is_sent_for_a_caller_that_has_just_left_is_on_the_row_of_another():
    """The batch is sealed by then: its text travels, and the tokens are the service's."""
    service = LeavingService()

    async def main():
        load = {"schedule": ScheduleKnobs(max_embedding_concurrency=1)}
        engine = budgeter(service, load=load)
        first = asyncio.create_task(engine.ask(embed("first of all", batch_key="a")))
        await asyncio.sleep(0.1)
        service.leaver, stays = (
            asyncio.create_task(engine.ask(embed(text, batch_key="b", share=False)))
            for text in ("one text to leave", "two")
        )
        await asyncio.wait((first, service.leaver, stays))
        assert service.leaver.cancelled()
        assert stays.result().vectors == ((3.0, 1.0),)
        return engine

    engine = run_in_virtual_time(main())
    assert sorted(service.requests[1][1]) == ["one text to leave", "two"]
    rows = engine.ledger.rows
    assert sorted(row.usage.requests for row in rows) == [0, 1, 1]
    assert sum(row.usage.tokens for row in rows) == service.tokens == 8
    engine.ledger.check()


def test_a_batch_that_is_kept_goes_by_its_class_and_then_by_its_time(service):
    """Where an endpoint takes one at a time."""

    async def main():
        engine = budgeter(service, batch=BatchKnobs(max_concurrent=1))

        async def ask(delay, text, priority):
            await asyncio.sleep(delay)
            await engine.ask(embed(text, batch_key=text, priority=priority))

        await asyncio.gather(
            ask(0.0, "first", Priority.NORMAL),
            ask(0.1, "low", Priority.LOW),
            ask(0.15, "critical", Priority.CRITICAL),
            ask(0.2, "earlier", Priority.NORMAL),
            ask(0.25, "later", Priority.NORMAL),
        )

    run_in_virtual_time(main())
    order = [texts for _, (texts,) in service.requests]
    assert order == ["first", "critical", "earlier", "later", "low"]


@pytest.mark.parametrize(("second", "expected"), [(7.0, 7.0), (None, None)])
def test_the_longest_time_of_its_calls_is_that_of_a_request(second, expected):
    """One that has none leaves it to the client."""
    seen = []

    class TimedService(BatchService):
        async def answer(self, calls, *, model, on_sent=None):
            seen.extend(call.timeout_seconds for call in calls)
            return await super().answer(calls, model=model, on_sent=on_sent)

    async def main():
        engine = budgeter(TimedService())
        timeouts = {"one": 5.0, "two": second}
        await asyncio.gather(
            *(engine.ask(embed(text, timeout_seconds=each)) for text, each in timeouts.items())
        )

    run_in_virtual_time(main())
    assert seen == [expected]


def test_a_client_that_answers_fewer_calls_than_it_was_asked_is_named():
    """Each caller gets the error, and nothing is given to the wrong one."""

    class ShortService(BatchService):
        async def answer_conversations(self, calls, *, model, path, on_sent=None):
            results = await super().answer_conversations(
                calls, model=model, path=path, on_sent=on_sent
            )
            return results[1:]

    async def main():
        engine = budgeter(ShortService())
        return await asyncio.gather(
            *(engine.ask(chat(text)) for text in ("one", "two")), return_exceptions=True
        )

    for end in run_in_virtual_time(main()):
        assert isinstance(end, TypeError)
        assert "endpoint 'served' must answer 2 calls with one Reply or CallError" in str(end)
