"""What a judge said of several candidates in one call. What it left out stays missing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from lats.draft import clean_text
from lats.tree import NodeId

__all__ = ["MAX_REASON_CHARS", "Verdict", "Verdicts"]

MAX_REASON_CHARS = 4000
"""Longest reason that is kept, in characters. Longer ones are cut."""

_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said of one candidate.

    A score out of range, not finite or not a number is missing: to clip it would invent
    an opinion. A check that is neither passed nor failed is missing as well.

    Args:
        score: overall, in [0, 1], the higher the better; None when missing.
        attributes: sub-scores in [0, 1] by name; absent when missing.
        checks: whether the candidate passed, by the name of a check. Names are unique to a
            call: the same name in two calls is the same check.
        answer: the candidate's answer in a form that equal answers share; blank when it has
            none.
        reason: the judge's words. Untrusted.
    """

    score: float | None = None
    attributes: Mapping[str, float] = field(default_factory=dict)
    checks: Mapping[str, bool] = field(default_factory=dict)
    answer: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        """Drop what is no score or check, and characters that cannot be written."""

        def put(name: str, cleaned: Any) -> None:
            object.__setattr__(self, name, cleaned)

        if self.score is not None:
            # As a float, so that a restored search writes it as the first one did.
            put("score", float(self.score) if _is_score(self.score) else None)
        if self.attributes:
            kept = {name: float(at) for name, at in self.attributes.items() if _is_score(at)}
            put("attributes", kept)
        if self.checks:
            put("checks", {name: at for name, at in self.checks.items() if _is_check(at)})
        if self.answer:
            put("answer", clean_text(self.answer, len(self.answer)))
        if self.reason:
            put("reason", clean_text(self.reason, MAX_REASON_CHARS))


def _is_check(raw: Any) -> bool:
    return isinstance(raw, bool)


def _is_score(raw: Any) -> bool:
    is_number = isinstance(raw, int | float) and not isinstance(raw, bool)
    return is_number and 0 <= raw <= 1


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The answer to one `JudgeList`.

    Args:
        by_id: verdicts by the candidate's id. Missing ones are missing; ids that were not
            asked about are ignored.
        ranking: ids from best to worst, where the judge ranked rather than scored. Read only
            when fewer than two candidates have a score.
    """

    by_id: Mapping[NodeId, Verdict]
    ranking: tuple[NodeId, ...] = ()
    kind: Literal["verdicts"] = "verdicts"
