"""Figures of a run as a baseline: a call that was lost is an error, not a smaller count."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

from pydantic import JsonValue, ValidationError

from callwise.budget.usage import NO_USAGE
from callwise.calls.call import Outcome
from callwise.calls.errors import ConfigError, FormatError
from callwise.recordings.program_turn import merged_digests
from callwise.report.model_table import quality_drift_lines
from callwise.report.run_forms import trouble_lines
from callwise.report.run_record import CallLine, RunFileLine, RunRecord, TurnKey, TurnLine, load_run
from callwise.report.totals import total
from callwise.testing.gate.baseline import Baseline, CallGroup, TurnFigures

__all__ = [
    "RunFigures",
    "baseline_of_record",
    "baseline_of_rows",
    "baseline_of_run",
    "quality_by_turn",
    "quality_drift",
    "run_figures",
]


LineT = TypeVar("LineT", bound=RunFileLine)


_NOT_SENT = frozenset({Outcome.REPLAYED, Outcome.REFUSED, Outcome.CANCELLED})
"""Outcomes that calls may have in a replay that sends none."""


_USD_DIGITS = 12
"""A cost is kept in whole 1e-12 USD, as the ledger counts it."""


@dataclass(frozen=True, slots=True)
class RunFigures:
    """A run as a baseline, and the notices of its reading.

    Args:
        is_torn: whether a file of the run ends in half a line: it was killed, and may have
            fewer turns than it should.
        silent: turns without a reply.
    """

    baseline: Baseline
    notices: Sequence[str]
    is_torn: bool
    silent: Sequence[TurnKey] = ()


def _refuse_lost_calls(record: RunRecord, turns: Mapping[TurnKey, TurnFigures]) -> None:
    """Refuse a ledger that lost calls: fewer calls would pass for a saving.

    Raises:
        FormatError: when a turn has fewer calls than it records, or the ledger is cut.
    """
    path = record.folder / "ledger.jsonl"
    again = "run the same `callwise replay` again to make the run whole"
    for line in record.turns:
        counted = turns[line.key].asked_count
        if line.asked is not None and counted < line.asked:
            raise FormatError(
                path,
                None,
                f"lost calls: turn {line.turn} of {line.conversation_id!r} records "
                f"{line.asked} calls and {counted} are here; {again}",
            )
    if path.name in record.torn_files and any(line.asked is None for line in record.turns):
        raise FormatError(path, None, f"its last line is cut off, and calls may be lost; {again}")


def _is_simulated(record: RunRecord) -> bool:
    """Return whether every answer of a run was simulated.

    A manifest has the model in this process only; a simulated server marks each answer, and
    the ledger keeps the mark.
    """
    if record.manifest.get("simulated") is True:
        return True
    is_any = any(turn.simulated for turn in record.turns) and bool(record.rows)
    return is_any and all(row.is_simulated for row in record.rows)


def _is_replayed(rows: Iterable[CallLine]) -> bool:
    outcomes = {row.outcome for row in rows}
    return Outcome.REPLAYED in outcomes and outcomes <= _NOT_SENT


def _baseline(
    rows: Sequence[CallLine],
    turns: Sequence[TurnLine] | None,
    quality: Mapping[TurnKey, float] | None,
    **facts: Any,
) -> Baseline:
    """Return the figures of rows and turns; without turns, of the turns that the rows name."""
    rows_of: dict[TurnKey | None, list[CallLine]] = defaultdict(list)
    for row in rows:
        rows_of[row.turn_key].append(row)
    if turns is None:
        lines: list[tuple[TurnKey, TurnLine | None]] = [(k, None) for k in rows_of if k is not None]
    else:
        lines = [(line.key, line) for line in turns]
    inside = {key for key, _ in lines}
    return Baseline(
        asked_outside=_asked_by_path(row for row in rows if row.turn_key not in inside),
        turns=tuple(
            _figures_of(key, rows_of.get(key, ()), line=line, quality=quality)
            for key, line in lines
        ),
        **facts,
    )


def baseline_of_record(
    record: RunRecord, *, quality: Mapping[TurnKey, float] | None = None
) -> Baseline:
    """Return the baseline that a run makes that was read already.

    Raises:
        FormatError: when it lost calls, has a turn twice, or has no turn.
    """
    manifest = record.manifest
    identity = manifest.get("identity")
    facts: Mapping[str, Any] = identity if isinstance(identity, dict) else {}
    # What was set; runs of earlier versions record all knobs only.
    knobs = manifest.get("given", manifest.get("knobs"))
    prompts = manifest.get("prompts") or merged_digests(turn.prompts for turn in record.turns)
    if not record.turns:
        raise FormatError(
            record.folder, None, "the run has no finished turn; run `callwise replay` first"
        )
    everything = manifest.get("knobs")
    preset = everything.get("preset") if isinstance(everything, dict) else None
    try:
        baseline = _baseline(
            record.rows,
            record.turns,
            quality,
            app=str(facts.get("app") or ""),
            preset=preset if isinstance(preset, str) else "",
            conversations=facts.get("conversations"),
            is_simulated=_is_simulated(record),
            is_replayed=facts.get("mode") == "strict" or _is_replayed(record.rows),
            knobs=flat_knobs(knobs if isinstance(knobs, dict) else {}),
            prompts=(prompts or None) if isinstance(prompts, dict) else None,
        )
    except ValidationError as error:
        raise FormatError(record.folder, None, _first_problem(error)) from error
    _refuse_lost_calls(record, {each.key: each for each in baseline.turns})
    return baseline


def run_figures(
    folder: Path,
    *,
    quality: Mapping[TurnKey, float] | None = None,
    scores_file: Path | None = None,
) -> RunFigures:
    """Return a run's baseline, and how the reading of its folder went.

    Args:
        scores_file: a table of scores to read it from instead.

    Raises:
        ConfigError: when the scores are by several judges.
        FormatError: when it cannot be read, lost calls, or has no finished turn.
    """
    record = load_run(folder)
    if scores_file is not None:
        quality = quality_by_turn(scores_file, record.turns)
    baseline = baseline_of_record(record, quality=quality)
    notices = [*record.notices, *trouble_lines(total(record.rows, record.turns))]
    if scores_file is not None:
        notices += quality_drift(record, scores_file)
    if record.is_simulated and not baseline.is_simulated:
        notices.append("some of the answers are simulated, and the others are not")
    silent = [turn.key for turn in record.turns if not turn.reply]
    return RunFigures(baseline, notices, bool(record.torn_files), silent)


def baseline_of_run(folder: Path, *, quality: Mapping[TurnKey, float] | None = None) -> Baseline:
    """Return the baseline that a run's folder makes; see `run_figures`."""
    return run_figures(folder, quality=quality).baseline


def baseline_of_rows(
    rows: Iterable[CallLine | Mapping[str, Any]],
    turns: Iterable[TurnLine | Mapping[str, Any]] | None = None,
    *,
    app: str,
    quality: Mapping[TurnKey, float] | None = None,
    is_simulated: bool | None = None,
    is_replayed: bool | None = None,
    knobs: Mapping[str, Any] | None = None,
    **facts: Any,
) -> Baseline:
    """Return the baseline of a run that is in memory.

    Args:
        rows: its ledger, one line per call, as `LedgerRow.as_dict` gives it.
        turns: its finished turns as in `turns.jsonl`; None takes the turns that the
            ledger names, which then have no rounds.
        app: name of what was run; another name is another graph.
        is_simulated: whether a simulated model gave every answer; None goes by the rows.
        is_replayed: whether a recording gave every answer; None goes by the rows.
        knobs: nested or flat.
        facts: `preset`, `conversations`, `prompts` of `Baseline`.

    Raises:
        ConfigError: when a line is none of a run, or a turn is there twice.
    """
    try:
        calls = _read(rows, CallLine)
        lines = None if turns is None else _read(turns, TurnLine)
        if is_simulated is None:
            is_simulated = bool(calls) and all(row.is_simulated for row in calls)
        return _baseline(
            calls,
            lines,
            quality,
            app=app,
            is_simulated=is_simulated,
            is_replayed=_is_replayed(calls) if is_replayed is None else is_replayed,
            knobs=flat_knobs(knobs or {}),
            **facts,
        )
    except ValidationError as error:
        raise ConfigError(f"cannot make a baseline of this run: {_first_problem(error)}") from error


def _read(lines: Iterable[LineT | Mapping[str, Any]], kind: type[LineT]) -> list[LineT]:
    return [line if isinstance(line, kind) else kind.model_validate(line) for line in lines]


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"])) or "line"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"


_KINDS = frozenset({"pointwise", "label", "truth"})
"""Scores of one reply. Which of two won is not in the same unit."""


def quality_by_turn(
    scores_file: Path, turns: Iterable[TurnLine], *, is_scaled: bool = False
) -> dict[TurnKey, float]:
    """Return the mean score of each turn's reply; a reply without a score has none.

    Args:
        scores_file: the table, all its scores by one judge.
        is_scaled: as the place on its scale, from 0 to 1, in place of the unit.

    Raises:
        ConfigError: when the table has several judges: their units differ.
        FormatError: when the table cannot be read.
    """
    # Scores belong to tune, which a gate without them need not load.
    from callwise.tuning.judge.scores import read_scores  # noqa: PLC0415
    from callwise.tuning.row import reply_id  # noqa: PLC0415

    values: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    judges: set[str] = set()
    for score in read_scores(scores_file).scores:
        if score.kind in _KINDS:
            judges.add(score.by)
            value, width = score.value, score.scale_high - score.scale_low
            if is_scaled:
                value = min(max((value - score.scale_low) / width, 0.0), 1.0)
            values[score.conversation, score.turn, score.reply_id].append(value)
    if len(judges) > 1:
        raise ConfigError(
            f"{scores_file} has scores by {len(judges)} judges ({', '.join(sorted(judges))}), "
            "whose units differ; give a table by one of them"
        )
    keys = {turn.key: (*turn.key, reply_id(turn.reply)) for turn in turns}
    return {key: fmean(values[reply]) for key, reply in keys.items() if reply in values}


def quality_drift(record: RunRecord, scores_file: Path) -> list[str]:
    """Return a line for each model whose scored replies are not as its routing table has them.

    Raises:
        ConfigError: when the table has several judges.
        FormatError: when the table cannot be read.
    """
    quality = quality_by_turn(scores_file, record.turns, is_scaled=True)
    return quality_drift_lines(record.manifest, record.rows, quality)


def _asked_by_path(rows: Iterable[CallLine]) -> dict[str, int]:
    """Return calls asked by `node/role/purpose`, sorted by it."""
    counted = Counter(
        str(CallGroup(row.node or "-", row.role.value, row.purpose.value)) for row in rows
    )
    return dict(sorted(counted.items()))


def _figures_of(
    key: TurnKey,
    calls: Sequence[CallLine],
    *,
    line: TurnLine | None,
    quality: Mapping[TurnKey, float] | None,
) -> TurnFigures:
    """Return one turn's figures; rounds and degradations are those of `line`."""
    usage = sum((row.usage for row in calls), start=NO_USAGE)
    costs = [row.usd for row in calls if row.usd is not None]
    rounds = None if line is None else line.rounds
    return TurnFigures(
        conversation=key[0],
        turn=key[1],
        asked=_asked_by_path(calls),
        refused=sum(row.is_refused for row in calls),
        unreadable=sum(row.is_unreadable for row in calls),
        degraded=0 if line is None else len(line.degraded),
        requests=usage.requests,
        input_tokens=None if usage.unknown_usage else usage.input_tokens,
        output_tokens=None if usage.unknown_usage else usage.output_tokens,
        usd=round(math.fsum(costs), _USD_DIGITS) if len(costs) == len(calls) else None,
        rounds_reply=None if rounds is None else rounds.reply,
        rounds_turn=None if rounds is None else rounds.turn,
        quality=None if quality is None else quality.get(key),
    )


def flat_knobs(knobs: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return nested knobs under dotted names: `{"search": {"rollouts": 4}}` as `search.rollouts`.

    A list is one value, and a group without knobs is left out. Flat knobs stay as they are.
    """
    flat: dict[str, JsonValue] = {}
    for name, value in knobs.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{inner}": each for inner, each in flat_knobs(value).items()})
        else:
            flat[str(name)] = list(value) if isinstance(value, tuple) else value
    return flat
