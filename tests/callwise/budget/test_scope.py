"""Scopes: the tree, the context variable, leases, paths and counts."""

import asyncio
import contextvars

import pytest

from callwise.budget import Budgeter, LedgerError, Limits, ScopeKind, current_scope
from callwise.calls import (
    Call,
    CallRefused,
    ConfigError,
    Message,
    Outcome,
    Purpose,
    Role,
    errors,
)
from callwise.calls.retry import RetryPolicy
from callwise.testing.fakes import ScriptedClient
from callwise.tuning.notebook_output import show


async def test_the_path_names_every_level(make_budgeter, ask_for):
    """A row knows its scope, conversation, turn and node."""
    budgeter = make_budgeter()
    with (
        budgeter.scope(ScopeKind.CONVERSATION, "alice"),
        budgeter.scope(ScopeKind.TURN, "3"),
        budgeter.scope(ScopeKind.NODE, "lats_search"),
        budgeter.scope(ScopeKind.SEARCH),
    ):
        await budgeter.ask(ask_for())
    (row,) = budgeter.ledger.rows
    assert row.scope == "run/conv:alice/turn:3/node:lats_search/search"
    assert (row.conversation, row.turn, row.node) == ("alice", "3", "lats_search")


def test_leaving_a_scope_returns_to_the_one_around_it(make_budgeter):
    """Scopes nest, and outside of all of them a call is asked in the run."""
    budgeter = make_budgeter()
    assert current_scope() is None
    with budgeter.scope(ScopeKind.TURN, "1") as turn:
        with budgeter.scope(ScopeKind.NODE, "a") as node:
            assert current_scope() is node
        assert current_scope() is turn
        assert node.is_closed
    assert current_scope() is None
    assert budgeter.current is budgeter.run


async def test_a_scope_is_entered_by_handle_from_another_context(make_budgeter, ask_for):
    """A node that a graph server runs in a bare context finds its turn by the handle."""
    budgeter = make_budgeter()
    turn = budgeter.scope(ScopeKind.TURN, "1")

    async def node(name):
        with turn.entered(), budgeter.scope(ScopeKind.NODE, name, after=()):
            await budgeter.ask(ask_for(name))

    loop = asyncio.get_running_loop()
    await asyncio.gather(
        *(loop.create_task(node(name), context=contextvars.Context()) for name in "ab")
    )
    turn.close()
    assert {row.scope for row in budgeter.ledger.rows} == {
        "run/turn:1/node:a",
        "run/turn:1/node:b",
    }
    assert turn.rounds == 1


def test_a_scope_may_be_left_in_another_context(make_budgeter):
    """Entering and leaving need not happen in one context."""
    turn = make_budgeter().scope(ScopeKind.TURN, "1")
    contextvars.copy_context().run(turn.__enter__)
    turn.__exit__(None, None, None)
    assert turn.is_closed


async def test_serial_and_parallel_nodes_give_their_rounds(make_budgeter, ask_for):
    """A serial node waits for all before it; parallel ones only for those they name."""
    budgeter = make_budgeter()

    async def node(name, calls, after=None):
        with budgeter.scope(ScopeKind.NODE, name, after=after):
            for n in range(calls):
                await budgeter.ask(ask_for(f"{name}{n}"))

    with budgeter.scope(ScopeKind.TURN, "1"):
        await budgeter.ask(ask_for("an earlier turn"))
    with budgeter.scope(ScopeKind.TURN, "2") as turn:
        await node("detection", 1)
        await asyncio.gather(
            node("reasoner", 3, after=("detection",)),
            node("retriever", 1, after=("detection",)),
        )
        await node("processor", 1, after=("reasoner", "retriever"))
        await asyncio.gather(
            node("evolver", 1, after=("processor",)),
            node("memory_manager", 2, after=("processor",)),
        )
    assert turn.rounds == 7
    assert turn.end_of("retriever").round == 2
    assert turn.end_of("processor").round == 5
    assert turn.end_of("evolver").round == 6
    last = {row.node: row.end_round for row in budgeter.ledger.rows if row.turn == "2"}
    assert last["memory_manager"] == 7
    assert last["detection"] == 1


async def test_rounds_do_not_depend_on_which_node_ran_first(make_budgeter, ask_for):
    """Parallel nodes that happen to run one after the other have the same rounds."""
    budgeter = make_budgeter()
    with budgeter.scope(ScopeKind.TURN, "1") as turn:
        for name in ("a", "b", "c"):
            with budgeter.scope(ScopeKind.NODE, name, after=()):
                await budgeter.ask(ask_for(name))
    assert turn.rounds == 1


async def test_a_refused_call_is_no_round(make_budgeter, ask_for):
    """A refusal is not waited for."""
    budgeter = make_budgeter()
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_calls=1)) as turn:
        await budgeter.ask_all([ask_for(f"{n}") for n in range(3)], max_concurrency=1)
    assert turn.rounds == 1


async def test_every_scope_counts_what_is_below_it(make_budgeter, ask_for):
    """Counts add up from node to run, and split by node, role and purpose."""
    budgeter = make_budgeter()
    with budgeter.scope(ScopeKind.TURN, "1") as turn:
        for name, role in (("a", Role.FAST), ("b", Role.MAIN), ("b", Role.MAIN)):
            with budgeter.scope(ScopeKind.NODE, name) as node:
                await budgeter.ask(ask_for(f"{name}{role}", role, purpose=Purpose.REASON))
    assert node.statistics().counts.asked == 1
    statistics = turn.statistics()
    assert statistics.counts == budgeter.run.statistics().counts
    assert {name: counts.asked for name, counts in statistics.by_node.items()} == {"a": 1, "b": 2}
    assert {name: counts.requests for name, counts in statistics.by_role.items()} == {
        "fast": 1,
        "main": 2,
    }
    assert statistics.by_purpose["reason"].outcomes[Outcome.SERVED] == 3
    document = statistics.as_dict()
    assert (document["asked"], document["outcomes"]["served"], document["rounds"]) == (3, 3, 3)


def test_a_scope_is_opened_below_its_parent_and_in_an_open_one(make_budgeter):
    """A turn in a node, and anything in a closed scope, is a bug of the caller."""
    budgeter = make_budgeter()
    node = budgeter.scope(ScopeKind.NODE, "a")
    with pytest.raises(LedgerError, match="turn scope cannot be inside run/node:a"):
        node.open(ScopeKind.TURN, "1")
    node.close()
    node.close()
    with pytest.raises(LedgerError, match="is closed"):
        node.open(ScopeKind.SEARCH)
    with pytest.raises(LedgerError, match="is closed"):
        node.hold("reply")


async def test_a_call_may_outlive_its_scope(make_budgeter, ask_for):
    """A call in flight when its scope closes settles later, and advances the parent's path."""
    budgeter = make_budgeter()
    with budgeter.scope(ScopeKind.TURN, "1") as turn:
        task = asyncio.ensure_future(budgeter.ask(ask_for()))
        await asyncio.sleep(0)
    assert turn.statistics().counts.in_flight == 1
    await task
    assert turn.statistics().counts.in_flight == 0
    assert budgeter.run.rounds == 1
    budgeter.ledger.check()


def test_a_lease_holds_only_what_there_is(make_budgeter):
    """Two leases cannot hold the same call, and closing gives back both."""
    budgeter = make_budgeter()
    with budgeter.scope(ScopeKind.CONVERSATION, "a", limits=Limits(max_calls=2)):
        with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_calls=9)) as turn:
            assert turn.hold("reply", calls=1) == 1
            assert turn.hold("memory", calls=1, tokens=50, usd=0.5) == 1
            assert budgeter.advisory().calls_left == 0
            assert {lease.name for lease in turn.statistics().leases} == {"reply", "memory"}
            with pytest.raises(LedgerError, match="'reply' already"):
                turn.hold("reply")
            turn.release("reply")
            turn.release("reply")
            assert budgeter.advisory().calls_left == 1
        assert budgeter.advisory().calls_left == 2


def test_names_may_be_anything(make_budgeter):
    """Untrusted names, emoji and slashes included, are only ever text."""
    scope = make_budgeter().scope(ScopeKind.CONVERSATION, "../a/🙂\ud800")
    assert scope.conversation == "../a/🙂\ud800"


def test_users_and_tenants_are_inherited(make_budgeter):
    """A turn is for the user of its conversation; a scope inside may be for another one."""
    budgeter = make_budgeter()
    assert (budgeter.run.user, budgeter.run.tenant) == (None, None)
    with budgeter.scope(ScopeKind.CONVERSATION, "talk", user="ann", tenant="acme"):
        with budgeter.scope(ScopeKind.TURN, "1") as turn:
            assert (turn.user, turn.tenant) == ("ann", "acme")
        with budgeter.scope(ScopeKind.TURN, "2", user="bob") as turn:
            assert (turn.user, turn.tenant) == ("bob", "acme")


async def test_statistics_are_printed_as_a_small_table(make_budgeter, ask_for):
    """One row per node and one for all; the representation is one line, and HTML is escaped."""
    budgeter = make_budgeter()
    for name in ("answer", "<b>judge"):
        with budgeter.scope(ScopeKind.NODE, name):
            await budgeter.ask(ask_for(name))
    found = budgeter.run.statistics()
    lines = str(found).splitlines()
    assert lines[0].startswith("run: 2 calls, 2 rounds")
    assert lines[1].split()[:3] == ["node", "calls", "served"]
    rows = {line.split()[0]: line.split()[1:3] for line in lines[2:]}
    assert rows == {"answer": ["1", "1"], "<b>judge": ["1", "1"], "all": ["2", "2"]}
    assert repr(found) == f"ScopeStatistics({lines[0]})"
    assert "<td>&lt;b&gt;judge</td>" in found._repr_html_()


async def test_a_scope_that_is_kept_caps_a_user_over_many_requests(make_budgeter, ask_for):
    """`entered` may be repeated; the error of a closed scope names it, and so does the console."""
    budgeter = make_budgeter()
    kept = budgeter.scope("conversation", "sam", limits={"max_calls": 2})
    assert repr(kept) == "<Scope run/conv:sam: 0 calls asked; 0 of max_calls=2>"
    for request in "ab":
        with kept.entered(), budgeter.scope("node", f"<{request}>"):
            await budgeter.ask(ask_for(request))
    with kept.entered(), pytest.raises(CallRefused, match="max_calls=2, 2 used"):
        await budgeter.ask(ask_for("c"))
    assert repr(kept) == "<Scope run/conv:sam: 3 calls asked; 2 of max_calls=2>"
    assert [line.split()[0] for line in str(kept.statistics()).splitlines()[2:]] == [
        "-",
        "<a>",
        "<b>",
        "all",
    ]
    kept.close()
    with kept, pytest.raises(LedgerError, match=r"is closed.*with scope\.entered\(\):"):
        await budgeter.ask(ask_for("d"))
    assert repr(kept).startswith("<Scope run/conv:sam: closed, ")


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        (5, r"limits are `Limits\(max_calls=\.\.\.\)`, got 5"),
        ({"max_cals": 5}, "limits: max_cals: Extra inputs are not permitted; they have max_calls"),
        ({"max_calls": -1}, "limits: max_calls: Input should be greater"),
    ],
)
def test_limits_that_are_none(make_budgeter, limits, problem):
    """An error names the value and what limits there are; so does one for a kind."""
    budgeter = make_budgeter()
    with pytest.raises(ConfigError, match=problem):
        budgeter.scope(ScopeKind.TURN, "1", limits=limits)
    with pytest.raises(ConfigError, match=r"'user' is no kind of scope\. Use one of: ScopeKind"):
        budgeter.scope("user", "0")


async def test_the_known_part_of_tokens_is_shown_next_to_what_is_unknown(make_budgeter, ask_for):
    """One failed request does not hide the tokens of the others; what was charged is shown too."""
    answers = ["yes", errors.ServerFailed("down", status=500)]
    budgeter = make_budgeter(
        ScriptedClient(answers),
        retry=RetryPolicy(server_failed_attempts=1),
        limits=Limits(max_tokens=5000, max_usd=1),
    )
    await budgeter.ask_all([ask_for("a"), ask_for("b")], max_concurrency=1)
    columns, rows = budgeter.run.statistics().table()
    found = dict(zip(columns, rows[-1], strict=True))
    usage = budgeter.ledger.rows[0].usage
    assert found["unknown_usage"] == 1
    assert (found["input_tokens"], found["usd"]) == (usage.input_tokens, usage.usd)
    assert found["charged_tokens"] > usage.tokens + 1024
    assert found["charged_usd"] > found["usd"] > 0
    assert "unknown usage" in str(budgeter.run.statistics())


async def test_every_table_of_a_simulated_scope_has_the_label():
    """Of the run, a conversation, and a scope without calls, which has none."""
    budgeter = Budgeter.simulated()
    call = Call(Role.MAIN, Purpose.OTHER, (Message("user", "Hello."),))
    with budgeter.scope(ScopeKind.CONVERSATION, "a") as asked:
        await budgeter.ask(call)
    for scope in (budgeter.run, asked):
        assert "1 round (simulated)" in str(scope.statistics())
        assert scope.statistics().as_dict()["is_simulated"]
        assert "(simulated)" in repr(show(scope))
    assert not budgeter.scope(ScopeKind.TURN, "1").statistics().is_simulated
    await budgeter.aclose()
