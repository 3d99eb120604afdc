"""What a turn is held to: its calls by node, role and purpose, and what they spent."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from turnwise.report.run_record import CallLine, TurnKey, TurnLine

__all__ = ["CallPath", "TurnFigures", "asked_by_path", "figures_of", "whole_paths"]

MAX_COUNT = 2**53
"""Largest count that is read: above it a mean of counts is no longer exact."""

Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Rounds = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]

_USD_DIGITS = 12
"""A cost is kept in whole 1e-12 USD, as the ledger counts it."""


class CallPath(NamedTuple):
    """Who asked: one kind of call of a turn.

    Args:
        node: the node's name as the ledger has it; `-` where none asked. Untrusted.
        role: which model was asked.
        purpose: what for.
    """

    node: str
    role: str
    purpose: str

    def __str__(self) -> str:
        """Return it as it stands in a baseline: `lats_search/main/expand`."""
        return "/".join(self)

    @classmethod
    def of(cls, text: str) -> "CallPath":
        """Return the path that a baseline's key says; a node's name may hold slashes.

        Raises:
            ValueError: when it has not three parts.
        """
        parts = text.rsplit("/", 2)
        if len(parts) != 3 or not all(parts):
            raise ValueError(f"expected node/role/purpose, got {text!r}")
        return cls(*parts)


def whole_paths(asked: dict[str, int]) -> dict[str, int]:
    """Return counts whose every key is a `node/role/purpose`.

    Raises:
        ValueError: when one is not.
    """
    for text in asked:
        CallPath.of(text)
    return asked


class TurnFigures(BaseModel):
    """One turn's figures. What is not known is None, never 0."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    conversation: str
    """The conversation's id. Untrusted."""
    turn: Count
    """Its number there. Starts at 0."""
    asked: dict[str, Annotated[int, Field(ge=1, le=MAX_COUNT)]] = {}
    """Calls asked by `node/role/purpose`, refused ones too; what was not asked has no key."""
    refused: Count = 0
    """Those of them that a limit refused; left out of a file where 0."""
    unreadable: Count = 0
    """Answers that were not in the form that was asked for; left out of a file where 0."""
    degraded: Count = 0
    """Nodes and roles that the turn went on without; left out of a file where 0."""
    requests: Count = 0
    """HTTP requests; in a replay those that the recording paid."""
    input_tokens: Count | None = None
    """Prompt tokens of all calls; None where a part is not known."""
    output_tokens: Count | None = None
    """Answer tokens, likewise."""
    usd: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None
    """Cost; None where a part is not known, which is not 0."""
    rounds_reply: Rounds | None = None
    """Rounds until the reply; None where the turn does not say."""
    rounds_turn: Rounds | None = None
    """Rounds until the turn's end, likewise."""
    quality: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Quality of the reply in the judge's own unit; None where nobody judged."""

    @field_validator("asked")
    @classmethod
    def _has_whole_paths(cls, asked: dict[str, int]) -> dict[str, int]:
        return whole_paths(asked)

    @model_serializer(mode="wrap")
    def _without_zeros(self, as_whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = as_whole(self)
        return {
            name: value
            for name, value in document.items()
            if value or name not in {"refused", "unreadable", "degraded"}
        }

    @property
    def key(self) -> TurnKey:
        """Which turn it is."""
        return self.conversation, self.turn

    @property
    def asked_count(self) -> int:
        """Calls asked in all."""
        return sum(self.asked.values())

    @property
    def tokens(self) -> int | None:
        """Prompt and answer tokens together; None where a part is not known."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens


def asked_by_path(rows: Iterable[CallLine]) -> dict[str, int]:
    """Return calls asked by `node/role/purpose`, sorted by it."""
    counted = Counter(
        str(CallPath(row.node or "-", row.role.value, row.purpose.value)) for row in rows
    )
    return dict(sorted(counted.items()))


def figures_of(
    key: TurnKey,
    rows: Iterable[CallLine],
    *,
    line: TurnLine | None = None,
    quality: Mapping[TurnKey, float] | None = None,
) -> TurnFigures:
    """Return one turn's figures.

    Args:
        key: which turn.
        rows: its calls.
        line: the turn's own line, for its rounds and for what it went on without; None
            where there is none.
        quality: quality of replies by turn.
    """
    calls = list(rows)
    is_usage_known = not any(row.unknown_usage for row in calls)
    costs = [row.usd for row in calls if row.usd is not None]
    rounds = None if line is None else line.rounds
    return TurnFigures(
        conversation=key[0],
        turn=key[1],
        asked=asked_by_path(calls),
        refused=sum(row.is_refused for row in calls),
        unreadable=sum(row.is_unreadable for row in calls),
        degraded=0 if line is None else len(line.degraded),
        requests=sum(row.requests for row in calls),
        input_tokens=sum(row.input_tokens for row in calls) if is_usage_known else None,
        output_tokens=sum(row.output_tokens for row in calls) if is_usage_known else None,
        usd=round(math.fsum(costs), _USD_DIGITS) if len(costs) == len(calls) else None,
        rounds_reply=None if rounds is None else rounds.reply,
        rounds_turn=None if rounds is None else rounds.turn,
        quality=None if quality is None else quality.get(key),
    )
