"""Calls by node as data: a bar for each setting, or for each turn of one conversation."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from callwise.calls.call import Outcome
from callwise.report.run_record import CallLine, TurnLine
from callwise.text_layout import counted
from callwise.tuning.figures.palette import NO_NODE
from callwise.tuning.figures.whisker import (
    FigureBasis,
    Whisker,
    basis_of,
    interval_words,
    whiskers_of,
)
from callwise.tuning.row import TurnRow, rows_by_setting

__all__ = [
    "CallsByNode",
    "CallsOverTurns",
    "SettingCalls",
    "calls_by_node_of",
    "calls_over_turns_of",
]


@dataclass(frozen=True, slots=True)
class SettingCalls:
    """The bar of one setting.

    Args:
        missing: mean calls per turn that are not recorded, of any node.
    """

    setting: str
    mean_by_node: tuple[float, ...]
    total: Whisker
    missing: float
    turns: int


@dataclass(frozen=True, slots=True)
class CallsByNode:
    """Mean calls per turn by node, a bar for each setting.

    Args:
        nodes: in stacking order, the first at the axis.
    """

    nodes: tuple[str, ...]
    bars: tuple[SettingCalls, ...]
    interval_words: str
    basis: FigureBasis
    title: ClassVar[str] = "Calls per turn by node"

    @property
    def has_missing(self) -> bool:
        """Whether any setting has calls that are not recorded."""
        return any(bar.missing > 0 for bar in self.bars)

    @property
    def caption(self) -> str:
        """The caption of the figure."""
        words = [f"Means over {self.basis.words}."]
        words += [self.interval_words] if self.interval_words else []
        if self.has_missing:
            words.append("Dashed: calls that are not in the recording, of any node.")
        return " ".join(words)


def nodes_in_order(found: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return node names in the order of every figure.

    Args:
        known: the app's nodes in their order. Others follow, by name; `NO_NODE` is last.
    """
    places = {name: place for place, name in enumerate(known)}
    last = len(places)
    return tuple(sorted(found, key=lambda name: (name == NO_NODE, places.get(name, last), name)))


def calls_by_node_of(
    rows: Sequence[TurnRow],
    *,
    nodes: Sequence[str] = (),
    totals: Mapping[str, Any] | None = None,
) -> CallsByNode:
    """Return the rows of a sweep as calls by node.

    Args:
        totals: `(mean, low, high)` of the calls per turn by setting, a result of statistics.

    Raises:
        ValueError: when a row has more calls by node than in all, or an interval is of a
            setting that has no rows or cannot be drawn.
    """
    by_setting = rows_by_setting(rows)
    given = whiskers_of(totals, by_setting, what="the calls")
    sums = {setting: _sum_by_node(own) for setting, own in by_setting.items()}
    found = {node: None for of_setting in sums.values() for node in of_setting}
    order = nodes_in_order(tuple(found), nodes)
    return CallsByNode(
        nodes=order,
        bars=tuple(
            SettingCalls(
                setting=setting,
                mean_by_node=tuple(sums[setting].get(node, 0) / len(own) for node in order),
                total=given.get(setting) or Whisker(sum(row.asked for row in own) / len(own)),
                missing=sum(min(row.missing_calls, row.asked) for row in own) / len(own),
                turns=len(own),
            )
            for setting, own in by_setting.items()
        ),
        interval_words=interval_words(totals),
        basis=basis_of(rows),
    )


def _sum_by_node(rows: Sequence[TurnRow]) -> dict[str, int]:
    """Return calls by node, summed over turns; those that no node asked as `NO_NODE`."""
    sums: dict[str, int] = {}
    for row in rows:
        of_nodes = sum(row.asked_by_node.values())
        if of_nodes > row.asked:
            raise ValueError(
                f"setting {row.setting!r}, turn {row.turn} of {row.conversation!r}: "
                f"{of_nodes} calls by node, and {row.asked} in all"
            )
        rest = {NO_NODE: row.asked - of_nodes} if of_nodes < row.asked else {}
        for name, calls in [*row.asked_by_node.items(), *rest.items()]:
            if calls:
                node = name or NO_NODE
                sums[node] = sums.get(node, 0) + calls
    return sums


@dataclass(frozen=True, slots=True)
class CallsOverTurns:
    """Calls by turn and node.

    Args:
        nodes: in stacking order, the first at the axis.
    """

    conversation: str
    turns: tuple[int, ...]
    nodes: tuple[str, ...]
    asked: tuple[tuple[int, ...], ...]
    basis: FigureBasis

    @property
    def title(self) -> str:
        """The title of the figure."""
        return f"Calls over the turns of {self.conversation}"

    @property
    def caption(self) -> str:
        """The caption of the figure."""
        whole = sum(map(sum, self.asked))
        return f"{counted(whole, 'call')} asked in {self.basis.words}."


def calls_over_turns_of(
    calls: Iterable[CallLine],
    turns: Iterable[TurnLine],
    conversation: str,
    *,
    nodes: Sequence[str] = (),
) -> CallsOverTurns:
    """Return one conversation's calls, as `load_run` gives them; refused ones are left out.

    Args:
        turns: of the run. A turn without calls is included.

    Raises:
        ValueError: when the run has no turn of this conversation.
    """
    own = {line.turn: line for line in turns if line.conversation_id == conversation}
    if not own:
        raise ValueError(f"the run has no turn of {conversation!r}")
    counts: dict[int, dict[str, int]] = {turn: {} for turn in sorted(own)}
    for call in calls:
        is_own = call.conversation == conversation and call.outcome is not Outcome.REFUSED
        if is_own and call.turn in counts:
            name = call.node or NO_NODE
            counts[call.turn][name] = counts[call.turn].get(name, 0) + 1
    found = {node: None for of_turn in counts.values() for node in of_turn}
    order = nodes_in_order(tuple(found), nodes)
    return CallsOverTurns(
        conversation=conversation,
        turns=tuple(counts),
        nodes=order,
        asked=tuple(tuple(of_turn.get(node, 0) for node in order) for of_turn in counts.values()),
        basis=FigureBasis(len(own), 1, any(line.simulated for line in own.values())),
    )
