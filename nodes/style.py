"""Style of the reply: twelve dimensions from relationship, mood, stage and mode.

One table, one formula: `clip(base + sum(weight * feature))`. A feature is 0 for two
strangers in a neutral mood in mode `normal`, so `base` is their style; a mode is a feature that
is 1 in a turn of that mode.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType

from nodes.records import Detection, Mode, Mood, Relationship, Stage, StyleVector

__all__ = ["choose_style"]

_STRANGER = Relationship()

# fmt: off
_INTIMACY: Mapping[Stage, float] = MappingProxyType({
    Stage.EXPERIMENTING: 0.25, Stage.INTENSIFYING: 0.5, Stage.INTEGRATING: 0.75, Stage.BONDING: 1.0,
})
"""Progress in the stages of coming together; 0 at the first, and in those of coming apart."""

_DISTANCE: Mapping[Stage, float] = MappingProxyType({
    Stage.DIFFERENTIATING: 0.2, Stage.CIRCUMSCRIBING: 0.4, Stage.STAGNATING: 0.6,
    Stage.AVOIDING: 0.8, Stage.TERMINATING: 1.0,
})
"""Progress in the stages of coming apart; 0 in those of coming together."""

_WEIGHTS: Mapping[str, Mapping[str, float]] = MappingProxyType({
    "formality": {
        "base": 0.50, "closeness": -0.30, "intimacy": -0.20, "distance": 0.20, "respect": 0.10,
        "playful": -0.15, "supportive": -0.10, "guarded": 0.20},
    "warmth": {
        "base": 0.50, "warmth": 0.40, "liking": 0.20, "pleasure": 0.15, "distance": -0.30,
        "hostility": -0.25, "supportive": 0.20, "playful": 0.05, "guarded": -0.20},
    "directness": {
        "base": 0.50, "trust": 0.15, "dominance": 0.20, "closeness": 0.10, "busyness": 0.15,
        "supportive": -0.10, "guarded": 0.10, "brief": 0.20},
    "verbosity": {
        "base": 0.45, "closeness": 0.10, "arousal": 0.10, "busyness": -0.25, "distance": -0.20,
        "vagueness": -0.05, "supportive": 0.10, "guarded": -0.20, "brief": -0.30},
    "humor": {
        "base": 0.25, "pleasure": 0.15, "closeness": 0.15, "gloom": -0.25, "hostility": -0.20,
        "playful": 0.35, "supportive": -0.20, "guarded": -0.20},
    "expressiveness": {
        "base": 0.45, "arousal": 0.20, "warmth": 0.15, "intimacy": 0.15, "distance": -0.20,
        "playful": 0.15, "supportive": 0.10, "guarded": -0.20, "brief": -0.10},
    "curiosity": {
        "base": 0.50, "liking": 0.15, "arousal": 0.05, "busyness": -0.15, "distance": -0.25,
        "vagueness": 0.10, "curious": 0.25, "guarded": -0.20, "brief": -0.25},
    "self_disclosure": {
        "base": 0.20, "trust": 0.30, "intimacy": 0.30, "distance": -0.15, "hostility": -0.15,
        "supportive": 0.05, "guarded": -0.15, "brief": -0.10},
    "playfulness": {
        "base": 0.25, "liking": 0.10, "pleasure": 0.15, "intimacy": 0.15, "gloom": -0.25,
        "hostility": -0.20, "playful": 0.40, "supportive": -0.20, "guarded": -0.20},
    "politeness": {
        "base": 0.65, "respect": 0.20, "closeness": -0.15, "dominance": -0.10, "hostility": -0.10,
        "playful": -0.10, "supportive": 0.10},
    "assertiveness": {
        "base": 0.45, "dominance": 0.25, "power": 0.20, "hostility": 0.15, "supportive": -0.10,
        "guarded": 0.20},
    "patience": {
        "base": 0.60, "warmth": 0.15, "arousal": -0.10, "busyness": -0.25, "hostility": -0.20,
        "distance": -0.15, "supportive": 0.25, "curious": 0.05, "brief": -0.10},
})
"""Weight of each feature for each dimension. Features that are not named weigh 0."""
# fmt: on


def _features(
    relationship: Relationship, mood: Mood, mode: Mode, detection: Detection
) -> dict[str, float]:
    """Return the features, each in [-1, 1] and 0 where nothing points either way."""
    return {
        "base": 1.0,
        **{
            name: getattr(relationship, name) - getattr(_STRANGER, name)
            for name in ("closeness", "trust", "liking", "respect", "warmth")
        },
        "power": relationship.power,
        "intimacy": _INTIMACY.get(relationship.stage, 0.0),
        "distance": _DISTANCE.get(relationship.stage, 0.0),
        "pleasure": mood.pleasure,
        "arousal": mood.arousal,
        "dominance": mood.dominance,
        "busyness": mood.busyness - Mood().busyness,
        "gloom": max(0.0, -detection.sentiment),
        "hostility": detection.hostility,
        "vagueness": detection.vagueness,
        mode.value: 1.0,
    }


def choose_style(
    relationship: Relationship, mood: Mood, mode: Mode, detection: Detection
) -> StyleVector:
    """Return the style of the reply, each dimension in [0, 1]."""
    features = _features(relationship, mood, mode, detection)
    values = {
        dimension: math.fsum(weight * features.get(name, 0.0) for name, weight in weights.items())
        for dimension, weights in _WEIGHTS.items()
    }
    return StyleVector(
        **{name: round(max(0.0, min(1.0, value)), 4) for name, value in values.items()}
    )
