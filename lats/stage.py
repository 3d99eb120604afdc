"""The stage of a relationship as a preset of the search's width and depth.

Stages are Knapp's. People who have just met are worth more search: a first
impression is hard to mend. `bonding` is searched like `integrating`, its neighbour
on the way up; no source sets it apart.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel

from lats.knobs import SearchKnobs

__all__ = ["KnappStage", "StagePreset", "explicit_names", "stage_preset", "with_stage"]

KnappStage = Literal[
    "initiating",
    "experimenting",
    "intensifying",
    "integrating",
    "bonding",
    "differentiating",
    "circumscribing",
    "stagnating",
    "avoiding",
    "terminating",
]
"""Knapp's stages, five of coming together and five of coming apart."""


@dataclass(frozen=True, slots=True)
class StagePreset:
    """What a stage sets.

    Args:
        rollouts: see `SearchKnobs.rollouts`.
        expand_k: see `SearchKnobs.expand_k`.
        min_exit_rollouts: see `EarlyExitKnobs.min_rollouts`; None leaves it.
    """

    rollouts: int
    expand_k: int
    min_exit_rollouts: int | None = None


def stage_preset(stage: str) -> StagePreset:
    """Return what a stage sets.

    Raises:
        ValueError: when it is none of Knapp's stages.
    """
    match stage:
        case "initiating" | "experimenting":
            return StagePreset(rollouts=4, expand_k=2, min_exit_rollouts=1)
        case "intensifying" | "integrating" | "bonding":
            return StagePreset(rollouts=2, expand_k=1)
        case "differentiating" | "circumscribing" | "stagnating" | "avoiding" | "terminating":
            return StagePreset(rollouts=3, expand_k=1)
        case _:
            raise ValueError(f"unknown stage {stage!r}: expected one of {get_args(KnappStage)}")


def explicit_names(knobs: BaseModel, prefix: str = "") -> frozenset[str]:
    """Return the dotted names of the knobs that were given rather than defaulted."""
    names: set[str] = set()
    for name in knobs.model_fields_set:
        inner = getattr(knobs, name)
        if isinstance(inner, BaseModel):
            names |= explicit_names(inner, f"{prefix}{name}.")
        else:
            names.add(prefix + name)
    return frozenset(names)


def with_stage(
    knobs: SearchKnobs, stage: str | None, *, explicit: Collection[str] | None = None
) -> SearchKnobs:
    """Return the knobs as a stage of the relationship sets them.

    Args:
        knobs: the search's knobs. `stage_presets="off"` returns them as they are.
        stage: one of Knapp's stages, or None when it is not known.
        explicit: dotted names (`rollouts`, `early_exit.min_rollouts`) that a user set
            and a stage must leave alone. None takes every name that was given when
            `knobs` was made; pass the user's own names where a preset file, too, wrote
            some down.

    Raises:
        ValueError: when the stage is none of Knapp's.
    """
    if knobs.stage_presets == "off" or stage is None:
        return knobs
    preset = stage_preset(stage)
    kept = explicit_names(knobs) if explicit is None else explicit
    changes: dict[str, Any] = {}
    if "rollouts" not in kept:
        changes["rollouts"] = preset.rollouts
    if "expand_k" not in kept:
        changes["expand_k"] = preset.expand_k
    if preset.min_exit_rollouts is not None and "early_exit.min_rollouts" not in kept:
        changes["early_exit"] = knobs.early_exit.model_copy(
            update={"min_rollouts": preset.min_exit_rollouts}
        )
    return knobs.model_copy(update=changes)
