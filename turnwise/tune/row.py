"""One row of a sweep: one setting on one turn, and how much of it is known.

A row is tidy: one observation a row, one variable a column. `columns_of` flattens it for
CSV and Parquet; the maps by role, purpose and node become one column a name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Standing", "TurnRow", "columns_of"]


class Standing(StrEnum):
    """How much of a turn under a setting stands in the recording."""

    EXACT = "exact"
    """Every call that it makes: the row is what a real run gives."""
    BOUNDED = "bounded"
    """Calls up to `diverged_at` less one; what follows was played with answers of other calls."""
    MISSING = "missing"
    """The same, but nothing in the recording could stand in: what follows is the plan's."""


@dataclass(frozen=True, slots=True)
class TurnRow:
    """One setting on one turn.

    Args:
        setting: name of the setting; unique in its sweep.
        conversation: the conversation's id.
        turn: its number there. Starts at 0.
        seed: the seed that the setting ran with.
        standing: how much of it is known.
        diverged_at: the first call that is not recorded, counted from 1 in the order asked;
            None where all are.
        missing_calls: calls that a real run would have to buy: those not recorded, and
            for `missing` those that the plan still expects; 0 where all are recorded.
        missing_tokens: their tokens, input and output, estimated; None when not known.
        missing_usd: their price, estimated; None when not known, which is not 0.
        asked: calls, those that a limit refused left out; an estimate past `diverged_at`.
        requests: HTTP requests that the recording paid, and one for each missing call.
        asked_by_role: calls by role.
        asked_by_purpose: calls by purpose.
        asked_by_node: calls by node.
        requests_by_role: requests by role.
        requests_by_purpose: requests by purpose.
        input_tokens: known prompt tokens; estimated for missing calls.
        output_tokens: known answer tokens; estimated for missing calls.
        usd: cost, the estimated one of missing calls included; None when not known.
        rounds_reply: rounds until the reply is out.
        rounds_turn: rounds until the turn's end.
        seconds_reply: path seconds until the reply, as recorded, never a replay's own clock;
            None for `missing`.
        seconds_turn: the same until the turn's end.
        is_reply_exact: whether the reply is what a real run gives: every call before it
            is recorded, whatever becomes of those after it.
        reply_id: digest of the reply's text, 16 hexadecimal digits; empty without a reply.
        is_simulated: whether a simulated model gave any answer.
        quality: quality of the reply; None when not known. An estimate where
            `is_reply_exact` is false: means over rows need `quality_spread` as well.
        quality_spread: standard deviation of that estimate; 0 where it was measured.
        quality_by: who judged: `truth:simulated`, `referee:<model>`, `human:<file>`; empty
            where nobody did.
    """

    setting: str
    conversation: str
    turn: int
    seed: int
    standing: Standing
    diverged_at: int | None
    missing_calls: int
    missing_tokens: int | None
    missing_usd: float | None
    asked: int
    requests: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    rounds_reply: int
    rounds_turn: int
    seconds_reply: float | None
    seconds_turn: float | None
    is_reply_exact: bool
    reply_id: str
    is_simulated: bool
    asked_by_role: Mapping[str, int] = field(default_factory=dict)
    asked_by_purpose: Mapping[str, int] = field(default_factory=dict)
    asked_by_node: Mapping[str, int] = field(default_factory=dict)
    requests_by_role: Mapping[str, int] = field(default_factory=dict)
    requests_by_purpose: Mapping[str, int] = field(default_factory=dict)
    quality: float | None = None
    quality_spread: float = 0.0
    quality_by: str = ""

    @property
    def tokens(self) -> int:
        """Known tokens of the turn, input and output."""
        return self.input_tokens + self.output_tokens

    @property
    def mark(self) -> str:
        """How it stands, as it is shown: `exact`, `bounded@4`, `missing 3`."""
        if self.standing is Standing.BOUNDED:
            return f"bounded@{self.diverged_at}"
        if self.standing is Standing.MISSING:
            return f"missing {self.missing_calls}"
        return "exact"


_MAPS = (
    "asked_by_role",
    "asked_by_purpose",
    "asked_by_node",
    "requests_by_role",
    "requests_by_purpose",
)


def columns_of(row: TurnRow) -> dict[str, Any]:
    """Return a row as flat columns; the maps as `asked_by_role.main` and so on, by name."""
    flat: dict[str, Any] = {}
    for name in TurnRow.__dataclass_fields__:
        value = getattr(row, name)
        if name in _MAPS:
            flat.update({f"{name}.{part}": value[part] for part in sorted(value)})
        else:
            flat[name] = str(value) if isinstance(value, Standing) else value
    return flat
