"""Calls of a test counted, and compared with `@pytest.mark.max_calls(turn=16, judge=6)`.

`turn` is a whole turn's calls, `conversation` and `test` those of a conversation and of the
test. Every other name counts within each turn: a role, a node, or a purpose, in this order
where a name is several. All asked calls count, whatever their outcome.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from callwise.calls.call import Purpose, Role
from callwise.calls.errors import ConfigError
from callwise.knobs.knob_paths import nearest_names
from callwise.report.run_record import CallLine, TurnLine
from callwise.safe_text import printable
from callwise.text_layout import counted

__all__ = [
    "CallCounts",
    "LoggedCall",
    "allowed_calls",
    "broken_limits",
    "count_calls",
]


NO_NODE = "-"
"""The name that is shown where no node asked."""

_TOTALS = ("turn", "conversation", "test")


@dataclass(frozen=True, slots=True)
class LoggedCall:
    """One call of a test, whatever its outcome.

    Args:
        source: which of the test's runs it is of; empty where the test has one source.
    """

    line: CallLine
    source: str = ""

    @property
    def kind(self) -> str:
        """Node, role and purpose in one line."""
        line = self.line
        return f"{printable(line.node or NO_NODE)}/{line.role}/{line.purpose}"

    def counts_for(self, name: str, kind: str) -> bool:
        """Return whether a limit of this name and kind counts the call."""
        if kind == "role":
            return self.line.role == name
        if kind == "node":
            return self.line.node == name
        return kind in _TOTALS or self.line.purpose == name

    def scope(self, kind: str) -> str | None:
        """Return what a limit is counted in: the test, a conversation, a turn; None outside."""
        if kind == "test":
            return "the test"
        if self.line.turn_key is None:
            return None
        conversation, turn = self.line.turn_key
        where = f"{printable(conversation)}{f' ({self.source})' if self.source else ''}"
        return f"conversation {where}" if kind == "conversation" else f"turn {turn} of {where}"


@dataclass(frozen=True, slots=True)
class CallCounts:
    """Calls asked, counted from every side. Each map is sorted by name.

    Args:
        by_node: by node; `-` where none asked.
        by_turn: by conversation and turn; turns that asked nothing are there with 0.
    """

    total: int
    by_node: dict[str, int]
    by_role: dict[str, int]
    by_purpose: dict[str, int]
    by_turn: dict[tuple[str, int], int]


def count_calls(rows: Iterable[CallLine], turns: Iterable[TurnLine] = ()) -> CallCounts:
    """Return what a run asked.

    Args:
        turns: its turns, so that those without a call are counted too.
    """
    lines = list(rows)
    by_turn = Counter({turn.key: 0 for turn in turns})
    by_turn.update(line.turn_key for line in lines if line.turn_key is not None)
    by_node, by_role, by_purpose = (
        dict(sorted(Counter(names).items()))
        for names in (
            (line.node or NO_NODE for line in lines),
            (str(line.role) for line in lines),
            (str(line.purpose) for line in lines),
        )
    )
    return CallCounts(len(lines), by_node, by_role, by_purpose, dict(sorted(by_turn.items())))


_NOTHING_ASKED = (
    "max_calls: the test asked nothing through the callwise fixture, so nothing was checked; give "
    "the program a model from callwise.model(), or use max_calls(test=0)"
)


_MAX_LINES = 6
"""Turns that are shown for one limit; the rest is counted."""


_MAX_KINDS = 8
"""Kinds of calls that are shown for one turn; the rest is counted."""


def allowed_calls(marks: Iterable[tuple[tuple[Any, ...], Mapping[str, Any]]]) -> dict[str, int]:
    """Return what marks allow together; of two with the same name, the first counts.

    Args:
        marks: positional and named arguments of each mark, the nearest to the test first.

    Raises:
        ConfigError: when a mark allows nothing that can be counted.
    """
    allowed: dict[str, int] = {}
    for given, named in marks:
        if given or not named:
            raise ConfigError(
                "max_calls wants names, such as @pytest.mark.max_calls(turn=16, judge=6)"
            )
        for name, most in named.items():
            if isinstance(most, bool) or not isinstance(most, int) or most < 0:
                raise ConfigError(
                    f"max_calls({name}={most!r}) cannot work: give a whole number, at least 0"
                )
            allowed.setdefault(name, most)
    return allowed


def broken_limits(allowed: Mapping[str, int], calls: Sequence[LoggedCall]) -> list[str]:
    """Return one text for each limit that was passed, or that could not have been."""
    if not calls and any(allowed.values()):
        return [_NOTHING_ASKED]
    nodes = {call.line.node for call in calls if call.line.node}
    broken: list[str] = []
    for name, most in allowed.items():
        kind = _kind_of(name, nodes)
        broken += [_unknown(name, nodes)] if kind is None else _passed(name, kind, most, calls)
    return broken


def _kind_of(name: str, nodes: Iterable[str]) -> str | None:
    """Return what a name counts: a total, `role`, `node` or `purpose`; None for nothing."""
    if name in _TOTALS:
        return name
    if name in set(Role):
        return "role"
    if name in nodes:
        return "node"
    return "purpose" if name in set(Purpose) else None


def _unknown(name: str, nodes: Iterable[str]) -> str:
    near = nearest_names(name, {*_TOTALS, *map(str, Role), *map(str, Purpose), *nodes})
    seen = ", ".join(printable(node) for node in sorted(nodes)) or "none"
    guess = f"; did you mean {' or '.join(printable(each) for each in near)}?" if near else ""
    return (
        f"max_calls: {name!r} is no role and no purpose, and no node of this name asked"
        f"{guess} (nodes that asked: {seen})"
    )


def _passed(name: str, kind: str, most: int, calls: Sequence[LoggedCall]) -> list[str]:
    asked: dict[str, Counter[str]] = defaultdict(Counter)
    for call in calls:
        scope = call.scope(kind)
        if scope is not None and call.counts_for(name, kind):
            asked[scope][call.kind] += 1
    over = {scope: kinds for scope, kinds in asked.items() if kinds.total() > most}
    of_what = "" if kind in _TOTALS else f" of {kind} {printable(name)}"
    lines = [
        f"max_calls: {scope} asked {counted(kinds.total(), 'call')}{of_what}, allowed {most} "
        f"(+{kinds.total() - most}): {_listed(kinds)}"
        for scope, kinds in over.items()
    ]
    left = list(over.values())[_MAX_LINES:]
    if left:
        worst = max(kinds.total() for kinds in left) - most
        what = "conversation" if kind == "conversation" else "turn"
        lines[_MAX_LINES:] = [
            f"max_calls: and {len(left)} more {what}s asked too much{of_what}, up to +{worst}"
        ]
    return lines


def _listed(kinds: Counter[str]) -> str:
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{kind} {count}" for kind, count in ordered[:_MAX_KINDS]]
    if len(ordered) > _MAX_KINDS:
        rest = sum(count for _, count in ordered[_MAX_KINDS:])
        shown.append(f"{len(ordered) - _MAX_KINDS} more kinds {rest}")
    return ", ".join(shown)
