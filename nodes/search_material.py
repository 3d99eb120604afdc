"""A turn as the search's prompts show it."""

from dataclasses import dataclass
from functools import cached_property

from nodes.phrases import style_phrase
from nodes.prompt import PreparedMaterial, prepared
from nodes.records import Language, Mode, Stage, StyleVector
from nodes.turn import PROMPT_FIELDS, TurnView

__all__ = ["SearchMaterial"]


@dataclass(frozen=True)
class SearchMaterial:
    """A turn, and the larger fields of the search's prompts, made once for all its calls.

    Args:
        view: of the turn.
    """

    view: TurnView

    @property
    def language(self) -> Language:
        """Of the prompts and of the reply."""
        return self.view.language

    @property
    def user_text(self) -> str:
        """What the user wrote. Untrusted."""
        return self.view.user_text

    @property
    def style(self) -> StyleVector:
        """How the reply should sound."""
        return self.view.style

    @property
    def mode(self) -> Mode:
        """How the agent takes this turn."""
        return self.view.mode

    @property
    def stage(self) -> Stage:
        """Of the relationship, and so of the search's width."""
        return self.view.relationship.stage

    @property
    def summary(self) -> str:
        """Of what came before the lines shown; blank when there is none."""
        return self.view.earlier

    @cached_property
    def lasting(self) -> dict[str, PreparedMaterial]:
        """The larger fields as they stand in most prompts of a search, made once."""
        fields = {
            "plan": self.view.plan,
            "style": style_phrase(self.style, self.language),
            **{
                name: PROMPT_FIELDS[name](self.view)
                for name in ("persona", "chat", "memories", "monologue")
            },
        }
        made = {
            name: value if isinstance(value, PreparedMaterial) else prepared(name, value)
            for name, value in fields.items()
        }
        return {name: value for name, value in made.items() if value is not None}
