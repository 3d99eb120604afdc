"""Named YAML files of knobs, each standing on another if it says so.

    extends: classic
    search:
      rollouts: 2

What a preset does not set is what the preset below it sets. Groups are merged, and
anything else, lists too, is replaced. `preset: classic` means the same as `extends: classic`:
the name of a preset in a file of knobs is where the file starts from, never a label.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from turnwise.calls.errors import ConfigError, FormatError
from turnwise.knobs.nearest import nearest_names
from turnwise.knobs.yaml_form import MAX_CHARS, parse_yaml

__all__ = ["is_preset_file", "load_preset", "preset_names"]

_SUFFIXES = (".yaml", ".yml")
_BASE_KEYS = ("extends", "preset")
"""Keys of a preset's file that name the preset that it starts from."""


def preset_names(folder: Path) -> list[str]:
    """Return the names of the presets in a folder, sorted."""
    return sorted({path.stem for path in folder.glob("*") if path.suffix in _SUFFIXES})


def load_preset(name_or_path: str | Path, folder: Path) -> dict[str, Any]:
    """Return a preset's knobs as plain data, what it extends included.

    Args:
        name_or_path: the name of a preset in the folder, or a path to a YAML file
            (with a `/` or ending in `.yaml` or `.yml`).
        folder: where named presets are.

    Raises:
        ConfigError: when there is no such preset or file.
        FormatError: when a file is not a YAML mapping of names, a key is given twice,
            or presets extend each other in a circle.
    """
    return _load(_located(name_or_path, folder, Path()), folder, ())


def is_preset_file(name: str) -> bool:
    """Return whether a preset is named by the path of its file, which may be anybody's."""
    return name.endswith(_SUFFIXES) or "/" in name or "\\" in name


def _located(name_or_path: str | Path, folder: Path, relative_to: Path) -> Path:
    name = str(name_or_path)
    if isinstance(name_or_path, Path) or is_preset_file(name):
        try:
            path = relative_to / Path(name).expanduser()
        except RuntimeError as error:  # `~name` of no user
            raise ConfigError(f"there is no preset file {name}: {error}") from error
        if not path.is_file():
            raise ConfigError(f"there is no preset file {path}")
        return path
    for suffix in _SUFFIXES:
        path = folder / f"{name}{suffix}"
        if name and path.is_file():
            return path
    known = preset_names(folder)
    nearest = nearest_names(name, known)
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
    listed = ", ".join(known) or f"none in {folder}"
    raise ConfigError(f"unknown preset {name!r}{hint} (presets: {listed})")


def _load(path: Path, folder: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    whole = path.resolve()
    if whole in above:
        circle = " -> ".join(step.name for step in (*above, whole))
        raise FormatError(path, None, f"presets extend each other in a circle: {circle}")
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_CHARS + 1)  # of which an error is made below
    except UnicodeDecodeError as error:
        raise FormatError(path, None, f"expected UTF-8 text: {error.reason}") from error
    except OSError as error:
        raise ConfigError(f"cannot read the preset {path}: {error.strerror}") from error
    document = parse_yaml(text, path)
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise FormatError(path, 1, "expected a mapping of knobs, such as `search: {rollouts: 2}`")
    below = _below(path, document)
    if below is None:
        return document
    base = _load(_located(below, folder, path.parent), folder, (*above, whole))
    return _merged(base, document)


def _below(path: Path, document: dict[str, Any]) -> str | None:
    """Take the preset that a file starts from out of its document; None where it names none.

    Raises:
        FormatError: when it names two, or something that is no preset.
    """
    given = {key: document.pop(key) for key in _BASE_KEYS if key in document}
    if len(given) > 1:
        raise FormatError(
            path,
            None,
            "`extends` and `preset` both name the preset to start from: keep one of them",
        )
    for key, below in given.items():
        if below is not None and not isinstance(below, str):
            raise FormatError(path, None, f"`{key}` names one preset, got {below!r}")
        if below is not None and is_preset_file(below) and not below.endswith(_SUFFIXES):
            # Errors repeat what is in a file, and this one was not named by the user.
            raise FormatError(
                path, None, f"`{key}` names {below!r}: a preset's file ends in .yaml or .yml"
            )
    return next(iter(given.values()), None)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[name] = _merged(below, value)
        else:
            merged[name] = value
    return merged
