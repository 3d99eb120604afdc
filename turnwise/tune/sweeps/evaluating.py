"""The seam between a sweep and whoever knows what a setting would have done.

A sweep decides which settings are tried, where, and how their rows are kept; an evaluator
turns settings into rows. Plain data goes in and plain data comes out, so the same evaluator
works in this process, in other processes and on other machines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from turnwise.tune.row import TurnRow
from turnwise.tune.sweeps.setting import Setting

__all__ = ["Evaluator", "Setting", "SettingResult"]


@dataclass(frozen=True, slots=True)
class SettingResult:
    """What one setting did on every turn.

    Args:
        setting: its name.
        rows: one a turn, conversation by conversation; empty where the setting cannot run.
        replies: texts by `reply_id`, of the rows' replies. Untrusted. May leave out texts that
            nobody will read.
        error: why this setting cannot run; None where it can. Other settings go on.
    """

    setting: str
    rows: tuple[TurnRow, ...]
    replies: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None


class Evaluator(Protocol):
    """Turns settings into rows. A frozen dataclass of paths and strings, so that it travels."""

    def evaluate(self, settings: Sequence[Setting]) -> list[SettingResult]:
        """Return one result a setting, in the same order.

        The same setting gives the same result, whatever is evaluated beside it: that is why
        the number of workers cannot matter. What it raises stops the whole sweep; what is
        wrong with one setting only belongs into that setting's `error`.
        """
        ...
