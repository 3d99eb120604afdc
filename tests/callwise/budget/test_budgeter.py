"""The budgeter as its callers see it: outcomes, caps, sharing, repairs."""

import asyncio
from collections import Counter

import pytest
from pydantic import BaseModel

from callwise.budget import Budgeter, LedgerError, Limits, RoleLimits, ScopeKind
from callwise.calls import (
    Call,
    CallRefused,
    ConfigError,
    Endpoint,
    Outcome,
    Reply,
    ReportedUsage,
    Role,
    Sampling,
)
from callwise.calls.errors import (
    InvalidAnswer,
    UnknownRole,
)
from callwise.testing.fakes import ScriptedClient


class Score(BaseModel):
    """An answer with a form."""

    points: int


def outcomes(budgeter):
    """Return how many rows have each outcome."""
    return Counter(row.outcome for row in budgeter.ledger.rows)


async def test_a_served_call_settles_with_its_real_usage(make_budgeter, ask_for):
    """One served call has one row with the tokens and the price of its response."""
    budgeter = make_budgeter(ScriptedClient(["hello"], usage=ReportedUsage(100, 50, 20)))
    with budgeter.scope(ScopeKind.TURN, "1"), budgeter.scope(ScopeKind.NODE, "reasoner"):
        reply = await budgeter.ask(ask_for())
    (row,) = budgeter.ledger.rows
    assert reply.text == "hello"
    assert (row.outcome, row.attempts, row.requests) == (Outcome.SERVED, 1, 1)
    assert (row.input_tokens, row.output_tokens, row.cached_tokens) == (100, 50, 20)
    assert row.usd == pytest.approx(200e-6)
    assert (row.scope, row.turn, row.node) == ("run/turn:1/node:reasoner", "1", "reasoner")
    budgeter.ledger.check()


@pytest.mark.parametrize("callers", [32, 256])
@pytest.mark.parametrize(
    "limits",
    [
        Limits(max_calls=5),
        Limits(max_requests=5),
        # 12 input tokens (10 times the margin of 1.2) and 100 of output are reserved.
        Limits(max_tokens=5 * 112),
        Limits(max_usd=5 * (12 * 1e-6 + 100 * 2e-6)),
        Limits(roles={Role.MAIN: RoleLimits(max_calls=5)}),
    ],
    ids=["calls", "requests", "tokens", "usd", "role"],
)
async def test_no_limit_is_passed_by_concurrent_callers(make_budgeter, ask_for, limits, callers):
    """However many ask at once against quota for 5, exactly 5 are served and sent."""
    client = ScriptedClient(
        lambda call: asyncio.sleep(0, Reply("ok", usage=ReportedUsage(12, 100, usd=None)))
    )
    budgeter = make_budgeter(client)
    with budgeter.scope(ScopeKind.TURN, "1", limits=limits) as turn:
        answers = await asyncio.gather(
            *(
                budgeter.ask(ask_for(f"{n}", sampling=Sampling(max_tokens=100)))
                for n in range(callers)
            ),
            return_exceptions=True,
        )
    assert outcomes(budgeter) == {Outcome.SERVED: 5, Outcome.REFUSED: callers - 5}
    assert client.sent_requests == 5
    assert sum(isinstance(answer, CallRefused) for answer in answers) == callers - 5
    assert turn.statistics().counts.asked == callers
    budgeter.ledger.check()


async def test_a_refusal_names_scope_limit_value_and_what_was_asked(make_budgeter, ask_for):
    """A refusal names which limit of which scope had how much left for what."""
    budgeter = make_budgeter()
    limits = Limits(roles={Role.JUDGE: RoleLimits(max_calls=1)})
    with budgeter.scope(ScopeKind.TURN, "3", limits=limits):
        await budgeter.ask(ask_for("one", Role.JUDGE))
        with pytest.raises(CallRefused) as caught:
            await budgeter.ask(ask_for("two", Role.JUDGE))
        await budgeter.ask(ask_for("three", Role.MAIN))
    error = caught.value
    assert (error.scope, error.limit) == ("run/turn:3", "max_calls[judge]")
    assert (error.limit_value, error.used_value, error.asked_value) == (1, 1, 1)


async def test_an_answer_that_does_not_fit_is_asked_again_and_counted(make_budgeter, ask_for):
    """A repair is a separate call, with its own row and its own round."""
    budgeter = make_budgeter(ScriptedClient(["nonsense", '{"points": 7}']))
    reply = await budgeter.ask(ask_for(response_model=Score))
    assert reply.parsed == Score(points=7)
    first, repair = budgeter.ledger.rows
    assert (first.outcome, first.repair, repair.repair) == (Outcome.SERVED, 0, 1)
    assert first.error is not None
    assert repair.error is None
    assert (first.end_round, repair.end_round, budgeter.run.rounds) == (1, 2, 2)


async def test_a_model_that_never_fits_ends_in_invalid_answer(make_budgeter, ask_for):
    """The asking again is bounded by `max_repairs`, and the last problem is raised."""
    budgeter = make_budgeter(ScriptedClient(["one", "two", '{"points": "x"}']))
    with pytest.raises(InvalidAnswer, match="points"):
        await budgeter.ask(ask_for(response_model=Score, max_repairs=2))
    assert outcomes(budgeter) == {Outcome.SERVED: 3}
    budgeter.ledger.check()


async def test_an_answer_that_calls_tools_needs_no_form(make_budgeter, ask_for):
    """A reply that calls tools of the call and has no text is not parsed."""
    reply = Reply("", tool_calls=({"id": "1", "function": {"name": "f"}},))
    budgeter = make_budgeter(ScriptedClient([reply]))
    call = ask_for(response_model=Score, tools=({"type": "function"},))
    assert (await budgeter.ask(call)).tool_calls == reply.tool_calls


async def test_a_waiter_that_cannot_pay_is_refused_when_no_other_can(make_budgeter, ask_for, until):
    """If no remaining caller can pay, the work is cancelled and those that waited are refused."""
    client = ScriptedClient(lambda _: asyncio.Event().wait())
    budgeter = make_budgeter(client)
    rich = budgeter.scope(ScopeKind.TURN, "rich")
    poor = budgeter.scope(ScopeKind.TURN, "poor", limits=Limits(max_requests=0))
    with rich.entered():
        payer = asyncio.ensure_future(budgeter.ask(ask_for()))
    with poor.entered():
        waiter = asyncio.ensure_future(budgeter.ask(ask_for()))
    await until(lambda: client.calls)
    payer.cancel()
    with pytest.raises(CallRefused, match="max_requests=0"):
        await waiter
    with pytest.raises(asyncio.CancelledError):
        await payer
    assert {(row.turn, row.outcome, row.requests) for row in budgeter.ledger.rows} == {
        ("rich", Outcome.CANCELLED, 1),
        ("poor", Outcome.REFUSED, 0),
    }
    budgeter.ledger.check()


async def test_max_usd_without_prices_is_refused_when_it_is_set(make_budgeter):
    """A limit in USD that could not bind is an error, at the root and in any scope."""
    with pytest.raises(ConfigError, match=r"run: max_usd.*'?fake"):
        make_budgeter(prices=None, limits=Limits(max_usd=1))
    budgeter = make_budgeter(prices=None)
    limits = Limits(roles={Role.JUDGE: RoleLimits(max_usd=1)})
    with pytest.raises(ConfigError, match=r"run/turn:1: roles.judge.max_usd"):
        budgeter.scope(ScopeKind.TURN, "1", limits=limits)


async def test_secrets_reach_neither_rows_nor_errors(make_budgeter, ask_for):
    """A key that a foreign client puts into its error is taken out of it."""
    key = "super-secret-value-123"

    def leak(call: Call) -> str:
        raise RuntimeError(f"header was {key}")

    budgeter = make_budgeter(ScriptedClient(leak), secrets=[key])
    with pytest.raises(RuntimeError) as caught:
        await budgeter.ask(ask_for())
    assert key not in str(caught.value)
    assert key not in str(budgeter.ledger.rows[0].as_dict())


async def test_a_role_without_endpoint_is_not_counted(ask_for, make_budgeter):
    """Asking a role without an endpoint is a mistake in the settings, not a call."""
    budgeter = make_budgeter()
    del budgeter._endpoints[Role.EMBED]
    with pytest.raises(UnknownRole, match="embed"):
        await budgeter.ask(ask_for(role=Role.EMBED))
    assert budgeter.ledger.counts().asked == 0


async def test_nothing_is_asked_in_a_closed_scope(make_budgeter, ask_for):
    """A call in a scope that was closed is a bug of the caller and an error."""
    budgeter = make_budgeter()
    with budgeter.scope(ScopeKind.TURN, "1") as turn:
        pass
    with turn.entered(), pytest.raises(LedgerError, match="run/turn:1 is closed"):
        await budgeter.ask(ask_for())


async def test_two_budgeters_do_not_mix_their_scopes(make_budgeter, ask_for):
    """A call asked of a budgeter inside another one's scope is counted in its own run."""
    one, other = make_budgeter(), make_budgeter()
    with one.scope(ScopeKind.TURN, "1") as turn:
        await other.ask(ask_for())
    assert turn.statistics().counts.asked == 0
    assert other.ledger.rows[0].scope == "run"


async def test_a_lease_is_kept_for_its_own_call(make_budgeter, ask_for):
    """With a call reserved for the reply, the search is exhausted first and the reply comes."""
    budgeter = make_budgeter()
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_calls=3)) as turn:
        assert turn.hold("reply") == 1
        assert budgeter.advisory().calls_left == 2
        with budgeter.scope(ScopeKind.NODE, "lats_search"):
            results = await budgeter.ask_all([ask_for(f"{n}") for n in range(5)])
        assert [isinstance(result, CallRefused) for result in results] == [False] * 2 + [True] * 3
        with budgeter.scope(ScopeKind.NODE, "processor"):
            assert (await budgeter.ask(ask_for("r", lease="reply"))).text == "echo r"
            with pytest.raises(CallRefused):
                await budgeter.ask(ask_for("again", lease="reply"))
    budgeter.ledger.check()


async def test_an_endpoint_that_is_added_serves_its_role(ask_for):
    """Calls of its role reach it; a role that is served keeps its endpoint."""
    budgeter = Budgeter()
    with pytest.raises(UnknownRole):
        await budgeter.ask(ask_for())
    budgeter.add_endpoint(Role.MAIN, Endpoint("first", "m", ScriptedClient(["hello"])))
    assert (await budgeter.ask(ask_for())).text == "hello"
    with pytest.raises(ConfigError, match=r"role main is served by first \(m\) already"):
        budgeter.add_endpoint(Role.MAIN, Endpoint("second", "m", ScriptedClient(["no"])))
    assert budgeter.endpoint(Role.MAIN).name == "first"


def test_an_endpoint_without_prices_is_not_added_under_a_limit_in_usd():
    """The limit could not bind. Nothing is changed."""
    budgeter = Budgeter(limits=Limits(max_usd=1.0))
    with pytest.raises(ConfigError, match="max_usd cannot bind"):
        budgeter.add_endpoint(Role.MAIN, Endpoint("free", "m", ScriptedClient(["hello"])))
    assert budgeter.endpoint(Role.MAIN) is None
