"""Calls by the model that a policy chose and why, and models that are no longer as their table has.

A model's mean seconds in the run are compared with the `seconds` of its table's entry, where that
has its interval, and so is the quality of its replies where the run has scores. The calls of a turn
count together, as one that is slow is seldom alone, and so do the replies of a conversation. Of a
run whose model is as measured, a notice is at most 1 % likely: a two-sided test at .25 %, divided
by the number of comparisons; simulated with log-normal times of 10 turns and more.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from callwise.calls.call import Outcome, Purpose
from callwise.calls.choice import Choice
from callwise.calls.policies import DEFAULT_POLICY, CascadePolicy, RouteEntry, RoutePolicy
from callwise.report.run_record import CallLine, TurnKey
from callwise.report.table import Cell, Table
from callwise.report.totals import grouped, sum_calls

__all__ = ["calibration_lines", "drift_lines", "drift_of", "model_table", "quality_drift_lines"]

PolicyT = TypeVar("PolicyT", bound=BaseModel)

FALSE_ALARM_RATE = 0.0025
MIN_TURNS = 10

_COLUMNS = ("purpose", "model", "policy", "reason", "asked", "failed", "refused", "unreadable")
_SUMS = ("input_tokens", "output_tokens", "usd", "seconds_per_call")
_MEASURED = ("taken", "confidence", "share_against")
"""Columns of a run with a cascade or an ensemble."""

_ANSWERED = frozenset({Outcome.SERVED, Outcome.REPLAYED})


def _reason(text: str) -> str:
    """Return the kind of a reason, without what is of one call."""
    return text.partition(": ")[0]


def model_table(rows: Sequence[CallLine]) -> Table | None:
    """Return calls by purpose, model and kind of reason; None where no policy chose."""
    groups: dict[tuple[str, str, str, str], list[tuple[CallLine, Choice]]] = {}
    for row in rows:
        if row.choice is not None:
            policy, model = row.choice.policy, row.choice.model
            name = (row.purpose.value, model, policy, _reason(row.choice.reason))
            groups.setdefault(name, []).append((row, row.choice))
    is_measured = any(name[2] in ("cascade", "ensemble") for name in groups)
    if not groups:
        return None
    lines: list[tuple[Cell, ...]] = []
    for name, chosen in sorted(groups.items()):
        sums = sum_calls([row for row, _ in chosen])
        choices = [choice for _, choice in chosen]
        measured = (
            sum(each.is_taken for each in choices),
            _mean([each.confidence for each in choices]),
            _mean([each.share_against for each in choices]),
        )
        spent = sums.usage
        lines.append(
            (
                *name,
                sums.asked,
                sums.outcomes[Outcome.FAILED],
                sums.outcomes[Outcome.REFUSED],
                sums.unreadable,
                spent.input_tokens,
                spent.output_tokens,
                sums.usd,
                spent.path_seconds / sums.asked,
                *(measured if is_measured else ()),
            )
        )
    title = "By model and why it was asked"
    folds = ("unreadable", "refused", "policy", "input_tokens", "output_tokens")
    columns = (*_COLUMNS, *_SUMS, *(_MEASURED if is_measured else ()))
    return Table("models", title, columns, tuple(lines), folds)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def drift_of(
    mean: float,
    low: float,
    high: float,
    turns: Sequence[Sequence[float]],
    *,
    false_alarm_rate: float = FALSE_ALARM_RATE,
) -> float | None:
    """Return the mean of a run's values where it differs from a measured one; None where not.

    Args:
        mean, low, high: the measured mean and its 95 % interval.
        turns: the values of each turn; fewer than 10 turns are no evidence.
        false_alarm_rate: of one comparison, for normal means.
    """
    if len(turns) < MIN_TURNS:
        return None
    count = sum(map(len, turns))
    found = math.fsum(map(math.fsum, turns)) / count
    squares = math.fsum((math.fsum(each) - found * len(each)) ** 2 for each in turns)
    own_error = math.sqrt(squares * len(turns) / (len(turns) - 1)) / count
    normal = NormalDist()
    table_error = (high - low) / (2 * normal.inv_cdf(0.975))
    limit = normal.inv_cdf(1 - false_alarm_rate / 2) * math.hypot(own_error, table_error)
    return found if abs(found - mean) > limit else None


def drift_lines(manifest: Mapping[str, Any], rows: Sequence[CallLine]) -> list[str]:
    """Return a line for each model whose seconds differ from its table's by more than noise."""
    compared = [
        (purpose, entry, turns)
        for purpose, purposes, entry in _entries(manifest)
        if len(turns := _seconds(rows, purposes, entry.model)) >= MIN_TURNS
    ]
    return [
        f"policies.{purpose}: {entry.model:.80} took {found:.3g} s per call in {count} turns, and "
        f"its table has {measured}: measure the table again"
        for purpose, entry, count, found, measured in _drifted(compared, "seconds", " s")
    ]


def quality_drift_lines(
    manifest: Mapping[str, Any], rows: Sequence[CallLine], quality: Mapping[TurnKey, float]
) -> list[str]:
    """Return a line for each model whose replies' quality differs from its table's.

    A table has the quality of replies while one model answers all requests of one purpose, and
    all other purposes stay with their roles. So compared are models that do so in the run, over
    the turns whose other calls were asked of their roles. Conversations are the sample.

    Args:
        quality: of the turns' replies where it is known, from 0 to 1 on its scale.
    """
    compared = [
        (purpose, entry, groups)
        for purpose, purposes, entry in _entries(manifest, "quality")
        if len(groups := _qualities(rows, purposes, entry.model, quality)) >= MIN_TURNS
    ]
    return [
        f"policies.{purpose}: replies with the answers of {entry.model:.80} have a mean quality of "
        f"{found:.3g} in {count} conversations, from 0 to 1 on the scale, and its table has "
        f"{measured}: measure the table again"
        for purpose, entry, count, found, measured in _drifted(compared, "quality", "")
    ]


_Compared = Sequence[tuple[str, RouteEntry, Sequence[Sequence[float]]]]


def _drifted(
    compared: _Compared, figure: str, unit: str
) -> Iterator[tuple[str, RouteEntry, int, float, str]]:
    """Yield policy, entry, size of the sample, its mean and the measured one, where they differ."""
    for purpose, entry, groups in compared:
        mean, low, high = (getattr(entry, f"{figure}{end}") or 0.0 for end in ("", "_low", "_high"))
        rate = FALSE_ALARM_RATE / len(compared)
        found = drift_of(mean, low, high, groups, false_alarm_rate=rate)
        if found is not None:
            measured = f"{mean:.3g}{unit} ({low:.3g} to {high:.3g})"
            yield purpose, entry, len(groups), found, measured


def calibration_lines(manifest: Mapping[str, Any], rows: Sequence[CallLine]) -> list[str]:
    """Return a line for each cascade of a run that compared a confidence that is not calibrated."""
    asked = {
        (row.purpose.value, row.choice.model)
        for row in rows
        if row.choice is not None and row.choice.policy == "cascade"
    }
    lines = []
    for purpose, purposes, policy in _policies(manifest, CascadePolicy):
        mapped = {each.model for each in policy.calibration}
        raw = [
            model
            for model in policy.models[:-1]
            if model not in mapped and any((each, model) in asked for each in purposes)
        ]
        if raw:
            lines.append(
                f"policies.{purpose}: the confidence of {', '.join(raw):.200} is not calibrated, "
                f"so {policy.confidence:g} is no chance of a good answer: tune it with "
                "`callwise tune RECORDING --cascade`"
            )
    return lines


def _entries(
    manifest: Mapping[str, Any], figure: str = "seconds"
) -> list[tuple[str, frozenset[str], RouteEntry]]:
    """Return the entries of a run's tables whose figure has an interval.

    Each with the name of its policy and the purposes that it is for.
    """
    return [
        (purpose, purposes, entry)
        for purpose, purposes, policy in _policies(manifest, RoutePolicy)
        for entry in policy.table
        if getattr(entry, f"{figure}_low") is not None
    ]


def _policies(
    manifest: Mapping[str, Any], kind: type[PolicyT]
) -> Iterator[tuple[str, frozenset[str], PolicyT]]:
    """Yield a run's policies of one kind, each with its name and the purposes that it is for."""
    knobs = manifest.get("knobs")
    policies = knobs.get("policies") if isinstance(knobs, Mapping) else None
    if not isinstance(policies, Mapping):
        return
    for purpose, document in policies.items():
        purposes = frozenset({str(purpose)})
        if purpose == DEFAULT_POLICY:
            purposes = frozenset(Purpose) - policies.keys()
        try:
            yield str(purpose), purposes, kind.model_validate(document)
        except ValidationError:  # of another kind, or of another version
            continue


def _seconds(rows: Sequence[CallLine], purposes: frozenset[str], model: str) -> list[list[float]]:
    """Return the real seconds of a model's answered calls, turn by turn."""
    answered = [
        row
        for row in rows
        if row.choice is not None
        and row.choice.model == model
        and row.outcome in _ANSWERED
        and row.purpose.value in purposes
        and not row.is_virtual
    ]
    turns = grouped(answered, lambda row: str(row.turn_key))
    return [[row.usage.path_seconds for row in calls] for calls in turns.values()]


def _qualities(
    rows: Sequence[CallLine],
    purposes: frozenset[str],
    model: str,
    quality: Mapping[TurnKey, float],
) -> list[list[float]]:
    """Return the qualities of turns that a model alone has a part in, by conversation.

    Empty where it does not answer all requests of these purposes: the others may be harder.
    """
    models: dict[TurnKey, set[str]] = {}
    is_other: set[TurnKey] = set()
    for row in rows:
        key = row.turn_key
        if key is None or key not in quality or row.choice is None:
            continue
        if row.purpose.value in purposes:
            models.setdefault(key, set()).add(row.choice.model)
        elif row.choice.model != row.role.value:
            is_other.add(key)
    if any(own != {model} for own in models.values()):
        return []
    found: dict[str, list[float]] = {}
    for key in models:
        if key not in is_other:
            found.setdefault(key[0], []).append(quality[key])
    return [*found.values()]
