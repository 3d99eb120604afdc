"""The routing tables that can be made of some models on a recording, and their settings.

A purpose's own role is its strongest model. A weaker one answers its requests up to a complexity:
none, a quarter, half or three quarters of those that are recorded, or all. Which of two models is
the weaker is a matter of their price.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

from pydantic import JsonValue

from callwise.calls.client import Prices
from callwise.calls.errors import ConfigError
from callwise.calls.policies import ComplexityKnobs
from callwise.tuning.routing.recorded_calls import RecordedCall
from callwise.tuning.sweep_spec import NamedSetting, SweepSpec

__all__ = [
    "FULL_TOKENS",
    "MOST_WEAKER_MODELS",
    "REFERENCE",
    "TUNED_COMPLEXITY",
    "WEAKEST",
    "RouteOption",
    "RouteSpace",
    "route_space",
]

REFERENCE = "strongest alone"
WEAKEST = "weakest alone"

MOST_WEAKER_MODELS = 3
"""Weaker models that are tried. Each further one makes twice as many options."""

LEVELS = (0.25, 0.5, 0.75)
"""Shares of a purpose's recorded calls, at whose complexity a table may change its model."""

FULL_TOKENS = 8192
TUNED_COMPLEXITY = ComplexityKnobs(full_tokens=FULL_TOKENS, seconds=0.0)
"""The knobs that a table is tuned and run with. The time of earlier work, and the contexts of the
table's models, would move the complexity of one request from table to table."""


@dataclass(frozen=True, slots=True)
class RouteOption:
    """One way to answer the calls of one purpose.

    Args:
        limits: by weaker model, cheapest first, the highest complexity that it answers; None
            where it answers nothing.
    """

    purpose: str
    limits: tuple[tuple[str, float | None], ...]

    @property
    def name(self) -> str:
        """Its name, such as `judge: small <= 0.41, medium <= 1`."""
        used = [f"{model} <= {limit:g}" for model, limit in self.limits if limit is not None]
        return f"{self.purpose}: {', '.join(used)}"

    def model_of(self, complexity: float, strongest: str) -> str:
        """Return the model that answers a request."""
        fitting = (m for m, limit in self.limits if limit is not None and complexity <= limit)
        return next(fitting, strongest)


@dataclass(frozen=True, slots=True)
class RouteSpace:
    """The options of every purpose, and what their settings need.

    Args:
        models: the weaker models, cheapest first.
        roles: the role of each purpose, its strongest model.
        options: by purpose, without the reference, in which its role answers everything.
        usd: estimated mean price of a call, by purpose and model or role.
        knobs: laid over the recorded settings in all of them, such as `models`.
    """

    models: tuple[str, ...]
    roles: Mapping[str, str]
    options: Mapping[str, tuple[RouteOption, ...]]
    usd: Mapping[tuple[str, str], float]
    knobs: Mapping[str, JsonValue]
    calls: tuple[RecordedCall, ...]

    def policy(
        self, option: RouteOption, figures: Mapping[str, Mapping[str, float]] | None = None
    ) -> dict[str, Any]:
        """Return an option as the knobs of its policy.

        Args:
            figures: by model, what was measured: fields of a `RouteEntry`.
        """
        purpose, measured = option.purpose, figures or {}
        role = self.roles[purpose]
        limits = [(model, limit) for model, limit in option.limits if limit is not None]
        usd = {name: self.usd[purpose, name] for name in (*dict(limits), role)}
        own = {name: measured.get(name, {}).get("usd_per_call", math.nan) for name in usd}
        # The cheapest that fits is asked, so prices must be in the order of the limits.
        if all(low < high for low, high in zip(own.values(), list(own.values())[1:], strict=False)):
            usd = own
        entries = []
        for model, limit in (*limits, (role, 1.0)):
            entry = {"model": model, "max_complexity": limit, **measured.get(model, {})}
            entries.append(entry | {"usd_per_call": float(f"{usd[model]:.6g}")})
        return {
            "kind": "route",
            "table": entries,
            "complexity": {"full_tokens": FULL_TOKENS, "seconds": 0.0},
        }

    def setting(self, name: str, options: Sequence[RouteOption]) -> NamedSetting:
        """Return a table as a setting of a sweep."""
        policies = {option.purpose: self.policy(option) for option in options}
        return NamedSetting(name=name, fixed=dict(self.knobs) | _policies(policies))

    def single_options(self) -> SweepSpec:
        """Return the sweep of the reference and of each option alone."""
        singles = [option for own in self.options.values() for option in own]
        return SweepSpec(
            settings=[
                NamedSetting(name=REFERENCE),
                *(self.setting(option.name, [option]) for option in singles),
            ]
        )

    @property
    def weakest(self) -> tuple[RouteOption, ...]:
        """The table in which the weakest model answers everything."""
        return tuple(
            max(own, key=lambda each: [limit or 0.0 for _, limit in each.limits])
            for own in self.options.values()
        )

    def strong_share(self, options: Sequence[RouteOption]) -> float:
        """Return the share of the recorded calls that a table leaves to their own role."""
        by_purpose = {option.purpose: option for option in options}
        kept = 0
        for call in self.calls:
            option = by_purpose.get(call.purpose)
            strongest = self.roles[call.purpose]
            kept += option is None or option.model_of(call.complexity, strongest) == strongest
        return kept / len(self.calls)


def _policies(policies: Mapping[str, Any]) -> dict[str, JsonValue]:
    return {"policies": dict(policies)}


def route_space(
    calls: Sequence[RecordedCall],
    prices: Mapping[str, Prices | None],
    models: Sequence[str],
    knobs: Mapping[str, JsonValue],
) -> RouteSpace:
    """Return the tables that some models allow on a recording.

    Args:
        prices: by model and role.
        models: names of the weaker models.

    Raises:
        ConfigError: when there is no model to route to, or too many; no call that could be routed;
            or a price is missing.
    """
    if not models:
        raise ConfigError(
            "there is one model only, so nothing can be routed: name others under `models`, each "
            "with its `prices`, in the recorded run's preset or in --models FILE"
        )
    if len(models) > MOST_WEAKER_MODELS:
        raise ConfigError(
            f"{len(models)} models to route to, and at most {MOST_WEAKER_MODELS} can be tried at a "
            "time: name fewer in --models FILE"
        )
    if not calls:
        raise ConfigError(
            "the recording has no call that a table could route: each names its model or was "
            "chosen by a policy. Record a run without `policies`, and tune that"
        )
    roles = _roles(calls)
    chosen = tuple(call for call in calls if roles[call.purpose] == call.role)
    unpriced = [name for name in (*models, *sorted(set(roles.values()))) if prices[name] is None]
    if unpriced:
        raise ConfigError(
            f"the prices of {', '.join(unpriced)} are not known, so nothing is the cheapest: set "
            "`models.<name>.prices` and `endpoints.<role>.prices` (0 where one is free), in the "
            "recorded run's preset or in --models FILE"
        )
    usd = {}
    for purpose, role in roles.items():
        own = [call for call in chosen if call.purpose == purpose]
        tokens = (
            sum(call.input_tokens for call in own) / len(own),
            sum(call.output_tokens for call in own) / len(own),
        )
        for name in (*models, role):
            price = prices[name]
            if price is not None:
                usd[purpose, name] = price.usd(round(tokens[0]), round(tokens[1]))
    first = next(iter(roles))
    ordered = tuple(sorted(models, key=lambda name: (usd[first, name], name)))
    options = {
        purpose: tuple(_options_of(purpose, role, ordered, chosen, usd))
        for purpose, role in roles.items()
    }
    options = {purpose: own for purpose, own in options.items() if own}
    if not options:
        raise ConfigError(
            f"none of {', '.join(models)} is cheaper than the models of the recorded run, so "
            "nothing is to be saved: compare their `prices`"
        )
    return RouteSpace(ordered, roles, options, usd, dict(knobs), chosen)


def _roles(calls: Sequence[RecordedCall]) -> dict[str, str]:
    """Return the role that asks most calls of each purpose."""
    counts: dict[str, Counter[str]] = {}
    for call in calls:
        counts.setdefault(call.purpose, Counter())[call.role] += 1
    return {purpose: own.most_common(1)[0][0] for purpose, own in counts.items()}


def _options_of(
    purpose: str,
    role: str,
    models: Sequence[str],
    calls: Sequence[RecordedCall],
    usd: Mapping[tuple[str, str], float],
) -> list[RouteOption]:
    """Return the options of a purpose, of the models that are cheaper than its role."""
    order = sorted(models, key=lambda name: (usd[purpose, name], name))
    cheaper = [name for name in order if usd[purpose, name] < usd[purpose, role]]
    own = sorted(call.complexity for call in calls if call.purpose == purpose)
    # The smallest complexity of which at least that share of calls is no more complex.
    cuts = sorted({own[math.ceil(share * len(own)) - 1] for share in LEVELS} - {own[-1]})
    ends: list[float | None] = [None, *cuts, 1.0]
    found = []
    for places in combinations_with_replacement(range(len(ends)), len(cheaper)):
        limits: list[tuple[str, int]] = []
        for model, place in zip(cheaper, places, strict=True):
            is_used = place > max((p for _, p in limits), default=0)
            limits.append((model, place if is_used else 0))
        option = RouteOption(purpose, tuple((model, ends[place]) for model, place in limits))
        if any(place for _, place in limits) and option not in found:
            found.append(option)
    return found
