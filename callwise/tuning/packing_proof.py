"""Whether a sweep shows that packing questions into one prompt loses little quality.

Each setting with `pack` is compared with the same one without, paired by turn, the interval by the
studentised bootstrap over conversations (see `statistics.comparison`). Its lower bound is given in
standard deviations of a turn's quality without packing, as `pack.<purpose>.lower_sd` wants it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from callwise.calls.packing import MIN_LOWER_SD
from callwise.tuning.panel import panel_of
from callwise.tuning.row import TurnRow
from callwise.tuning.setting import Setting
from callwise.tuning.statistics.comparison import compare_with

__all__ = ["PackingProof", "packing_proofs"]

_GROUP = "pack."


class PackingProof(NamedTuple):
    """Result of a sweep on one setting that packs.

    Args:
        setting: its name.
        reference: the same one without packing.
        purposes: whose calls it packs.
        mean: mean difference in quality, packed less alone, in standard deviations of a turn's
            quality; None where it is not known.
        low: lower bound of its 95 % interval, likewise; None where there is none.
    """

    setting: str
    reference: str
    purposes: tuple[str, ...]
    mean: float | None
    low: float | None

    @property
    def is_shown(self) -> bool:
        """Whether packing is shown to lose little."""
        return self.low is not None and self.low >= MIN_LOWER_SD

    def __str__(self) -> str:
        """Return the proof as a sentence, with the knobs to set."""
        packed = f"packing {', '.join(self.purposes)} ({self.setting} less {self.reference})"
        if self.mean is None or self.low is None:
            return f"{packed}: no interval; it needs more conversations with a known quality"
        found = f"{self.mean:+.2f} SD of a turn's quality, {self.low:+.2f} at least"
        if not self.is_shown:
            return f"{packed}: {found}, and {MIN_LOWER_SD:+.2f} is wanted: leave it off"
        # Rounded down, so that what is set is never more than what was shown.
        low = np.floor(self.low * 1000) / 1000
        knobs = " ".join(f"--set pack.{each}.lower_sd={low:g}" for each in self.purposes)
        return f"{packed}: {found}; on with {knobs}"


def packing_proofs(settings: Sequence[Setting], rows: Sequence[TurnRow]) -> list[PackingProof]:
    """Return what a sweep shows of each setting that packs and has its like without."""
    proofs = []
    by_rest = {_rest(each): each for each in settings if not _purposes(each)}
    for setting in settings:
        purposes, reference = _purposes(setting), by_rest.get(_rest(setting))
        if purposes and reference is not None:
            mean, low = _difference(setting.name, reference.name, rows)
            proofs.append(PackingProof(setting.name, reference.name, purposes, mean, low))
    return proofs


def _rest(setting: Setting) -> tuple[str, str]:
    """Return the identity of a setting without its knobs of packing."""
    knobs = {
        knob: value
        for knob, value in setting.knobs.items()
        if knob != "pack" and not knob.startswith(_GROUP)
    }
    return Setting("", setting.preset, knobs).identity


def _purposes(setting: Setting) -> tuple[str, ...]:
    """Return the purposes whose calls a setting packs, by its swept knobs."""
    found = []
    for knob, value in setting.knobs.items():
        if knob == "pack" and isinstance(value, dict):
            found += list(value)
        elif knob.startswith(_GROUP) and value is not False:
            found.append(knob.split(".")[1])
    return tuple(dict.fromkeys(found))


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
