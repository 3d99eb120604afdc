"""Costs of messages as their calls end: sums, trees of calls, and changes after they were shown."""

from contextlib import ExitStack

import pytest

from callwise.budget import Budgeter
from callwise.budget.scope import ScopeKind
from callwise.calls import Call, Message, Purpose, Role
from callwise.serve.live_costs import KEPT_CALLS, LATE_COSTS, LiveCosts


@pytest.fixture
async def asked():
    """Return costs, and a function that asks calls within a turn and nodes."""
    costs = LiveCosts("main")
    budgeter = Budgeter.simulated(max_calls=None, sinks=[costs.on_row])

    async def ask(turn, *nodes, count=1):
        with ExitStack() as stack:
            scope = stack.enter_context(budgeter.scope(ScopeKind.TURN, turn))
            for node in nodes:
                scope = stack.enter_context(scope.open(ScopeKind.NODE, node))
            for number in range(count):
                message = Message("user", f"{turn} {nodes} {number}")
                await budgeter.ask(Call(Role.MAIN, Purpose.OTHER, (message,)))

    yield costs, ask
    await budgeter.aclose()


async def test_a_reply_has_the_calls_of_its_wake_and_its_own(asked):
    """Those of nodes within the agent's included; sums leave out those of the wake."""
    costs, ask = asked
    await ask("wake:main:7", "intent")
    await ask("wake:main:7", "agent:a", "search", "judge", count=2)
    await ask("wake:main:7", "agent:a")
    await ask("wake:main:7", "agent:b")
    found = costs.cost_of("main:7:a")
    assert (found["turn"], found["calls"], found["requests"]) == ("wake", 3, 3)
    assert [each["nodes"] for each in found["calls_of_turn"]] == [["intent"]]
    assert [each["nodes"] for each in found["calls_of_reply"]] == [
        ["agent:a", "search", "judge"],
        ["agent:a", "search", "judge"],
        ["agent:a"],
    ]
    assert [each["request"] for each in found["calls_of_reply"]] == [2, 3, 4]
    assert costs.cost_of("main:7:b")["calls"] == 1
    assert costs.cost_of("main:8:a") is None


async def test_a_message_that_addresses_an_agent_is_the_turn_of_its_reply(asked):
    """Turns of other rooms have no message here, whatever their names contain."""
    costs, ask = asked
    await ask("say:main:m1", "agent:a")
    await ask("say:other:m1", "agent:a")
    await ask("wake:ma/in:node:agent:b", "agent:a")
    assert costs.cost_of("main:@m1:a")["turn"] == "say"
    assert costs.cost_of("main:@m1:a")["calls"] == 1
    assert len(costs.to_json()["requests"]) == 3


async def test_a_tree_of_very_many_calls_is_cut_and_counted(asked):
    """The sums are of all."""
    costs, ask = asked
    await ask("wake:main:7", "agent:a", count=KEPT_CALLS + 3)
    found = costs.cost_of("main:7:a")
    assert (found["calls"], len(found["calls_of_reply"])) == (KEPT_CALLS + 3, KEPT_CALLS)
    assert found["calls_left_out"] == 3


async def test_costs_that_change_after_they_were_shown_are_in_the_status(asked):
    """Such as those of a call in the background; the newest of them."""
    costs, ask = asked
    await ask("wake:main:7", "agent:a")
    await ask("wake:main:7", "agent:b")
    costs.cost_of("main:7:a")
    assert costs.to_json()["late_costs"] == {}
    await ask("wake:main:7", "agent:a", "memory")
    await ask("wake:main:7", "agent:b", "memory")
    late = costs.to_json()["late_costs"]
    assert list(late) == ["main:7:a"]
    assert late["main:7:a"]["calls"] == 2
    for number in range(LATE_COSTS + 3):
        await ask("wake:main:8", f"agent:a{number}")
        costs.cost_of(f"main:8:a{number}")
        await ask("wake:main:8", f"agent:a{number}", "memory")
    assert list(costs.to_json()["late_costs"])[-1] == f"main:8:a{LATE_COSTS + 2}"
    assert len(costs.to_json()["late_costs"]) == LATE_COSTS
