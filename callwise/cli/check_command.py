"""`callwise check`: calls per turn of a run compared with a committed baseline."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from callwise.calls.errors import ConfigError, FormatError
from callwise.cli.completers import complete_run
from callwise.cli.options import CommandOptions, JsonOption
from callwise.cli.terminal import EXIT_FAILED, clear_errors, print_json, print_wrapped, say

if TYPE_CHECKING:
    from callwise.testing.gate import Baseline, GateComparison
    from callwise.testing.gate.run_figures import RunFigures

__all__ = ["check"]


class CheckOptions(CommandOptions):
    """Options of `callwise check`."""

    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", autocompletion=complete_run, help="A run's folder (`replay --out`)."
        ),
    ]
    baseline: Annotated[
        Path | None, typer.Option("--baseline", "-b", help="The baseline, a committed JSON file.")
    ] = None
    rollout: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=(
                "In place of a baseline: the state of the run's staged rollout, which is moved "
                "on, or returned to 0 % when a gate fails."
            ),
        ),
    ] = None
    update: Annotated[
        bool, typer.Option("--update", help="Write the baseline from this run; show the changes.")
    ] = False
    gates: Annotated[
        list[str],
        typer.Option(
            "--gate",
            "-g",
            metavar="NAME[=TOLERANCE]",
            help=(
                "Gate more than calls, degraded and unreadable, which always are: requests, "
                "rounds, tokens, usd, quality. The tolerance is the rise allowed, such as 5%; "
                "without one nothing may. Repeatable."
            ),
        ),
    ] = []
    scores: Annotated[
        Path | None, typer.Option(help="A table of scores (scores.csv), for --gate quality.")
    ] = None
    quarantine: Annotated[
        Path | None,
        typer.Option(help="Known flaky cases: YAML with reason, owner and until of each."),
    ] = None
    markdown: Annotated[
        Path | None, typer.Option(help="Also write a table for a pull-request comment here.")
    ] = None
    live: Annotated[
        bool,
        typer.Option("--live", help="The run is live: test for a rise that is more than noise."),
    ] = False
    alpha: Annotated[
        float | None, typer.Option(help="With --live: share of false alarms. Default: 0.01.")
    ] = None
    as_json: JsonOption = False


def check(options: CheckOptions) -> None:
    """Compare a run's calls per turn with a committed baseline; show rises, places and causes.

    Degraded turns (a judge that is down, say) and unreadable answers are compared too.

    Exits with 0 when nothing got worse, 1 when something did, 2 when the two cannot be
    compared: another app, preset or conversations, missing turns, an unreadable file.

    First make a run and its baseline, and commit the baseline:

    callwise replay talk.jsonl --cassette talk.cassette.jsonl --out run

    callwise check run --baseline baselines/talk.json --update

    Then, on every change, the same replay and:

    callwise check run --baseline baselines/talk.json

    callwise check run -b baselines/talk.json --gate rounds --gate tokens=5% --markdown gate.md

    A drop does not fail; --update keeps it. A live run, whose model answers differently each
    time, is tested with a stated false-alarm rate:

    callwise check live-run -b baselines/live.json --live --alpha 0.01

    With the state of a rollout the new arm of the run's experiment is compared with the other
    one; the exit code is 1 when it was returned:

    callwise check run --rollout rollout.json
    """
    with clear_errors():
        has_passed = _check(options)
    if not has_passed:
        raise typer.Exit(EXIT_FAILED)


def _refuse_contradictions(options: CheckOptions) -> None:
    if (options.baseline is None) == (options.rollout is None):
        raise ConfigError(
            "give what the run is compared with: --baseline FILE, or --rollout FILE for the arms "
            "of its experiment"
        )
    others = (options.update, options.gates, options.quarantine, options.markdown, options.live)
    if options.rollout is not None and any(others):
        raise ConfigError(
            "--rollout compares arms by the knobs of the run's rollout (experiment.rollout); give "
            "only --scores and --json with it"
        )
    if options.alpha is not None and not options.live:
        raise ConfigError("--alpha is the false-alarm rate of --live; an exact check has none")
    if options.live and options.gates:
        raise ConfigError("--live tests calls alone; leave out --gate, or check a replay")
    if options.update and options.markdown is not None:
        raise ConfigError("--update compares nothing to write about; leave out --markdown")


def _compared(options: CheckOptions, current: "Baseline", baseline: "Baseline") -> "GateComparison":
    from callwise.testing.gate import (
        Quarantine,
        compare,
        compare_live,
        parse_gates,
        read_quarantine,
        require_exact,
    )
    from callwise.testing.gate.live_gate import DEFAULT_ALPHA

    exceptions = () if options.quarantine is None else read_quarantine(options.quarantine)
    quarantine = Quarantine(exceptions, today=datetime.now(UTC).date())
    if not options.live:
        require_exact(current)
        gates = parse_gates(options.gates)
        return compare(baseline, current, gates, quarantine=quarantine)
    alpha = DEFAULT_ALPHA if options.alpha is None else options.alpha
    return compare_live(baseline, current, alpha=alpha, quarantine=quarantine)


def _is_real(path: Path) -> bool:
    """Return whether a file is a readable baseline of answers that were not simulated."""
    from callwise.testing.gate import Baseline

    try:
        return path.exists() and not Baseline.read(path).is_simulated
    except (ConfigError, FormatError):
        return False  # `renew` reports what is wrong with it


def _update(options: CheckOptions, path: Path, run: "RunFigures") -> None:
    """Write the baseline from a run and print the changes.

    Raises:
        ConfigError: when the run is incomplete, a simulated one would replace a real one, or the
            file cannot be written.
    """
    from callwise.testing.gate.presenter import renew, short
    from callwise.text_layout import counted

    if run.is_torn:
        raise ConfigError(
            f"{options.run} was killed in the middle of a turn: a baseline of it would gate less "
            "than it should; run the same `callwise replay` again, then update"
        )
    if run.baseline.is_simulated and _is_real(path):
        raise ConfigError(
            f"{path} is of a real endpoint, and the answers of {options.run} are "
            "simulated: replay the real recording, or delete the baseline to replace it by a "
            "simulated one"
        )
    if run.silent:
        (conversation, turn), more = run.silent[0], len(run.silent) - 1
        others = f" and {counted(more, 'more turn')}" if more else ""
        say(f"no reply in turn {turn} of {short(conversation)}{others}: the baseline keeps that")
    renewed = renew(path, run.baseline)
    if options.as_json:
        print_json(
            {
                "passed": True,
                "verdict": renewed.verdict,
                "changed": renewed.has_changed,
                "changes": renewed.lines,
            }
        )
        return
    print_wrapped("\n  ".join((renewed.verdict, *renewed.lines)))


def _write_markdown(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error


def _advance(options: CheckOptions, state: Path) -> bool:
    """Move the state of a rollout on, print it, and return whether it was not returned."""
    from callwise.report import load_run
    from callwise.testing.gate.rollout import advance_rollout
    from callwise.testing.gate.run_figures import quality_by_turn, quality_drift

    run = load_run(options.run)
    scores = options.scores
    for notice in (*run.notices, *(() if scores is None else quality_drift(run, scores))):
        say(notice)
    quality = None if scores is None else quality_by_turn(scores, run.turns)
    rollout, lines = advance_rollout(run, state, quality=quality)
    has_passed = rollout.status != "returned"
    if options.as_json:
        print_json({"passed": has_passed, "verdict": rollout.sentence, **rollout.as_json()})
        return has_passed
    print_wrapped(rollout.sentence)
    for line in lines:
        say(f"  {line}")
    return has_passed


def _check(options: CheckOptions) -> bool:
    """Check or update, print the result, and return whether it passed.

    On standard output: one verdict line, and below it the rises, if there are any; or one
    JSON object. Everything else goes to standard error.
    """
    from callwise.testing.gate import Baseline, finding_lines, verdict
    from callwise.testing.gate.comparison_forms import comparison_json, comparison_markdown
    from callwise.testing.gate.run_figures import run_figures

    _refuse_contradictions(options)
    if options.rollout is not None:
        return _advance(options, options.rollout)
    if options.baseline is None:
        return False
    # Before anything that takes time, so that a missing file is reported immediately.
    baseline = None if options.update else Baseline.read(options.baseline)
    run = run_figures(options.run, scores_file=options.scores)
    for notice in run.notices:
        say(notice)
    if baseline is None:
        _update(options, options.baseline, run)
        return True
    comparison, name = _compared(options, run.baseline, baseline), str(options.baseline)
    if options.markdown is not None:
        _write_markdown(options.markdown, comparison_markdown(comparison, name))
    if options.as_json:
        print_json(comparison_json(comparison, name))
        return not comparison.has_failed
    print_wrapped(verdict(comparison, name))
    show = print_wrapped if comparison.has_failed else say
    for line in finding_lines(comparison):
        show(f"  {line}")
    return not comparison.has_failed
