"""Evolver: the relationship's changes by this turn. One call, or rules.

It finds their direction and strength; damping and caps are in `apply_delta`.

| role | purpose | temperature | max_tokens |
|---|---|---|---|
| fast | evolve | 0 | 300 |
"""

from collections.abc import Mapping
from types import MappingProxyType

from callwise.calls import Purpose, Role, Sampling
from nodes.question import BOOKKEEPING_LEASE, AnswerForm, Question, SignedScore, Text, Tokens
from nodes.records import Detection, FrozenRecord, Language, Relationship, Signal, Signed

__all__ = [
    "EVOLVING",
    "MAX_FALLS",
    "MAX_RISES",
    "EvolverAnswer",
    "RelationshipDelta",
    "apply_delta",
    "evolve_by_rules",
]


class RelationshipDelta(FrozenRecord):
    """Changes of the relationship by one turn, as the model or the rules see them.

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


class EvolverAnswer(AnswerForm):
    """The model's answer. `reason` is required; a delta left out is 0."""

    reason: Text
    closeness_delta: SignedScore = 0.0
    trust_delta: SignedScore = 0.0
    liking_delta: SignedScore = 0.0
    respect_delta: SignedScore = 0.0
    warmth_delta: SignedScore = 0.0
    power_delta: SignedScore = 0.0

    def record(self) -> RelationshipDelta:
        """Return the answer as the record that the other nodes read."""
        return RelationshipDelta(**{name.removesuffix("_delta"): value for name, value in self})


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
"""Effect of a hostility of 1; it scales with the hostility."""


def evolve_by_rules(detection: Detection, language: Language) -> RelationshipDelta:
    """Return the summed effects of what was detected, each clamped to [-1, 1]."""
    deltas = dict.fromkeys(MAX_RISES, 0.0)
    for signal in detection.signals:
        for name, effect in _EFFECTS.get(signal, {}).items():
            deltas[name] += effect
    for name, effect in _HOSTILITY.items():
        deltas[name] += effect * detection.hostility
    for name in ("liking", "warmth"):
        deltas[name] += 0.2 * detection.sentiment
    names = ", ".join(signal.value for signal in detection.signals)
    if language == "zh":
        reason = f"按规则判断，依据：{names}。" if names else "按规则判断，没有明显信号。"
    else:
        reason = f"By rules, from: {names}." if names else "By rules: no clear signal."
    clamped = {name: round(max(-1.0, min(1.0, delta)), 4) for name, delta in deltas.items()}
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


# fmt: off
MAX_RISES: Mapping[str, float] = MappingProxyType({
    "closeness": 0.03, "trust": 0.02, "liking": 0.03, "respect": 0.025, "warmth": 0.04,
    "power": 0.03,
})
"""Most that one turn adds to a quantity."""

MAX_FALLS: Mapping[str, float] = MappingProxyType({
    "closeness": 0.06, "trust": 0.12, "liking": 0.08, "respect": 0.08, "warmth": 0.08,
    "power": 0.03,
})
"""Most that one turn takes from a quantity. Power has no good side, so both are equal."""
# fmt: on


def _moved(name: str, before: float, delta: float) -> float:
    lowest = -1.0 if name == "power" else 0.0
    remaining = ((1.0 - before) if delta > 0 else (before - lowest)) / (1.0 - lowest)
    max_step = MAX_RISES[name] if delta > 0 else MAX_FALLS[name]
    after = before + delta * max_step * min(1.0, 2.0 * remaining)
    return round(max(lowest, min(1.0, after)), 6)


def apply_delta(relationship: Relationship, delta: RelationshipDelta) -> Relationship:
    """Return the relationship after one turn. Its stage is left to the stage manager."""
    moved = {
        name: _moved(name, getattr(relationship, name), getattr(delta, name)) for name in MAX_RISES
    }
    return relationship.model_copy(update=moved)
