"""Figures and tables of runs, sweeps and rows, for notebooks and scripts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from callwise.optional_library import loaded
from callwise.recordings.run_folder import read_rows
from callwise.report import RunRecord, load_run, page
from callwise.report.run_record import TurnLine
from callwise.report.search_svg import search_svg
from callwise.report.search_view import read_search
from callwise.tuning.figures import (
    TimeScale,
    calls_by_node_of,
    calls_over_turns_of,
    timeline_of,
    tradeoff_of,
)
from callwise.tuning.notebook import TuneResult
from callwise.tuning.notebook_output import NotebookFigure
from callwise.tuning.notebook_runs import panel_of_run
from callwise.tuning.panel import panel_of
from callwise.tuning.quality_unit import unit_of
from callwise.tuning.row import TurnRow, rows_by_setting
from callwise.tuning.statistics.bootstrap import mean_intervals
from callwise.tuning.statistics.comparison import (
    PairedDifference,
    compare_with,
    compare_with_best,
)
from callwise.tuning.statistics.power import figure_text, interval_text
from callwise.tuning.statistics.recommendation import MARGIN_SHARE

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NotebookPicture", "compare", "draw", "intervals", "write_page"]

_OF_RUN = ("timeline", "seconds", "turns", "search")
_OF_ROWS = ("tradeoff", "nodes")


@dataclass(frozen=True, slots=True)
class NotebookPicture:
    """An SVG as the last value of a cell. It has its own background, light or dark."""

    title: str
    svg: str

    def __repr__(self) -> str:
        """Return the title, for viewers without pictures."""
        return self.title

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Return both forms, for Jupyter to choose from; without a picture, the title."""
        picture = {"image/svg+xml": self.svg} if self.svg else {}
        return {**picture, "text/plain": self.title}


def draw(
    found: RunRecord | TuneResult | Sequence[TurnRow] | str | Path,
    figure: str = "",
    *,
    conversation: str | None = None,
    turn: int | None = None,
    groups: Mapping[str, str] | None = None,
) -> NotebookFigure | NotebookPicture:
    """Return a figure of a run, a sweep, or rows.

    Args:
        found: a run or its folder, a result of `tune`, or rows of one.
        figure: of a run `timeline` (a turn's calls by round, the default), `seconds` (the same
            by time; virtual where a simulated model answered), `turns` (calls of each turn of
            a conversation), `search` (a turn's search tree); of a sweep or rows `tradeoff`
            (quality against calls, the default), `nodes` (calls by node,
            the setting of fewest calls first).
        conversation: of a run; None is its first.
        turn: of the conversation; None is its first.
        groups: of rows, the colour group of each setting.

    Raises:
        ValueError: for another figure, or a turn that the run does not have.
        FormatError: for a path that is not that of a run's folder.
        ConfigError: when a library of the extra `tune` is missing, once it is shown.
    """
    if isinstance(found, str | Path):
        found = load_run(Path(found))
    known = _OF_RUN if isinstance(found, RunRecord) else _OF_ROWS
    figure = figure or known[0]
    if figure not in known:
        what = "run" if isinstance(found, RunRecord) else "sweep"
        raise ValueError(f"a {what} has no figure {figure!r}. Use one of {', '.join(known)}")
    if isinstance(found, RunRecord):
        return _of_run(found, figure, _turn_of(found, conversation, turn))
    if isinstance(found, TuneResult):
        if figure == "tradeoff":
            return NotebookFigure(found.tradeoff)
        return NotebookFigure(calls_by_node_of(_cheapest_first(found.rows), nodes=found.nodes))
    if figure == "nodes":
        return NotebookFigure(calls_by_node_of(_cheapest_first(found)))
    trade = tradeoff_of(
        found,
        quality=mean_intervals(panel_of(found, "quality")),
        costs=mean_intervals(panel_of(found, "asked")),
        knob="setting" if groups else "",
        knob_values=groups,
    )
    return NotebookFigure(trade)


def _cheapest_first(rows: Sequence[TurnRow]) -> list[TurnRow]:
    """Return rows with the setting of fewest calls per turn first."""
    of_settings = rows_by_setting(rows).values()
    ordered = sorted(of_settings, key=lambda own: sum(row.asked for row in own) / len(own))
    return [row for own in ordered for row in own]


def _turn_of(run: RunRecord, conversation: str | None, turn: int | None) -> TurnLine:
    for line in run.turns:
        if conversation in (None, line.conversation_id) and turn in (None, line.turn):
            return line
    names = list(dict.fromkeys(line.conversation_id for line in run.turns))
    some = ", ".join(map(repr, names[:5])) + ", ..." * (len(names) > 5)
    raise ValueError(
        f"the run has no turn {'' if turn is None else turn} of "
        f"{'any conversation' if conversation is None else repr(conversation)}. "
        f"Its {len(run.turns)} turns are of {some or 'no conversation'}"
    )


def _of_run(run: RunRecord, figure: str, turn: TurnLine) -> NotebookFigure | NotebookPicture:
    if figure == "turns":
        return NotebookFigure(calls_over_turns_of(run.rows, run.turns, turn.conversation_id))
    where = f"turn {turn.turn} of {turn.conversation_id}"
    if figure == "search":
        view = read_search(turn.search) if turn.search else None
        if view is None or not view.candidates:
            return NotebookPicture(f"{where} made no search", "")
        svg = search_svg(view, title=where, is_simulated=turn.simulated)
        return NotebookPicture(f"Search of {where}.{' Simulated.' * turn.simulated}", svg)
    rows = [
        row
        for row in read_rows(run.folder / "ledger.jsonl")[0]
        if (row["conversation"], int(row["turn"])) == turn.key
    ]
    rounds, _, seconds, _ = turn.spans
    is_timed = figure == "seconds"
    scale = TimeScale.SECONDS if is_timed else TimeScale.ROUNDS
    reply_at = seconds if is_timed else rounds
    return NotebookFigure(timeline_of(rows, scale=scale, reply_at=reply_at, where=where))


def write_page(
    run: RunRecord | str | Path, file: str | Path, *, against: RunRecord | str | Path | None = None
) -> page.WrittenPage:
    """Write the page of a run, one HTML file that opens from disk.

    Args:
        run: a run, or its folder.
        file: path of the page; an older page there is replaced in one step.
        against: a run to compare with, likewise.

    Raises:
        FormatError: when a folder is no run, or cannot be read.
        ConfigError: when no turn of the two runs pairs, or the page cannot be written there.
    """
    folders = [each.folder if isinstance(each, RunRecord) else each for each in (run, against)]
    mine, other = (None if each is None else Path(each) for each in folders)
    return page.write_page(Path(mine or ""), Path(file), against=other)


def intervals(run: RunRecord | str | Path) -> "pd.DataFrame":
    """Return mean calls, rounds and seconds per turn of a run, each with two 95 % intervals.

    The intervals are over conversations, and over turns as if these were independent, which
    makes them too narrow as a rule. Seconds are named as in a report.

    Raises:
        FormatError: for a path that is not that of a run's folder.
        ConfigError: when pandas is missing.
    """
    found = load_run(Path(run)) if isinstance(run, str | Path) else run
    drawn = {
        "conversations": mean_intervals(panel_of_run(found)),
        "turns": mean_intervals(panel_of_run(found, is_by_turn=True)),
    }
    rows = {
        (name, unit): {
            "mean": of_unit[name].mean,
            "low": of_unit[name].low,
            "high": of_unit[name].high,
        }
        for name in drawn["turns"]
        for unit, of_unit in drawn.items()
    }
    table: pd.DataFrame = loaded("pandas").DataFrame(rows).T.astype(float).round(2)
    return table.rename_axis(index=["figure", "intervals over"])


def compare(
    rows: Sequence[TurnRow], reference: str, *, margin: float | None = None, unit: str = ""
) -> "pd.DataFrame":
    """Return each setting's calls, rounds and quality, and its difference from a reference.

    The intervals of differences are valid for all comparisons together. The verdict is `better`
    or `worse` where 0 is outside of the interval, `not worse` where it is above the margin, else
    `open`; the last column has the prompts or conversations that would decide. The head names
    the margin.

    Args:
        rows: of two settings or more, all of the same turns.
        reference: the setting to compare with, chosen before the data were seen.
        margin: loss that still counts as not worse, in the unit of quality; above 0. None is
            that of `tune`: 1 % of the scale, or of the gap between the best and the worst mean
            where the scale is not known.
        unit: of quality, for the heads; empty takes that of the rows' source.

    Raises:
        ValueError: when there is no such setting, or the margin is not above 0.
        ConfigError: when pandas is missing.
    """
    names = list(dict.fromkeys(row.setting for row in rows))
    if reference not in names:
        raise ValueError(f"no rows of {reference!r}. Use one of {', '.join(map(repr, names))}")
    if margin is not None and not margin > 0:
        raise ValueError(f"the margin is above 0, got {margin}")
    quality = panel_of(rows, "quality")
    known = unit_of(next((row.quality_by for row in rows if row.quality_by), ""))
    unit = unit or known.short
    found = {
        name: mean_intervals(panel_of(rows, field))
        for name, field in {
            "quality": "quality",
            "calls": "asked",
            "rounds": "rounds_reply",
        }.items()
    }
    if margin is None:
        means = [each.mean for each in found["quality"].values() if each.mean is not None]
        gap = max(means, default=0.0) - min(means, default=0.0)
        margin = MARGIN_SHARE * (known.width or gap)
    apart = compare_with(quality, reference) if len(names) > 1 else {}
    heading = f"quality ({unit})" if unit else "quality"
    lines = {
        name: {
            "calls": _mean(found["calls"][name].mean),
            "rounds": _mean(found["rounds"][name].mean),
            heading: interval_text(found["quality"][name]),
            f"less {reference}": _difference(apart.get(name)),
            "verdict": _verdict(apart.get(name), margin),
            "decided by": _needed(rows, name, reference, margin) if name in apart else "",
        }
        for name in names
    }
    table: pd.DataFrame = loaded("pandas").DataFrame(lines).T
    return table.rename_axis(columns=f"margin {figure_text(margin)} {unit}".rstrip())


def _mean(value: float | None) -> str:
    return "not known" if value is None else f"{value:.1f}"


def _difference(found: PairedDifference | None) -> str:
    if found is None:
        return "0 (the reference)"
    between = found.together
    if between.mean is None or between.low is None or between.high is None:
        return "not known" if between.mean is None else f"{between.mean:+.2f} (no interval)"
    return f"{between.mean:+.2f} ({between.low:+.2f} to {between.high:+.2f})"


def _verdict(found: PairedDifference | None, margin: float) -> str:
    if found is None:
        return "reference"
    if found.is_higher or found.is_lower:
        return "better" if found.is_higher else "worse"
    low = found.together.low
    return "not worse" if low is not None and low >= -margin else "open"


def _needed(rows: Sequence[TurnRow], name: str, reference: str, margin: float) -> str:
    """Return the conversations that decide on one setting, compared with the reference alone."""
    two = panel_of([row for row in rows if row.setting in (name, reference)], "quality")
    conversations, turns = len(two.conversations), len(two.conversation_of)
    best = compare_with_best(two)
    if name not in best.settings:
        return "more than these, which are too few to compare"
    needed = best.needed(name, margin, conversations=conversations, turns=turns)
    if needed.more_conversations is None:
        return "too many"
    return f"{conversations + needed.more_conversations:,} ({needed.verdict})"
