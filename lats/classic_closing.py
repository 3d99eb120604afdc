"""How the classic search ends: why, with which reply, and what is still asked then."""

from lats.classic_state import ClassicState, Phase
from lats.ranking import ranked_nodes
from lats.result import StopReason
from lats.room import Room
from lats.tree import Node

__all__ = ["order_of_replies", "pick", "short_of", "stop"]


def short_of(
    state: ClassicState, room: Room, *, proposer: int = 0, judge: int = 0
) -> StopReason | None:
    """Return what leaves no room for that many calls: the cap, the budget, or None."""
    cap = state.knobs.max_calls
    if cap is not None and sum(state.asked.values()) + proposer + judge > cap:
        return StopReason.CAP
    return None if room.fits(proposer=proposer, judge=judge) else StopReason.BUDGET


def order_of_replies(state: ClassicState) -> list[Node]:
    """Return the replies that may be answered, best first; one that passed all gates leads."""
    nodes = ranked_nodes(state.tree, is_judged=state.knobs.soft_top_n > 0)
    return sorted(nodes, key=lambda node: node.node_id != state.exit_id)


def pick(state: ClassicState) -> Node | None:
    """Return the reply to answer with, or None when there is none.

    The best that the assistant check did not object to; the best of all when it
    objected to each. A check that was not made, or not answered, does not object.
    """
    order = order_of_replies(state)
    bar = state.knobs.early_exit.max_assistantness
    for node in order:
        if node.checked_assistantness is None or node.checked_assistantness <= bar:
            return node
    return order[0] if order else None


def stop(state: ClassicState, reason: StopReason) -> None:
    """End the rollouts, and go on to what is asked at the end.

    Nothing is when there is no choice to confirm: the root alone, or an exit on the
    root's own judgement.
    """
    state.stop_reason = reason
    state.drafts = None
    state.to_judge = []
    if len(state.tree) <= 1 or state.rollouts_done == 0:
        state.phase = Phase.DONE
        return
    leaders = order_of_replies(state)[: state.knobs.assistant_check_top_n]
    state.to_check = [node.node_id for node in leaders]
    state.phase = Phase.CHECK
