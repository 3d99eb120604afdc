"""`callwise report` of an experiment and its people: arms, feedback, training data."""

import json
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from callwise.calls.errors import ConfigError
from callwise.cli.terminal import print_safe, print_text, say
from callwise.safe_text import escaped_json

if TYPE_CHECKING:
    from callwise.cli.report_command import ReportOptions
    from callwise.report import RunRecord
    from callwise.report.run_forms import Form
    from callwise.report.training_export import ExportForm
    from callwise.text_layout import Screen

__all__ = ["print_arms", "take_and_write"]


def take_and_write(options: "ReportOptions") -> bool:
    """Add feedback and write training data where they are asked for; return whether they are.

    Raises:
        ConfigError: when options contradict each other, feedback is about a turn, call or
            candidate that the run does not have, or there is none to write.
        FormatError: when a file cannot be read.
    """
    from callwise.report import load_run

    if (options.export is None) != (options.output is None):
        raise ConfigError("--export sft, dpo or labels and --output FILE go together: give both")
    if options.candidates and options.export is None:
        raise ConfigError("--candidates adds pairs to --export dpo: give that too")
    if options.scores is not None and options.table not in {"arms", "models", "all"}:
        raise ConfigError("--scores is the quality of arms or models: give --table arms or models")
    if options.feedback is not None:
        take_feedback(options.folder, options.feedback)
    if options.export is not None and options.output is not None:
        run = load_run(options.folder, keep_raw=True)
        write_export(run, options.export, options.output, with_candidates=options.candidates)
    return options.feedback is not None or options.export is not None


def print_arms(run: "RunRecord", form: "Form", scores: Path | None, screen: "Screen") -> None:
    """Print a run by arm, and the differences of arms; warnings go to standard error.

    Quality is that of the scores, else the mean rating of the run's feedback.

    Raises:
        ConfigError: when no turn names an arm, or the scores are by several judges.
        FormatError: when scores or feedback cannot be read.
    """
    from callwise.report.table import markdown_table, table_json, tables_text, to_csv
    from callwise.tuning.arms import arm_report, arm_tables

    name = "rating" if scores is None else "quality"
    report = arm_report(run, quality=_quality(run, scores), quality_name=name)
    by_arm, differences, numbers = arm_tables(report)
    for warning in report.warnings:
        say(warning)
    match form:
        case "csv":
            print_text(to_csv(numbers), end="")
        case "json":
            document = {
                "experiment": report.experiment,
                "control": report.control,
                "shares": dict(report.shares),
                "units": dict(report.units),
                "sample_ratio_p": report.ratio_p,
                "simulated": report.is_simulated,
                "figures": table_json(numbers),
            }
            text = json.dumps(document, ensure_ascii=False, allow_nan=False)
            print_text(escaped_json(text) + "\n", end="")
        case "markdown":
            print_text("\n".join(map(markdown_table, (by_arm, differences))), end="")
        case "text":
            print_safe(tables_text([by_arm, differences], screen=screen))


def _quality(run: "RunRecord", scores: Path | None) -> dict[tuple[str, int], float] | None:
    from callwise.report.feedback import read_feedback
    from callwise.testing.gate.run_figures import quality_by_turn

    if scores is not None:
        return quality_by_turn(scores, run.turns)
    ratings: dict[tuple[str, int], list[float]] = {}
    found, notices = read_feedback(run)
    for notice in notices:
        say(notice)
    for each in found:
        if each.score is not None and each.call is None:
            ratings.setdefault((each.conversation, each.turn), []).append(each.score)
    return {key: fmean(each) for key, each in ratings.items()} if ratings else None


def take_feedback(folder: Path, file: Path) -> None:
    """Add a file of feedback to a run, all of it or none.

    Raises:
        ConfigError: when a record is about a turn, call or candidate that the run does not have.
        FormatError: when the file or the run cannot be read.
    """
    from callwise.report.feedback import add_feedback, feedback_of_lines
    from callwise.text_layout import counted

    added = add_feedback(folder, feedback_of_lines(file), where=str(file))
    say(f"{counted(len(added), 'record')} added to {folder}")


def write_export(
    run: "RunRecord", form: "ExportForm", output: Path, *, with_candidates: bool
) -> None:
    """Write a run's feedback as training data.

    Raises:
        ConfigError: when there is none, or the file cannot be written.
        FormatError: when the feedback cannot be read.
    """
    from callwise.report.training_export import export_training
    from callwise.text_layout import counted

    if output.exists() and output.resolve().parent == run.folder.resolve():
        raise ConfigError(
            f"{output} is a file of the run, which the training data would replace: name a new file"
        )
    if with_candidates and form != "dpo":
        raise ConfigError("--candidates adds pairs, which only --export dpo has")
    found = export_training(run, form, with_candidates=with_candidates)
    for notice in found.notices:
        say(notice)
    if not found.count:
        raise ConfigError(
            f"{run.folder} has no feedback for --export {form}; {_WANTED[form]} (--feedback FILE, "
            "or run.feedback(...) in Python)"
        )
    try:
        output.write_bytes(found.data)
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error.strerror or error}") from error
    say(f"{counted(found.count, 'example')} in {output}")


_WANTED: dict[Literal["sft", "dpo", "labels"], str] = {
    "sft": "it takes corrections, preferred candidates, or ratings of 4 and more",
    "dpo": "it takes corrections or preferred candidates, or --candidates",
    "labels": "it takes ratings",
}
