"""Presets: named YAML files of knobs, each of which may extend another.

    extends: classic
    search:
      rollouts: 2

What a preset does not set is what the preset below it sets. Groups are merged, and
anything else, lists too, is replaced. `preset: classic` means the same as `extends: classic`:
the name of a preset in a file of knobs is where the file starts from, never a label.
"""

import copy
import hashlib
import re
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import orjson
import yaml
from pydantic import BaseModel

from callwise.calls.errors import ConfigError, FormatError
from callwise.knobs.knob_paths import KnobInfo, knob_paths, nearest_names, unknown_knob

__all__ = [
    "MAX_CHARS",
    "MAX_LARGE_CHARS",
    "Overrides",
    "apply_overrides",
    "data_problem",
    "is_preset_file",
    "load_preset",
    "parse_overrides",
    "parse_yaml",
    "preset_names",
    "settings_digest",
    "whole_path",
]

_NULL = re.compile(r"^(?:null|Null|NULL|~|)$")
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$")
_FLOAT = re.compile(r"^[-+]?(?:[0-9]*\.[0-9]+|[0-9]+\.|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$")


class _Loader(yaml.SafeLoader):
    """A safe loader with YAML 1.2 scalars that refuses a key given twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own form

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """Return a mapping, after looking for keys that are no names or are given twice."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "expected a name as key", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return {
            key_node.value: self.construct_object(value_node, deep=deep)
            for key_node, value_node in node.value
        }


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", _NULL, ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


MAX_CHARS = 1_000_000
"""Longest document in characters: PyYAML takes some ten seconds for a million."""

MAX_DEPTH = 64
"""Deepest nesting of a document's groups and lists."""

MAX_WHOLE = 2**63
"""Above every whole number: a longer one cannot be written into a manifest."""

MAX_VALUES = 100_000
"""Most values of a document, its aliases written out: nine lines could mean a billion."""


MAX_LARGE_CHARS = 64_000_000
"""Longest document that may list thousands of things, such as agents."""

MAX_LARGE_VALUES = 2_000_000
"""Most values and keys of such a document, also with its aliases written out."""


class _LargeLoader(_Loader):
    """Ends before the values of a long document fill the memory."""

    _composed = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next value, unless there were too many."""
        self._composed += 1
        if self._composed > MAX_LARGE_VALUES:
            raise yaml.YAMLError(f"it has more than {MAX_LARGE_VALUES:,} values and keys")
        return super().compose_node(parent, index)


def _size(value: Any, known: dict[int, int], above: set[int], most: int) -> int:
    """Return how many values a value is, its aliases written out.

    Args:
        most: of more than these, it is an error.

    Raises:
        ValueError: when they are too many, or a value contains itself.
    """
    if not isinstance(value, dict | list):
        return 1
    if id(value) in above:
        raise ValueError("an alias refers to a value that contains it")
    if id(value) not in known:
        above.add(id(value))
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(each, known, above, most) for each in inner)
        above.remove(id(value))
    if known[id(value)] > most:
        raise ValueError(f"its aliases expand to more than {most:,} values")
    return known[id(value)]


def data_problem(document: Any) -> str | None:
    """Return why plain data cannot be settings (its depth, or a number), or None.

    Args:
        document: strings, numbers, lists and mappings; aliases at most as many as `MAX_VALUES`.
    """
    waiting = [(document, 0)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, int) and not -MAX_WHOLE <= value < MAX_WHOLE:
            return "a whole number has more than 64 bits"
        if not isinstance(value, dict | list):
            continue
        if depth >= MAX_DEPTH:
            return f"values are nested deeper than {MAX_DEPTH} levels"
        inner = value.values() if isinstance(value, dict) else value
        waiting.extend((each, depth + 1) for each in inner)
    return None


@lru_cache(maxsize=64)
def _document(text: str) -> Any:
    """Return a YAML text as data that no caller may change; a sweep reads one preset often."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader


def parse_yaml(text: str, source: object, *, is_large: bool = False) -> Any:
    """Return a YAML text as plain data.

    Args:
        text: one YAML document. Untrusted: no tags, no objects.
        is_large: whether it may have `MAX_LARGE_CHARS` and not just `MAX_CHARS`.

    Raises:
        FormatError: when it is not YAML, a key is given twice, or its aliases expand to too much;
            with the line where there is one. Also when it is too long, too deep, or has a whole
            number of more than 64 bits.
    """
    most = MAX_LARGE_CHARS if is_large else MAX_CHARS
    if len(text) > most:
        raise FormatError(
            source, None, f"has {len(text):,} characters, and at most {most:,} are read"
        )
    try:
        document = (
            yaml.load(text, Loader=_LargeLoader)  # noqa: S506 - a SafeLoader
            if is_large
            else copy.deepcopy(_document(text))
        )
        if "*" in text:  # an alias, maybe
            _size(document, {}, set(), MAX_LARGE_VALUES if is_large else MAX_VALUES)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else None
        raise FormatError(source, line, error.problem or "not YAML") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FormatError(source, None, f"not YAML: {error}") from error
    problem = data_problem(document)
    if problem is not None:
        raise FormatError(source, None, f"cannot be used: {problem}")
    return document


_SUFFIXES = (".yaml", ".yml")
_BASE_KEYS = ("extends", "preset")
"""Keys of a preset's file that name the preset that it starts from."""


def preset_names(folder: Path) -> list[str]:
    """Return the names of the presets in a folder, sorted."""
    return sorted({path.stem for path in folder.glob("*") if path.suffix in _SUFFIXES})


def load_preset(
    name_or_path: str | Path, folder: Path, *, is_large: bool = False
) -> dict[str, Any]:
    """Return a preset's knobs as plain data, what it extends included.

    Args:
        name_or_path: the name of a preset in the folder, or a path to a YAML file
            (with a `/` or ending in `.yaml` or `.yml`).
        folder: where named presets are.
        is_large: see `parse_yaml`.

    Raises:
        ConfigError: when there is no such preset or file.
        FormatError: when a file is not a YAML mapping of names, a key is given twice,
            or presets extend each other in a circle.
    """
    return _load(_located(name_or_path, folder, Path()), folder, (), is_large=is_large)


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
    near = next(
        (f"{name}{end}" for end in _SUFFIXES if (relative_to / f"{name}{end}").is_file()), ""
    )
    if name and near:
        raise ConfigError(f"unknown preset {name!r}; did you mean the file {near!r}?")
    known = preset_names(folder)
    nearest = nearest_names(name, known)
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
    listed = ", ".join(known) or f"none in {folder}"
    raise ConfigError(f"unknown preset {name!r}{hint} (presets: {listed})")


def _load(path: Path, folder: Path, above: tuple[Path, ...], *, is_large: bool) -> dict[str, Any]:
    whole = path.resolve()
    if whole in above:
        circle = " -> ".join(step.name for step in (*above, whole))
        raise FormatError(path, None, f"presets extend each other in a circle: {circle}")
    most = MAX_LARGE_CHARS if is_large else MAX_CHARS
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(most + 1)
        if len(text) > most:
            problem = f"has {path.stat().st_size:,} bytes, and at most {most:,} characters are read"
            raise FormatError(path, None, problem)
    except UnicodeDecodeError as error:
        raise FormatError(path, None, f"expected UTF-8 text: {error.reason}") from error
    except OSError as error:
        raise ConfigError(f"cannot read the preset {path}: {error.strerror}") from error
    document = parse_yaml(text, path, is_large=is_large)
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise FormatError(path, 1, "expected a mapping of knobs, such as `search: {rollouts: 2}`")
    below = _below(path, document)
    if below is None:
        return document
    located = _located(below, folder, path.parent)
    base = _load(located, folder, (*above, whole), is_large=is_large)
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


Overrides: TypeAlias = Mapping[str, Any] | Sequence[str]
"""Knobs by their paths, such as `{"search.max_calls": 6}`; or `knob=value` texts of a command line,
later ones last."""


def parse_overrides(overrides: Overrides) -> dict[str, Any]:
    """Return overrides as a mapping; a text's value is YAML.

    Raises:
        ConfigError: when a text has no `=`, or its value is not YAML.
    """
    if isinstance(overrides, Mapping):
        return dict(overrides)
    values: dict[str, Any] = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ConfigError(f"expected knob=value, got {override!r}")
        values.pop(name, None)  # the last one counts, and comes last
        values[name] = _value(name, text)
    return values


def apply_overrides(
    data: Mapping[str, Any], overrides: Overrides, model_cls: type[BaseModel] | None = None
) -> dict[str, Any]:
    """Return settings with overrides laid over them, later ones last.

    Args:
        data: settings as plain data. Not changed.
        overrides: knobs by their paths, or `path=value` texts.
        model_cls: the settings' model. With it the end of a path is enough where only
            one knob ends so (`rollouts`), and an unknown knob is refused with the
            nearest names. Without it paths are taken as they are.

    Raises:
        ConfigError: when an override names no knob, could mean several, or names a preset,
            which is no knob; and as `parse_overrides` does.
    """
    merged: dict[str, Any] = copy.deepcopy(dict(data))
    for name, value in parse_overrides(overrides).items():
        path = whole_path(name, model_cls) if model_cls is not None else name
        if path == "preset":
            raise ConfigError(
                "a preset is not set as a knob, because that would run other knobs under its "
                "name: choose it with --preset, or begin a YAML file with `extends: NAME`"
            )
        _set(merged, path, copy.deepcopy(value))
    return merged


def _value(name: str, text: str) -> Any:
    try:
        return parse_yaml(text, name)
    except FormatError as error:
        raise ConfigError(f"the value of {name} is not YAML: {error.problem}") from error


def _fits(knob: KnobInfo, path: str) -> bool:
    """Return whether a path is a knob's, a group above it, or inside its plain mapping."""
    wanted, given = knob.path.split("."), path.split(".")
    is_mapping = knob.type.startswith("dict")
    return (is_mapping or len(given) <= len(wanted)) and all(
        part[0] == "<" or part == name for part, name in zip(wanted, given, strict=False)
    )


def whole_path(name: str, model_cls: type[BaseModel]) -> str:
    """Return a knob's whole name, where its end alone may be given.

    Raises:
        ConfigError: when it names no knob, or could mean several.
    """
    knobs = knob_paths(model_cls)
    paths = [knob.path for knob in knobs]
    if any(_fits(knob, name) for knob in knobs):
        return name
    ends = {path for path in paths if f".{path}".endswith(f".{name}")}
    candidates = sorted(ends, key=lambda path: (path.count("."), path))
    if len(candidates) == 1 and "<" not in candidates[0]:
        return candidates[0]
    if candidates:
        meant = "could mean several knobs" if len(candidates) > 1 else "is the end of a knob's name"
        raise ConfigError(f"{name} {meant}: {', '.join(candidates)}")
    raise ConfigError(f"{unknown_knob(name, model_cls)} (`callwise knobs` lists all)")


def _set(data: dict[str, Any], path: str, value: Any) -> None:
    *groups, leaf = path.split(".")
    for group in groups:
        inner = data.get(group)
        if not isinstance(inner, dict):
            # A group that was set to null, or to nonsense that this replaces.
            inner = data[group] = {}
        data = inner
    data[leaf] = value


def settings_digest(model: BaseModel) -> str:
    """Return the SHA-256 of all settings, defaults included, in hexadecimal.

    Equal settings give equal digests, whatever they were read from. A new knob with
    a default changes the digest, because there is one setting more.
    """
    document = model.model_dump(mode="json")
    data = orjson.dumps(document, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.sha256(data).hexdigest()
