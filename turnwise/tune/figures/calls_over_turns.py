"""The calls of one conversation as data: a bar a turn, a part a node."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from turnwise.report.run_record import CallLine, TurnLine
from turnwise.tune.figures.basis import Basis, counted
from turnwise.tune.figures.calls_by_node import nodes_in_order
from turnwise.tune.figures.palette import NO_NODE

__all__ = ["CallsOverTurns", "calls_over_turns_of"]


@dataclass(frozen=True, slots=True)
class CallsOverTurns:
    """Calls by turn and node.

    Args:
        conversation: its id.
        turns: turn numbers, growing.
        nodes: in the order in which they are stacked, the first at the bottom.
        asked: (turns, nodes) calls asked.
        basis: what it rests on.
    """

    conversation: str
    turns: tuple[int, ...]
    nodes: tuple[str, ...]
    asked: tuple[tuple[int, ...], ...]
    basis: Basis

    @property
    def title(self) -> str:
        """What it is called."""
        return f"Calls over the turns of {self.conversation}"

    @property
    def caption(self) -> str:
        """What a reader has to know, in one paragraph."""
        whole = sum(map(sum, self.asked))
        return f"{counted(whole, 'call')} asked in {self.basis.words}."


def calls_over_turns_of(
    calls: Iterable[CallLine],
    turns: Iterable[TurnLine],
    conversation: str,
    *,
    nodes: Sequence[str] = (),
) -> CallsOverTurns:
    """Return one conversation's calls, as `load_run` gives them.

    Args:
        calls: of the run; those of other conversations are passed over.
        turns: of the run. A turn without calls has a place, too.
        conversation: its id.
        nodes: the app's nodes in their order; nodes that it lacks follow by name.

    Raises:
        ValueError: when the run has no turn of this conversation.
    """
    own = {line.turn: line for line in turns if line.conversation_id == conversation}
    if not own:
        raise ValueError(f"the run has no turn of {conversation!r}")
    counts: dict[int, dict[str, int]] = {turn: {} for turn in sorted(own)}
    for call in calls:
        if call.conversation == conversation and call.turn in counts:
            name = call.node or NO_NODE
            counts[call.turn][name] = counts[call.turn].get(name, 0) + 1
    found = {node: None for of_turn in counts.values() for node in of_turn}
    order = nodes_in_order(tuple(found), nodes)
    return CallsOverTurns(
        conversation=conversation,
        turns=tuple(counts),
        nodes=order,
        asked=tuple(tuple(of_turn.get(node, 0) for node in order) for of_turn in counts.values()),
        basis=Basis(len(own), 1, any(line.simulated for line in own.values())),
    )
