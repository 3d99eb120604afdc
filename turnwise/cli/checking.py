"""What `turnwise check` does once its options are read."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from turnwise.calls.errors import ConfigError
from turnwise.cli.exits import print_text, say
from turnwise.testing.gate.as_json import drift_json, live_json
from turnwise.testing.gate.baseline import Baseline
from turnwise.testing.gate.gate_comparison import compare, require_exact
from turnwise.testing.gate.gate_exceptions import Quarantine, put_in_quarantine, read_quarantine
from turnwise.testing.gate.gates import parse_gates
from turnwise.testing.gate.live_gate import DEFAULT_ALPHA, compare_live
from turnwise.testing.gate.markdown import drift_markdown, live_markdown
from turnwise.testing.gate.presenter import finding_lines, live_lines, live_verdict, verdict
from turnwise.testing.gate.renewing import renew
from turnwise.testing.gate.run_figures import RunFigures, run_figures

__all__ = ["CheckOptions", "check_and_show"]


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """The options of `turnwise check`, as they came.

    `today` is asked of the machine where it is None; only the quarantine needs it.
    """

    run: Path
    baseline: Path
    is_update: bool = False
    gates: Sequence[str] = ()
    scores: Path | None = None
    quarantine: Path | None = None
    markdown: Path | None = None
    is_live: bool = False
    alpha: float | None = None
    as_json: bool = False
    today: date | None = None


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a check went: whether it passed, and each form of saying so."""

    has_passed: bool
    verdict: str
    lines: Sequence[str]
    document: dict[str, Any]
    markdown: str = ""


def _refuse_contradictions(options: CheckOptions) -> None:
    if options.alpha is not None and not options.is_live:
        raise ConfigError("--alpha is the false-alarm rate of --live; an exact check has none")
    if options.is_live and options.gates:
        raise ConfigError("--live tests calls alone; leave out --gate, or check a replay")
    if options.is_update and options.markdown is not None:
        raise ConfigError("--update compares nothing to write about; leave out --markdown")


def _quarantine(options: CheckOptions) -> Quarantine:
    today = options.today or datetime.now(UTC).date()
    if options.quarantine is None:
        return Quarantine(today=today)
    return Quarantine(read_quarantine(options.quarantine), today=today)


def _updated(options: CheckOptions, run: RunFigures) -> _Outcome:
    if run.is_torn:
        raise ConfigError(
            f"{options.run} was killed in the middle of a turn: a baseline of it would gate less "
            "than it should; run the same `turnwise replay` again, then update"
        )
    renewed = renew(options.baseline, run.baseline)
    document = {
        "passed": True,
        "verdict": renewed.verdict,
        "changed": renewed.has_changed,
        "changes": list(renewed.lines),
    }
    return _Outcome(True, renewed.verdict, renewed.lines, document)


def _tested(options: CheckOptions, current: Baseline, baseline: Baseline) -> _Outcome:
    alpha = DEFAULT_ALPHA if options.alpha is None else options.alpha
    found = compare_live(baseline, current, alpha=alpha, quarantine=_quarantine(options))
    if not found.can_show_rise:
        raise ConfigError(
            f"{found.conversations} conversations cannot show a rise of any size at a false-alarm "
            f"rate of {alpha:g}: at least {found.least_conversations} are needed; run more "
            "conversations, or take a larger --alpha"
        )
    name = str(options.baseline)
    line = live_verdict(found, name)
    return _Outcome(
        not found.has_failed,
        line,
        live_lines(found),
        live_json(found, line),
        live_markdown(found, name),
    )


def _compared(options: CheckOptions, current: Baseline, baseline: Baseline) -> _Outcome:
    require_exact(current)
    drift = compare(baseline, current, parse_gates(options.gates))
    drift = put_in_quarantine(drift, _quarantine(options))
    name = str(options.baseline)
    line = verdict(drift, name)
    return _Outcome(
        not drift.has_failed,
        line,
        finding_lines(drift),
        drift_json(drift, line),
        drift_markdown(drift, name),
    )


def _write_markdown(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error


def check_and_show(options: CheckOptions) -> bool:
    """Check or update, print how it went, and return whether it passed.

    On standard output: one verdict line, and below it what got worse, if it did; or one
    JSON object. What else is worth knowing goes to standard error.
    """
    _refuse_contradictions(options)
    # Before anything that takes time: a file that is not there is said at once.
    baseline = None if options.is_update else Baseline.read(options.baseline)
    run = run_figures(options.run, scores_file=options.scores)
    for notice in run.notices:
        say(notice)
    if baseline is None:
        outcome = _updated(options, run)
    elif options.is_live:
        outcome = _tested(options, run.baseline, baseline)
    else:
        outcome = _compared(options, run.baseline, baseline)
    if options.markdown is not None:
        _write_markdown(options.markdown, outcome.markdown)
    if options.as_json:
        sys.stdout.write(json.dumps(outcome.document, ensure_ascii=True, allow_nan=False) + "\n")
        return outcome.has_passed
    print_text(outcome.verdict)
    for line in outcome.lines:
        if outcome.has_passed and not options.is_update:
            say(f"  {line}")
        else:
            print_text(f"  {line}")
    return outcome.has_passed
