"""One setting of a sweep, and a knob's value as the text of an override.

An override is `knob=value` with the value in YAML, as on the command line. Whatever a sweep
file holds must come back as it was when that text is read, so the text is read once here.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from turnwise.calls.errors import ConfigError, FormatError
from turnwise.knobs.presets import parse_yaml

__all__ = ["PRESET_KNOB", "Setting", "make_setting", "override_of", "setting_name", "value_text"]

PRESET_KNOB = "preset"
"""A swept knob of this name is no override: it chooses the preset that a setting stands on."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to run: a preset with overrides.

    Args:
        name: unique in its sweep.
        preset: name of the preset, or path of its file.
        overrides: `knob=value` strings; later ones win.
        knobs: the swept knobs only, by dotted path, for plots and tables.
    """

    name: str
    preset: str
    overrides: tuple[str, ...]
    knobs: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def identity(self) -> tuple[str, tuple[str, ...]]:
        """What makes it do what it does; settings with equal identities are one.

        The last override of a knob counts, and the order of different knobs does not.
        """
        last = {override.partition("=")[0]: override for override in self.overrides}
        return self.preset, tuple(last[knob] for knob in sorted(last))


def make_setting(
    preset: str,
    fixed: Mapping[str, JsonValue],
    swept: Mapping[str, JsonValue],
    *,
    name: str | None = None,
) -> Setting:
    """Return a setting of a preset, fixed overrides and swept knobs; swept ones win.

    Args:
        preset: of settings that do not sweep it.
        fixed: values by dotted knob.
        swept: values by dotted knob; `preset` chooses the preset.
        name: of the setting; None names it by its swept knobs.

    Raises:
        ConfigError: for a value that no override can carry.
    """
    values = {**fixed, **{knob: value for knob, value in swept.items() if knob != PRESET_KNOB}}
    chosen = swept.get(PRESET_KNOB, preset)
    if not isinstance(chosen, str):
        raise ConfigError(f"{PRESET_KNOB} names a preset, got {chosen!r}")
    return Setting(
        name=setting_name(chosen, swept) if name is None else name,
        preset=chosen,
        overrides=tuple(override_of(knob, value) for knob, value in values.items()),
        knobs=dict(swept),
    )


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
        return _joined("[]", map(_flow, value))
    return _joined("{}", (f"{_quoted(key)}: {_flow(inner)}" for key, inner in value.items()))


def _joined(brackets: str, parts: Iterable[str]) -> str:
    return f"{brackets[0]}{', '.join(parts)}{brackets[1]}"
