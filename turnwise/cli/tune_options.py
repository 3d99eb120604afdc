"""The options of `turnwise tune`, and the bar that shows how far it is."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from turnwise.calls.trust import NOTHING, Trust
from turnwise.replay.counterfactual.evaluation import Past
from turnwise.replay.counterfactual.purchase import Purse
from turnwise.tune.judge.judge_sweep import QualityRequest, QualitySource

__all__ = ["TuneOptions", "progress_bar"]


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """The options of `turnwise tune`, as they came."""

    recording: Path
    grid: str | None = None
    knobs: Sequence[str] = ()
    out: Path | None = None
    is_fresh: bool = False
    max_turns: int | None = None
    past: Past = "recorded"
    jobs: int = -1
    cluster: str | None = None
    quality: QualitySource = "auto"
    labels: Path | None = None
    repeats: int = 1
    margin_share: float = 0.01
    cost: str = "asked"
    buys: bool = False
    is_agreed: bool = False
    races: bool = False
    purse: Purse = field(default_factory=Purse)
    """What all paid calls may spend together: bought ones and a referee's."""
    max_concurrency: int = 1
    draws_figures: bool = False
    as_json: bool = False
    app: str | None = None
    trust: Trust = NOTHING

    @property
    def quality_request(self) -> QualityRequest:
        """Whose word on quality counts."""
        return QualityRequest(self.quality, self.labels, self.repeats, purse=self.purse)


@contextmanager
def progress_bar(
    unit: str, *, is_quiet: bool
) -> Iterator[Callable[[int, int | None, str], None] | None]:
    """Give a function that shows how much is done, of how much, and what; None when quiet."""
    if is_quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn(unit), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[at]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(unit, total=None, at="")

        def show(done: int, total: int | None, at: str) -> None:
            bar.update(task, completed=done, total=total, at=at[:40])

        yield show
