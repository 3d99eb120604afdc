"""Seconds of recorded calls that are sent once more, and of calls that a recording lacks."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Protocol

from callwise.budget.usage import Usage
from callwise.calls.call import Purpose, Role
from callwise.calls.reply import seconds_name
from callwise.plans.bound import FlatPlan, InParallel, InSequence, PlannedCall, flatten
from callwise.plans.makespan import Assumptions, Makespan, makespan_of
from callwise.text_layout import counted

__all__ = ["RecordedRow", "recorded_json", "recorded_makespan", "recorded_rows", "seconds_to_buy"]


class RecordedRow(Protocol):
    """A row of a run's ledger, as far as it shows when its call could be sent."""

    @property
    def conversation(self) -> str | None:
        """The conversation, or None outside of one."""

    @property
    def turn(self) -> object:
        """The turn, or None outside of one."""

    @property
    def node(self) -> str | None:
        """The node."""

    @property
    def role(self) -> Role:
        """The role of the model."""

    @property
    def purpose(self) -> Purpose:
        """The purpose."""

    @property
    def usage(self) -> Usage:
        """The usage of the call."""

    @property
    def is_virtual(self) -> bool:
        """Whether its seconds are virtual: a simulated model in process answered it."""

    @property
    def end_round(self) -> int | None:
        """The round of its turn that it ended in; None where that is not known."""


def recorded_makespan(rows: Iterable[RecordedRow], assumptions: Assumptions) -> Makespan:
    """Return the seconds that the calls of a run take when they are sent once more.

    Its conversations run at the same time, their turns one after another. In a turn the calls of
    one round wait for all of the round before; calls that were not sent take no time.
    """
    conversations: dict[str, dict[object, list[RecordedRow]]] = {}
    for row in rows:
        if row.conversation is not None and row.turn is not None and row.usage.requests:
            conversations.setdefault(row.conversation, {}).setdefault(row.turn, []).append(row)
    plans = [[_plan(turn) for turn in turns.values()] for turns in conversations.values()]
    return makespan_of(plans, assumptions)


def _plan(rows: Sequence[RecordedRow]) -> FlatPlan:
    """Return the calls of one turn, round by round; one by one where rounds are not known."""
    rounds = (
        InParallel(tuple(_planned(row) for row in together))
        for _, group in groupby(sorted(rows, key=_round), key=_round)
        for together in _together(list(group))
    )
    return flatten(InSequence(tuple(rounds)))


def _round(row: RecordedRow) -> int:
    return row.end_round or 0


def _together(rows: list[RecordedRow]) -> list[list[RecordedRow]]:
    return [rows] if rows[0].end_round else [[row] for row in rows]


def _planned(row: RecordedRow) -> PlannedCall:
    usage = row.usage
    return PlannedCall(
        row.node or "", row.role, row.purpose, usage.input_tokens, usage.output_tokens
    )


def recorded_rows(rows: Sequence[RecordedRow], assumptions: Assumptions) -> list[str]:
    """Return a sentence on the seconds of a recorded run that is sent once more; or nothing."""
    if not rows:
        return []
    found = recorded_makespan(rows, assumptions)
    requests = sum(row.usage.requests for row in rows)
    unit = seconds_name(row.is_virtual for row in rows if row.usage.requests)
    waits = ", ".join(f"{limit} {count:,}" for limit, count in found.delayed.items())
    sentence = (
        f"The recorded run once more, its conversations at the same time: {requests:,} requests "
        f"in {counted(len(found.turn_seconds), 'turn')} take {found.seconds:,.1f} {unit}"
    )
    return [f"{sentence} (waited for: {waits})." if waits else f"{sentence}."]


def recorded_json(rows: Sequence[RecordedRow], assumptions: Assumptions) -> dict[str, Any]:
    """Return the same as plain JSON."""
    if not rows:
        return {}
    found = recorded_makespan(rows, assumptions)
    delayed: Mapping[str, int] = found.delayed
    return {"recorded": {"seconds": round(found.seconds, 6), "delayed": dict(delayed)}}


def seconds_to_buy(
    calls: int, turns: int, tokens: int | None, max_concurrency: int, assumptions: Assumptions
) -> float:
    """Return the seconds that calls take which a recording lacks, about.

    Args:
        turns: turns that lack them, each as many as another, one after another.
        tokens: of all of them; None takes none.
        max_concurrency: turns at the same time.
    """
    per_turn = math.ceil(calls / turns)
    each = PlannedCall("", Role.MAIN, Purpose.OTHER, round((tokens or 0) / calls))
    plan = flatten(InSequence((each,) * per_turn))
    side_by_side = min(max_concurrency, turns)
    after_another = [
        turns // side_by_side + (n < turns % side_by_side) for n in range(side_by_side)
    ]
    conversations = [[plan] * count for count in after_another]
    latencies = assumptions.latencies.values()
    if latencies:
        mean_seconds = math.fsum(latencies) / len(latencies)
        assumptions = replace(assumptions, latency_seconds=mean_seconds, latencies={}, tokens={})
    return makespan_of(conversations, assumptions).seconds
