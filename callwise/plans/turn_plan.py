"""The plan of one turn in several scenarios, as JSON, and as rows of plain text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from callwise.calls.call import Purpose, Role
from callwise.calls.client import Prices
from callwise.calls.load.rate_limits import DIMENSIONS
from callwise.plans.bound import BoundTimes, Step, flatten, rounds
from callwise.plans.makespan import Assumptions, Makespan, makespan
from callwise.plans.plan_counts import PlanCounts, count_plan, largest_counts
from callwise.safe_text import printable
from callwise.text_layout import (
    EVERYTHING,
    Grid,
    Screen,
    grid_lines,
    html_table,
    wrapped_lines,
)

__all__ = [
    "PlannedScenario",
    "ScenarioPlan",
    "TurnPlan",
    "plan_rows",
]


@dataclass(frozen=True, slots=True)
class ScenarioPlan:
    """Calls of a turn when things go one way.

    Args:
        name: e.g. `default`, `early_exit`, `worst`.
        meaning: a sentence for people.
        other_ways: the same with other calls in their places, where it is not known which
            will be asked. Each count is then the largest over all ways; rounds and seconds
            are those of `steps`, which no other way exceeds.
    """

    name: str
    meaning: str
    steps: Step
    other_ways: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedScenario:
    """A scenario, measured.

    Args:
        seconds: how long a turn's calls take under the assumptions, on average over the turns.
        makespan: the same of all users and turns.
        max_requests: requests when every call needs all the attempts that it may have;
            without failures there are as many requests as calls.
        accepted: calls that the turn's own `max_calls` accepts; the rest is refused.
    """

    name: str
    meaning: str
    counts: PlanCounts
    rounds: BoundTimes
    seconds: BoundTimes
    makespan: Makespan
    max_requests: int
    accepted: int

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON. An unknown cost is null, never 0."""
        counts = self.counts
        return {
            "meaning": self.meaning,
            "asked": counts.asked,
            "accepted": self.accepted,
            "speculative": counts.speculative,
            "by_role": {role.value: count for role, count in counts.by_role.items()},
            "by_node": dict(counts.by_node),
            "by_purpose": {purpose.value: count for purpose, count in counts.by_purpose.items()},
            **({"most_by_model": dict(counts.by_model)} if counts.by_model else {}),
            "rounds": {"reply": int(self.rounds.reply), "turn": int(self.rounds.turn)},
            "requests": counts.asked,
            "max_requests": self.max_requests,
            "tokens_by_purpose": {
                purpose.value: {"input": spent[0], "output": spent[1]}
                for purpose, spent in counts.tokens_by_purpose.items()
            },
            "tokens": {
                "input": counts.input_tokens,
                "output": counts.output_tokens,
                "total": counts.input_tokens + counts.output_tokens,
            },
            "usd": None if counts.usd is None else round(counts.usd, 9),
            "unpriced_roles": list(map(str, counts.unpriced_roles)),
            "seconds": {
                "reply": round(self.seconds.reply, 6),
                "turn": round(self.seconds.turn, 6),
            },
            "makespan": {
                "seconds": round(self.makespan.seconds, 6),
                "longest_turn": round(max(self.makespan.turn_seconds), 6),
                "delayed": dict(self.makespan.delayed),
            },
        }


@dataclass(frozen=True, slots=True, repr=False)
class TurnPlan:
    """Calls of one turn, before it runs.

    Args:
        scenarios: the ways it can go, the usual one first.
        reply_part: the part of the scenarios' networks after which the reply is out.
        prices: price lists by role or model; one without has an unknown price.
        models: models that may answer a call, by its purpose, where a policy chooses one.
        max_attempts: most attempts of one call, the first one included; at least 1.
        max_calls: the turn's own limit on accepted calls; None for none.
        assumptions: those that its seconds are for where no others are given.
    """

    preset: str
    scenarios: tuple[ScenarioPlan, ...]
    reply_part: str
    prices: Mapping[str, Prices] = field(default_factory=dict)
    models: Mapping[Purpose, tuple[str, ...]] = field(default_factory=dict)
    max_attempts: int = 1
    max_calls: int | None = None
    assumptions: Assumptions = field(default_factory=Assumptions)

    def __repr__(self) -> str:
        """Return the calls and rounds of every scenario on one line."""
        scenarios = ", ".join(
            f"{each.name} {each.counts.asked} calls in {each.rounds.turn:.0f} rounds"
            for each in self.measured()
        )
        return f"TurnPlan({self.preset!r}: {scenarios})"

    def _repr_html_(self) -> str:
        """Return the scenarios as a table, for a notebook."""
        heads = ("scenario", "calls", "rounds to the reply", "rounds", "most requests", "tokens in")
        rows: list[tuple[str, ...]] = [(*heads, "tokens out", "USD")]
        for each in self.measured():
            counts, usd = each.counts, each.counts.usd
            rounds_ = (f"{each.rounds.reply:.0f}", f"{each.rounds.turn:.0f}")
            figures = (each.max_requests, counts.input_tokens, counts.output_tokens)
            shown = (f"{counts.asked:,}", *rounds_, *(f"{value:,}" for value in figures), _usd(usd))
            rows.append((each.name, *shown))
        return html_table(f"Plan of {self.preset}", rows)

    def measured(self, assumptions: Assumptions | None = None) -> tuple[PlannedScenario, ...]:
        """Return every scenario, measured under some assumptions; None takes the plan's."""
        chosen = assumptions or self.assumptions
        return tuple(self._measure(scenario, chosen) for scenario in self.scenarios)

    def _measure(self, scenario: ScenarioPlan, assumptions: Assumptions) -> PlannedScenario:
        flat = flatten(scenario.steps)
        others = (flatten(way) for way in scenario.other_ways)
        ways = [count_plan(each, self.prices, self.models) for each in (flat, *others)]
        counts = largest_counts(ways)
        whole = makespan(flat, assumptions, reply_part=self.reply_part)
        return PlannedScenario(
            name=scenario.name,
            meaning=scenario.meaning,
            counts=counts,
            rounds=rounds(flat, reply_part=self.reply_part),
            seconds=BoundTimes(fmean(whole.reply_seconds), fmean(whole.turn_seconds)),
            makespan=whole,
            max_requests=counts.asked * self.max_attempts,
            accepted=counts.asked if self.max_calls is None else min(counts.asked, self.max_calls),
        )

    def as_json(self, assumptions: Assumptions | None = None) -> dict[str, Any]:
        """Return the plan as plain JSON, under some assumptions; None takes the plan's."""
        chosen = assumptions or self.assumptions
        rate, schedule = chosen.load.rate, chosen.load.schedule
        measured = self.measured(chosen)
        return {
            "preset": self.preset,
            "assumptions": {
                "latency_seconds": chosen.latency_seconds,
                "latencies": {each.value: seconds for each, seconds in chosen.latencies.items()},
                "rpm": None if rate is None else rate.requests_per_minute,
                "tpm": None if rate is None else rate.tokens_per_minute,
                "concurrency": None if schedule is None else schedule.max_concurrency,
                "users": chosen.users,
                "turns": chosen.turns,
                "max_attempts": self.max_attempts,
                "max_calls": self.max_calls,
                "tokens": "estimated",
            },
            "scenarios": {scenario.name: scenario.as_json() for scenario in measured},
        }


def _aligned(
    table: Sequence[Sequence[str]],
    screen: Screen,
    *,
    texts: Sequence[str] = (),
    folds: Sequence[str] = (),
) -> list[str]:
    """Return rows with the first column and `texts` to the left, and numbers to the right."""
    heads, *rows = ([printable(cell) for cell in row] for row in table)
    is_text = [place == 0 or head in texts for place, head in enumerate(heads)]
    places = [heads.index(head) for head in folds]
    return grid_lines(Grid(heads, rows, is_text, places), screen)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def _usd(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6f}"


def _scenario_table(
    scenarios: Sequence[PlannedScenario], roles: Sequence[Role], screen: Screen
) -> list[str]:
    head = ["scenario", "asked", *(role.value for role in roles), "rounds", "seconds"]
    table = [[*head, "requests", "tokens in", "tokens out", "USD"]]
    for scenario in scenarios:
        counts = scenario.counts
        table.append(
            [
                scenario.name,
                str(counts.asked),
                *(str(counts.by_role.get(role, 0)) for role in roles),
                f"{scenario.rounds.reply:.0f}/{scenario.rounds.turn:.0f}",
                f"{_number(scenario.seconds.reply)}/{_number(scenario.seconds.turn)}",
                f"{counts.asked}-{scenario.max_requests}",
                f"{counts.input_tokens:,}",
                f"{counts.output_tokens:,}",
                _usd(counts.usd),
            ]
        )
    is_priced = any(each.counts.usd is not None for each in scenarios)
    folds = [*([] if is_priced else ["USD"]), "requests", "tokens out", "seconds", *roles]
    return _aligned(table, screen, folds=folds)


def _count_table(
    title: str, columns: Sequence[tuple[str, Mapping[str, int]]], screen: Screen
) -> list[str]:
    # The order of names is that of the scenario with most of them.
    fullest = sorted(columns, key=lambda column: -len(column[1]))
    names = list(dict.fromkeys(name for _, counts in fullest for name in counts))
    table = [[title, *(head for head, _ in columns)]]
    table += [[name, *(str(counts.get(name, 0)) for _, counts in columns)] for name in names]
    return _aligned(table, screen)


def _model_rows(scenarios: Sequence[PlannedScenario], screen: Screen) -> list[str]:
    columns = [(each.name, each.counts.by_model) for each in scenarios]
    if not any(counts for _, counts in columns):
        return []
    return [*_count_table("by model, at most", columns, screen), ""]


def _assumption_row(assumptions: Assumptions) -> str:
    """Return the limits, the latency and the load of a plan, as one phrase."""
    rate, schedule = assumptions.load.rate, assumptions.load.schedule
    per_minute = () if rate is None else zip(DIMENSIONS, rate.per_minute, strict=True)
    words = [f"{assumptions.latency_seconds:g} s per request"]
    words += [f"{each.value} {seconds:g} s" for each, seconds in assumptions.latencies.items()]
    limits = [f"{most:,g} {name.replace('_', ' ')}" for name, most in per_minute if most]
    words += limits or ["no rate limit"]
    if schedule is not None:
        words.append(f"{schedule.max_concurrency} requests at a time")
    return ", ".join(words)


def _load_rows(
    scenarios: Sequence[PlannedScenario], assumptions: Assumptions, screen: Screen
) -> list[str]:
    """Return how long several users and turns take; nothing for one turn."""
    turns = assumptions.users * assumptions.turns
    table = [["scenario", "requests", "seconds", "longest turn", "waited for"]]
    for each in scenarios:
        delayed = (f"{limit} {count:,}" for limit, count in each.makespan.delayed.items())
        table.append(
            [
                each.name,
                f"{each.counts.asked * turns:,}",
                _number(each.makespan.seconds),
                _number(max(each.makespan.turn_seconds)),
                ", ".join(delayed) or "no limit",
            ]
        )
    if turns == 1 and not any(each.makespan.delayed for each in scenarios):
        return []
    head = f"{assumptions.users:,} users at the same time, {assumptions.turns:,} turns each:"
    return ["", head, *_aligned(table, screen, texts=["waited for"], folds=["requests"])]


def plan_rows(
    plan: TurnPlan, assumptions: Assumptions | None = None, *, screen: Screen = EVERYTHING
) -> list[str]:
    """Return a plan as lines of text that are safe to print.

    Args:
        assumptions: those that its seconds are for; None takes the plan's.
        screen: where they are shown; by default without colours, and every column has its place.
    """
    chosen = assumptions or plan.assumptions
    scenarios = plan.measured(chosen)
    used = {role for scenario in scenarios for role in scenario.counts.by_role}
    rows = [f"{scenario.name}: {scenario.meaning}" for scenario in scenarios]
    largest = ", ".join(scenario.name for scenario in plan.scenarios if scenario.other_ways)
    if largest:
        rows.append(
            f"{largest}: counts calls, each figure the largest of several ways, so that roles, "
            "nodes and purposes may add up to more than asked; attempts are in the requests."
        )
    if any(scenario.counts.by_model for scenario in scenarios):
        rows.append(
            "Policies choose models when calls are asked: each is counted with all the calls that "
            "it may be given, and USD is that of the dearest where one of several is asked."
        )
    unpriced = sorted({str(name) for s in scenarios for name in s.counts.unpriced_roles})
    if unpriced:
        rows.append(f"USD is unknown: no price list for {', '.join(unpriced)}.")
    refused = [s for s in scenarios if s.accepted < s.counts.asked]
    if refused:
        fewer = ", ".join(scenario.name for scenario in refused)
        rows.append(f"budget.turn.max_calls={plan.max_calls} accepts fewer calls in: {fewer}.")
    first = f"Plan of one turn, preset {plan.preset}: {_assumption_row(chosen)}."
    second = (
        "Rounds and seconds are to the reply / to the end of the turn. Requests are without "
        f"failures - with {plan.max_attempts} attempts for every call. Tokens are estimated."
    )
    by_purpose = [{p.value: n for p, n in s.counts.by_purpose.items()} for s in scenarios]
    names = [scenario.name for scenario in scenarios]
    return [
        *(wrapped_lines(printable(row), screen) for row in (first, second)),
        "",
        *_scenario_table(scenarios, [role for role in Role if role in used], screen),
        *_load_rows(scenarios, chosen, screen),
        "",
        *_count_table("by node", [(s.name, s.counts.by_node) for s in scenarios], screen),
        "",
        *_count_table("by purpose", list(zip(names, by_purpose, strict=True)), screen),
        "",
        *_model_rows(scenarios, screen),
        *(wrapped_lines(printable(row), screen) for row in rows),
    ]
