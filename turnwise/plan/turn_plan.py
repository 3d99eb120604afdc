"""The plan of one turn in several scenarios, and its JSON form."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from turnwise.calls.call import Role
from turnwise.calls.client import Prices
from turnwise.plan.counts import PlanCounts, count_plan, largest_counts
from turnwise.plan.flat import flatten
from turnwise.plan.schedule import Moments, rounds, seconds
from turnwise.plan.steps import Step

__all__ = ["PlannedScenario", "ScenarioPlan", "TurnPlan"]


@dataclass(frozen=True, slots=True)
class ScenarioPlan:
    """What a turn asks when things go one way.

    Args:
        name: e.g. `default`, `early_exit`, `worst`.
        meaning: in words, for people.
        steps: the calls and how they wait.
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
        name: see `ScenarioPlan`.
        meaning: see `ScenarioPlan`.
        counts: calls, tokens, USD.
        rounds: longest chains of calls; whole numbers.
        seconds: how long the calls take at the given latency and rate.
        max_requests: requests when every call needs all the attempts that it may have;
            without failures there are as many requests as calls.
        accepted: calls that the turn's own `max_calls` accepts; the rest is refused.
    """

    name: str
    meaning: str
    counts: PlanCounts
    rounds: Moments
    seconds: Moments
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
            "unpriced_roles": [role.value for role in counts.unpriced_roles],
            "seconds": {
                "reply": round(self.seconds.reply, 6),
                "turn": round(self.seconds.turn, 6),
            },
        }


@dataclass(frozen=True, slots=True)
class TurnPlan:
    """What one turn will ask, before it runs.

    Args:
        preset: name of the knobs' preset.
        scenarios: the ways it can go, the usual one first.
        reply_part: the part of the scenarios' networks after which the reply is out.
        prices: price lists by role; a role without one has an unknown price.
        max_attempts: most attempts of one call, the first one included; at least 1.
        max_calls: the turn's own limit on accepted calls; None for none.
    """

    preset: str
    scenarios: tuple[ScenarioPlan, ...]
    reply_part: str
    prices: Mapping[Role, Prices] = field(default_factory=dict)
    max_attempts: int = 1
    max_calls: int | None = None

    def measured(
        self, *, latency_seconds: float = 1.0, rpm: float | None = None
    ) -> tuple[PlannedScenario, ...]:
        """Return every scenario, measured.

        Args:
            latency_seconds: of every request; at least 0.
            rpm: requests a minute; None for no limit.
        """
        return tuple(self._measure(scenario, latency_seconds, rpm) for scenario in self.scenarios)

    def _measure(
        self, scenario: ScenarioPlan, latency_seconds: float, rpm: float | None
    ) -> PlannedScenario:
        flat = flatten(scenario.steps)
        others = (count_plan(flatten(way), self.prices) for way in scenario.other_ways)
        counts = largest_counts((count_plan(flat, self.prices), *others))
        return PlannedScenario(
            name=scenario.name,
            meaning=scenario.meaning,
            counts=counts,
            rounds=rounds(flat, reply_part=self.reply_part),
            seconds=seconds(
                flat, reply_part=self.reply_part, latency_seconds=latency_seconds, rpm=rpm
            ),
            max_requests=counts.asked * self.max_attempts,
            accepted=counts.asked if self.max_calls is None else min(counts.asked, self.max_calls),
        )

    def as_json(self, *, latency_seconds: float = 1.0, rpm: float | None = None) -> dict[str, Any]:
        """Return the plan as plain JSON.

        Args:
            latency_seconds: of every request; at least 0.
            rpm: requests a minute; None for no limit.
        """
        measured = self.measured(latency_seconds=latency_seconds, rpm=rpm)
        return {
            "preset": self.preset,
            "assumptions": {
                "latency_seconds": latency_seconds,
                "rpm": rpm,
                "max_attempts": self.max_attempts,
                "max_calls": self.max_calls,
                "tokens": "estimated",
            },
            "scenarios": {scenario.name: scenario.as_json() for scenario in measured},
        }
