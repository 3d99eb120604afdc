"""One turn as lines of text: its calls on a time line, and the tree of its search."""

from collections.abc import Iterable, Sequence
from itertools import accumulate

from callwise.report.run_record import CallLine
from callwise.report.search_view import SearchView, SearchViewNode
from callwise.report.totals import grouped, node_name
from callwise.safe_text import cut_to_width, printable

__all__ = ["round_starts", "search_lines", "timeline_lines"]

_BLOCKS = "█▒"
"""Calls of a node take these alternately, so that each can be seen."""

_CALLS_WIDTH = 3
_SCORE_WIDTH = 4


def round_starts(calls: Iterable[tuple[int, float]]) -> tuple[float, ...]:
    """Return the second in which each round begins, from round 0, and in which the last ends.

    A round begins when the longest call of the round before it has ended.

    Args:
        calls: the round in which each call ended, and its seconds; 0 for a refused one.
    """
    longest: dict[int, float] = {}
    for number, seconds in calls:
        longest[number] = max(longest.get(number, 0.0), seconds)
    every = (longest.get(number, 0.0) for number in range(1 + max(longest, default=0)))
    return tuple(accumulate(every, initial=0.0))


def timeline_lines(rows: Sequence[CallLine], *, width: int, unit: str = "") -> list[str]:
    """Return the calls of one turn as a lane for each node: name, number of calls, blocks.

    Lanes are in the order in which nodes first asked; a refused call has no block. The last line
    has the ends of the axis. There is nothing to draw without a call that ended in a known round.

    Args:
        rows: the ledger's rows of the turn.
        width: columns of a line, at least 40.
        unit: names the axis, such as `virtual seconds`; at most 20 characters.
    """
    drawn = [row for row in rows if row.end_round is not None and not row.is_refused]
    if not drawn:
        return []
    starts = round_starts((row.end_round or 0, row.usage.path_seconds) for row in drawn)
    lanes = grouped(drawn, node_name)
    names = {name: cut_to_width(printable(name), 20) for name in lanes}
    head = max(map(len, (unit, *names.values())))
    columns = width - head - _CALLS_WIDTH - 2
    scale = columns / (starts[-1] or 1.0)
    lines = []
    for name, calls in lanes.items():
        lane = [" "] * columns
        for number, row in enumerate(calls):
            begin = starts[row.end_round or 0]
            first = min(round(begin * scale), columns - 1)
            last = max(round((begin + row.usage.path_seconds) * scale), first + 1)
            for place in range(first, min(last, columns)):
                lane[place] = _BLOCKS[number % len(_BLOCKS)]
        lines.append(f"{names[name]:{head}} {len(calls):{_CALLS_WIDTH}} {''.join(lane)}".rstrip())
    end = f"{starts[-1]:.1f}"
    axis = "0" + end.rjust(columns - 1)
    return [*lines, f"{unit:{head}} {'':{_CALLS_WIDTH}} {axis}"]


def _score(node: SearchViewNode) -> str:
    if node.mean_score is None:
        return "-".rjust(_SCORE_WIDTH)
    return f"{node.mean_score:.2f}"


def search_lines(view: SearchView, *, width: int) -> list[str]:
    """Return the tree of a search: per candidate its mean score, and the start of its reply.

    `*` marks the one that was picked, `-` is the score of a candidate that no judge has read.

    Args:
        view: of one search.
        width: columns of a line, at least 40.
    """
    last_child = {node.parent_id: node.id for node in view.nodes}
    stems: dict[str, str] = {}
    lines = []
    for node in view.depth_first():
        if node.parent_id is None:
            branch, stems[node.id] = "", ""
        else:
            is_last = last_child[node.parent_id] == node.id
            stem = stems[node.parent_id]
            branch = stem + ("└─ " if is_last else "├─ ")
            stems[node.id] = stem + ("   " if is_last else "│  ")
        mark = "*" if node.is_best else " "
        lines.append(cut_to_width(f"{branch}{_score(node)}{mark} {printable(node.reply)}", width))
    return lines
