"""A turn's timeline as data: its calls as bars, a lane a node, over rounds or seconds.

Rounds are structure: a call that ends in round 5 had to wait for four others. Seconds
are drawn round by round: a round begins when the longest call of the round before it has
ended. Where nodes overlap that is the longest that the turn may take, not what it took.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from turnwise.tune.figures.palette import NO_NODE
from turnwise.tune.figures.whisker import counted

__all__ = ["CallBar", "Lane", "Scale", "Timeline", "timeline_of"]

MAX_ROUNDS = 10_000
"""More are no turn, but a broken file."""

_Seconds = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class Scale(StrEnum):
    """What a timeline is drawn over."""

    ROUNDS = "rounds"
    SECONDS = "seconds"

    @property
    def label(self) -> str:
        """Its axis, with the unit."""
        if self is Scale.ROUNDS:
            return "rounds since the turn began"
        return "seconds since the turn began"


class _Row(BaseModel):
    """What is read of one line of `ledger.jsonl`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    sequence: Annotated[int, Field(ge=1)]
    node: str | None = None
    role: str
    purpose: str
    outcome: str
    end_round: Annotated[int, Field(ge=0, le=MAX_ROUNDS)]
    path_seconds: _Seconds = 0.0
    is_speculative: bool = False
    is_simulated: bool = False
    repair: Annotated[int, Field(ge=0)] = 0

    @property
    def took_a_round(self) -> bool:
        """A call that the budget refused waits for nothing and nothing waits for it."""
        return self.outcome != "refused"


@dataclass(frozen=True, slots=True)
class CallBar:
    """One call.

    Args:
        sequence: in which order the calls were asked. Starts at 1.
        purpose: what for.
        role: which model.
        outcome: how it ended.
        start: where it starts on the scale.
        end: where it ends; equal to `start` for a call that the budget refused.
        seconds: how long it took on its path.
        row: its place in its lane, from 0; calls side by side have different ones.
        is_speculative: whether it was asked before it was known to be needed.
        repair: how often the question had been asked before. Starts at 0.
    """

    sequence: int
    purpose: str
    role: str
    outcome: str
    start: float
    end: float
    seconds: float
    row: int
    is_speculative: bool
    repair: int

    @property
    def is_refused(self) -> bool:
        """Whether the budget had no room for it; then nothing waited for it."""
        return self.outcome == "refused"


@dataclass(frozen=True, slots=True)
class Lane:
    """One node's calls.

    Args:
        node: its name.
        bars: in the order asked.
        rows: how many stand on top of each other at most; at least 1.
    """

    node: str
    bars: tuple[CallBar, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """One turn's calls.

    Args:
        lanes: in the order in which the nodes first asked.
        scale: what they are drawn over.
        reply_at: where the reply is out, on the scale; None when not given.
        where: which turn it is, in words; may be empty.
        is_simulated: whether a simulated model answered.
    """

    lanes: tuple[Lane, ...]
    scale: Scale
    reply_at: float | None
    where: str
    is_simulated: bool

    @property
    def end(self) -> float:
        """Where the last call ends."""
        return max((bar.end for lane in self.lanes for bar in lane.bars), default=0.0)

    @property
    def title(self) -> str:
        """What it is called."""
        return f"Calls of {self.where}" if self.where else "Calls of one turn"

    @property
    def caption(self) -> str:
        """What a reader has to know, in one paragraph."""
        bars = [bar for lane in self.lanes for bar in lane.bars]
        words = [f"One turn, {counted(len(bars), 'call')}."]
        if self.scale is Scale.SECONDS:
            words.append("A round is drawn from the end of the longest call before it.")
        if any(bar.is_speculative for bar in bars):
            words.append("Dashed: asked before it was known to be needed.")
        if any(bar.repair for bar in bars):
            words.append("Framed: asked again, the answer did not fit.")
        if any(bar.is_refused for bar in bars):
            words.append("Cross: refused by the budget.")
        if self.is_simulated:
            words.append("Simulated: no real model answered.")
        return " ".join(words)


def timeline_of(
    rows: Iterable[Mapping[str, Any]],
    *,
    scale: Scale = Scale.ROUNDS,
    reply_at: float | None = None,
    where: str = "",
) -> Timeline:
    """Return one turn's ledger rows as a timeline.

    Args:
        rows: lines of `ledger.jsonl`, of one turn.
        scale: what to draw over.
        reply_at: the round or the second at which the reply is out.
        where: which turn it is, in words.

    Raises:
        ValueError: when a row is none, or two rows have one sequence.
    """
    read = sorted((_read(row, place) for place, row in enumerate(rows)), key=_order)
    if len({row.sequence for row in read}) < len(read):
        raise ValueError("no ledger of a turn: two rows have the same `sequence`")
    starts = _round_starts(read)
    by_node: dict[str, list[_Row]] = {}
    for row in read:
        by_node.setdefault(row.node or NO_NODE, []).append(row)
    return Timeline(
        lanes=tuple(_lane(node, own, scale, starts) for node, own in by_node.items()),
        scale=scale,
        reply_at=reply_at,
        where=where,
        is_simulated=any(row.is_simulated for row in read),
    )


def _order(row: _Row) -> int:
    return row.sequence


def _read(row: Mapping[str, Any], place: int) -> _Row:
    try:
        return _Row.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ValueError(f"no ledger of a turn: row {place}: {where}: {first['msg']}") from error


def _round_starts(rows: Sequence[_Row]) -> tuple[float, ...]:
    """Return when each round begins in seconds, where the one before it has wholly ended.

    By number, from 0; the last is where the last round ends.
    """
    longest = [0.0] * (1 + max((row.end_round for row in rows), default=0))
    for row in rows:
        if row.took_a_round:
            longest[row.end_round] = max(longest[row.end_round], row.path_seconds)
    return tuple(accumulate(longest, initial=0.0))


def _lane(node: str, rows: Sequence[_Row], scale: Scale, starts: Sequence[float]) -> Lane:
    """Return a node's lane, its calls in the first row of the lane that is free."""
    bars: list[CallBar] = []
    free_from: list[float] = []
    for row in rows:
        start, end = _span(row, scale, starts)
        place = next((at for at, free in enumerate(free_from) if free <= start), len(free_from))
        free_from[place : place + 1] = [end]
        bars.append(
            CallBar(
                sequence=row.sequence,
                purpose=row.purpose,
                role=row.role,
                outcome=row.outcome,
                start=start,
                end=end,
                seconds=row.path_seconds,
                row=place,
                is_speculative=row.is_speculative,
                repair=row.repair,
            )
        )
    return Lane(node, tuple(bars), max(len(free_from), 1))


def _span(row: _Row, scale: Scale, starts: Sequence[float]) -> tuple[float, float]:
    if scale is Scale.ROUNDS:
        return max(row.end_round - row.took_a_round, 0), row.end_round
    if not row.took_a_round:
        return starts[row.end_round + 1], starts[row.end_round + 1]
    return starts[row.end_round], starts[row.end_round] + row.path_seconds
