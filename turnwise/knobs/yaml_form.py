"""YAML as presets are written: plain data, YAML 1.2 scalars, no key twice.

YAML 1.1, which PyYAML reads by default, takes `off` for false, `1:30` for ninety and
`1e-3` for text. Here a scalar is null, true, false, a number, or text.
"""

import re
from collections.abc import Hashable
from typing import Any

import yaml

from turnwise.calls.errors import FormatError

__all__ = ["MAX_CHARS", "data_problem", "parse_yaml"]

_NULL = re.compile(r"^(?:null|Null|NULL|~|)$")
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$")
_FLOAT = re.compile(r"^[-+]?(?:[0-9]*\.[0-9]+|[0-9]+\.|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$")


class _Loader(yaml.SafeLoader):
    """A safe loader with YAML 1.2 scalars that refuses a key given twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own form

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """Return a mapping, after looking for keys that are no names or stand twice."""
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
"""Most values of a document, its aliases written out: nine lines could stand for a billion."""


def _size(value: Any, known: dict[int, int], above: set[int]) -> int:
    """Return how many values a value is, its aliases written out.

    Raises:
        ValueError: when they are too many, or a value holds itself.
    """
    if not isinstance(value, dict | list):
        return 1
    if id(value) in above:
        raise ValueError("an alias stands for something that holds it")
    if id(value) not in known:
        above.add(id(value))
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(each, known, above) for each in inner)
        above.remove(id(value))
    if known[id(value)] > MAX_VALUES:
        raise ValueError(f"its aliases stand for more than {MAX_VALUES:,} values")
    return known[id(value)]


def data_problem(document: Any) -> str | None:
    """Return in words why plain data cannot be settings: its depth or a number; else None.

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


def parse_yaml(text: str, source: object) -> Any:
    """Return what a YAML text says, as plain data.

    Args:
        text: one YAML document. Untrusted: no tags, no objects.
        source: where it is from, for errors.

    Raises:
        FormatError: when it is not YAML, a key is given twice, or its aliases stand for too much;
            with the line where there is one. Also when it is too long, too deep, or has a whole
            number of more than 64 bits.
    """
    if len(text) > MAX_CHARS:
        raise FormatError(
            source, None, f"has {len(text):,} characters, and at most {MAX_CHARS:,} are read"
        )
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
        if "*" in text:  # an alias, maybe
            _size(document, {}, set())
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
