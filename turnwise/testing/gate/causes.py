"""What changed between a baseline and a run that may have made its calls rise."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

if TYPE_CHECKING:
    from turnwise.testing.gate.baseline import Baseline

__all__ = ["Causes", "KnobChange", "causes_between", "flat_knobs"]


def flat_knobs(knobs: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return nested knobs under dotted names: `{"search": {"rollouts": 4}}` as `search.rollouts`.

    A list is one value, and a group without knobs is left out. Flat knobs stay as they are.
    """
    flat: dict[str, JsonValue] = {}
    for name, value in knobs.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{inner}": each for inner, each in flat_knobs(value).items()})
        else:
            flat[str(name)] = list(value) if isinstance(value, tuple) else value
    return flat


@dataclass(frozen=True, slots=True)
class KnobChange:
    """One knob that differs.

    Args:
        knob: its dotted name.
        before: its value in the baseline as JSON; None where the baseline has no such knob.
        now: its value in the run, likewise.
    """

    knob: str
    before: str | None
    now: str | None


@dataclass(frozen=True, slots=True)
class Causes:
    """What differs between a baseline and a run, apart from its figures.

    Args:
        knobs: the knobs that differ, by name.
        prompts: names of the prompts that differ, were added or are gone.
        are_prompts_known: whether both say what their prompts were.
        are_conversations_equal: whether both say that they are of the same conversations.
    """

    knobs: tuple[KnobChange, ...] = ()
    prompts: tuple[str, ...] = ()
    are_prompts_known: bool = True
    are_conversations_equal: bool = True

    @property
    def are_none(self) -> bool:
        """Whether no knob and no prompt is known to differ."""
        return not self.knobs and not self.prompts


def _json(knobs: Mapping[str, JsonValue], name: str) -> str | None:
    if name not in knobs:
        return None
    return json.dumps(knobs[name], ensure_ascii=False, sort_keys=True)


def causes_between(baseline: "Baseline", current: "Baseline") -> Causes:
    """Return what differs between a baseline and a run."""
    names = sorted({*baseline.knobs, *current.knobs})
    changes = [
        KnobChange(name, _json(baseline.knobs, name), _json(current.knobs, name)) for name in names
    ]
    before, now = baseline.prompts, current.prompts
    are_known = before is not None and now is not None
    prompts = sorted({*(before or {}), *(now or {})}) if are_known else []
    return Causes(
        knobs=tuple(change for change in changes if change.before != change.now),
        prompts=tuple(
            name for name in prompts if (before or {}).get(name) != (now or {}).get(name)
        ),
        are_prompts_known=are_known,
        are_conversations_equal=baseline.conversations is not None
        and baseline.conversations == current.conversations,
    )
