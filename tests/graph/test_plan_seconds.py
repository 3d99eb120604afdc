"""Predicted seconds of the reply pipeline, compared with sessions that run in virtual time."""

import asyncio
from dataclasses import replace
from typing import NamedTuple

import pytest

from callwise.budget.clock import LoopClock
from callwise.budget.ledger_row import LedgerRow
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Endpoint, Role
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.snapshot_memory import SnapshotBackend
from callwise.recordings.app_protocol import TurnInput
from callwise.simulator import SimulatedClient, SimulatedSettings
from graph.app import app
from graph.engine import make_engine
from graph.session import ReplySession
from graph.settings import PipelineSettings
from tests.callwise.budget.rate.limited_service import BucketCount, LimitedService, real_tokens

LATENCY_SECONDS = 1.5


class Run(NamedTuple):
    """A session that was run."""

    seconds: float
    rows: list[LedgerRow]
    refused: int


def run(settings: PipelineSettings, *, users: int, turns: int) -> Run:
    """Return how long a session takes, and its rows."""
    rate = settings.load.rate
    assert rate is not None
    service = LimitedService(
        BucketCount,
        rate.requests_per_minute or 1e9,
        rate.tokens_per_minute or 1e9,
        tokens_of=real_tokens,
        seconds_of=lambda _: LATENCY_SECONDS,
        inner=SimulatedClient(SimulatedSettings(seed=1)),
    )

    rows: list[LedgerRow] = []

    async def main() -> float:
        endpoints = {role: Endpoint("limited", "simulated", service) for role in Role}
        memory = ConversationMemory(SnapshotBackend())
        sinks = (rows.append,)
        engine = make_engine(settings, endpoints, memory, sinks=sinks, clock=LoopClock())
        session = ReplySession(engine, None, is_simulated=True)

        async def talk(user: str) -> None:
            for turn in range(turns):
                await session.run_turn(
                    TurnInput(
                        conversation_id=user,
                        user_id=user,
                        turn=None,
                        user_text=f"{user} says hello {turn}",
                    )
                )

        await asyncio.gather(*(talk(f"user {number}") for number in range(users)))
        engine.close()
        await engine.budgeter.aclose()
        return asyncio.get_running_loop().time()

    return Run(run_in_virtual_time(main()), rows, service.refused)


@pytest.mark.parametrize("preset", ["classic", "classic_parallel"])
@pytest.mark.parametrize(
    ("load", "users", "turns"),
    [
        ({}, 1, 1),
        ({"requests_per_minute": 20}, 1, 3),
        ({"requests_per_minute": 60}, 4, 3),
        ({"tokens_per_minute": 20_000}, 4, 2),
    ],
)
def test_a_plan_is_within_a_tenth_of_a_run(
    preset: str, load: dict[str, float], users: int, turns: int
) -> None:
    """Both presets of the specification, alone and with several users, at limits that bind."""
    settings = app.settings(preset, ["search.early_exit.enabled=false"])
    knobs = LoadKnobs.model_validate(
        {"schedule": {"max_concurrency": 8, "max_tasks": 8}, "rate": load}
    )
    settings = settings.model_copy(update={"load": knobs})
    real = run(settings, users=users, turns=turns)
    assert real.refused == 0
    plan = app.plan(settings)
    assumptions = replace(plan.assumptions, users=users, turns=turns).with_record(real.rows)
    predicted = plan.measured(assumptions)[0]
    assert len(real.rows) == predicted.counts.asked * users * turns
    assert predicted.makespan.seconds == pytest.approx(real.seconds, rel=0.1)


def test_roles_with_their_own_endpoints_have_their_own_limits() -> None:
    """Judges at a slow endpoint wait; roles at one endpoint share its limit. Two fit at first."""
    local = "{kind: openai, base_url: 'http://127.0.0.1:9/v1', model: a}"
    slow = "{model: b, load: {rate: {requests_per_minute: 2}}}"
    overrides = [f"endpoints={{main: {local}, judge: {slow}}}", "search.early_exit.enabled=false"]
    apart = app.plan(app.settings("classic", overrides))
    assert apart.assumptions.endpoints[Role.MAIN] == apart.assumptions.endpoints[Role.FAST]
    assert apart.assumptions.endpoints[Role.MAIN] != apart.assumptions.endpoints[Role.JUDGE]
    measured = apart.measured()[0]
    judges = measured.counts.by_role[Role.JUDGE]
    assert measured.makespan.delayed == {"requests_per_minute": judges - 2}
    together = app.plan(app.settings("classic", ["load.rate.requests_per_minute=2"]))
    asked = together.measured()[0].counts.asked
    assert together.measured()[0].makespan.delayed == {"requests_per_minute": asked - 2}


def test_a_session_asks_for_its_user_and_agent() -> None:
    """So the limits of one user bind in all its conversations, and in no other's."""
    settings = app.settings("instant").model_copy(
        update={"load": LoadKnobs.model_validate({"rate": {"user": {"requests_per_minute": 2}}})}
    )
    real = run(settings, users=2, turns=4)
    per_user = len(real.rows) / 2
    assert real.seconds == pytest.approx((per_user - 2) * 30, abs=10)
