"""Very many agents: what is in memory at a time, and what is kept after a wake."""

import gc
import weakref

import pytest

from callwise.budget.scope import current_scope
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Role
from callwise.memory.memory_errors import StoreDamaged
from callwise.wake import Agent, WakeStore
from tests.callwise.wake.wake_world import START, LoggedClient, World, everyone, material_of

MODELS = ("m0", "m1", "m2")


def agents_of(count):
    """Return agents that are spread over the models."""
    return [Agent(id=f"a{i}", persona="p", model=MODELS[i % len(MODELS)]) for i in range(count)]


def woken(agents, *, wakes=1, answer=everyone, seconds=0.5, **knobs):
    """Return the world and its reports after some wakes, and the most works under way."""
    most = 0

    def watched(call, model):
        nonlocal most
        most = max(most, world.budgeter.in_flight)
        return answer(call, model)

    async def main():
        nonlocal world
        world = World(agents, answer=LoggedClient(watched, seconds), models=MODELS, **knobs)
        return [await world.wake(hour) for hour in range(wakes)]

    world = None
    reports = run_in_virtual_time(main())
    return world, reports, most


@pytest.mark.parametrize(("variant", "max_asked"), [("server_batch", 120), ("mixed", 30)])
def test_no_more_agents_are_asked_at_a_time_than_the_knob_allows(variant, max_asked):
    """The prompts, replies and full requests are those of a wake that asks all together."""
    options = {"variant": variant, "batch_size": 20}
    world, [report], most = woken(agents_of(400), max_asked=max_asked, **options)
    whole, [other], most_of_all = woken(agents_of(400), **options)
    assert most <= max_asked < 400 == most_of_all
    assert report.replies == other.replies
    assert sorted(world.client.bodies()) == sorted(whole.client.bodies())
    if variant == "server_batch":
        assert report.requests == other.requests == 1 + 3 * 7


def test_a_request_is_full_also_where_it_has_more_replies_than_the_knob():
    """One request of each model at a time is the least."""
    world, [report], most = woken(agents_of(200), max_asked=1, batch_size=40)
    assert (report.requests, most) == (1 + 2 + 2 + 2, 120)
    assert {len(bodies) for *_, bodies in world.client.requests[1:]} == {40, 27, 26}


def test_an_agent_that_cannot_be_asked_leaves_its_place_in_the_request_to_another():
    """Its prompt fails; the next agent of its model travels in its place."""
    store = WakeStore(":memory:")
    texts = store.notes.texts

    def failing(agent, places):
        if agent in ("a3", "a9"):
            raise RuntimeError("its notes are gone")
        return texts(agent, places)

    store.notes.texts = failing
    world, [report], _ = woken(agents_of(126), store=store, max_asked=1, batch_size=20)
    sizes = [len(bodies) for _, _, model, bodies in world.client.requests if model == "m0"]
    assert sizes == [20, 20]
    failed = [each for each in report.replies if each.outcome != "published"]
    assert [(each.agent, each.outcome) for each in failed] == [("a3", "failed"), ("a9", "failed")]
    assert "its notes are gone" in failed[0].reason


def test_notes_are_those_of_the_moment_when_all_were_searched():
    """What an agent notes later in a wake is in no prompt of it, however late its turn comes."""

    def answer(call, model):
        if call.role is not Role.FAST and material_of(call)["name"] == "a0":
            store.notes.add("a3", "a later note", at=START)
        return everyone(call, model)

    store = WakeStore(":memory:")
    store.notes.add("a3", "an earlier note", at=START)
    world, _, _ = woken(
        agents_of(6), store=store, answer=answer, max_asked=1, batch_size=1, variant="mixed"
    )
    [asked] = [call for call in world.client.calls[1:] if material_of(call)["name"] == "a3"]
    assert material_of(asked)["notes"] == ["an earlier note"]
    assert "a later note" in store.notes.search("a3", "", limit=9)


def test_a_place_without_a_note_is_damage():
    """Places are those that a search has found."""
    with WakeStore(":memory:") as store:
        store.notes.add("a", "one", at=START)
        assert store.notes.texts("a", store.notes.find("a", "", limit=1)) == ["one"]
        with pytest.raises(StoreDamaged, match="note 7 of agent 'a' is missing"):
            store.notes.texts("a", [0, 7])


@pytest.mark.parametrize("variant", ["server_batch", "mixed"])
def test_an_ended_wake_keeps_no_rows(variant):
    """The ledger has them, as many as it keeps; nothing else grows with each wake."""

    async def main():
        world = World(agents_of(30), answer=everyone, models=MODELS, variant=variant)
        opened, scopes = world.budgeter.scope, []

        def scope(*args, **options):
            scopes.append(opened(*args, **options))
            return scopes[-1]

        world.budgeter.scope = scope
        for hour in range(3):
            await world.wake(hour)
        await world.service.say("Mia", "@a1 hello", id="1")
        assert [each.take_rows() for each in scopes] == [[]] * 4
        assert len(world.budgeter.ledger.rows) == 3 * 31 + 1
        known = [weakref.ref(each) for each in scopes]
        scopes.clear()
        gc.collect()
        assert [each for each in known if each() is not None] == []

    run_in_virtual_time(main())


def test_a_request_of_several_agents_has_the_scope_of_none():
    """Its connection, which is kept open, would keep the scope of a wake that has ended."""
    seen = []

    class Client(LoggedClient):
        async def answer_conversations(self, calls, **options):
            seen.append((len(calls), current_scope()))
            return await super().answer_conversations(calls, **options)

    async def main():
        world = World(agents_of(9), answer=Client(everyone), models=MODELS)
        await world.wake()

    run_in_virtual_time(main())
    assert seen == [(3, None)] * 3
