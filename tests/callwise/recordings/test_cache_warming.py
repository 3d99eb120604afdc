"""Warm-up of a cache from a cassette, and by asking ahead."""

from collections import Counter

import pytest

from callwise.budget import Budgeter, VirtualClock
from callwise.budget.layers.cache import TTL_SECONDS, Lifetime, MemoryCache
from callwise.calls import Call, Endpoint, Message, Outcome, Priority, Purpose, Reply, Role
from callwise.calls.call import Sampling
from callwise.calls.errors import CallError, FormatError, ServerFailed
from callwise.calls.kinds import WorkKind
from callwise.recordings.cache_warming import warm_by_asking, warm_from_cassette
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.testing.fakes import ScriptedClient


class Kept(MemoryCache):
    """A cache in memory that notes what was put in, with its lifetime."""

    def __init__(self):
        super().__init__()
        self.lifetimes = []

    async def put(self, key, reply, lifetime=None):
        """Keep a reply."""
        self.lifetimes.append((reply.text, lifetime))
        await super().put(key, reply, lifetime)


def call(text, *, temperature=None, purpose=Purpose.OTHER, **changes):
    """Return a chat call."""
    sampling = Sampling(temperature=temperature)
    return Call(Role.MAIN, purpose, (Message("user", text),), sampling=sampling, **changes)


def budgeter_of(script, **parts):
    """Return a budgeter whose answers are scripted."""
    client = ScriptedClient(script)
    endpoint = Endpoint("fake", "m", client)
    return Budgeter(dict.fromkeys(Role, endpoint), clock=VirtualClock(), **parts), client


def answer(asked):
    """Return an answer by the call."""
    if asked.inputs:
        return Reply("", vectors=((1.0,),))
    text = asked.messages[0].content
    if text == "fails":
        raise ServerFailed("no", status=500)
    return f"answer to {text}"


@pytest.fixture
async def cassette(tmp_path):
    """Return the cassette of a run with calls of all sorts."""
    path = tmp_path / "run.jsonl"
    recorded = open_cassette(path, CassetteMode.NEW_EPISODES)
    budgeter, _ = budgeter_of(answer, recorder=recorded, cache=MemoryCache())
    await budgeter.ask_all(
        [
            call("greedy", temperature=0),
            call("greedy", temperature=0),
            call("search", temperature=0, purpose=Purpose.RETRIEVE),
            call("warm", temperature=0.7),
            call("shared", temperature=0.7, share=True),
            call("fails", temperature=0),
            Call(Role.EMBED, Purpose.EMBED, inputs=("text",)),
        ]
    )
    await budgeter.ask(call("greedy", temperature=0))
    recorded.close()
    return path


async def test_a_warm_cache_answers_what_it_would_have_kept(cassette):
    """Embeddings and greedy answers are served from the start; others are asked as ever."""
    cache = Kept()
    assert await warm_from_cassette(cache, cassette) == 3
    assert sorted(cache.lifetimes) == [
        ("", Lifetime(TTL_SECONDS[WorkKind.EMBEDDING])),
        ("answer to greedy", Lifetime(TTL_SECONDS[WorkKind.LLM_INFERENCE])),
        ("answer to search", Lifetime(TTL_SECONDS[WorkKind.VECTOR_SEARCH])),
    ]
    budgeter, client = budgeter_of(answer, cache=cache)
    await budgeter.ask_all(
        [
            call("greedy", temperature=0),
            call("search", temperature=0, purpose=Purpose.RETRIEVE),
            Call(Role.EMBED, Purpose.EMBED, inputs=("text",)),
            call("warm", temperature=0.7),
            call("shared", temperature=0.7, share=True),
        ]
    )
    outcomes = Counter(row.outcome for row in budgeter.ledger.rows)
    assert outcomes == {Outcome.CACHED: 3, Outcome.SERVED: 2}
    assert len(client.calls) == 2
    assert budgeter.statistics()["cache"]["memory_hits"] == 3


async def test_where_no_time_passes_warm_answers_do_not_end(cassette):
    """They are kept without end."""
    cache = Kept()
    await warm_from_cassette(cache, cassette, is_timeless=True)
    assert {lifetime for _, lifetime in cache.lifetimes} == {Lifetime()}


async def test_a_file_that_is_no_cassette_is_named(tmp_path):
    """It is an error before any call is asked."""
    path = tmp_path / "notes.jsonl"
    path.write_text("{}\n")
    with pytest.raises(FormatError, match=r"notes\.jsonl"):
        await warm_from_cassette(MemoryCache(), path)


async def test_calls_asked_ahead_are_counted_and_answer_later_ones():
    """They are speculative background work; one that fails is no failure of the others."""
    budgeter, client = budgeter_of(answer, cache=MemoryCache())
    calls = [call("a", temperature=0), call("fails", temperature=0), call("b", temperature=0)]
    replies = await warm_by_asking(budgeter, calls, max_concurrency=2)
    assert [isinstance(reply, CallError) for reply in replies] == [False, True, False]
    assert {each.priority for each in client.calls} == {Priority.BACKGROUND}
    assert all(row.is_speculative for row in budgeter.ledger.rows)
    await budgeter.ask(calls[0])
    assert budgeter.ledger.rows[-1].outcome is Outcome.CACHED
