"""Records whose charts are bars: calls by node, calls over turns, waterfall, timeline."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from callwise.tuning.figures import chart, palette
from callwise.tuning.figures.calls_by_node import CallsByNode, CallsOverTurns, SettingCalls
from callwise.tuning.figures.chart import Chart, LegendEntry, plain_line
from callwise.tuning.figures.palette import NodeMark
from callwise.tuning.figures.timeline import CallBar, Timeline, TimelineLane, TimeScale
from callwise.tuning.figures.waterfall import Waterfall, WaterfallBar
from callwise.tuning.figures.whisker import CostAxis, Whisker

__all__ = ["calls_by_node_chart", "calls_over_turns_chart", "timeline_chart", "waterfall_chart"]

MAX_HEIGHT = 6_000
"""Pixels. The rows of a figure that is higher get thinner."""

_HALF_BAR, _HALF_CALL = 0.29, 0.36
_CROSS = "M-1,-1L1,1M-1,1L1,-1"
_CHARS_PER_CHART = chart.CHART_WIDTH / 6.0
"""Letters that fit on a line of the plot."""


def _box(x: float, x2: float, y: float, half: float, fill: str, **style: Any) -> dict[str, Any]:
    """Return a bar around the row `y`."""
    usual = {"fill": fill, "stroke": palette.PAPER, "width": 0.8, "dash": []}
    return {"x": x, "x2": x2, "y": y - half, "y2": y + half, **usual, **style}


def _whiskers(first_row: int, whiskers: Iterable[Whisker]) -> Iterator[dict[str, Any]]:
    """Yield the intervals of rows that have one."""
    for row, whisker in enumerate(whiskers, start=first_row):
        if whisker.has_interval:
            yield {"y": row, **chart.ends_of(whisker), "color": palette.INK}


def _node_legend(nodes: Sequence[str], marks: Mapping[str, NodeMark]) -> list[LegendEntry]:
    return [
        LegendEntry(
            node,
            marks[node].fill,
            marks[node].edge if marks[node].is_outlined else marks[node].fill,
            "square",
            dash=marks[node].dash,
        )
        for node in nodes
    ]


def _outline(mark: NodeMark) -> dict[str, Any]:
    width = 1.4 if mark.is_outlined else 0.8
    return {"stroke": mark.edge, "width": width, "dash": list(mark.dash)}


def calls_by_node_chart(found: CallsByNode) -> Chart:
    """Return calls by node as a Vega-Lite specification, the first setting on top."""
    is_simulated = found.basis.is_simulated
    if not found.bars:
        return chart.message_chart(
            found.title, found.caption, "There are no rows to draw.", is_simulated=is_simulated
        )
    highest = max(bar.total.mean + bar.total.above for bar in found.bars)
    x = chart.number_axis("x", (0, 1.08 * highest or 1), title=CostAxis.CALLS.axis)
    names = [plain_line(bar.setting, 32) for bar in found.bars]
    y, params = chart.row_axis("y", range(len(names)), names, len(names))
    marks = palette.node_marks(found.nodes)
    legend = _node_legend(found.nodes, marks)
    rows = list(enumerate(found.bars))
    layers = [
        chart.bars(_stacks(found, marks), x, y, ("setting", "node", "calls", "in all", "turns"))
    ]
    if found.has_missing:
        lacking = (_missing(row, bar) for row, bar in rows if bar.missing > 0)
        layers.append(chart.bars(lacking, x, y, ("setting", "missing")))
        legend.append(
            LegendEntry("not recorded", palette.PAPER, palette.SOFT, "square", dash=(2, 1))
        )
    totals = _whiskers(0, (bar.total for bar in found.bars))
    numbers = [
        {"x": bar.total.mean + bar.total.above, "y": row, "text": f"{bar.total.mean:.1f}"}
        for row, bar in rows
    ]
    layers += [chart.whisker_layer(totals, x, y), chart.texts(numbers, x, y, align="left", dx=5)]
    return chart.chart_of(
        found.title,
        found.caption,
        layers,
        height=min(36 * max(len(rows), 2), MAX_HEIGHT),
        is_simulated=is_simulated,
        legend=legend,
        legend_title="node",
        params=params,
    )


def _stacks(found: CallsByNode, marks: Mapping[str, NodeMark]) -> Iterator[dict[str, Any]]:
    """Yield a bar for each setting and node; it begins where the one before ended."""
    for row, bar in enumerate(found.bars):
        left = 0.0
        for node, mean in zip(found.nodes, bar.mean_by_node, strict=True):
            style = _outline(marks[node])
            yield _box(left, left + mean, row, _HALF_BAR, marks[node].fill, **style) | {
                "setting": plain_line(bar.setting),
                "node": plain_line(node),
                "calls": f"{mean:.2f}",
                "in all": bar.total.words(),
                "turns": bar.turns,
            }
            left += mean


def _missing(row: int, bar: SettingCalls) -> dict[str, Any]:
    """Return the calls that are not recorded, as a slim bar below the setting's."""
    total = bar.total.mean
    style: dict[str, Any] = {"stroke": palette.SOFT, "dash": [2, 1]}
    box = _box(total - bar.missing, total, row + 0.38, 0.07, palette.PAPER, **style)
    return box | {"setting": plain_line(bar.setting), "missing": f"{bar.missing:.2f}"}


def calls_over_turns_chart(found: CallsOverTurns) -> Chart:
    """Return a conversation's calls as a Vega-Lite specification, a bar for each turn."""
    highest = max((sum(of_turn) for of_turn in found.asked), default=0)
    x = chart.number_axis("x", (-0.6, len(found.turns) - 0.4), title="turn, counted from 0")
    # Of many turns every second, third, ... has its number.
    step = -(-len(found.turns) // 20)
    places = list(range(len(found.turns)))[::step]
    x["axis"] |= {
        "values": places,
        "labelExpr": "turn_names[indexof(turn_places, datum.value)]",
        "grid": False,
    }
    y = chart.number_axis(
        "y", (0, 1.05 * highest or 1), title="calls in the turn (fewer is better)", are_whole=True
    )
    marks = palette.node_marks(found.nodes)
    return chart.chart_of(
        found.title,
        found.caption,
        [chart.bars(_turn_stacks(found, marks), x, y, ("turn", "node", "calls", "in all"))],
        height=240,
        is_simulated=found.basis.is_simulated,
        legend=_node_legend(found.nodes, marks),
        legend_title="node",
        params=[
            {"name": "turn_places", "value": places},
            {"name": "turn_names", "value": [str(turn) for turn in found.turns[::step]]},
        ],
    )


def _turn_stacks(found: CallsOverTurns, marks: Mapping[str, NodeMark]) -> Iterator[dict[str, Any]]:
    # An outline of paper would hide narrow bars.
    has_paper = len(found.turns) <= 80
    for place, (turn, of_turn) in enumerate(zip(found.turns, found.asked, strict=True)):
        bottom = 0
        for node, calls in zip(found.nodes, of_turn, strict=True):
            yield {
                "x": place - 0.4,
                "x2": place + 0.4,
                "y": bottom,
                "y2": bottom + calls,
                "fill": marks[node].fill,
                **_outline(marks[node]),
                **({} if has_paper or marks[node].is_outlined else {"stroke": marks[node].fill}),
                "turn": turn,
                "node": plain_line(node),
                "calls": calls,
                "in all": sum(of_turn),
            }
            bottom += calls


def waterfall_chart(found: Waterfall) -> Chart:
    """Return a waterfall as a Vega-Lite specification, the first setting on top."""
    last = len(found.bars) + 1
    levels = [found.start[1], found.end[1]]
    highest = max([*levels, *(_right_end(bar) for bar in found.bars)])
    x = chart.number_axis("x", (0, 1.1 * highest or 1), title=f"{found.unit} (fewer is better)")
    steps = [
        [plain_line(bar.label), *([plain_line(bar.detail, 44)] if bar.detail else [])]
        for bar in found.bars
    ]
    names = [[plain_line(found.start[0])], *steps, [plain_line(found.end[0])]]
    y, params = chart.row_axis("y", range(last + 1), names, last + 1)
    settings = [
        _box(0, calls, row, 0.28, palette.SOFT, name=plain_line(name), calls=f"{calls:.2f}")
        for row, (name, calls) in ((0, found.start), (last, found.end))
    ]
    ends = _whiskers(1, (bar.ends_at for bar in found.bars))
    return chart.chart_of(
        found.title,
        found.caption,
        [
            chart.bars(settings, x, y, ("name", "calls")),
            chart.bars(
                _steps(found), x, y, ("knob", "change", "saved", "before", "after", "turns")
            ),
            chart.lines(_levels(found), x, y, stroke=palette.SOFT, strokeWidth=0.8),
            chart.whisker_layer(ends, x, y),
            chart.texts(_numbers(found), x, y, align="left", dx=5),
        ],
        height=min(42 * (last + 1), MAX_HEIGHT),
        is_simulated=found.basis.is_simulated,
        legend=_waterfall_legend(found),
        params=params,
    )


def _waterfall_legend(found: Waterfall) -> list[LegendEntry]:
    """Return the meaning of the colours that are drawn."""
    explained = [bar for bar in found.bars if bar.detail]
    entries = [LegendEntry("all calls of a setting", palette.SOFT, palette.SOFT, "square")]
    if any(bar.saved.mean > 0 for bar in explained):
        entries.append(LegendEntry("saved", palette.FALL, palette.FALL, "square"))
    if any(bar.saved.mean <= 0 for bar in explained):
        entries.append(LegendEntry("added", palette.RISE, palette.RISE, "square"))
    return entries


def _right_end(bar: WaterfallBar) -> float:
    return max(bar.before, bar.ends_at.mean + bar.ends_at.above)


def _steps(found: Waterfall) -> Iterator[dict[str, Any]]:
    for row, bar in enumerate(found.bars, start=1):
        colour = palette.FALL if bar.saved.mean > 0 else palette.RISE
        style: dict[str, Any] = {"stroke": colour}
        if not bar.detail:
            colour, style = palette.FAINT, {"stroke": palette.SOFT, "dash": [3, 2]}
        yield _box(bar.before, bar.after, row, 0.28, colour, **style) | {
            "knob": plain_line(bar.label),
            "change": plain_line(bar.detail, 44),
            "saved": bar.saved.words(),
            "before": f"{bar.before:.2f}",
            "after": f"{bar.after:.2f}",
            "turns": found.basis.turns,
        }


def _levels(found: Waterfall) -> Iterator[dict[str, Any]]:
    befores = [bar.before for bar in found.bars]
    last = found.bars[-1].after if found.bars else found.start[1]
    for row, level in enumerate([*befores, last], start=1):
        yield {"x": level, "x2": level, "y": row - 0.72, "y2": row - 0.28}


def _numbers(found: Waterfall) -> Iterator[dict[str, Any]]:
    """Yield the figure at the right of each bar and its interval."""
    yield {"x": found.start[1], "y": 0, "text": f"{found.start[1]:.2f}"}
    for row, bar in enumerate(found.bars, start=1):
        yield {"x": _right_end(bar), "y": row, "text": f"{-bar.saved.mean:+.2f}".replace("-", "−")}
    yield {"x": found.end[1], "y": len(found.bars) + 1, "text": f"{found.end[1]:.2f}"}


def timeline_chart(found: Timeline) -> Chart:
    """Return a turn's timeline as a Vega-Lite specification, the first node on top."""
    if not found.lanes:
        return chart.message_chart(
            found.title, found.caption, "This turn asked nothing.", is_simulated=found.is_simulated
        )
    is_rounds = found.scale is TimeScale.ROUNDS
    x = chart.number_axis(
        "x", (0, 1.01 * found.end or 1), title=found.axis_title, are_whole=is_rounds
    )
    tops = [sum(lane.rows for lane in found.lanes[:at]) for at in range(len(found.lanes) + 1)]
    rows = tops.pop()
    middles = [top + (lane.rows - 1) / 2 for top, lane in zip(tops, found.lanes, strict=True)]
    names = [plain_line(lane.node, 28) for lane in found.lanes]
    y, params = chart.row_axis("y", middles, names, rows)
    colours = palette.node_colours(lane.node for lane in found.lanes)
    placed = [
        (lane, bar, top + bar.row)
        for top, lane in zip(tops, found.lanes, strict=True)
        for bar in lane.bars
    ]
    waited = [each for each in placed if not each[1].call.is_refused]
    refused = [
        {"x": bar.start, "y": row, **_tooltip(bar, lane)}
        for lane, bar, row in placed
        if bar.call.is_refused
    ]
    borders = [{"x": 0, "x2": x["scale"]["domain"][1], "y": top - 0.5, "y2": top - 0.5}
               for top in tops[1:]]  # fmt: skip
    shown = tuple(_tooltip(placed[0][1], placed[0][0]))
    reply = [] if found.reply_at is None else [found.reply_at]
    return chart.chart_of(
        found.title,
        found.caption,
        [
            chart.lines(borders, x, y, stroke=palette.GRID),
            chart.bars([_call(bar, lane, row, colours) for lane, bar, row in waited], x, y, shown),
            chart.texts(_purposes(waited, found.end), x, y, fontSize=9),
            chart.points(refused, x, y, tooltip=shown, shape=_CROSS, size=60, strokeWidth=2.2,
                   stroke=palette.PICK),
            chart.lines(({"x": at, "x2": at, "y": -0.5, "y2": rows - 0.5} for at in reply), x, y,
                  stroke=palette.INK, strokeWidth=1.1, strokeDash=[4, 2]),
            chart.texts(({"x": at, "y": -0.5, "text": "reply out"} for at in reply), x, y,
                  align="left", baseline="bottom", dx=-2, dy=-2, fontSize=9),
        ],
        height=min(34 * max(rows, 2), MAX_HEIGHT),
        is_simulated=found.is_simulated,
        params=params,
    )  # fmt: skip


def _call(bar: CallBar, lane: TimelineLane, row: int, colours: dict[str, str]) -> dict[str, Any]:
    """Return a call's bar: dashed where speculative, framed where it is a repair."""
    colour = colours[lane.node]
    # A call that failed gave no answer: its bar is nearly empty.
    is_lost = bar.call.outcome in {"failed", "cancelled"}
    style: dict[str, Any] = {}
    if bar.call.is_speculative:
        style = {"stroke": colour, "width": 1.4, "dash": [4, 2]}
    if bar.call.repair:
        style |= {"stroke": palette.PICK, "width": 2}
    if bar.start == bar.end:
        style = {"stroke": colour, "width": 2}
    fill = palette.tint(colour, 0.8 if is_lost or bar.call.is_speculative else 0.45)
    return _box(bar.start, bar.end, row, _HALF_CALL, fill, **style) | _tooltip(bar, lane)


def _tooltip(bar: CallBar, lane: TimelineLane) -> dict[str, Any]:
    call = bar.call
    return {
        "node": plain_line(lane.node),
        "purpose": plain_line(call.purpose),
        "call": call.sequence,
        "role": plain_line(call.role),
        "outcome": plain_line(call.outcome),
        "seconds": f"{call.path_seconds:.2f}",
        "speculative": "yes" if call.is_speculative else "no",
        "repair": call.repair,
    }


def _purposes(
    waited: Sequence[tuple[TimelineLane, CallBar, int]], end: float
) -> Iterator[dict[str, Any]]:
    """Yield the purpose of each call whose bar is wide enough for some of it."""
    for _, bar, row in waited:
        columns = int(_CHARS_PER_CHART * (bar.end - bar.start) / (end or 1))
        if columns >= 3:
            purpose = bar.call.purpose.removeprefix("judge_")
            # An ellipsis is wider than a letter.
            words = plain_line(purpose, columns if len(purpose) <= columns else columns - 1)
            yield {"x": (bar.start + bar.end) / 2, "y": row, "text": words}
