"""Embeddings of a wake: one per agent and note, where a knob asks, and words where one fails."""

from collections import Counter

import pytest

from callwise.budget import Budgeter
from callwise.budget.clock import LoopClock
from callwise.budget.layers.cache import MemoryCache
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Endpoint, Prices, Reply, ReportedUsage, Role
from callwise.calls.errors import ServerFailed
from callwise.memory import Embedding
from callwise.wake import WakeService
from tests.callwise.wake.wake_world import START, World, everyone, five_agents, material_of

TOPICS = ("sea", "cake")


def vector_of(text):
    """Return how often each topic is in a text, and a little of both."""
    return tuple(text.count(topic) + 0.01 for topic in TOPICS)


class EmbeddingClient:
    """Embeds texts by their topics, and logs each request.

    Args:
        end_of: called with a text; may return an error, or another vector.
    """

    is_simulated = True

    def __init__(self, end_of=vector_of, model="topics"):
        self.end_of, self.model = end_of, model
        self.requests = []

    async def answer(self, calls, *, model, on_sent=None):
        """Answer one request with the vectors of all its texts."""
        texts = [text for call in calls for text in call.inputs]
        self.requests.append(texts)
        if on_sent is not None:
            on_sent(0)
        (call,) = calls
        ends = [self.end_of(text) for text in call.inputs]
        error = next((each for each in ends if isinstance(each, ServerFailed)), None)
        if error is not None:
            return [error]
        usage = ReportedUsage(10, 0)
        return [Reply("", vectors=tuple(ends), usage=usage, model=self.model)]

    async def aclose(self):
        """Do nothing."""


class EmbeddingWorld(World):
    """A world whose budgeter also embeds, and keeps answers."""

    def __init__(self, agents, embedding, *, answer=everyone, retrieval="both", **options):
        super().__init__(agents, answer=answer, retrieval=retrieval, **options)
        self.embedding = embedding
        served = {
            name: Endpoint(name, name, self.client, Prices(1.0, 2.0))
            for name in ("dsv3", "qwen32b")
        }
        served[Role.FAST] = Endpoint("fast", "fast", self.client, Prices(1.0, 2.0))
        if embedding is not None:
            served[Role.EMBED] = Endpoint("embed", "topics", embedding, Prices(1.0, 0.0))
        clock = LoopClock()
        cache = MemoryCache(clock=clock)
        self.budgeter = Budgeter(served, clock=clock, load=self.knobs.load(), cache=cache)
        self.service = WakeService(agents, self.store, self.budgeter, self.knobs, wall=self.wall)


def in_world(steps, *args, agents=None, **options):
    """Return the world and what steps of it return, in virtual time."""

    async def main():
        world = EmbeddingWorld(agents or five_agents(), *args, **options)
        return world, await steps(world)

    return run_in_virtual_time(main())


async def one_hour(world):
    """Wake once, after a person has written."""
    world.store.rooms.say("main", "Mia", "Who likes cake?", id="p1", at=START - 1)
    return await world.wake()


def vectors_of(store):
    """Return the number of vectors of each agent that has some."""
    rows = store._file._connection.execute(
        "SELECT agent, sum(length(places)) / 4 FROM agent_vectors GROUP BY agent"
    )
    return dict(rows.fetchall())


def test_words_alone_need_no_call():
    """The default: one intent call, one request per model, and no embedding."""
    world, report = in_world(one_hour, EmbeddingClient(), retrieval="words")
    assert (report.calls, report.requests) == (6, 3)
    assert world.embedding.requests == []
    assert vectors_of(world.store) == {}
    assert {each.recall_problem for each in report.replies} == {""}


def test_each_agent_has_one_query_and_one_note_embedded():
    """Ten calls more, but one request for the common query, and one for the notes of a model."""
    world, report = in_world(one_hour, EmbeddingClient())
    assert report.calls == 6 + 5 + 5
    assert world.embedding.requests[0] == ["Who likes cake?"]
    notes = [text for texts in world.embedding.requests[1:] for text in texts]
    assert Counter(notes) == Counter(
        f"Mia wrote: Who likes cake?\nI wrote: I am {agent.name}." for agent in five_agents()
    )
    assert len(world.embedding.requests) <= 3
    assert report.requests == 3 + len(world.embedding.requests)
    assert vectors_of(world.store) == dict.fromkeys(("alice", "bob", "carol", "dan", "eve"), 1)
    assert {each.recall_problem for each in report.replies} == {""}


def test_an_equal_text_is_embedded_once_in_a_day():
    """The query of a chat in which nothing was said is in the cache; after a day it is not."""

    def silent(call, model):
        return everyone(call, model) if call.role is Role.FAST else '{"speaks": false}'

    async def steps(world):
        world.store.rooms.say("main", "Mia", "Who likes cake?", id="p1", at=START - 1)
        counts = []
        for hour in (0, 23, 25):
            await world.wake(hour)
            counts.append(len(world.embedding.requests))
        return counts

    # One agent: an answer that is used ten times is kept for longer.
    options = {"answer": silent, "variant": "agents_alone", "agents": five_agents()[:1]}
    _, counts = in_world(steps, EmbeddingClient(), **options)
    assert counts == [1, 1, 2]


def test_vectors_find_what_words_do_not():
    """A note of the same topic, without a word of the query, is in the prompt."""

    async def steps(world):
        for number, text in enumerate(["apple cake", "sea", "nothing at all", "all at nothing"]):
            vector = vector_of(text)
            world.store.notes.add(
                "alice", text, at=float(number), embedding=Embedding("topics", vector)
            )
        world.store.rooms.say("main", "Mia", "pancakes?", id="p1", at=START - 1)
        await world.wake()
        prompts = [call for call in world.client.calls if call.role is not Role.FAST]
        return next(
            material_of(call)["notes"] for call in prompts if material_of(call)["name"] == "Alice"
        )

    assert in_world(steps, EmbeddingClient(), notes_limit=1)[1] == ["apple cake"]
    words = in_world(steps, EmbeddingClient(), notes_limit=1, retrieval="words")[1]
    assert words == ["all at nothing"]


def _fails_for_bob(text):
    return ServerFailed("internal error", status=500) if "Bob" in text else vector_of(text)


def _is_zero_for_bob(text):
    return (0.0, 0.0) if "Bob" in text else vector_of(text)


def _is_longer_for_bob(text):
    return (1.0, 2.0, 3.0) if "Bob" in text else vector_of(text)


@pytest.mark.parametrize(
    ("end_of", "problem"),
    [
        (_fails_for_bob, "internal error"),
        (_is_zero_for_bob, "all zeros or not finite"),
        (_is_longer_for_bob, "with 2 dimensions, and this one is of topics with 3"),
    ],
)
def test_a_failed_embedding_costs_one_agent_its_vector(end_of, problem):
    """Its note is stored by words, the report names the problem, and the others are as usual."""
    # Replies apart, each with its own request, so that no note shares the fate of another.
    world, report = in_world(one_hour, EmbeddingClient(end_of), variant="mixed")
    assert {each.outcome for each in report.replies} == {"published"}
    problems = {each.agent: each.recall_problem for each in report.replies}
    assert problem in problems.pop("bob")
    assert set(problems.values()) == {""}
    assert vectors_of(world.store) == dict.fromkeys(("alice", "carol", "dan", "eve"), 1)
    found = world.store.notes.search("bob", "Bob", limit=1)
    assert found == ["Mia wrote: Who likes cake?\nI wrote: I am Bob."]


def test_without_an_endpoint_words_rank():
    """Each agent's report names what is missing; all speak."""
    world, report = in_world(one_hour, None)
    assert {each.outcome for each in report.replies} == {"published"}
    assert all("embed" in each.recall_problem for each in report.replies)
    assert vectors_of(world.store) == {}


def test_a_store_of_another_model_keeps_its_vectors():
    """Words rank, no vector is added, and nothing is lost."""

    async def steps(world):
        old = Embedding("older", (1.0, 0.0, 0.0))
        world.store.notes.add("alice", "old note", at=1.0, embedding=old)
        report = await one_hour(world)
        return report, world.store.notes.search("alice", "old", limit=1, embedding=old)

    world, (report, found) = in_world(steps, EmbeddingClient())
    assert {each.outcome for each in report.replies} == {"published"}
    assert all("have embeddings of older with 3" in each.recall_problem for each in report.replies)
    assert found == ["old note"]
    assert vectors_of(world.store) == {"alice": 1}


def test_a_message_waits_for_no_batch_of_embeddings():
    """Its agent's texts are embedded alone and as CRITICAL."""

    async def steps(world):
        report = await world.service.say("Mia", "@bob do you like cake?", id="p1")
        world.check()
        rows = world.budgeter.ledger.rows
        return report, [row for row in rows if row.role == Role.EMBED]

    world, (report, rows) = in_world(steps, EmbeddingClient())
    assert [each.outcome for each in report.replies] == ["published"]
    assert len(rows) == len(world.embedding.requests) == 2
    assert report.calls == 3
    assert all(len(texts) == 1 for texts in world.embedding.requests)


def test_no_text_of_an_agent_is_embedded_for_another():
    """Secrets in personas and notes are in no query; a note has its own agent's message alone."""

    async def steps(world):
        for agent in ("alice", "bob", "carol"):
            world.store.notes.add(agent, f"secret of {agent}", at=1.0)
        return [await one_hour(world), await world.wake(1)]

    world, _ = in_world(steps, EmbeddingClient())
    sent = [text for texts in world.embedding.requests for text in texts]
    assert sent
    assert not any("secret" in text or "has a boat" in text for text in sent)
