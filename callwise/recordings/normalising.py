"""Keys of a recording: volatile text (ids, times) is left out, and endpoints may have moved.

A program that writes a fresh id or the time into its prompts asks another question in
every run, and a recording never has its answer. A normaliser replaces such text before
the key of a call is built. What is sent, and what the recording shows, stays as it is.

A recording names its normalisers in its header. Those that Callwise has by name are taken
from there. A regular expression or a function of a recording is untrusted: it is never
run, only compared with what the user gives again.

The name of an endpoint is part of a key, and without settings it is its host and port: a
recording that was made at another address of the same model would never answer. So where an
endpoint's name is nowhere in a recording, the names that it has for this model are tried,
those that served the same role first.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from callwise.budget.recorder import CallOrigin
from callwise.calls.call import Call, Message
from callwise.calls.errors import ConfigError, FormatError
from callwise.calls.key import CallKey, call_key
from callwise.recordings.cassette_file import CassetteFile

__all__ = ["BUILT_IN", "CassetteKeys", "Normaliser", "Rule", "normaliser_of"]

Rule = str | Callable[[str], str]
"""Name of a built-in rule, a regular expression, or a function from text to text."""

MAX_PATTERN_CHARS = 1_000
MAX_RULES = 50

_HEX = "[0-9a-fA-F]"
BUILT_IN: Mapping[str, str] = {
    "uuid": rf"\b{_HEX}{{8}}-?(?:{_HEX}{{4}}-?){{3}}{_HEX}{{12}}\b",
    "iso-time": (
        r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?: ?Z| ?[+-]\d\d:?\d\d)?(?!\d)"
    ),
    "iso-date": r"\b\d{4}-\d\d-\d\d(?!\d)",
    "clock-time": r"\b\d\d?:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?: ?[AaPp][Mm])?\b",
    "unix-time": r"\b1\d{9}(?:\.\d{1,9}|\d{3}|\d{6})?\b",
    "hex": rf"\b(?:0x)?(?=[a-fA-F]*\d){_HEX}{{8,}}\b",
    "call-id": r"\b(?:call|toolu|chatcmpl|resp|msg|run|req)[_-][A-Za-z0-9_-]{6,}",
}
"""Regular expressions by name. The text that one matches becomes `<name>`."""

_COMPILED = {name: re.compile(pattern, re.ASCII) for name, pattern in BUILT_IN.items()}

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Step:
    """One rule: how the header names it, and what it does."""

    description: Mapping[str, str]
    apply: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Normaliser:
    """Rules in the order in which they are applied."""

    steps: tuple[_Step, ...] = ()

    def __bool__(self) -> bool:
        """Return whether there is any rule."""
        return bool(self.steps)

    def describe(self) -> list[dict[str, str]]:
        """Return the rules as a recording's header names them."""
        return [dict(step.description) for step in self.steps]

    def text(self, text: str) -> str:
        """Return a text without what is volatile."""
        for step in self.steps:
            text = step.apply(text)
        return text

    def value(self, value: Any) -> Any:
        """Return a JSON value with every text in it normalised; names of fields are kept."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {name: self.value(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self.value, value))
        return value

    def call(self, call: Call) -> Call:
        """Return a call as its key sees it. Not to be sent."""
        if not self.steps:
            return call
        return replace(
            call,
            messages=tuple(map(self._message, call.messages)),
            inputs=self.value(call.inputs),
            tools=self.value(call.tools),
            sampling=replace(
                call.sampling,
                stop=self.value(call.sampling.stop),
                extra_body=self.value(call.sampling.extra_body),
            ),
        )

    def _message(self, message: Message) -> Message:
        return replace(
            message,
            content=self.value(message.content),
            tool_calls=self.value(message.tool_calls),
            tool_call_id=self.value(message.tool_call_id),
            name=self.value(message.name),
        )


def _built_in(name: str) -> _Step:
    pattern, stand_in = _COMPILED[name], f"<{name}>"
    return _Step({"name": name}, lambda text: pattern.sub(stand_in, text))


def _of_pattern(text: str) -> _Step:
    if len(text) > MAX_PATTERN_CHARS:
        raise ConfigError(
            f"a normaliser's pattern has {len(text):,} characters; give one of at most "
            f"{MAX_PATTERN_CHARS:,}"
        )
    try:
        pattern = re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(
            f"the normaliser {text!r} is no regular expression ({error}); give one, or a name: "
            f"{', '.join(BUILT_IN)}"
        ) from error
    if pattern.match(""):
        raise ConfigError(
            f"the normaliser {text!r} matches a text of nothing; give a pattern of at least one "
            "character"
        )
    return _Step({"pattern": text}, lambda text: pattern.sub("<pattern>", text))


def _of_function(function: Callable[[str], str]) -> _Step:
    name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', '')}"

    def apply(text: str) -> str:
        changed = function(text)
        if not isinstance(changed, str):
            raise ConfigError(
                f"the normaliser {name} returned {type(changed).__name__}; it must return a text"
            )
        return changed

    return _Step({"function": name}, apply)


def normaliser_of(rules: Sequence[Rule]) -> Normaliser:
    """Return the normaliser that applies rules in order.

    Args:
        rules: each the name of a built-in rule, a regular expression, or a function.

    Raises:
        ConfigError: for what is none of these, or too many.
    """
    if isinstance(rules, str):
        rules = (rules,)
    if len(rules) > MAX_RULES:
        raise ConfigError(f"{len(rules)} normalisers were given; give at most {MAX_RULES}")
    steps = []
    for rule in rules:
        if callable(rule):
            steps.append(_of_function(rule))
        elif rule in BUILT_IN:
            steps.append(_built_in(rule))
        elif rule:
            steps.append(_of_pattern(rule))
        else:
            raise ConfigError(
                f"a normaliser is empty; give a name ({', '.join(BUILT_IN)}), a regular expression "
                "or a function"
            )
    return Normaliser(tuple(steps))


def _names(rules: Sequence[Mapping[str, str]]) -> str:
    shown = [f"{kind} {value!r}" for rule in rules for kind, value in rule.items()]
    return ", ".join(shown) or "none"


def _agreed_normaliser(given: Normaliser, recorded: Sequence[Mapping[str, str]]) -> Normaliser:
    """Return the normaliser of a recording that is played.

    Args:
        given: what the user gave; without rules, what the recording names by built-in names.
        recorded: the rules of the recording's header. Untrusted; none of it is run.

    Raises:
        ValueError: when the two differ, or the recording has its own rules and none were
            given; names the rules to give.
    """
    if given:
        if given.describe() != list(recorded):
            raise ValueError(
                f"it was recorded with the normalisers {_names(recorded)}, and given were "
                f"{_names(given.describe())}: give the same in the same order, or record it again"
            )
        return given
    own = [rule for rule in recorded if rule.get("name") not in BUILT_IN]
    if own:
        raise ValueError(
            f"it was recorded with its own normaliser ({_names(own)}), which is not taken "
            "from a recording: look at it, and give all of them again in this order (--normalise, "
            f"or normalise= in Python): {_names(recorded)}"
        )
    return normaliser_of([rule["name"] for rule in recorded])


_Served = tuple[str, str, str]
"""Role, endpoint and model."""


class CassetteKeys:
    """The keys of calls in one recording.

    Args:
        file: the recording. Not owned.
        given: the user's normaliser; without rules, that of the recording is taken.

    Raises:
        FormatError: when the two differ, or the recording's own rules have to be given.
    """

    def __init__(self, file: CassetteFile, given: Normaliser) -> None:
        self._file = file
        try:
            self.normaliser = _agreed_normaliser(given, file.normalise)
        except ValueError as error:
            raise FormatError(file.path, 1, str(error)) from error
        self._served: tuple[_Served, ...] | None = None
        self.moved: dict[str, str] = {}
        """Names of endpoints whose calls were found under another name, and that name."""

    def own(self, key: CallKey, call: Call, where: CallOrigin) -> CallKey:
        """Return the key under which a call is recorded."""
        if not self.normaliser:
            return key
        return call_key(self.normaliser.call(call), endpoint=where.endpoint, model=where.model)

    def all(self, key: CallKey, call: Call, where: CallOrigin) -> Iterator[bytes]:
        """Return the keys under which a call may be found, its own first."""
        yield bytes.fromhex(self.own(key, call, where))
        for endpoint in self._others(where):
            other = call_key(self.normaliser.call(call), endpoint=endpoint, model=where.model)
            found = bytes.fromhex(other)
            if self._file.index.contains(found):
                self.moved[where.endpoint] = endpoint
                yield found

    def _others(self, where: CallOrigin) -> list[str]:
        """Return the recorded names of a model's endpoints, where its own is not recorded."""
        if self._served is None:
            self._served = self._read_served()
        if any(endpoint == where.endpoint for _, endpoint, _ in self._served):
            return []
        of_model = [each for each in self._served if each[2] == where.model]
        same_role = [endpoint for role, endpoint, _ in of_model if role == where.role.value]
        return list(dict.fromkeys([*same_role, *(endpoint for _, endpoint, _ in of_model)]))

    def _read_served(self) -> tuple[_Served, ...]:
        """Return which endpoint and model answered each role. Reads the whole file, once."""
        found = {
            (str(fields.get("role")), str(fields.get("endpoint")), str(fields.get("model")))
            for _, fields in self._file.readable()
        }
        return tuple(sorted(found))
