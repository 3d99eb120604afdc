"""The ledger: every call once, given to every sink, and adding up."""

import json

import pytest

from callwise.budget import LedgerError, ScopeKind
from callwise.budget.counters import Counters
from callwise.budget.critical_path import CriticalPathTrack
from callwise.budget.in_flight import InFlightCall
from callwise.budget.layers.ledger import MAX_KEPT_ROWS, Ledger
from callwise.calls import Outcome
from callwise.testing.fakes import ScriptedClient


async def test_rows_go_to_the_sinks_and_can_be_drained(make_budgeter, ask_for):
    """A sink is called with each row as it is written; draining takes rows out once."""
    received = []
    budgeter = make_budgeter(sinks=[received.append])
    await budgeter.ask(ask_for("a"))
    await budgeter.ask(ask_for("b"))
    assert budgeter.ledger.drain() == received
    assert budgeter.ledger.drain() == []
    assert budgeter.ledger.counts().asked == 2
    budgeter.ledger.check()


async def test_a_bounded_ledger_keeps_the_latest_rows(make_budgeter, ask_for):
    """Memory stays bounded, and the counts miss nothing."""
    budgeter = make_budgeter(max_kept_rows=2)
    for n in range(5):
        await budgeter.ask(ask_for(f"{n}"))
    assert [row.sequence for row in budgeter.ledger.rows] == [4, 5]
    assert budgeter.ledger.counts().outcomes[Outcome.SERVED] == 5
    budgeter.ledger.check()


async def test_a_turn_has_its_own_rows(make_budgeter, ask_for):
    """They are taken once, and those of other turns are not among them; memory is bounded."""
    budgeter = make_budgeter(max_kept_rows=0)
    with budgeter.scope(ScopeKind.TURN, "1") as first, budgeter.scope(ScopeKind.NODE, "n"):
        await budgeter.ask(ask_for("a"))
        await budgeter.ask(ask_for("b"))
    with budgeter.scope(ScopeKind.TURN, "2") as second:
        await budgeter.ask(ask_for("c"))
    assert [row.sequence for row in first.take_rows()] == [1, 2]
    assert [row.sequence for row in second.take_rows()] == [3]
    assert (first.take_rows(), budgeter.run.take_rows()) == ([], [])
    assert Ledger(budgeter.run)._rows.maxlen == MAX_KEPT_ROWS


async def test_a_failing_sink_costs_no_answer_and_is_not_forgotten(make_budgeter, ask_for, caplog):
    """The call is answered and counted; the check raises what the sink did."""

    def full(row):
        raise OSError("no space left on device")

    budgeter = make_budgeter(sinks=[full])
    assert (await budgeter.ask(ask_for())).text == "echo hi"
    assert len(budgeter.ledger.rows) == 1
    with pytest.raises(LedgerError, match=r"1 rows did not reach a sink: OSError\('no space"):
        budgeter.ledger.check()
    assert "lost ledger row 1" in caplog.text


async def test_a_row_is_json(make_budgeter, ask_for):
    """A row as a dict is plain JSON, in the order of its fields."""
    budgeter = make_budgeter(ScriptedClient(["x"]), prices=None)
    with budgeter.scope(ScopeKind.TURN, "1"):
        await budgeter.ask(ask_for(speculative=True))
    document = json.loads(json.dumps(budgeter.ledger.rows[0].as_dict()))
    assert list(document)[:4] == ["sequence", "scope", "conversation", "turn"]
    assert document["outcome"] == "served"
    assert document["usd"] is None
    assert document["is_speculative"] is True
    assert (document["requests"], document["sent"]) == (1, 1)


async def test_counters_that_do_not_add_up_are_an_error(make_budgeter, ask_for):
    """A call that was begun and never ended, or ended twice, is found."""
    budgeter = make_budgeter()
    await budgeter.ask(ask_for())
    counters = Counters()
    counters.begin()
    counters.check("run")
    counters.end(budgeter.ledger.rows[0])
    counters.check("run")
    counters.end(budgeter.ledger.rows[0])
    with pytest.raises(LedgerError, match="asked 1, but 2 ended and -1 are under way"):
        counters.check("run")
    budgeter.run.counters.begin()
    with pytest.raises(
        LedgerError, match="1 calls have a number and 1 a row, but the scopes counted 2"
    ):
        budgeter.ledger.check()


async def test_an_outcome_is_set_once(make_budgeter, ask_for):
    """A call that ended cannot end again."""
    budgeter = make_budgeter()
    call = InFlightCall(ask_for(), budgeter.run, CriticalPathTrack(budgeter.run.position))
    budgeter._call_path.layers["ledger"]._open(call)
    with pytest.raises(LedgerError, match="has not ended"):
        call.row(None)
    call.finish(Outcome.SERVED)
    with pytest.raises(LedgerError, match="call 1 ended served, and then failed"):
        call.finish(Outcome.FAILED)
