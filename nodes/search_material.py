"""What of a turn the search's prompts may use."""

from functools import cached_property

from pydantic import BaseModel, ConfigDict

from nodes.phrases import style_phrase
from nodes.prompt import Prepared, lines_shown, prepared
from nodes.records import (
    Language,
    Line,
    MemoryLine,
    Mode,
    Monologue,
    Persona,
    ResponsePlan,
    Stage,
    StyleVector,
)

__all__ = ["SearchMaterial"]


class SearchMaterial(BaseModel):
    """Everything of one turn that a call of the search may show to a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    language: Language
    """Of the prompts and of the reply."""

    user_text: str
    """What the user wrote. Untrusted."""

    persona: Persona = Persona()
    """Who answers."""

    history: tuple[Line, ...] = ()
    """The latest lines, oldest first."""

    memories: tuple[MemoryLine, ...] = ()
    """Older things worth knowing."""

    plan: ResponsePlan = ResponsePlan()
    """What the reply should reach."""

    monologue: Monologue = Monologue()
    """What the agent thinks. Shown to whoever writes a reply, not to a judge."""

    style: StyleVector = StyleVector()
    """How the reply should sound."""

    mode: Mode = Mode.NORMAL
    """How the agent takes this turn."""

    stage: Stage | None = None
    """Of the relationship, and so of the search's width; None when it is not known."""

    summary: str = ""
    """Of what came before `history`; blank when there is none."""

    @cached_property
    def lasting(self) -> dict[str, Prepared]:
        """The larger fields as they stand in most prompts of a search, made once."""
        fields = {
            "persona": self.persona,
            "chat": lines_shown(self.history, self.user_text),
            "memories": [memory.shown() for memory in self.memories],
            "monologue": self.monologue,
            "plan": self.plan,
            "style": style_phrase(self.style, self.language),
        }
        made = {name: prepared(name, value) for name, value in fields.items()}
        return {name: value for name, value in made.items() if value is not None}
