"""Records that pass between nodes. Frozen; plain JSON when dumped.

Scales: a signed quantity is in [-1, 1] with 0 neutral; an unsigned one is in [0, 1].
Defaults are those of two strangers in a neutral mood.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Bubble",
    "Degradation",
    "Detection",
    "DialogueLine",
    "Guidance",
    "Language",
    "MemoryLine",
    "Mode",
    "Monologue",
    "Mood",
    "NoteDraft",
    "NoteKind",
    "Persona",
    "Relationship",
    "ResponsePlan",
    "Signal",
    "Signed",
    "Stage",
    "StyleVector",
    "Unit",
]

Language = Literal["en", "zh"]
Unit = Annotated[float, Field(ge=0.0, le=1.0)]
Signed = Annotated[float, Field(ge=-1.0, le=1.0)]
NoteKind = Literal["fact", "preference", "event", "promise", "boundary"]


class FrozenRecord(BaseModel):
    """Base of the records: frozen, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Persona(FrozenRecord):
    """The agent's persona. Free text; never empty in a prompt."""

    name: str = ""
    """The agent's name."""
    background: str = ""
    """The agent's work, home, knowledge and likes."""
    speaking_style: str = ""
    """The agent's way of talking."""


class DialogueLine(FrozenRecord):
    """One line of the conversation so far."""

    role: Literal["user", "agent"]
    text: str


class MemoryLine(FrozenRecord):
    """One remembered turn that retrieval found worth showing to the model."""

    # A thread that an older version kept has other fields here, until its next turn begins.
    model_config = ConfigDict(extra="ignore")

    turn: int
    """Its number in its conversation. Starts at 0."""
    day: str = ""
    """Its day, as ISO 8601; blank where it is not known."""
    user: str = ""
    """The user's words. Untrusted, as are the other two."""
    agent: str = ""
    noted: tuple[str, ...] = ()
    """Notes on the turn."""

    def shown(self) -> dict[str, Any]:
        """Return it as a prompt shows it: each text in a separate field."""
        return self.model_dump(exclude={"turn"}, exclude_defaults=True)


class Signal(StrEnum):
    """Signals that detection may find in a user's message."""

    GREETING = "greeting"
    FAREWELL = "farewell"
    QUESTION = "question"
    SELF_DISCLOSURE = "self_disclosure"
    VULNERABILITY = "vulnerability"
    HUMOR = "humor"
    FLIRTATION = "flirtation"
    GRATITUDE = "gratitude"
    APOLOGY = "apology"
    CRITICISM = "criticism"
    HOSTILITY = "hostility"
    BOUNDARY = "boundary"
    VAGUENESS = "vagueness"
    URGENCY = "urgency"
    MANIPULATION = "manipulation"
    """Tries to make the agent drop its persona or reveal its instructions."""


class Stage(StrEnum):
    """Knapp's stages of a relationship, coming together and coming apart.

    Source: M. L. Knapp, Social Intercourse (1978); ten stages.
    """

    INITIATING = "initiating"
    EXPERIMENTING = "experimenting"
    INTENSIFYING = "intensifying"
    INTEGRATING = "integrating"
    BONDING = "bonding"
    DIFFERENTIATING = "differentiating"
    CIRCUMSCRIBING = "circumscribing"
    STAGNATING = "stagnating"
    AVOIDING = "avoiding"
    TERMINATING = "terminating"


class Mode(StrEnum):
    """The mode in which the agent takes a turn."""

    NORMAL = "normal"
    PLAYFUL = "playful"
    SUPPORTIVE = "supportive"
    CURIOUS = "curious"
    GUARDED = "guarded"
    BRIEF = "brief"


class Detection(FrozenRecord):
    """A detection in the user's message."""

    context: str = ""
    """A description in one sentence."""
    signals: tuple[Signal, ...] = ()
    sentiment: Signed = 0.0
    """The user's feeling: -1 miserable or furious, 1 delighted."""
    arousal: Signed = 0.0
    """The user's arousal: -1 drowsy, 1 agitated."""
    hostility: Unit = 0.0
    """Aimed at the agent."""
    vagueness: Unit = 0.0
    """1 where there is nothing to answer."""
    stage_hint: Stage | None = None
    """The stage this message sounds like; None when it sounds like none."""


class Monologue(FrozenRecord):
    """The agent's thought before it answers. Never shown to the user."""

    thought: str = ""
    feeling: str = ""
    impulse: str = ""
    """A wish, wise or not."""


class Mood(FrozenRecord):
    """The agent's mood: pleasure, arousal, dominance, and how busy it is."""

    pleasure: Signed = 0.0
    arousal: Signed = 0.0
    dominance: Signed = 0.0
    busyness: Unit = 0.2


class ResponsePlan(FrozenRecord):
    """The plan of a reply, before any words are chosen."""

    goals: tuple[str, ...] = ()
    """At least one once the reasoner has run."""
    must_mention: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    tone: str = ""


class Guidance(FrozenRecord):
    """A repeated fault of replies, for the next ones to avoid."""

    attribute: str
    """Name of the judge's sub-score that failed."""
    text: str
    """Untrusted."""
    ttl_turns: int = Field(ge=1)
    """Turns that it is still used, the next one included."""


class Relationship(FrozenRecord):
    """The agent's relationship to this user."""

    closeness: Unit = 0.1
    trust: Unit = 0.3
    liking: Unit = 0.4
    respect: Unit = 0.5
    warmth: Unit = 0.4
    power: Signed = 0.0
    """The side that leads: -1 the user, 1 the agent."""
    stage: Stage = Stage.INITIATING
    stage_turns: int = Field(default=0, ge=0)
    """Turns since the stage was entered."""
    pending_stage: Stage | None = None
    """A stage that the numbers point to, and have not pointed to for long enough."""
    pending_turns: int = Field(default=0, ge=0)
    """Turns in a row that `pending_stage` has been pointed to."""


class StyleVector(FrozenRecord):
    """Twelve dimensions of the reply's style, each in [0, 1]."""

    formality: Unit = 0.5
    warmth: Unit = 0.5
    directness: Unit = 0.5
    verbosity: Unit = 0.5
    humor: Unit = 0.3
    expressiveness: Unit = 0.5
    curiosity: Unit = 0.5
    self_disclosure: Unit = 0.3
    playfulness: Unit = 0.3
    politeness: Unit = 0.6
    assertiveness: Unit = 0.5
    patience: Unit = 0.6


class Bubble(FrozenRecord):
    """One chat bubble, and the typing delay before it."""

    text: str
    delay_seconds: float = Field(ge=0.0)


class NoteDraft(FrozenRecord):
    """A note about the user with the words that prove it."""

    text: str
    kind: NoteKind
    evidence: str
    """A verbatim quotation of the turn it was taken from."""


class Degradation(FrozenRecord):
    """A node that went on without its model call, or with less in its prompt, and why."""

    node: str
    reason: Literal["refused", "failed", "invalid", "down", "clipped"]
    """`down` names an endpoint that could not be reached, once per turn and role; `clipped`
    names the parts left out of a prompt that did not fit its context."""
    detail: str
    role: str | None = None
    """The role that is down; None for any other reason."""
    endpoint: str | None = None
    """Name of its endpoint, likewise."""
