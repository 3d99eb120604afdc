"""Whether a sweep shows that packing questions into one prompt loses little quality.

Each setting with `pack` is compared with the same one without, paired by turn, the interval by the
studentised bootstrap over conversations (see `statistics.comparison`). Its lower bound is given in
standard deviations of a turn's quality without packing, as `pack.<purpose>.lower_sd` wants it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from callwise.calls.packing import MIN_LOWER_SD
from callwise.tuning.panel import panel_of
from callwise.tuning.row import TurnRow
from callwise.tuning.setting import Setting
from callwise.tuning.statistics.comparison import compare_with

__all__ = ["PackingProof", "packing_proofs"]

_GROUP = "pack."

MAX_LOWER_SD = 10.0
"""Highest value that `pack.<purpose>.lower_sd` takes."""


class PackingProof(NamedTuple):
    """Result of a sweep on one setting that packs.

    Args:
        setting: its name.
        reference: the same one without packing.
        purposes: whose calls it packs.
        sizes: most questions in one prompt, for each of them; None where the sweep sets none.
        mean: mean difference in quality, packed less alone, in standard deviations of a turn's
            quality; None where it is not known.
        low: lower bound of its 95 % interval, likewise; None where there is none.
        has_packed: whether a turn's calls differ: by a size alone nothing is packed, say.
    """

    setting: str
    reference: str
    purposes: tuple[str, ...]
    sizes: tuple[Any, ...]
    mean: float | None
    low: float | None
    has_packed: bool = True

    @property
    def is_shown(self) -> bool:
        """Whether packing is shown to lose little."""
        return self.has_packed and self.low is not None and self.low >= MIN_LOWER_SD

    def __str__(self) -> str:
        """Return the proof as a sentence, with the knobs to set."""
        packed = f"packing {', '.join(self.purposes)} ({self.setting} less {self.reference})"
        if not self.has_packed:
            return (
                f"{packed}: no turn asked fewer calls, so nothing was packed. A trial sets "
                f"pack.{self.purposes[0]}.is_trial=true, and packs what a node asks together"
            )
        if self.mean is None or self.low is None:
            return f"{packed}: no interval; it needs more conversations with a known quality"
        found = f"{self.mean:+.2f} SD of a turn's quality, {self.low:+.2f} at least"
        if not self.is_shown:
            return f"{packed}: {found}, and {MIN_LOWER_SD:+.2f} is wanted: leave it off"
        # Rounded down, so that what is set is never more than what was shown.
        low = min(np.floor(self.low * 1000) / 1000, MAX_LOWER_SD)
        knobs = []
        for purpose, size in zip(self.purposes, self.sizes, strict=True):
            knobs.append(f"--set pack.{purpose}.lower_sd={low:g}")
            if size is not None:
                knobs.append(f"--set pack.{purpose}.size={size}")
        return f"{packed}: {found}; on with {' '.join(knobs)}"


def packing_proofs(settings: Sequence[Setting], rows: Sequence[TurnRow]) -> list[PackingProof]:
    """Return what a sweep shows of each setting that packs and has its like without."""
    proofs = []
    by_rest = {_rest(each): each for each in settings if not _sizes(each)}
    for setting in settings:
        sizes, reference = _sizes(setting), by_rest.get(_rest(setting))
        if sizes and reference is not None:
            mean, low = _difference(setting.name, reference.name, rows)
            of = (setting.name, reference.name, tuple(sizes), tuple(sizes.values()))
            has_packed = _calls(setting.name, rows) != _calls(reference.name, rows)
            proofs.append(PackingProof(*of, mean, low, has_packed))
    return proofs


def _calls(setting: str, rows: Sequence[TurnRow]) -> dict[tuple[str, int], int]:
    """Return how many calls each turn of a setting asked."""
    return {(row.conversation, row.turn): row.asked for row in rows if row.setting == setting}


def _rest(setting: Setting) -> tuple[str, str]:
    """Return the identity of a setting without its knobs of packing."""
    knobs = {
        knob: value
        for knob, value in setting.knobs.items()
        if knob != "pack" and not knob.startswith(_GROUP)
    }
    return Setting("", setting.preset, knobs).identity


def _sizes(setting: Setting) -> dict[str, Any]:
    """Return the purposes whose calls a setting packs, by its swept knobs, with their sizes."""
    knobs: dict[str, dict[str, Any]] = {}
    for knob, value in setting.knobs.items():
        path = knob.split(".")
        if path[0] != "pack":
            continue
        group: Any = value
        for name in reversed(path[1:]):
            group = {name: group}
        for purpose, own in (group or {}).items():
            knobs.setdefault(purpose, {}).update(own or {})
    return {purpose: own.get("size") for purpose, own in knobs.items() if _is_on(own)}


def _is_on(knobs: Mapping[str, Any]) -> bool:
    """Return whether a purpose is packed by its knobs; a size alone is that of a trial."""
    if knobs.get("is_trial") or not {"is_trial", "lower_sd"} & knobs.keys():
        return True
    low = knobs.get("lower_sd")
    return low is not None and low >= MIN_LOWER_SD


def _difference(
    name: str, reference: str, rows: Sequence[TurnRow]
) -> tuple[float | None, float | None]:
    panel = panel_of([row for row in rows if row.setting in (name, reference)], "quality")
    if set(panel.settings) != {name, reference}:
        return None, None
    alone = panel.values[panel.settings.index(reference)]
    known = alone[~np.isnan(alone)]
    deviation = float(np.std(known, ddof=1)) if len(known) > 1 else 0.0
    found = compare_with(panel, reference)[name].alone
    if found.mean is None or not deviation:
        return None, None
    low = None if found.low is None else found.low / deviation
    return found.mean / deviation, low
