"""What the search's calls are answered with, as models that an answer must fit.

A bad candidate is left out by the reader of answers and costs none of the others. An
answer without any usable candidate is asked again. The judge of a list has a file of its
own, `search_list_answers`.
"""

from typing import Annotated

from pydantic import AfterValidator, Field

from nodes.answer import Answer

__all__ = [
    "AssistantCheck",
    "CandidateSet",
    "Judgement",
    "RootPlan",
    "Score",
    "Variant",
    "Variants",
]

Score = Annotated[float | None, Field(ge=0.0, le=1.0)]
"""In [0, 1], or null where the judge cannot say. Missing is missing: never 0, never average."""


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


_WholeReply = Annotated[str, Field(min_length=1), AfterValidator(_not_blank)]


class RootPlan(Answer):
    """The answer to the root plan: what the reply is to reach, and a first reply."""

    goal: str = ""
    """What the reply is to reach, in one sentence."""

    strategy_tag: str = ""
    """A few words for what the reply tries."""

    reply: _WholeReply

    bubbles: list[str] = Field(default_factory=list)
    """The same reply cut into chat bubbles; empty where the model left that to the rules."""


class Variant(Answer):
    """One variant of a reply; its fields are those of `RootPlan`."""

    strategy_tag: str = ""
    reply: _WholeReply
    bubbles: list[str] = Field(default_factory=list)


class Variants(Answer):
    """The answer to an expansion: variants of one reply, each with another strategy."""

    candidates: Annotated[tuple[Variant, ...], Field(min_length=1)]


class CandidateSet(Answer):
    """The answer to a generation: what the reply is to reach, and ways to reach it."""

    goal: str = ""
    """What every one of them is to reach, in one sentence."""

    candidates: Annotated[tuple[Variant, ...], Field(min_length=1)]


class Judgement(Answer):
    """The answer of a judge: what it thinks, then scores of one reply."""

    reason: str = ""
    score: Score
    """How good it is, all in all. An answer that leaves it out is asked again."""
    plan_alignment: Score = None
    persona: Score = None
    relationship_fit: Score = None
    mode_fit: Score = None
    assistantness: Score = None
    immersion: Score = None


class AssistantCheck(Answer):
    """The answer of an assistant check: how much a reply sounds like an assistant."""

    reason: str = ""
    assistantness: Score
