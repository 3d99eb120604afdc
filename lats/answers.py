"""Answers to a search's actions: drafts, verdicts, or none. All texts in them are untrusted.

A missing score stays missing; it is neither 0 nor average.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NewType

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "MAX_REASON_CHARS",
    "MAX_REPLY_CHARS",
    "MAX_TAG_CHARS",
    "ActionAnswer",
    "Draft",
    "Drafts",
    "NoAnswer",
    "NodeId",
    "Verdict",
    "Verdicts",
    "checked_name",
    "clean_text",
    "cleaned_answer",
    "path_id",
]

NodeId = NewType("NodeId", str)
"""16 hexadecimal digits: a digest of the replies from the root down to the node."""

MAX_REPLY_CHARS = 4000
"""Longest reply that enters a tree, in characters. Longer ones are cut."""

MAX_TAG_CHARS = 80
"""Longest strategy tag, in characters. Longer ones are cut."""

MAX_REASON_CHARS = 4000
"""Longest reason that is kept, in characters. Longer ones are cut."""

MAX_DETAIL_CHARS = 400

# Lone surrogates cannot be written as UTF-8, control characters break terminals and prompts.
_UNWRITABLE = re.compile("[\ud800-\udfff\x00-\x08\x0b-\x1f\x7f]")


def path_id(parent_id: NodeId | None, reply: str) -> NodeId:
    """Return the id of the node that a reply makes under a parent, or as the root."""
    path = f"{parent_id or ''}/{reply}"
    return NodeId(hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:16])


def clean_text(text: str, max_chars: int) -> str:
    """Return a text without unwritable characters and outer space, cut to a length."""
    if len(text) <= max_chars and (text.isprintable() or not _UNWRITABLE.search(text)):
        return text.strip()  # as nearly every text is
    return _UNWRITABLE.sub("", text).strip()[:max_chars].rstrip()


def checked_name(name: Any, role: str) -> str:
    """Return the name of one of several proposers or judges.

    Args:
        name: 1 to `MAX_TAG_CHARS` characters of plain text.
        role: what it names, for the error.

    Raises:
        ValueError: when it is blank, too long or not plain text.
    """
    if not isinstance(name, str) or not name or clean_text(name, MAX_TAG_CHARS) != name:
        raise ValueError(
            f"a {role} is called {name!r}; give it a name of 1 to {MAX_TAG_CHARS} characters"
        )
    return name


class Draft(BaseModel):
    """A proposed reply."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reply: str
    """The text that a user would read."""

    strategy_tag: str = ""
    """The proposer's own word for what the reply tries; blank when it gave none."""

    payload: dict[str, Any] = Field(default_factory=dict)
    """Data that the caller wants back with the reply. Plain JSON; never read here."""

    is_step: bool = Field(default=False, exclude_if=lambda is_step: not is_step)
    """Whether it is only a step towards an answer, and can be no answer itself."""

    proposer: str = Field(default="", exclude_if=lambda name: not name)
    """Name of the proposer that it came from; blank where there is only one. A search with
    several sets it from its action."""

    key: str = Field(default="", exclude_if=lambda key: not key)
    """States of equal keys are one; blank where the text decides."""

    verified: bool | None = Field(default=None, exclude_if=lambda verified: verified is None)
    """Whether a verifier found it right; None where that is not settled."""

    passed: float | None = Field(default=None, ge=0, le=1, exclude_if=lambda passed: passed is None)
    """Share of a verifier's checks that it passed, in [0, 1]; None where it has none."""


@dataclass(frozen=True, slots=True)
class Drafts:
    """A proposer's answer, as it came: too many, too few, blank or equal drafts are allowed."""

    drafts: tuple[Draft, ...]
    kind: Literal["drafts"] = "drafts"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's opinion of one candidate.

    A score out of range, not finite or not a number is missing: to clip it would invent
    an opinion. A check that is neither passed nor failed is missing as well.

    Args:
        score: overall, in [0, 1], the higher the better; None when missing.
        attributes: sub-scores in [0, 1] by name; absent when missing.
        checks: whether the candidate passed, by the name of a check. The same name in two
            calls is the same check.
        answer: the candidate's answer in a form that equal answers share; blank when it has
            none.
        reason: the judge's words.
    """

    score: float | None = None
    attributes: Mapping[str, float] = field(default_factory=dict)
    checks: Mapping[str, bool] = field(default_factory=dict)
    answer: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        """Drop values that are no score or check, and characters that cannot be written."""
        put = object.__setattr__
        if self.score is not None:
            # As a float, so that a restored search writes it as the first one did.
            put(self, "score", float(self.score) if _is_score(self.score) else None)
        if self.attributes:
            kept = {name: float(at) for name, at in self.attributes.items() if _is_score(at)}
            put(self, "attributes", kept)
        if self.checks:
            given: Mapping[str, Any] = self.checks
            put(self, "checks", {name: at for name, at in given.items() if isinstance(at, bool)})
        if self.answer:
            put(self, "answer", clean_text(self.answer, len(self.answer)))
        if self.reason:
            put(self, "reason", clean_text(self.reason, MAX_REASON_CHARS))


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


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """A call that failed or was refused.

    Args:
        is_refused: whether the budget refused the call. Then the search asks no more like it.
        detail: the reason, in a few words.
    """

    is_refused: bool = False
    detail: str = ""
    kind: Literal["no_answer"] = "no_answer"


ActionAnswer = Annotated[Drafts | Verdicts | NoAnswer, Field(discriminator="kind")]
"""The answer to an action; the action's docstring names which."""


def cleaned_answer(action_id: str, answer: ActionAnswer) -> ActionAnswer:
    """Return an answer as a state can keep it: no unwritable characters, no endless text.

    Drafts of which nothing is left are dropped.

    Raises:
        TypeError: when a verdict is something else.
    """
    if isinstance(answer, Drafts):
        drafts = [_clean_draft(draft) for draft in answer.drafts]
        return Drafts(tuple([draft for draft in drafts if draft is not None]))
    if isinstance(answer, NoAnswer):
        return NoAnswer(answer.is_refused, clean_text(answer.detail, MAX_DETAIL_CHARS))
    for node_id, verdict in answer.by_id.items():
        if not isinstance(verdict, Verdict):
            raise TypeError(
                f"{action_id} has a {type(verdict).__name__} for {node_id}; give a Verdict"
            )
    return answer


def _clean_draft(draft: Draft) -> Draft | None:
    reply = clean_text(draft.reply, MAX_REPLY_CHARS)
    if not reply:
        return None
    tag = clean_text(draft.strategy_tag, MAX_TAG_CHARS)
    if reply == draft.reply and tag == draft.strategy_tag:
        return draft
    return draft.model_copy(update={"reply": reply, "strategy_tag": tag})
