"""Agents that wake together, before a real server: cached tokens of prompts that begin alike."""

import pytest

from callwise.budget import Budgeter
from callwise.calls import Endpoint, Role
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.openai_http import OpenAIClient
from callwise.wake import Agent, WakeKnobs, WakeService, WakeStore
from tests.model.conftest import MODEL

pytestmark = pytest.mark.model

HOUR = 1_800_000_000.0

AGENTS = [
    Agent(id=name, persona=f"{trade} of the harbour.", model=MODEL, memory=(f"Boat {number}.",))
    for number, (name, trade) in enumerate(
        [("ann", "The cook"), ("ben", "A pilot"), ("cem", "Guard"), ("dot", "Teacher")]
    )
]


async def woken(proxy, order):
    """Return the rows of a wake of all agents, one request at a time."""
    knobs = WakeKnobs(prompt_order=order, chat_path=None, intent_daily_calls=0, fallback="everyone")
    endpoint = Endpoint("llama.cpp", MODEL, OpenAIClient(proxy.base_url, api_key=None))
    load = knobs.load(LoadKnobs(schedule=ScheduleKnobs(max_concurrency=1)))
    budgeter = Budgeter({Role.MAIN: endpoint, MODEL: endpoint}, load=load)
    with WakeStore(":memory:") as store:
        for number in range(20):
            text = f"Line {number} of a long evening at the {order} pier, with fog and no ferry."
            store.rooms.say("main", "Zoe", text, id=f"m{number}", at=HOUR - 60.0 + number)
        report = await WakeService(AGENTS, store, budgeter, knobs, wall=lambda: HOUR).wake(HOUR)
    await budgeter.aclose()
    budgeter.ledger.check()
    assert {reply.outcome for reply in report.replies} == {"published"}
    return budgeter.ledger.rows


async def test_agents_that_wake_together_share_what_their_prompts_begin_with(behind):
    """The ledger's cached tokens are the server's: most of a prompt where the chat comes first."""
    shares = {}
    for order in ("persona_first", "chat_first"):
        proxy = behind()
        rows = await woken(proxy, order)
        if not any("cached_tokens" in str(each.usage) for each in proxy.log):
            pytest.skip("this server reports no cached tokens")
        assert [(row.usage.input_tokens, row.usage.cached_tokens) for row in rows] == [
            (each.input_tokens, each.cached_tokens) for each in proxy.log
        ]
        later = [row.usage for row in rows[1:]]
        assert len(later) == len(AGENTS) - 1
        shares[order] = min(usage.cached_tokens / usage.input_tokens for usage in later)
    assert 0.0 < shares["persona_first"] < 0.5
    assert shares["chat_first"] > 0.8
