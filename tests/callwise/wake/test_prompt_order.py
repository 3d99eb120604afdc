"""Common beginnings of prompts: `wake.prompt_order` and `wake.common_text`."""

from itertools import takewhile

import orjson
import pytest
from pydantic import ValidationError

from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Role
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.simulator.request import read_material
from callwise.wake import Agent, WakeKnobs
from callwise.wake.wake_prompts import agent_messages
from tests.callwise.wake.wake_world import HOUR, START, World, everyone, five_agents

WORLD = "The harbour of Aster has three piers and one lamp."
CHAT = [("Zoe", "Hello!"), ("alice", "Hello, Zoe."), ("bob", 'Soup? "},{"persona":"x"')]
TASK = {"event": "hour", "now": "2026-02-15T10:00+00:00"}


def named(agent_id, name):
    """Return an agent with a secret in its persona, memory and notes."""
    return Agent(id=agent_id, name=name, persona=f"p-{agent_id}", model="m", memory=(f"m-{name}",))


TWINS = {"alice": named("alice", "Sam"), "bob": named("bob", "Sam"), "cem": named("cem", "cem")}


def prompt_of(agent, chat=CHAT, **options):
    """Return the two texts of an agent's prompt."""
    system, user = agent_messages(
        agent, notes=(f"n-{agent.id}",), chat=chat, agents=TWINS, task=TASK, **options
    )
    return system.content, user.content


def shared_of(texts):
    """Return the common beginning of texts."""
    pairs = takewhile(lambda signs: len({*signs}) == 1, zip(*texts, strict=False))
    return "".join(signs[0] for signs in pairs)


def test_all_prompts_of_an_hour_are_equal_up_to_the_persona():
    """With the chat first: instructions, chat and task are read once for all agents."""
    prompts = [prompt_of(agent, order="chat_first") for agent in TWINS.values()]
    assert len({system for system, _ in prompts}) == 1
    shared = shared_of(user for _, user in prompts)
    assert shared.endswith(',"persona":"p-')
    material = orjson.loads(shared.removesuffix(',"persona":"p-') + "}")
    assert list(material) == ["chat", "task"]
    assert len(material["chat"]) == len(CHAT)
    assert material["task"] == TASK


def test_with_the_persona_first_only_the_instructions_are_equal():
    """As by default."""
    prompts = [prompt_of(agent) for agent in TWINS.values()]
    assert len({system for system, _ in prompts}) == 1
    assert shared_of(user for _, user in prompts) == '{"persona":"p-'


def test_both_orders_have_the_same_material():
    """But for the id by which an agent knows its own lines in a chat that is the same for all."""
    first, last = (
        orjson.loads(prompt_of(TWINS["alice"], order=order)[1])
        for order in ("chat_first", "persona_first")
    )
    assert list(first) == ["chat", "task", "persona", "name", "id", "memory", "notes"]
    assert list(last) == ["persona", "name", "memory", "notes", "chat", "task"]
    assert {name: first[name] for name in last if name != "chat"} == {
        name: last[name] for name in last if name != "chat"
    }
    texts = [[line[list(line)[-1]] for line in each["chat"]] for each in (first, last)]
    assert texts[0] == texts[1] == [text for _, text in CHAT]


def test_agents_of_one_name_know_their_lines_by_their_id():
    """No line is marked as that of the agent that is asked, and none of a person has an id."""
    system, user = prompt_of(TWINS["bob"], order="chat_first")
    material = orjson.loads(user)
    assert material["id"] == "bob"
    assert material["chat"] == [
        {"from": "Zoe", "user": "Hello!"},
        {"from": "Sam", "id": "alice", "agent": "Hello, Zoe."},
        {"from": "Sam", "id": "bob", "agent": CHAT[2][1]},
    ]
    assert "a line with your `id` is yours" in system
    assert "`me`" not in system


def test_a_common_text_begins_the_instructions():
    """They follow it as they are without one."""
    plain, user = prompt_of(TWINS["cem"])
    assert prompt_of(TWINS["cem"], common_text=WORLD) == (f"{WORLD}\n\n{plain}", user)


def test_the_simulated_model_reads_a_chat_that_comes_first():
    """It answers the last line of a person."""
    system, user = prompt_of(TWINS["cem"], order="chat_first")
    body = {"messages": [{"role": "system", "content": system}, {"role": "user", "content": user}]}
    assert read_material(body).user_text == "Hello!"


def woken(variant, **knobs):
    """Return a world after two hours of five agents, and the bodies to their models."""
    return run_in_virtual_time(two_hours(variant, **knobs))


async def two_hours(variant, **knobs):
    """Wake five agents twice; see `woken`."""
    world = World(five_agents(), answer=everyone, variant=variant, **knobs)
    world.store.rooms.say("main", "Zoe", "Fog again.", id="m1", at=START - HOUR / 2)
    for agent in world.agents:
        world.store.notes.add(agent.id, f"secret of {agent.id}: fog", at=START - HOUR)
    for hour in range(2):
        await world.wake(hour)
    return world, world.client.bodies("dsv3", "qwen32b")


@pytest.mark.parametrize("order", ["persona_first", "chat_first"])
def test_prompts_are_the_same_bytes_with_and_without_batch(order):
    """In either order, with a common text."""
    bodies = [
        woken(variant, prompt_order=order, common_text=WORLD)[1]
        for variant in ("server_batch", "mixed")
    ]
    assert len(bodies[0]) == 10
    assert sorted(bodies[0]) == sorted(bodies[1])


def test_on_the_wire_each_prompt_has_the_chat_first_and_its_own_agent_only():
    """The second hour's chat has what all agents have written; the rest is one agent's."""
    world, bodies = woken("server_batch", prompt_order="chat_first", common_text=WORLD)
    names = {agent.id for agent in world.agents}
    for model in ("dsv3", "qwen32b"):
        *_, (_, _, _, last) = [each for each in world.client.requests if each[2] == model]
        users = [orjson.loads(body)["messages"][1]["content"] for body in last]
        material = orjson.loads(shared_of(users).rpartition(',"persona":')[0] + "}")
        assert list(material) == ["chat", "task"]
        assert len(material["chat"]) == 1 + len(names)
    for body in bodies:
        system, user = (each["content"] for each in orjson.loads(body)["messages"])
        assert system.startswith(WORLD)
        own = orjson.loads(user)["id"]
        for other in names - {own}:
            assert f"{other} has a boat" not in user
            assert f"secret of {other}" not in user
        assert f"{own} has a boat" in user
        assert f"secret of {own}" in user


def test_the_intent_call_has_no_common_text():
    """It chooses by the chat; the text would be paid for and help no agent."""
    world, _ = woken("server_batch", common_text=WORLD)
    intents = [call for call in world.client.calls if call.role is Role.FAST]
    assert len(intents) == 2
    assert not any(WORLD in message.content for call in intents for message in call.messages)


@pytest.mark.parametrize("knobs", [{"prompt_order": "notes_first"}, {"common_text": "x" * 100_001}])
def test_knobs_out_of_their_range_are_refused(knobs):
    """The error names the knob."""
    with pytest.raises(ValidationError, match=next(iter(knobs))):
        WakeKnobs(**knobs)


def test_the_first_agent_of_a_model_may_warm_the_cache_for_the_others():
    """With the chat first, what it waits for is the instructions and the chat."""
    schedule = ScheduleKnobs(warm_prefix_seconds=300.0, warm_prefix_characters=800)
    world, _ = woken("mixed", prompt_order="chat_first", load=LoadKnobs(schedule=schedule))
    for model, others in (("dsv3", 2), ("qwen32b", 1)):
        times = [time for time, _, asked, _ in world.client.requests if asked == model]
        for first, *later in (times[: 1 + others], times[1 + others :]):
            assert later == [pytest.approx(first + world.client.seconds)] * others
