"""The part prefix: its agents, its variants at a simulated server, and what they could share."""

import orjson
import pytest

from benchmarks.wake import prefix
from callwise.calls import Call, Purpose, Role
from callwise.simulator.server import SimServer
from callwise.wake.wake_prompts import agent_messages


def test_agents_are_different_from_their_first_words():
    """Common beginnings of prompts are then not those of personas."""
    agents = prefix.agents_of_files()
    assert len(agents) == 9
    assert prefix.NORA in {agent.id for agent in agents}
    assert len({agent.persona for agent in agents}) == len({agent.name for agent in agents}) == 9
    assert {agent.model for agent in agents} == {prefix.MODEL}


def test_what_a_cache_could_have_is_the_longest_common_beginning_with_an_earlier_prompt():
    """The first of several has none."""
    prompts = [(1, 2, 3, 4), (1, 2, 9, 4), (1, 2, 9, 5, 6), (7, 2), ()]
    assert prefix._limits(prompts) == [0, 2, 3, 0, 0]


@pytest.mark.parametrize("variant", prefix.VARIANTS, ids=lambda variant: variant.name)
async def test_each_variant_asks_every_agent_in_each_hour(variant):
    """At a server that caches nothing; prompts begin as the variant states."""
    agents = prefix.agents_of_files()
    async with SimServer() as server:
        usages = await prefix._woken(variant, agents, server.base_url, hours=2, in_flight=1)
    assert [usage.requests for usage in usages] == [9, 9]
    assert all(usage.input_tokens > 9_000 and usage.cached_tokens == 0 for usage in usages)
    has_world = "common_text" in variant.knobs
    assert (usages[0].input_tokens > 20_000) == has_world


def test_the_comparison_has_the_persona_before_all_else():
    """The rest of the prompt is as it is with the persona first."""
    agent = prefix.agents_of_files()[0]
    messages = agent_messages(
        agent, notes=("n",), chat=(), agents={}, task={"event": "hour"}, common_text=prefix.WORLD
    )
    front, last = prefix._in_front(Call(Role.MAIN, Purpose.OTHER, messages)).messages
    system = messages[0].content
    assert front.content == f"You are {agent.name}. {agent.persona}\n\n{system}"
    assert list(orjson.loads(last.content)) == ["memory", "notes", "task"]


def test_without_a_model_the_part_is_skipped(monkeypatch):
    """With the reason."""
    monkeypatch.setattr(prefix, "environment_reason", lambda: "no real model here")
    assert prefix.measure().skipped == "no real model here"
