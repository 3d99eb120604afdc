"""How the classic search takes in a round of answers, whatever order they came in."""

from lats.backup import backup
from lats.classic_rollout import end_rollout, grow, plant, stops_early
from lats.classic_state import ClassicState, Phase
from lats.draft import admit_drafts
from lats.expand import missing_strategies
from lats.fast_score import FastScorer
from lats.judgement import Judgement
from lats.proposal import Drafts, ExpandNode, Failure, Judged, Kind, PlanRoot, Proposal, Told, TopUp
from lats.result import StopReason
from lats.similarity import text_key

__all__ = ["take_round"]


def take_round(state: ClassicState, scorer: FastScorer) -> None:
    """Take in the answers to the open round, in the order of its proposals, and move on.

    A refusal ends the search: what is refused now is refused later.
    """
    answers = [(each, state.told[each.proposal_id]) for each in state.open_round]
    state.open_round, state.told = [], {}
    is_refused = False
    for proposal, answer in answers:
        state.closed_ids.add(proposal.proposal_id)
        if isinstance(answer, Failure):
            state.failed[proposal.kind] = state.failed.get(proposal.kind, 0) + 1
            is_refused = is_refused or answer.is_refused
        _note(state, proposal, answer)
    was_prefetched = len(answers) > 1 and answers[-1][0].kind is Kind.EXPAND
    _move_on(state, scorer, was_prefetched=was_prefetched)
    if is_refused:
        if state.stop_reason in {None, StopReason.FAILED}:
            state.stop_reason = StopReason.BUDGET
        state.phase = Phase.DONE


def _note(state: ClassicState, proposal: Proposal, answer: Told) -> None:
    """Note one answer. A failure notes nothing."""
    if isinstance(answer, Judged):
        _note_judgement(state, proposal, answer.judgement)
    elif isinstance(answer, Drafts):
        _note_drafts(state, proposal, answer)


def _note_drafts(state: ClassicState, proposal: Proposal, answer: Drafts) -> None:
    tree = state.tree
    if isinstance(proposal, PlanRoot):
        state.drafts = admit_drafts(answer.drafts, k=1, is_known=tree.knows)
    elif isinstance(proposal, ExpandNode):
        state.drafts = admit_drafts(answer.drafts, k=proposal.k, is_known=tree.knows)
        offered = [draft for draft in answer.drafts if draft.reply.strip()][: proposal.k]
        state.missing = missing_strategies(
            [draft.strategy_tag.strip() for draft in offered],
            similarity=state.knobs.top_up_similarity,
        )
    elif isinstance(proposal, TopUp):
        pending = state.drafts or []
        keys = {text_key(draft.reply) for draft in pending}
        state.drafts = pending + admit_drafts(
            answer.drafts,
            k=proposal.k,
            is_known=lambda key: key in keys or tree.knows(key),
        )


def _note_judgement(state: ClassicState, proposal: Proposal, judgement: Judgement) -> None:
    if proposal.kind is Kind.FINAL_JUDGE:
        state.final_judgement = judgement
    elif proposal.kind is Kind.CHECK_ASSISTANT:
        node = state.tree.nodes[proposal.node_id]
        node.checked_assistantness = judgement.assistantness
    elif proposal.kind is Kind.JUDGE:
        state.tree.nodes[proposal.node_id].judgement = judgement
        if state.knobs.soft_top_n > 0 and judgement.score is not None:
            backup(state.tree, proposal.node_id, judgement.score)


def _move_on(state: ClassicState, scorer: FastScorer, *, was_prefetched: bool) -> None:
    """Decide what follows the round that was just noted."""
    match state.phase:
        case Phase.PLAN:
            plant(state, scorer)
        case Phase.ROOT:
            if not stops_early(state):
                state.phase = Phase.TOP_UP if was_prefetched else Phase.EXPAND
        case Phase.EXPAND:
            state.phase = Phase.TOP_UP
        case Phase.TOP_UP:
            grow(state, scorer)
        case Phase.JUDGE:
            if not state.to_judge:
                end_rollout(state)
        case Phase.FINAL:
            state.phase = Phase.DONE
        case Phase.CHECK | Phase.DONE:
            pass
