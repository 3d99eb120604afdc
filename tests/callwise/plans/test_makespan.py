"""Predicted seconds, compared with budgeters that run in virtual time."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.budget.scope import ScopeKind
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls.call import Call, Message, Purpose, Role, Sampling
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import RateLimits, Rates
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.plans import Assumptions, InParallel, InSequence, PlannedCall, Step
from callwise.plans.bound import flatten
from callwise.plans.makespan import Makespan, makespan
from tests.callwise.budget.rate.limited_service import (
    BucketCount,
    Counter,
    LimitedService,
    SlidingCount,
    limited_budgeter,
    real_tokens,
)

PURPOSES = (Purpose.PLAN, Purpose.EXPAND, Purpose.JUDGE, Purpose.REMEMBER)
LATENCIES = {Purpose.PLAN: 2.0, Purpose.JUDGE: 0.5}


def planned(tokens: int, purpose: Purpose = Purpose.PLAN) -> PlannedCall:
    """Return one call of so many input tokens and an output of one."""
    return PlannedCall("node", Role.MAIN, purpose, tokens - 1, 1)


def predicted(steps: Step, load: LoadKnobs, *, users: int = 1, turns: int = 1) -> Makespan:
    """Return the prediction."""
    assumptions = Assumptions(1.0, LATENCIES, load=load, users=users, turns=turns)
    return makespan(flatten(steps), assumptions, reply_part="")


async def follow(step: Step, ask: "Asking") -> None:
    """Ask what a plan has, as a program would."""
    match step:
        case PlannedCall():
            await ask(step)
        case InSequence(steps):
            for each in steps:
                await follow(each, ask)
        case InParallel(steps):
            await asyncio.gather(*(follow(each, ask) for each in steps))


class Asking:
    """Asks planned calls of one user."""

    def __init__(self, budgeter: "object", numbers: "object") -> None:
        self.budgeter, self.numbers = budgeter, numbers

    async def __call__(self, call: PlannedCall) -> None:
        """Ask one."""
        tokens = call.input_tokens + 1
        text = f"{next(self.numbers)} {call.input_tokens} {tokens}"
        sampling = Sampling(temperature=1.0, max_tokens=1)
        messages = (Message("user", text),)
        await self.budgeter.ask(Call(call.role, call.purpose, messages, sampling=sampling))


def measured(steps: Step, load: LoadKnobs, *, users: int = 1, turns: int = 1) -> float:
    """Return the seconds that a budgeter takes in virtual time."""
    assert load.rate is not None
    assert load.schedule is not None
    service = LimitedService(
        SlidingCount if load.rate.window == "sliding" else BucketCount,
        load.rate.requests_per_minute or 1e9,
        load.rate.tokens_per_minute or 1e9,
        tokens_of=real_tokens,
        seconds_of=lambda call: LATENCIES.get(call.purpose, 1.0),
    )
    rate, knobs = load.rate, load.schedule

    async def main() -> None:
        budgeter = limited_budgeter(
            service, rate, concurrency=knobs.max_concurrency, estimator=Counter()
        )
        numbers = iter(range(1_000_000))

        async def one_user(name: str) -> None:
            with budgeter.scope(ScopeKind.CONVERSATION, name, user=name):
                for _ in range(turns):
                    await follow(steps, Asking(budgeter, numbers))

        await asyncio.gather(*(one_user(str(user)) for user in range(users)))

    run_in_virtual_time(main())
    assert service.refused == 0
    return service.ended_seconds


def knobs(concurrency: int = 5, **rate: object) -> LoadKnobs:
    """Return the knobs of a schedule and rate limits."""
    schedule = ScheduleKnobs(max_concurrency=concurrency, max_tasks=concurrency)
    return LoadKnobs(schedule=schedule, rate=RateLimits.model_validate(rate))


TURN = InSequence(
    (
        planned(800, Purpose.EXPAND),
        InParallel((planned(1500, Purpose.PLAN), planned(400, Purpose.JUDGE))),
        planned(900, Purpose.REMEMBER),
    )
)


@pytest.mark.parametrize(
    "load",
    [
        knobs(),
        knobs(concurrency=1),
        knobs(requests_per_minute=60),
        knobs(tokens_per_minute=40_000),
        knobs(concurrency=64, requests_per_minute=60, tokens_per_minute=90_000),
        knobs(concurrency=64, requests_per_minute=120, window="sliding"),
        knobs(concurrency=64, tokens_per_minute=60_000, burst_seconds=5),
        knobs(concurrency=64, user=Rates(requests_per_minute=30)),
    ],
    ids=lambda load: repr(load.rate.model_dump(exclude_unset=True)),
)
def test_predictions_are_within_a_tenth_of_a_run(load: LoadKnobs) -> None:
    """Eight users of ten turns, under each limit that can bind."""
    real = measured(TURN, load, users=8, turns=10)
    assert predicted(TURN, load, users=8, turns=10).seconds == pytest.approx(real, rel=0.1)


CALLS = st.builds(planned, st.integers(100, 3_000), st.sampled_from(PURPOSES))


def _compose(inner: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    steps = st.lists(inner, min_size=1, max_size=4).map(tuple)
    return st.builds(InSequence, steps) | st.builds(InParallel, steps)


def path_seconds(step: Step) -> float:
    """Return the seconds of the longest chain of calls."""
    match step:
        case InSequence(steps):
            return sum(map(path_seconds, steps))
        case InParallel(steps):
            return max(map(path_seconds, steps))
    return LATENCIES.get(step.purpose, 1.0)


@settings(max_examples=25, deadline=None)
@given(
    steps=st.recursive(CALLS, _compose, max_leaves=10),
    users=st.integers(1, 6),
    turns=st.integers(1, 3),
    slots=st.integers(1, 8),
)
def test_any_plan_and_its_run_keep_every_slot_busy(
    steps: Step, users: int, turns: int, slots: int
) -> None:
    """Whichever of the calls that are asked at one time goes first, both are within its limits.

    Source: Graham 1969, on multiprocessing timing anomalies.
    """
    load = knobs(slots)
    real = measured(steps, load, users=users, turns=turns)
    found = predicted(steps, load, users=users, turns=turns)
    path = turns * path_seconds(steps)
    work = sum(LATENCIES.get(task.call.purpose, 1.0) for task in flatten(steps).tasks)
    shared = users * turns * work / slots
    for seconds in (real, found.seconds):
        assert max(path, shared) - 1e-6 <= seconds <= shared + path * (1 - 1 / slots) + 1e-6
    assert max(found.turn_seconds) <= found.seconds + 1e-6
    assert len(found.turn_seconds) == users * turns


def test_kept_slots_are_for_critical_calls_alone_as_in_a_run():
    """Three slots, one kept: a plan of two seconds need not wait for calls to expand."""
    expand = InParallel(tuple(planned(10, Purpose.EXPAND) for _ in range(4)))
    plan = InParallel((*expand.steps, planned(10)))

    def seconds(steps, kept):
        schedule = ScheduleKnobs(max_concurrency=3, max_tasks=3, critical_slots=kept)
        return predicted(steps, LoadKnobs(schedule=schedule)).seconds

    assert [seconds(expand, kept) for kept in (0, 1, 2, 3)] == [2.0, 2.0, 4.0, 4.0]
    assert [seconds(plan, kept) for kept in (0, 1)] == [3.0, 2.0]
