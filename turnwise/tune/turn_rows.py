"""A turn that was evaluated, as a row of the sweep."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from turnwise.calls.call import Outcome
from turnwise.replay.counterfactual.evaluation import CounterfactualTurn
from turnwise.replay.counterfactual.missing import MissingCall
from turnwise.tune.quality.scores import reply_id
from turnwise.tune.row import Standing, TurnRow

__all__ = ["row_of"]


def row_of(
    evaluated: CounterfactualTurn,
    *,
    setting: str,
    seed: int,
    scenario: Mapping[str, Any],
    is_simulated: bool,
) -> TurnRow:
    """Return a turn as a row, its quality left open.

    Args:
        evaluated: the turn.
        setting: name of the setting.
        seed: the seed that it ran with.
        scenario: the plan's usual case as JSON, for turns that could not be played.
        is_simulated: whether a simulated model answers under this setting.
    """
    if evaluated.record is None:
        return _planned(evaluated, setting, seed, scenario, is_simulated=is_simulated)
    return _played(evaluated, setting, seed, evaluated.record)


def _sums(rows: Sequence[Mapping[str, Any]], by: str, what: str | None) -> dict[str, int]:
    """Return calls, or a count of the rows, summed by a column, in order of names."""
    sums: Counter[str] = Counter()
    for row in rows:
        sums[str(row[by] or "")] += 1 if what is None else int(row[what])
    return dict(sorted(sums.items()))


def _price(missing: Sequence[MissingCall]) -> float | None:
    """Return what calls would cost; None when one of them is not known."""
    prices = [call.usd for call in missing]
    known = [price for price in prices if price is not None]
    return math.fsum(known) if len(known) == len(prices) else None


def _played(
    evaluated: CounterfactualTurn, setting: str, seed: int, record: Mapping[str, Any]
) -> TurnRow:
    missing, rows = evaluated.missing, evaluated.rows
    made = [row for row in rows if row["outcome"] != Outcome.REFUSED]
    return TurnRow(
        setting=setting,
        conversation=str(record["conversation_id"]),
        turn=int(record["turn"]),
        seed=seed,
        standing=Standing.EXACT if evaluated.diverged_at is None else Standing.BOUNDED,
        diverged_at=evaluated.diverged_at,
        missing_calls=len(missing),
        missing_tokens=sum(call.input_tokens + call.output_tokens for call in missing),
        missing_usd=_price(missing),
        asked=len(made),
        requests=sum(row["requests"] for row in rows),
        input_tokens=sum(row["input_tokens"] for row in rows),
        output_tokens=sum(row["output_tokens"] for row in rows),
        usd=_known_usd(rows),
        rounds_reply=int(record["rounds"]["reply"]),
        rounds_turn=int(record["rounds"]["turn"]),
        seconds_reply=record["path_seconds"]["reply"],
        seconds_turn=record["path_seconds"]["turn"],
        is_reply_exact=evaluated.is_reply_exact,
        reply_id=reply_id(str(record["reply"])),
        is_simulated=bool(record.get("simulated")),
        asked_by_role=_sums(made, "role", None),
        asked_by_purpose=_sums(made, "purpose", None),
        asked_by_node=_sums(made, "node", None),
        requests_by_role=_sums(rows, "role", "requests"),
        requests_by_purpose=_sums(rows, "purpose", "requests"),
    )


def _known_usd(rows: Sequence[Mapping[str, Any]]) -> float | None:
    costs = [row["usd"] for row in rows]
    return None if None in costs else math.fsum(costs)


def _planned(
    evaluated: CounterfactualTurn,
    setting: str,
    seed: int,
    scenario: Mapping[str, Any],
    *,
    is_simulated: bool,
) -> TurnRow:
    """Return the row of a turn that could not be played: recorded to a call, planned beyond."""
    before = (evaluated.diverged_at or 1) - 1
    asked = max(int(scenario["asked"]), before + 1)
    # What was played with stand-ins before nothing could stand in is to be bought as well.
    missing = asked - before
    share, tokens = missing / asked, scenario["tokens"]
    return TurnRow(
        setting=setting,
        conversation=evaluated.turn.conversation_id,
        turn=evaluated.turn.turn or 0,
        seed=seed,
        standing=Standing.MISSING,
        diverged_at=evaluated.diverged_at,
        missing_calls=missing,
        missing_tokens=round(tokens["total"] * share),
        missing_usd=None if scenario["usd"] is None else scenario["usd"] * share,
        asked=asked,
        requests=asked,
        input_tokens=tokens["input"],
        output_tokens=tokens["output"],
        usd=scenario["usd"],
        rounds_reply=scenario["rounds"]["reply"],
        rounds_turn=scenario["rounds"]["turn"],
        seconds_reply=None,
        seconds_turn=None,
        is_reply_exact=evaluated.is_reply_exact,
        reply_id="",
        is_simulated=is_simulated,
        asked_by_role=dict(sorted(scenario["by_role"].items())),
        asked_by_purpose=dict(sorted(scenario["by_purpose"].items())),
        asked_by_node=dict(sorted(scenario["by_node"].items())),
        requests_by_role=dict(sorted(scenario["by_role"].items())),
        requests_by_purpose=dict(sorted(scenario["by_purpose"].items())),
    )
