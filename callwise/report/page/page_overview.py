"""The first view of the page as HTML: which node and turn cost most, and how two runs differ."""

from collections.abc import Sequence
from dataclasses import replace

from callwise.report.node_hues import NODE_HUES, hue_places
from callwise.report.page.page_comparison import TurnPairing, compared_tables, setting_words
from callwise.report.page.page_data import PageRun, anchor_of
from callwise.report.page.page_ranking import (
    MEASURES,
    Cost,
    Measure,
    TurnCost,
    cost_of,
    difference_words,
    ranked_nodes,
    ranked_turns,
    shares,
    turn_differences,
    worst_troubled,
)
from callwise.report.page.page_tables import (
    bar_html,
    figures_html,
    percent,
    ranking_html,
    table_html,
)
from callwise.report.run_forms import degraded_line
from callwise.report.run_record import CallLine, TurnKey
from callwise.report.table import Cell, Table, cell_text
from callwise.report.totals import Spread, node_name
from callwise.safe_text import shown_html

__all__ = ["NODE_COLOURS", "node_hues", "other_name", "overview_html"]

NODE_COLOURS = len(NODE_HUES) + 1
"""Colours of nodes: the dearest have one each, all others share the last one."""

MAX_LISTED_TURNS = 10
"""Turns in a ranking of the overview; the list of turns has all of them."""


def node_hues(run: PageRun, pairing: TurnPairing | None) -> dict[str, int]:
    """Return each node of both runs with its colour, in the order of first asking.

    The dearest have the places of their hues, as in figures. The others come last.
    """
    rows = list(run.record.rows)
    others = [] if pairing is None else list(pairing.other.record.rows)
    ranked = list(dict.fromkeys([*ranked_nodes(rows), *ranked_nodes(others)]))
    dearest = [name for name in ranked if name != "-"][: len(NODE_HUES)]
    hues = hue_places(sorted(dearest))
    asked = dict.fromkeys(node_name(row) for row in [*rows, *others])
    ordered = sorted(asked, key=lambda name: name not in hues)
    return {name: hues.get(name, len(NODE_HUES)) for name in ordered}


def other_name(pairing: TurnPairing) -> str:
    """Return a name for the other run that this run does not have too. Untrusted."""
    name = pairing.other.name
    return name if name and name != pairing.run.name else "the other run"


class _Overview:
    """The parts of the first view."""

    def __init__(self, run: PageRun, pairing: TurnPairing | None) -> None:
        self._run = run
        self._pairing = pairing
        self._colour = {name: f"node-{place}" for name, place in node_hues(run, pairing).items()}
        self._turns = ranked_turns(run)
        self._units = {
            "calls": "calls",
            "tokens": "tokens",
            "seconds": run.seconds,
            "usd": "USD",
        }

    def html(self) -> str:
        pairing = self._pairing
        parts = [*self._notices(), self._answers()]
        if pairing is not None:
            parts.append(self._compared_nodes(pairing))
        parts += [self._nodes(), '<div id="chart"></div>']
        if pairing is not None:
            parts.append(self._compared_turns(pairing))
        parts += [self._ranked_turns(), '<h2 class="apart">The run in figures</h2>', self._tiles()]
        if pairing is not None:
            parts.append('<h2 class="apart">Compared with the other run</h2>')
            parts += map(self._table, compared_tables(pairing))
            parts.append('<h2 class="apart">This run</h2>')
        tables = self._run.tables
        parts += [self._table(table) for table in tables.tables() if table is not tables.by_turn]
        return "\n".join(part for part in parts if part)

    def _table(self, table: Table) -> str:
        """Return a table whose seconds have their unit; names of nodes are left as they are."""
        unit = self._run.seconds
        columns = tuple(name.replace("seconds", unit) for name in table.columns)
        rows = table.rows
        if table.name == "compared":
            rows = tuple((str(name).replace("seconds", unit), *cells) for name, *cells in rows)
        return table_html(replace(table, columns=columns, rows=rows))

    def _notices(self) -> list[str]:
        run, pairing = self._run, self._pairing
        degraded = degraded_line(run.tables.totals)
        notices = [*([degraded] if degraded else []), *run.record.notices, run.recorded.notice]
        outside = sum(row.turn_key is None for row in run.record.rows)
        if outside:
            notices.append(
                f"{outside:,} calls were asked outside of any turn; the totals include them."
            )
        if pairing is not None:
            others = [*pairing.other.record.notices, pairing.other.recorded.notice]
            notices += [f"The other run: {notice}" for notice in others if notice]
            paired, mine, others_count = len(pairing.keys), len(run.keys), len(pairing.other.keys)
            if paired < max(mine, others_count):
                notices.append(
                    f"{paired:,} turns pair, of {mine:,} here and {others_count:,} in the other "
                    "run; comparisons are over those."
                )
            if pairing.reworded:
                notices.append(
                    f"In {len(pairing.reworded):,} paired turns the user wrote something else: "
                    "the runs may be of different conversations."
                )
        return [f'<p class="notice">{shown_html(notice)}</p>' for notice in notices if notice]

    # The answers to the questions that a reader comes with.

    def _answers(self) -> str:
        pairing = self._pairing
        found = [
            None if pairing is None else self._against_answer(pairing),
            self._node_answer(),
            self._turn_answer(),
        ]
        cards = [
            f"<div><dt>{question}</dt><dd>{answer}<small>{under}</small></dd></div>"
            for question, answer, under in filter(None, found)
        ]
        return f'<dl class="answers">{"".join(cards)}</dl>' if cards else ""

    def _node_answer(self) -> tuple[str, str, str] | None:
        nodes = ranked_nodes(self._run.record.rows)
        if not nodes:
            return None
        first = next(iter(nodes))
        parts = [
            f"{percent(share)} of {self._units[measure.name]}"
            for measure in MEASURES
            if (share := shares(nodes, measure)[first]) is not None
        ]
        return "Node with most calls", shown_html(first), ", ".join(parts)

    def _turn_answer(self) -> tuple[str, str, str] | None:
        if not self._turns:
            return None
        worst, troubled = self._turns[0], worst_troubled(self._turns)
        mean = self._run.tables.totals.sums.asked / len(self._turns)
        under = self._words_of(worst.cost)
        if len(self._turns) > 1 and worst.cost.calls == self._turns[-1].cost.calls:
            under = f"all turns have as many calls; this one comes first by tokens: {under}"
        else:
            under += f"; the mean turn has {cell_text(mean)} calls"
        if troubled is not None:
            under += f"<br>most trouble: {_turn_link(troubled.turn.key)} ({troubled.trouble_words})"
        return "Turn with most calls", _turn_link(worst.turn.key), under

    def _words_of(self, cost: Cost) -> str:
        amounts = [(measure.of(cost), self._units[measure.name]) for measure in MEASURES]
        return ", ".join(f"{cell_text(each)} {unit}" for each, unit in amounts if each is not None)

    def _against_answer(self, pairing: TurnPairing) -> tuple[str, str, str]:
        name = shown_html(other_name(pairing))
        mine, others = (cost_of(_paired_calls(pairing, side)) for side in (0, 1))
        calls = MEASURES[0]
        words = difference_words(mine.calls, others.calls, calls)
        dearer = self._side_word(mine.calls, others.calls, name)
        unit = "call" if words.partition(" ")[0] == "1" else "calls"
        answer = f"as many calls as {name}" if words == "equal" else f"{words} {unit} than {name}"
        rest = [
            f"{difference_words(measure.of(mine), measure.of(others), measure)} "
            f"{self._units[measure.name]}"
            for measure in MEASURES[1:]
            if measure.of(mine) is not None and measure.of(others) is not None
        ]
        nodes = _node_pairs(pairing)
        most = max(nodes, key=lambda each: abs(each[1].calls - each[2].calls), default=None)
        parts = [dearer, f"{mine.calls:,} against {others.calls:,}", *rest]
        if settings := setting_words(pairing):
            parts.insert(0, f"set differently: {shown_html(settings)}")
        if most is not None and most[1].calls != most[2].calls:
            amount = difference_words(most[1].calls, most[2].calls, calls)
            parts.append(f"most of all in {shown_html(most[0])}: {amount}")
        return "This run against the other", answer, "; ".join(parts)

    def _side_word(self, mine: float, others: float, name: str) -> str:
        if mine == others:
            return "both ask as many calls"
        return f"dearer in calls: {shown_html(self._run.name) if mine > others else name}"

    # Rankings.

    def _is_shown(self, measure: Measure, costs: Sequence[Cost]) -> bool:
        """Return whether any amount of a measure is known and not 0; calls always are."""
        return measure.name == "calls" or any(measure.of(cost) for cost in costs)

    def _nodes(self) -> str:
        nodes = ranked_nodes(self._run.record.rows)
        if not nodes:
            return ""
        measures = [each for each in MEASURES if self._is_shown(each, list(nodes.values()))]
        of_measure = {measure: shares(nodes, measure) for measure in measures}
        rows = []
        for name, cost in nodes.items():
            cells: list[tuple[Cell, str]] = []
            for measure in measures:
                amount, share = measure.of(cost), of_measure[measure][name]
                inner = (
                    f"{bar_html(share, self._colour[name])}"
                    f'<span class="amount"><b>{percent(share) or "unknown"}</b> '
                    f"{'' if amount is None else cell_text(amount)}</span>"
                )
                cells.append((amount, inner))
            rows.append((shown_html(name), cells))
        heads = ["node", *(self._units[each.name] for each in measures)]
        table = ranking_html("nodes", "Where the calls went, by node", heads, rows)
        left_out = [self._units[each.name] for each in MEASURES if each not in measures]
        unknown = f'<p class="quiet">Not known: {", ".join(left_out)}.</p>' if left_out else ""
        return table + unknown

    def _turn_cells(
        self, cost: Cost, most: Cost, measures: Sequence[Measure]
    ) -> list[tuple[Cell, str]]:
        cells: list[tuple[Cell, str]] = []
        for measure in measures:
            amount, limit = measure.of(cost), measure.of(most)
            share = amount / limit if amount is not None and limit else None
            cells.append(
                (
                    amount,
                    f'{bar_html(share, "turn")}<span class="amount">{cell_text(amount)}</span>',
                )
            )
        return cells

    def _ranked_turns(self) -> str:
        turns = self._turns
        if not turns:
            return ""
        costs = [each.cost for each in turns]
        measures = [each for each in MEASURES if self._is_shown(each, costs)]
        most = _greatest(costs)
        has_troubles = any(each.troubles for each in turns)
        listed = turns[:MAX_LISTED_TURNS]
        if (troubled := worst_troubled(turns)) is not None and troubled not in listed:
            listed = [*listed[:-1], troubled]
        rows = [
            (_turn_link(each.turn.key), self._turn_row(each, most, measures, has_troubles))
            for each in listed
        ]
        heads = ["turn", *(self._units[each.name] for each in measures)]
        heads += ["trouble"] if has_troubles else []
        more = len(turns) - len(rows)
        title = "Turns, the dearest first" + (f" ({len(rows)} of {len(turns):,})" if more else "")
        return ranking_html("turns", title, heads, rows)

    def _turn_row(
        self, turn: TurnCost, most: Cost, measures: Sequence[Measure], has_troubles: bool
    ) -> list[tuple[Cell, str]]:
        cells = self._turn_cells(turn.cost, most, measures)
        if has_troubles:
            cells.append((turn.trouble_count, shown_html(turn.trouble_words or "none")))
        return cells

    def _pair_cell(self, mine: float | None, others: float | None, most: float) -> str:
        """Return both amounts as bars, one above the other."""
        sides = [(mine, "mine"), (others, "others")]
        return "".join(
            '<span class="pair">'
            f"{bar_html(amount / most if amount is not None and most else 0.0, kind)}"
            f'<span class="amount">{cell_text(amount)}</span></span>'
            for amount, kind in sides
        )

    def _compared(
        self, name: str, title: str, first: str, rows: Sequence[tuple[str, Cost, Cost]]
    ) -> str:
        """Return a table of what both runs spent, with the direction of each difference."""
        other = shown_html(other_name(self._pairing)) if self._pairing is not None else ""
        every = [cost for _, *costs in rows for cost in costs]
        measures = [each for each in MEASURES if self._is_shown(each, every)]
        most = _greatest(every)
        heads = [first, *(self._units[each.name] for each in measures)]
        cells_of = []
        for row_name, mine, others in rows:
            cells: list[tuple[Cell, str]] = []
            for measure in measures:
                one, two = measure.of(mine), measure.of(others)
                difference = None if one is None or two is None else one - two
                kind = "same" if not difference else "dearer" if difference > 0 else "cheaper"
                words = f"{_against(one, two, measure)} {other}"
                bars = self._pair_cell(one, two, measure.of(most) or 0)
                cells.append((difference, f'{bars}<span class="{kind}">{words}</span>'))
            cells_of.append((row_name, cells))
        return ranking_html(name, title, heads, cells_of)

    def _compared_nodes(self, pairing: TurnPairing) -> str:
        legend = (
            f'<p class="legend"><span><i class="swatch mine"></i>this run, '
            f'{shown_html(self._run.name)}</span><span><i class="swatch others"></i>'
            f"{shown_html(other_name(pairing))}</span></p>"
        )
        pairs = sorted(
            _node_pairs(pairing),
            key=lambda each: abs(each[1].calls - each[2].calls),
            reverse=True,
        )
        rows = [(shown_html(name), mine, others) for name, mine, others in pairs]
        return (
            self._compared("compared-nodes", "This run and the other, by node", "node", rows)
            + legend
        )

    def _compared_turns(self, pairing: TurnPairing) -> str:
        differing = turn_differences(pairing)
        listed = differing[:MAX_LISTED_TURNS]
        rows = [(_turn_link(each.key), each.mine, each.others) for each in listed]
        more = f" ({len(rows)} of {len(differing):,})" if len(rows) < len(differing) else ""
        title = f"This run and the other, by turn, the greatest difference first{more}"
        return self._compared("compared-turns", title, "turn", rows)

    def _tiles(self) -> str:
        totals = self._run.tables.totals
        sums = totals.sums
        ended = [f"{count:,} {kind.value}" for kind, count in sums.outcomes.items() if count]
        ended += [f"{sums.unreadable:,} unreadable", f"{sums.repairs:,} repairs"]
        unknown = sums.usage.unknown_usage
        known = f"{cell_text(sums.usd_known)} of it known" if sums.usd_known else ""
        per_turn = _spread_words(totals.calls_per_turn)
        if totals.cut_turns and totals.refused_per_turn is not None:
            per_turn += f"; refused besides: {cell_text(totals.refused_per_turn.mean)}"
        return figures_html(
            [
                (
                    "turns",
                    f"{totals.turns:,}",
                    f"{totals.degraded_turns:,} degraded, {totals.wound_down_turns:,} wound down",
                ),
                ("calls", f"{sums.asked:,}", ", ".join(ended)),
                ("calls per turn", _mean(totals.calls_per_turn), per_turn),
                (
                    "tokens in",
                    f"{sums.usage.input_tokens:,}",
                    f"unknown for {unknown:,} requests" if unknown else "",
                ),
                (
                    "tokens out",
                    f"{sums.usage.output_tokens:,}",
                    f"{sums.usage.requests:,} requests, {sums.usage.attempts:,} attempts",
                ),
                ("USD", cell_text(sums.usd), known if sums.usd is None else ""),
                (
                    "rounds to the reply",
                    _mean(totals.rounds_to_reply),
                    _spread_words(totals.rounds_to_reply),
                ),
                (
                    f"{self._run.seconds} to the reply",
                    _mean(totals.reply_seconds),
                    _spread_words(totals.reply_seconds),
                ),
            ]
        )


def _against(mine: Cell, others: Cell, measure: Measure) -> str:
    """Return a difference as the words before the other run's name."""
    words = difference_words(mine, others, measure)
    if words == "equal":
        return "as many as" if measure.less == "fewer" else "as much as"
    return f"{words} than"


def _mean(spread: Spread | None) -> str:
    return "unknown" if spread is None else cell_text(spread.mean)


def _spread_words(spread: Spread | None) -> str:
    return "" if spread is None else f"p95 {cell_text(spread.p95)}, most {cell_text(spread.max)}"


def _turn_link(key: TurnKey) -> str:
    conversation, turn = key
    return f'<a href="#{shown_html(anchor_of(key))}">{shown_html(conversation)}, turn {turn}</a>'


def _greatest(costs: Sequence[Cost]) -> Cost:
    """Return the greatest amount of each measure."""
    usd = [cost.usd for cost in costs if cost.usd is not None]
    return Cost(
        max((cost.calls for cost in costs), default=0),
        max((cost.tokens for cost in costs), default=0),
        max((cost.seconds for cost in costs), default=0.0),
        max(usd, default=None),
    )


def _paired_calls(pairing: TurnPairing, side: int) -> list[CallLine]:
    run = (pairing.run, pairing.other)[side]
    return [row for key in pairing.keys for row in run.calls[key]]


_NOTHING = Cost(0, 0, 0.0, 0.0)


def _node_pairs(pairing: TurnPairing) -> list[tuple[str, Cost, Cost]]:
    """Return each node's cost in both runs, over the paired turns; 0 where it does not ask."""
    mine, others = (ranked_nodes(_paired_calls(pairing, side)) for side in (0, 1))
    return [
        (name, mine.get(name, _NOTHING), others.get(name, _NOTHING))
        for name in dict.fromkeys((*mine, *others))
    ]


def overview_html(run: PageRun, pairing: TurnPairing | None) -> str:
    """Return the first view of the page; `pairing` is given where there is another run."""
    return _Overview(run, pairing).html()
