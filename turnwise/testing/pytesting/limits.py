"""`@pytest.mark.max_calls(turn=16, judge=6)`: what it allows, and what a test asked too much.

`turn` is a whole turn's calls, `conversation` and `test` those of a conversation and of the
test. Every other name counts within each turn: a role, a node, or a purpose, in this order
where a name is several. All asked calls count, whatever their outcome.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from turnwise.calls.errors import ConfigError
from turnwise.calls.vocabulary import Purpose, Role
from turnwise.knobs.nearest import nearest_names
from turnwise.safe_text import printable
from turnwise.testing.pytesting.asked import AskedCall, path_of

__all__ = ["allowed_calls", "broken_limits"]

_TOTALS = ("turn", "conversation", "test")
_NOTHING_ASKED = (
    "max_calls: the test asked nothing through the turnwise fixture, so nothing was held; give "
    "the program a model from turnwise.model(), or say max_calls(test=0)"
)
_MAX_LINES = 6
"""Turns that are shown for one limit; the rest is counted."""
_MAX_PATHS = 8
"""Kinds of calls that are shown for one turn; the rest is counted."""


def allowed_calls(marks: Iterable[tuple[tuple[Any, ...], Mapping[str, Any]]]) -> dict[str, int]:
    """Return what marks allow together; of two that say the same name, the first counts.

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


def broken_limits(allowed: Mapping[str, int], calls: Sequence[AskedCall]) -> list[str]:
    """Return one text for each limit that was passed, or that could not have been.

    Args:
        allowed: from `allowed_calls`.
        calls: everything that the test asked.
    """
    if not calls and any(allowed.values()):
        return [_NOTHING_ASKED]
    nodes = {call.node for call in calls if call.node}
    broken: list[str] = []
    for name, most in allowed.items():
        kind = _kind_of(name, nodes)
        if kind is None:
            broken.append(_unknown(name, nodes))
        else:
            broken.extend(_passed(name, kind, most, calls))
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
    known = {*_TOTALS, *map(str, Role), *map(str, Purpose), *nodes}
    near = nearest_names(name, known)
    seen = ", ".join(printable(node) for node in sorted(nodes)) or "none"
    guess = f"; did you mean {' or '.join(printable(each) for each in near)}?" if near else ""
    return (
        f"max_calls: {name!r} is no role and no purpose, and no node of this name asked"
        f"{guess} (nodes that asked: {seen})"
    )


def _counts(name: str, kind: str, call: AskedCall) -> bool:
    if kind == "role":
        return call.line.role == name
    if kind == "node":
        return call.node == name
    return kind in _TOTALS or call.line.purpose == name


def _scope_of(kind: str, call: AskedCall) -> Hashable | None:
    """Return what the limit is held in: the test, a conversation, or a turn; None outside."""
    if kind == "test":
        return "the test"
    if call.turn is None:
        return None
    if kind == "conversation":
        where = f" ({call.turn.source})" if call.turn.source else ""
        return f"conversation {printable(call.turn.conversation)}{where}"
    return call.turn


def _passed(name: str, kind: str, most: int, calls: Sequence[AskedCall]) -> list[str]:
    asked: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for call in calls:
        scope = _scope_of(kind, call)
        if scope is not None and _counts(name, kind, call):
            asked[scope][path_of(call.line)] += 1
    over = {scope: paths for scope, paths in asked.items() if paths.total() > most}
    of_what = "" if kind in _TOTALS else f" of {kind} {printable(name)}"
    lines = [
        f"max_calls: {scope} asked {_calls(paths.total())}{of_what}, allowed {most} "
        f"(+{paths.total() - most}): {_listed(paths)}"
        for scope, paths in over.items()
    ]
    left = list(over.values())[_MAX_LINES:]
    if left:
        worst = max(paths.total() for paths in left) - most
        what = "conversation" if kind == "conversation" else "turn"
        lines[_MAX_LINES:] = [
            f"max_calls: and {len(left)} more {what}s asked too much{of_what}, up to +{worst}"
        ]
    return lines


def _calls(count: int) -> str:
    return f"{count} call" if count == 1 else f"{count} calls"


def _listed(paths: Counter[str]) -> str:
    ordered = sorted(paths.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{path} {count}" for path, count in ordered[:_MAX_PATHS]]
    if len(ordered) > _MAX_PATHS:
        rest = sum(count for _, count in ordered[_MAX_PATHS:])
        shown.append(f"{len(ordered) - _MAX_PATHS} more kinds {rest}")
    return ", ".join(shown)
