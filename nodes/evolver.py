"""Evolver: how this turn moved the relationship. One call, or rules.

It says which way and how strongly; damping, caps and stages are rules elsewhere.

| role | purpose | temperature | max_tokens |
|---|---|---|---|
| fast | evolve | 0 | 300 |
"""

from collections.abc import Mapping
from types import MappingProxyType

from callwise.calls import Purpose, Role, Sampling
from nodes.answer import AnswerForm, SignedScore, Text
from nodes.question import BOOKKEEPING_LEASE, Question, Tokens
from nodes.records import (
    Detection,
    FrozenRecord,
    Language,
    Relationship,
    Signal,
    Signed,
)

__all__ = [
    "EVOLVING",
    "MAX_FALLS",
    "MAX_RISES",
    "EvolverAnswer",
    "RelationshipDelta",
    "apply_delta",
    "evolve_by_rules",
]

DELTA_NAMES = ("closeness", "trust", "liking", "respect", "warmth", "power")


class RelationshipDelta(FrozenRecord):
    """How one turn moved the relationship, as the model or the rules see it.

    Each quantity in [-1, 1]: 0 for an ordinary turn, 1 for the most that a single
    message can do. Not a step in the relationship's own units.
    """

    closeness: Signed = 0.0
    trust: Signed = 0.0
    liking: Signed = 0.0
    respect: Signed = 0.0
    warmth: Signed = 0.0
    power: Signed = 0.0
    """Towards the user -1, towards the agent 1."""
    reason: str = ""
    """Why, in a sentence."""


class EvolverAnswer(AnswerForm):
    """What the model answers. `reason` must be there; a delta left out is 0."""

    reason: Text
    closeness_delta: SignedScore = 0.0
    trust_delta: SignedScore = 0.0
    liking_delta: SignedScore = 0.0
    respect_delta: SignedScore = 0.0
    warmth_delta: SignedScore = 0.0
    power_delta: SignedScore = 0.0

    def record(self) -> RelationshipDelta:
        """Return the answer as the record that the other nodes read."""
        return RelationshipDelta(
            closeness=self.closeness_delta,
            trust=self.trust_delta,
            liking=self.liking_delta,
            respect=self.respect_delta,
            warmth=self.warmth_delta,
            power=self.power_delta,
            reason=self.reason,
        )


# fmt: off
_EFFECTS: Mapping[Signal, Mapping[str, float]] = MappingProxyType({
    Signal.GREETING: {"warmth": 0.1},
    Signal.SELF_DISCLOSURE: {"closeness": 0.25, "trust": 0.15},
    Signal.VULNERABILITY: {"closeness": 0.35, "trust": 0.3, "warmth": 0.2},
    Signal.HUMOR: {"liking": 0.2, "warmth": 0.15},
    Signal.FLIRTATION: {"closeness": 0.2, "warmth": 0.2},
    Signal.GRATITUDE: {"liking": 0.2, "respect": 0.15, "warmth": 0.25},
    Signal.APOLOGY: {"trust": 0.15, "respect": 0.15, "power": 0.15},
    Signal.CRITICISM: {"liking": -0.15, "respect": -0.1, "power": -0.15},
    Signal.BOUNDARY: {"closeness": -0.3, "power": -0.1},
    Signal.VAGUENESS: {"closeness": -0.05},
    Signal.MANIPULATION: {"trust": -0.5, "respect": -0.2},
})
# fmt: on

_HOSTILITY: Mapping[str, float] = MappingProxyType(
    {"closeness": -0.5, "trust": -0.6, "liking": -0.7, "respect": -0.4, "warmth": -0.7}
)
"""Effect of hostility 1; what there is of it scales it."""


def evolve_by_rules(detection: Detection, language: Language) -> RelationshipDelta:
    """Return the summed effects of what was detected, each clamped to [-1, 1].

    Args:
        detection: what was found in the user's message.
        language: language of the reason.
    """
    moves = dict.fromkeys(DELTA_NAMES, 0.0)
    for signal in detection.signals:
        for name, effect in _EFFECTS.get(signal, {}).items():
            moves[name] += effect
    for name, effect in _HOSTILITY.items():
        moves[name] += effect * detection.hostility
    for name in ("liking", "warmth"):
        moves[name] += 0.2 * detection.sentiment
    names = ", ".join(signal.value for signal in detection.signals)
    if language == "zh":
        reason = f"按规则判断，依据：{names}。" if names else "按规则判断，没有明显信号。"
    else:
        reason = f"By rules, from: {names}." if names else "By rules: no clear signal."
    clamped = {name: round(max(-1.0, min(1.0, move)), 4) for name, move in moves.items()}
    return RelationshipDelta(**clamped, reason=reason)


EVOLVING = Question(
    node="evolver",
    role=Role.FAST,
    purpose=Purpose.EVOLVE,
    prompt="evolver",
    answer=EvolverAnswer,
    fields=("persona", "chat", "stage", "relationship", "detection"),
    sampling=Sampling(temperature=0.0, max_tokens=300),
    tokens=Tokens(900, 80),
    convert=lambda answer, _view: answer.record(),
    fallback=lambda view: evolve_by_rules(view.detection, view.language),
    lease=BOOKKEEPING_LEASE,
)


MAX_RISES: Mapping[str, float] = MappingProxyType(
    {
        "closeness": 0.03,
        "trust": 0.02,
        "liking": 0.03,
        "respect": 0.025,
        "warmth": 0.04,
        "power": 0.03,
    }
)
"""Most that one turn adds to a quantity."""

MAX_FALLS: Mapping[str, float] = MappingProxyType(
    {
        "closeness": 0.06,
        "trust": 0.12,
        "liking": 0.08,
        "respect": 0.08,
        "warmth": 0.08,
        "power": 0.03,
    }
)
"""Most that one turn takes from a quantity. Power has no good side, so both are equal."""

_LOWEST: Mapping[str, float] = MappingProxyType({"power": -1.0})


def _moved(name: str, before: float, delta: float) -> float:
    lowest = _LOWEST.get(name, 0.0)
    room = ((1.0 - before) if delta > 0 else (before - lowest)) / (1.0 - lowest)
    max_step = MAX_RISES[name] if delta > 0 else MAX_FALLS[name]
    after = before + delta * max_step * min(1.0, 2.0 * room)
    return round(max(lowest, min(1.0, after)), 6)


def apply_delta(relationship: Relationship, delta: RelationshipDelta) -> Relationship:
    """Return the relationship after one turn. Its stage is the stage manager's business.

    Args:
        relationship: as it was before the turn.
        delta: how the turn changed it, each quantity in [-1, 1].
    """
    moved = {
        name: _moved(name, getattr(relationship, name), getattr(delta, name)) for name in MAX_RISES
    }
    return relationship.model_copy(update=moved)
