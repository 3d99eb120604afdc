"""A setting of a sweep, and the protocol of evaluators, which turn settings into rows.

Settings and results are plain data, so the same evaluator works in this process, in others and
on other machines. Knobs are a mapping; the text `knob=value`, with the value in YAML, is for names
and command lines, and reads back as the same value.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import JsonValue

from callwise.calls.errors import ConfigError, FormatError
from callwise.knobs.presets import parse_yaml
from callwise.tuning.row import TurnRow

__all__ = [
    "PRESET_KNOB",
    "Evaluator",
    "Setting",
    "SettingResult",
    "make_setting",
    "override_of",
    "setting_name",
    "value_text",
]

PRESET_KNOB = "preset"
"""A swept knob of this name chooses the preset instead of a value laid over it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to run: a preset with knobs laid over it.

    Args:
        knobs: values by dotted path, laid over the preset in this order.
    """

    name: str
    preset: str
    knobs: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def identity(self) -> tuple[str, str]:
        """Preset and knobs; settings with equal identities do the same.

        The order of knobs does not count; the type of a value does.
        """
        return self.preset, json.dumps(self.knobs, sort_keys=True)

    @property
    def overrides(self) -> tuple[str, ...]:
        """The knobs as `knob=value` texts, as a command line takes them."""
        return tuple(override_of(knob, value) for knob, value in self.knobs.items())


def make_setting(
    preset: str,
    fixed: Mapping[str, JsonValue],
    swept: Mapping[str, JsonValue],
    *,
    name: str | None = None,
) -> Setting:
    """Return a setting of a preset, fixed knobs and swept knobs; swept ones win.

    Raises:
        ConfigError: for a knob without a name, or a value that is not finite.
    """
    values = {**fixed, **{knob: value for knob, value in swept.items() if knob != PRESET_KNOB}}
    chosen = swept.get(PRESET_KNOB, preset)
    if not isinstance(chosen, str):
        raise ConfigError(f"{PRESET_KNOB} names a preset, got {chosen!r}")
    for knob, value in values.items():
        override_of(knob, value)  # refuses what cannot be a knob's name or value
    return Setting(setting_name(chosen, swept) if name is None else name, chosen, values)


def setting_name(preset: str, swept: Mapping[str, JsonValue]) -> str:
    """Return a setting's name by its swept knobs, such as `search.max_calls=6 overlap=true`.

    Without swept knobs it is the preset's name.
    """
    return " ".join(override_of(knob, value) for knob, value in swept.items()) or preset


def override_of(knob: str, value: JsonValue) -> str:
    """Return `knob=value`, with the value as it reads back.

    Raises:
        ConfigError: for a knob without a name or with a `=`, or a value that is not finite.
    """
    if not knob.strip() or "=" in knob or knob != knob.strip():
        raise ConfigError(f"expected the name of a knob, such as search.max_calls; got {knob!r}")
    try:
        return f"{knob}={value_text(value)}"
    except ValueError as error:
        raise ConfigError(f"{knob}: {error}") from error


def value_text(value: JsonValue) -> str:
    """Return a value as one line of YAML that reads back as the same value.

    Words stay bare where they can; everything inside a list or a mapping is quoted.

    Raises:
        ValueError: for a number that is not finite.
    """
    if isinstance(value, str):
        return value if _is_bare(value) else _quoted(value)
    return _flow(value)


def _is_bare(text: str) -> bool:
    if text != text.strip() or not text.isprintable():
        return False
    try:
        return bool(parse_yaml(text, "") == text)
    except FormatError:
        return False


def _quoted(text: str) -> str:
    """Return a text in YAML's double quotes; anything but plain ASCII by its code point."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    is_plain = char.isascii() and char.isprintable() and char not in '"\\'
    return char if is_plain else f"\\U{ord(char):08x}"


def _flow(value: JsonValue) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"expected a finite number, got {value}")
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    parts = (f"{_quoted(key)}: {_flow(inner)}" for key, inner in value.items())
    return f"{{{', '.join(parts)}}}"


@dataclass(frozen=True, slots=True)
class SettingResult:
    """The rows of one setting on every turn.

    Args:
        rows: one per turn, conversation by conversation; empty where the setting cannot run.
        replies: texts of the rows' replies by `reply_id`. Untrusted. Texts that are not needed
            may be left out.
        error: why this setting cannot run; None where it can. The sweep continues without it.
    """

    setting: str
    rows: tuple[TurnRow, ...]
    replies: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None


class Evaluator(Protocol):
    """Turns settings into rows; a frozen dataclass of paths and strings, so it can be pickled."""

    def evaluate(self, settings: Sequence[Setting]) -> list[SettingResult]:
        """Return one result per setting, in the same order.

        The result of a setting does not depend on the other settings, so the number of workers
        cannot matter. An exception stops the whole sweep; a problem of one setting belongs into
        its `error`.
        """
        ...
