"""The end of `callwise tune`: the recommended setting as a preset file, and the next command."""

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from callwise.calls.errors import ConfigError, MissingKey
from callwise.recordings.app_protocol import SHIPPED_APP
from callwise.recordings.recording import Recording
from callwise.text_layout import counted
from callwise.tuning.analysis import Analysis
from callwise.tuning.judge.judge_sweep import JudgedRows, QualityRequest, check_judging
from callwise.tuning.judge.referee_endpoint import API_KEY, MODEL
from callwise.tuning.packing_proof import packing_proofs
from callwise.tuning.replay_evaluator import (
    RECORDED,
    changed_knobs,
    preset_of,
    settings_of,
)
from callwise.tuning.setting import Setting
from callwise.tuning.statistics.bootstrap import MIN_CONVERSATIONS
from callwise.tuning.statistics.recommendation import Recommendation
from callwise.tuning.sweep import FinishedSweep

if TYPE_CHECKING:
    from callwise.cli.tune_options import TuneOptions

__all__ = ["command_again", "next_lines", "notices_of"]

PRESET_FILE = "recommended.yaml"
RECORDED_FILE = "recorded.yaml"

ENOUGH = 8
"""Conversations to replay where there are too few: more than a verdict's least."""

_KEPT = (
    *("models", "by", "past", "max_turns", "quality", "labels", "rubric", "repeats"),
    *("margin_share", "cost", "app", "buy", "batch", "yes", "race"),
    *("max_buy_calls", "max_buy_usd", "max_concurrency"),
)
"""Options that the same command is printed with, where they were given."""


def notices_of(judged: JudgedRows, finished: FinishedSweep, lost: str) -> tuple[str, ...]:
    """Return what is to be known of a sweep besides its table, and what it shows of packing.

    Args:
        lost: a notice that is shown elsewhere.
    """
    proofs = map(str, packing_proofs(finished.settings, judged.rows))
    return (*(each for each in judged.notices if each != lost), *proofs)


def next_lines(
    options: "TuneOptions", recording: Recording, finished: FinishedSweep, analysis: Analysis
) -> list[str]:
    """Return what to do next, as commands; a setting that is shown is written as a preset file.

    Conversations that no verdict can do without come first, then replies that are not recorded,
    then those that are not judged, then the verdict.
    """
    preset = finished.folder / PRESET_FILE
    preset.unlink(missing_ok=True)
    summaries = analysis.settings.values()
    is_estimated = any(each.exact_replies < each.turns for each in summaries)
    recommended = analysis.recommendation
    is_shown = recommended is not None and recommended.is_shown
    if analysis.conversations < MIN_CONVERSATIONS and options.max_turns is None:
        few = counted(analysis.conversations, "conversation")
        return [
            f"replay more than {few}, since a verdict needs {MIN_CONVERSATIONS}, and tune that:",
            _longer(recording, finished.folder, "--max-conversations", str(ENOUGH)),
        ]
    if is_estimated and not options.buy and not is_shown:
        return [
            "buy the replies that are not recorded:",
            command_again(options, finished.folder, "--buy"),
        ]
    if not analysis.by and options.quality == "auto":
        judging = command_again(options, finished.folder, "--quality", "referee")
        what = f"have the replies judged by the model of {MODEL}, not the search's judge:"
        return [what, *_referee_lines(recording), judging]
    if recommended is None or recommended.chosen is None:
        return []
    folder = shlex.quote(str(options.recording))
    if not is_shown:
        return _undecided(options, recording, finished, recommended)
    chosen = next(each for each in finished.settings if each.name == recommended.chosen)
    if settings_of(recording, chosen) == recording.settings(None):
        return ["keep it so:", f"callwise check {folder} --baseline calls.json --update"]
    document = yaml.safe_dump(preset_of(recording, chosen), sort_keys=False, allow_unicode=True)
    preset.write_text(document, encoding="utf-8")
    turns = shlex.quote(str(options.recording / "turns.jsonl"))
    return [
        "run the recommended setting, and keep its calls per turn:",
        f"callwise replay {turns} --preset {shlex.quote(str(preset))} --out recommended",
        "callwise check recommended --baseline calls.json --update",
    ]


def _undecided(
    options: "TuneOptions",
    recording: Recording,
    finished: FinishedSweep,
    recommended: Recommendation,
) -> list[str]:
    """Return what leads to a verdict: more conversations, or a margin where these are too many."""
    more = None if recommended.needed is None else recommended.needed.more_conversations
    if more and recommended.is_within_reach:
        return [
            f"add {counted(more, 'more conversation')} to your file, and tune on the longer run:",
            _longer(recording, finished.folder),
        ]
    share = recommended.deciding_share
    if share is None:
        return []
    margin = recommended.in_unit(share * recommended.scale_width)
    return [
        f"accept a loss of {margin}, the least margin that these conversations decide:",
        command_again(options, finished.folder, "--margin-share", f"{share:g}"),
    ]


def _referee_lines(recording: Recording) -> list[str]:
    """Return the line that names a referee, where none can be asked as it is."""
    if not recording.is_simulated and not os.environ.get(MODEL):
        return [f"export {MODEL}=MODEL"]
    try:
        check_judging(recording, QualityRequest("referee"), environ=os.environ)
    except MissingKey:
        return [f"export {API_KEY}=KEY"]
    except ConfigError:
        return [f"export {MODEL}=MODEL"]
    return []


def _longer(recording: Recording, sweep: Path, *more: str) -> str:
    """Return the command that replays more conversations, and buys no recorded call again."""
    source = [name for name in recording.files if not name.startswith("-") and Path(name).exists()]
    words = ["callwise", "replay", *(source or ["FILE"])]
    if recording.app_target != SHIPPED_APP:
        words += ["--app", recording.app_target]
    words += _recorded_knobs(recording, sweep)
    return shlex.join([*words, "--record", str(recording.cassette), *more, "--out", "longer"])


def _recorded_knobs(recording: Recording, sweep: Path) -> list[str]:
    """Return the options of the recorded run's settings; those of no preset go to a file."""
    own = recording.settings(None).model_dump(mode="json", exclude_unset=True)
    name = own.pop("preset", None)
    if name is None or name in recording.app.presets():
        base = recording.app.settings(name).model_dump(mode="json", exclude_unset=True)
        knobs = _leaves(changed_knobs(base, own))
        if all(isinstance(value, bool | int | float | str) for value in knobs.values()):
            options = [] if name is None else ["--preset", name]
            for path, value in knobs.items():
                options += ["--set", f"{path}={json.dumps(value)}"]
            return options
    file = sweep / RECORDED_FILE
    document = preset_of(recording, Setting(RECORDED, RECORDED, {}))
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    file.write_text(text, encoding="utf-8")
    return ["--preset", str(file)]


def _leaves(knobs: Mapping[str, Any], group: str = "") -> dict[str, Any]:
    """Return knobs by their whole paths."""
    found: dict[str, Any] = {}
    for name, value in knobs.items():
        if isinstance(value, Mapping):
            found |= _leaves(value, f"{group}{name}.")
        else:
            found[group + name] = value
    return found


def command_again(options: "TuneOptions", folder: Path, *more: str) -> str:
    """Return the same command with more options; `folder` is that of its sweeps."""
    words = ["callwise", "tune", str(options.recording)]
    words += [f"--{flag}" for flag in ("route", "cascade") if getattr(options, flag)]
    if options.grid is not None:
        words += ["--grid", options.grid]
    for knob in options.knobs:
        words += ["--knob", knob]
    words += ["--out", str(folder)]
    usual = type(options).model_fields
    for name in _KEPT:
        value, option = getattr(options, name), f"--{name.replace('_', '-')}"
        if value == usual[name].default or option in more:
            continue
        words += [option] if value is True else [option, str(value)]
    for host in options.trust_endpoints:
        words += ["--trust-endpoint", host]
    for code in options.trust_code:
        words += ["--trust-code", code]
    return shlex.join([*words, *more])
