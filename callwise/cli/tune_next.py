"""The end of `callwise tune`: the recommended setting as a preset file, and the next command."""

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from callwise.recordings.recording import Recording
from callwise.text_layout import counted
from callwise.tuning.analysis import Analysis
from callwise.tuning.replay_evaluator import settings_of
from callwise.tuning.setting import Setting
from callwise.tuning.sweep import FinishedSweep

if TYPE_CHECKING:
    from callwise.cli.tune_command import TuneOptions

__all__ = ["next_lines", "preset_of"]

PRESET_FILE = "recommended.yaml"


def preset_of(recording: Recording, setting: Setting) -> dict[str, Any]:
    """Return a setting as a file of knobs: what it changes in the preset that it extends.

    A preset that is not shipped is in it as a whole, since only its name is recorded.
    """
    own = settings_of(recording, setting).model_dump(mode="json", exclude_unset=True)
    name = own.pop("preset", None)
    if name not in recording.app.presets():
        return dict(own)
    base = recording.app.settings(name).model_dump(mode="json", exclude_unset=True)
    return {"extends": name, **_changed(base, own)}


def _changed(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the knobs that differ from a preset's, with the groups that they are in."""
    found: dict[str, Any] = {}
    for name, value in own.items():
        below = base.get(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            if inner := _changed(below, value):
                found[name] = inner
        elif value != below and name != "preset":
            found[name] = value
    return found


def next_lines(
    options: "TuneOptions", recording: Recording, finished: FinishedSweep, analysis: Analysis
) -> list[str]:
    """Return what to do next, as commands; a setting that is shown is written as a preset file.

    Replies that are not recorded come first, then those that are not judged, then the verdict.
    """
    preset = finished.folder / PRESET_FILE
    preset.unlink(missing_ok=True)
    summaries = analysis.settings.values()
    is_estimated = any(each.exact_replies < each.turns for each in summaries)
    recommended = analysis.recommendation
    is_shown = recommended is not None and recommended.is_shown
    if is_estimated and not options.buy and not is_shown:
        return ["buy the replies that are not recorded:", _again(options, finished, "--buy")]
    if not analysis.by and options.quality == "auto":
        judging = _again(options, finished, "--quality", "referee")
        return ["have the replies judged by the model of CALLWISE_REFEREE_MODEL:", judging]
    if recommended is None or recommended.chosen is None:
        return []
    folder = shlex.quote(str(options.recording))
    if not is_shown:
        if recommended.needed is None or not recommended.needed.more_conversations:
            return []
        more = counted(recommended.needed.more_conversations, "more conversation")
        cassette = shlex.quote(str(recording.cassette))
        return [
            f"add {more} to your file, and tune on the longer run:",
            f"callwise replay FILE --preset PRESET --record {cassette} --out longer",
        ]
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


def _again(options: "TuneOptions", finished: FinishedSweep, *more: str) -> str:
    """Return the same command with more options."""
    words = ["callwise", "tune", str(options.recording)]
    if options.grid is not None:
        words += ["--grid", options.grid]
    for knob in options.knobs:
        words += ["--knob", knob]
    words += ["--out", str(finished.folder)]
    usual = type(options).model_fields
    for name in ("past", "max_turns", "quality", "labels", "margin_share", "cost", "app"):
        value, option = getattr(options, name), f"--{name.replace('_', '-')}"
        if value != usual[name].default and option not in more:
            words += [option, str(value)]
    return shlex.join([*words, *more])
