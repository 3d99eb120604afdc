"""What the search's calls are answered with, as models that an answer must fit.

The judge of a list has a room of its own, `search_list_answers`.
"""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from nodes.records import Bubble

__all__ = [
    "AssistantCheck",
    "CandidateSet",
    "Judgement",
    "ProcessorPlan",
    "RootPlan",
    "Variant",
    "Variants",
]

Score = Annotated[float | None, Field(ge=0.0, le=1.0)]
"""In [0, 1], or null where the judge cannot say. Missing is missing: never 0, never average."""


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


class _Answer(BaseModel):
    """Base of the answers: frozen; fields that were not asked for are ignored."""

    model_config = ConfigDict(frozen=True)


class ProcessorPlan(_Answer):
    """A reply cut into chat bubbles with typing delays, in the order of sending."""

    bubbles: tuple[Bubble, ...]


class _Proposed(_Answer):
    strategy_tag: str = ""
    """A few words for what the reply tries."""

    reply: Annotated[str, AfterValidator(_not_blank)]
    """The whole reply."""

    bubbles: tuple[str, ...] | None = None
    """The same reply cut into chat bubbles, or null."""

    processor_plan: ProcessorPlan | None = None
    """The same reply as bubbles with typing delays, or null."""


class RootPlan(_Proposed):
    """The answer to the root plan: what the reply is to reach, and a first reply."""

    goal: str = ""
    """What the reply is to reach, in one sentence."""


class Variant(_Proposed):
    """One variant of a reply. A blank one is dropped by the search, not asked again."""

    reply: str


class Variants(_Answer):
    """The answer to an expansion: variants of one reply, each with another strategy."""

    candidates: tuple[Variant, ...]


class CandidateSet(_Answer):
    """The answer to a generation: what the reply is to reach, and ways to reach it."""

    goal: str = ""
    """What every one of them is to reach, in one sentence."""

    candidates: tuple[Variant, ...]


class Judgement(_Answer):
    """The answer of a judge: what it thinks, then scores of one reply."""

    reason: str = ""
    score: Score = None
    plan_alignment: Score = None
    persona: Score = None
    relationship_fit: Score = None
    mode_fit: Score = None
    assistantness: Score = None
    immersion: Score = None


class AssistantCheck(_Answer):
    """The answer of an assistant check: how much a reply sounds like an assistant."""

    reason: str = ""
    assistantness: Score = None
