"""A turn's timeline as data: its calls as bars, a lane for each node, over rounds or seconds.

Rounds are structure: a call that ends in round 5 waited for four others. Seconds are drawn round
by round: a round begins when the longest call of the round before it has ended. Where nodes
overlap that is the longest time that the turn may take, not its duration.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from callwise.calls.reply import is_virtual_time, seconds_name
from callwise.report.turn_text import round_starts
from callwise.text_layout import counted
from callwise.tuning.figures.palette import NO_NODE

__all__ = ["CallBar", "DrawnCall", "TimeScale", "Timeline", "TimelineLane", "timeline_of"]

MAX_ROUNDS = 10_000
"""A file with more is damaged."""


class TimeScale(StrEnum):
    """The axis of a timeline."""

    ROUNDS = "rounds"
    SECONDS = "seconds"


class DrawnCall(BaseModel):
    """The fields of a line of `ledger.jsonl` that are drawn."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    sequence: Annotated[int, Field(ge=1)]
    """Its place in the order in which the calls were asked."""
    node: str | None = None
    role: str
    purpose: str
    outcome: str
    end_round: Annotated[int, Field(ge=0, le=MAX_ROUNDS)]
    path_seconds: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    """Duration on the critical path."""
    is_speculative: bool = False
    is_simulated: bool = False
    endpoint: str = ""
    repair: Annotated[int, Field(ge=0)] = 0
    """Number of the repair; 0 for the first call."""

    @property
    def is_virtual(self) -> bool:
        """Whether its seconds are virtual, see `is_virtual_time`."""
        return is_virtual_time(is_simulated=self.is_simulated, endpoint=self.endpoint)

    @property
    def is_refused(self) -> bool:
        """Whether the budget refused it; then nothing waited for it."""
        return self.outcome == "refused"


@dataclass(frozen=True, slots=True)
class CallBar:
    """One call, from `start` to `end` on the scale; they are equal where the budget refused it.

    Args:
        row: its row in the lane, from 0; overlapping calls have different rows.
    """

    call: DrawnCall
    start: float
    end: float
    row: int


@dataclass(frozen=True, slots=True)
class TimelineLane:
    """One node's calls."""

    node: str
    bars: tuple[CallBar, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """One turn's calls.

    Args:
        reply_at: the moment of the reply, on the scale; None when not given.
    """

    lanes: tuple[TimelineLane, ...]
    scale: TimeScale
    reply_at: float | None
    where: str
    is_simulated: bool

    @property
    def end(self) -> float:
        """The end of the last call."""
        return max((bar.end for lane in self.lanes for bar in lane.bars), default=0.0)

    @property
    def axis_title(self) -> str:
        """The title of the axis; seconds are named as in a report."""
        unit = self.scale.value
        if self.scale is TimeScale.SECONDS:
            calls = (bar.call for lane in self.lanes for bar in lane.bars)
            unit = seconds_name(call.is_virtual for call in calls if call.path_seconds)
        return f"{unit} since the turn began (fewer is better)"

    @property
    def title(self) -> str:
        """The title of the figure."""
        return f"Calls of {self.where}" if self.where else "Calls of one turn"

    @property
    def caption(self) -> str:
        """The caption of the figure."""
        bars = [bar for lane in self.lanes for bar in lane.bars]
        refused = sum(bar.call.is_refused for bar in bars)
        words = [f"One turn, {counted(len(bars) - refused, 'call')}."]
        if self.scale is TimeScale.SECONDS:
            words.append("A round is drawn from the end of the longest call before it.")
        if any(bar.call.is_speculative for bar in bars):
            words.append("Dashed: asked before it was known to be needed.")
        if any(bar.call.repair for bar in bars):
            words.append("Framed: asked again, the answer did not fit.")
        if refused:
            words.append(f"Cross: refused by the budget, {refused}.")
        if self.is_simulated:
            words.append("Simulated: no real model answered.")
        return " ".join(words)


def timeline_of(
    rows: Iterable[Mapping[str, Any]],
    *,
    scale: TimeScale = TimeScale.ROUNDS,
    reply_at: float | None = None,
    where: str = "",
) -> Timeline:
    """Return one turn's ledger rows as a timeline.

    Args:
        reply_at: the round or the second of the reply.

    Raises:
        ValueError: when a row is not a ledger row, or two rows have one sequence.
    """
    read = sorted(
        (_read(row, place) for place, row in enumerate(rows)), key=lambda row: row.sequence
    )
    if len({row.sequence for row in read}) < len(read):
        raise ValueError("not the ledger of one turn: two rows have the same `sequence`")
    starts = round_starts(
        (row.end_round, 0.0 if row.is_refused else row.path_seconds) for row in read
    )
    by_node: dict[str, list[DrawnCall]] = {}
    for row in read:
        by_node.setdefault(row.node or NO_NODE, []).append(row)
    return Timeline(
        lanes=tuple(_lane(node, own, scale, starts) for node, own in by_node.items()),
        scale=scale,
        reply_at=reply_at,
        where=where,
        is_simulated=any(row.is_simulated for row in read),
    )


def _read(row: Mapping[str, Any], place: int) -> DrawnCall:
    try:
        return DrawnCall.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ValueError(
            f"not the ledger of one turn: row {place}: {where}: {first['msg']}"
        ) from error


def _lane(
    node: str, rows: Sequence[DrawnCall], scale: TimeScale, starts: Sequence[float]
) -> TimelineLane:
    """Return a node's lane, each call in the first free row."""
    bars: list[CallBar] = []
    free_from: list[float] = []
    for row in rows:
        start, end = _span(row, scale, starts)
        place = next((at for at, free in enumerate(free_from) if free <= start), len(free_from))
        free_from[place : place + 1] = [end]
        bars.append(CallBar(row, start, end, place))
    return TimelineLane(node, tuple(bars), max(len(free_from), 1))


def _span(row: DrawnCall, scale: TimeScale, starts: Sequence[float]) -> tuple[float, float]:
    if scale is TimeScale.ROUNDS:
        return max(row.end_round - (not row.is_refused), 0), row.end_round
    if row.is_refused:
        return starts[row.end_round + 1], starts[row.end_round + 1]
    return starts[row.end_round], starts[row.end_round] + row.path_seconds
