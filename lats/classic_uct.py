"""The classic search: UCT over whole replies, one expansion a rollout, a few judged.

    plan the root -> judge it -> [ select a leaf -> expand it (-> top up) -> judge the
    best by rule -> back up -> gates ] x rollouts (-> check) -> judge the pick again

Source: LATS (arXiv 2310.04406) for select, expand, evaluate and back up. Departures:
a node is a finished reply, so there is no simulation and no terminal state; only the
best candidates by rule are judged; the answer is the best mean value. Knobs say how
much of each.

A rollout that failed is over, like any other: nothing is repeated but by the next
rollout, so the number of rounds is bounded by the knobs alone. A refusal by the budget
ends the search at once.
"""

from collections.abc import Mapping
from typing import Any

from lats.actions import (
    CheckAssistant,
    ExpandNode,
    FinalJudge,
    JudgeCandidate,
    Judged,
    Kind,
    PlanRoot,
    Proposal,
    ProposalId,
    Side,
    Told,
    TopUp,
    side_of,
)
from lats.answers import Drafts, Failure, NodeId, admit_drafts
from lats.classic_state import (
    ClassicState,
    Phase,
    backup,
    end_rollout,
    grow,
    load_state,
    pick,
    plant,
    select_leaf,
    short_of,
    stop,
    stops_early,
)
from lats.judgement import Judgement
from lats.policy import Room
from lats.result import SearchResult, StopReason
from lats.rule_score import FastScorer, ReplyContext, fast_score
from lats.search_knobs import ClassicKnobs
from lats.similarity import missing_strategies, text_key
from lats.tree import Tree

__all__ = [
    "MAX_STRATEGIES_USED",
    "ClassicUct",
    "next_round",
    "take_round",
]


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


MAX_STRATEGIES_USED = 32
"""Most tags that a proposal carries, the latest ones; a long prompt helps nobody."""


def next_round(state: ClassicState, room: Room, scorer: FastScorer) -> list[Proposal]:
    """Return the next round; when it is empty, the state has moved on instead.

    Args:
        state: its phase and what goes with it are changed.
        room: what the budget would still accept.
        scorer: the rule score, for variants that become nodes on the way.
    """
    match state.phase:
        case Phase.PLAN:
            return _plan(state)
        case Phase.ROOT:
            return _judge_root(state, room)
        case Phase.EXPAND:
            return _expand(state, room)
        case Phase.TOP_UP:
            return _top_up(state, room, scorer)
        case Phase.JUDGE:
            return _judge(state, room)
        case Phase.CHECK:
            return _check(state, room)
        case Phase.FINAL:
            return _judge_pick(state, room)
        case Phase.DONE:
            return []


def _plan(state: ClassicState) -> list[Proposal]:
    """Propose the root. Only the cap is asked: the budget holds a lease for this call."""
    reason = short_of(state, Room(), proposer=1)
    if reason is not None:
        stop(state, reason)
        return []
    return [PlanRoot()]


def _judge_root(state: ClassicState, room: Room) -> list[Proposal]:
    knobs = state.knobs
    reason = short_of(state, room, judge=1)
    if reason is not None:
        stop(state, reason)
        return []
    proposals: list[Proposal] = [_look_at(state, state.tree.root.node_id)]
    judges = 1 + knobs.picks_per_rollout + knobs.final_calls
    if knobs.prefetch and knobs.rollouts and not short_of(state, room, proposer=1, judge=judges):
        proposals.append(_expansion(state, state.tree.root.node_id, is_speculative=True))
    return proposals


def _expand(state: ClassicState, room: Room) -> list[Proposal]:
    """Propose the next rollout's expansion, or stop the rollouts and say why."""
    knobs = state.knobs
    if state.rollouts_done >= knobs.rollouts:
        stop(state, _reason_of_the_end(state))
        return []
    leaf = select_leaf(
        state.tree, exploration=knobs.exploration, seed=knobs.seed, step=state.rollouts_done
    )
    if leaf is None:
        stop(state, StopReason.EXHAUSTED)
        return []
    judges = knobs.picks_per_rollout + knobs.final_calls
    reason = short_of(state, room, proposer=1, judge=judges)
    if reason is not None:
        stop(state, reason)
        return []
    return [_expansion(state, leaf.node_id, is_speculative=False)]


def _reason_of_the_end(state: ClassicState) -> StopReason:
    if state.tree.root.is_closed:
        return StopReason.EXHAUSTED
    if len(state.tree) == 1 and state.knobs.rollouts:
        return StopReason.FAILED
    return StopReason.ROLLOUTS_DONE


def _expansion(state: ClassicState, node_id: NodeId, *, is_speculative: bool) -> ExpandNode:
    leaf = state.tree.nodes[node_id]
    proposal = ExpandNode(
        node_id=node_id,
        k=state.knobs.expand_k,
        attempt=leaf.expansions,
        strategies_used=_strategies_used(state),
        is_speculative=is_speculative,
    )
    leaf.expansions += 1
    state.leaf_id = node_id
    return proposal


def _strategies_used(state: ClassicState) -> tuple[str, ...]:
    """Return the tags of the tree and of the pending variants, each once, the oldest first."""
    drafts = [node.draft for node in state.tree.nodes.values()] + (state.drafts or [])
    tags = dict.fromkeys(draft.strategy_tag for draft in drafts if draft.strategy_tag)
    return tuple(tags)[-MAX_STRATEGIES_USED:]


def _top_up(state: ClassicState, room: Room, scorer: FastScorer) -> list[Proposal]:
    """Propose more variants when they are too alike and there is room; else go on."""
    knobs = state.knobs
    judges = knobs.picks_per_rollout + knobs.final_calls
    may_ask = state.missing and state.top_ups_used < knobs.max_top_ups
    if not may_ask or short_of(state, room, proposer=1, judge=judges) or state.leaf_id is None:
        grow(state, scorer)
        return []
    leaf = state.tree.nodes[state.leaf_id]
    proposal = TopUp(
        node_id=leaf.node_id,
        k=state.missing,
        attempt=leaf.expansions,
        strategies_used=_strategies_used(state),
    )
    leaf.expansions += 1
    state.top_ups_used += 1
    return [proposal]


def _look_at(state: ClassicState, node_id: NodeId) -> JudgeCandidate:
    node = state.tree.nodes[node_id]
    node.looks += 1
    return JudgeCandidate(node_id=node_id, look=node.looks - 1)


def _judge(state: ClassicState, room: Room) -> list[Proposal]:
    """Propose as many judge calls of the rollout as may travel together."""
    chunk = state.to_judge[: state.knobs.soft_max_concurrency]
    while chunk and short_of(state, room, judge=len(chunk)):
        chunk.pop()
    if not chunk:
        stop(state, short_of(state, room, judge=1) or StopReason.BUDGET)
        return []
    state.to_judge = state.to_judge[len(chunk) :]
    return [_look_at(state, node_id) for node_id in chunk]


def _check(state: ClassicState, room: Room) -> list[Proposal]:
    """Propose as many assistant checks as may travel together, and leave room for the end."""
    chunk = state.to_check[: state.knobs.assistant_check_max_concurrency]
    while chunk and short_of(state, room, judge=len(chunk) + state.knobs.final_calls):
        chunk.pop()
    if not chunk:
        state.to_check = []
        state.phase = Phase.FINAL
        return []
    state.to_check = state.to_check[len(chunk) :]
    return [CheckAssistant(node_id=node_id) for node_id in chunk]


def _judge_pick(state: ClassicState, room: Room) -> list[Proposal]:
    node = pick(state)
    if node is None or not state.knobs.rejudge_final or short_of(state, room, judge=1):
        state.phase = Phase.DONE
        return []
    node.looks += 1
    return [FinalJudge(node_id=node.node_id, look=node.looks - 1)]


_UNLIMITED = Room()


class ClassicUct:
    """One classic search under way; see `SearchPolicy` for the contract.

    Args:
        knobs: all settings; a stage preset is already applied.
        context: what the rules know of the turn.
        scorer: the rule score. Give the same one again to `from_state`.
    """

    def __init__(
        self, knobs: ClassicKnobs, context: ReplyContext, *, scorer: FastScorer = fast_score
    ) -> None:
        self._state = ClassicState(knobs=knobs, context=context, tree=Tree())
        self._scorer = scorer

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any], *, scorer: FastScorer = fast_score
    ) -> "ClassicUct":
        """Return the search that a state was taken from.

        Raises:
            StateError: when the state is of another version or policy, or broken.
        """
        loaded = load_state(state)
        search = cls(loaded.knobs, loaded.context, scorer=scorer)
        search._state = loaded
        return search

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as plain JSON."""
        return self._state.dump()

    @property
    def tree(self) -> Tree:
        """Everything proposed and judged so far. Read only."""
        return self._state.tree

    @property
    def is_done(self) -> bool:
        """Whether nothing will be proposed any more."""
        return self._state.phase is Phase.DONE

    def ask(self, room: Room = _UNLIMITED) -> list[Proposal]:
        """Return the proposals of this round that were not told yet; none when done."""
        state = self._state
        # Every step either proposes, or moves on: to a later phase, or to the next rollout.
        while not state.open_round and state.phase is not Phase.DONE:
            state.open_round = next_round(state, room, self._scorer)
            if state.open_round:
                state.rounds += 1
                for proposal in state.open_round:
                    state.asked[proposal.kind] = state.asked.get(proposal.kind, 0) + 1
        return [each for each in state.open_round if each.proposal_id not in state.told]

    def tell(self, proposal_id: ProposalId, answer: Drafts | Judgement | Failure) -> None:
        """Take the answer to a proposal. A second answer to it is ignored.

        Raises:
            ValueError: when nothing with this id was proposed.
            TypeError: when the answer is of the wrong sort for the proposal.
        """
        state = self._state
        if proposal_id in state.closed_ids or proposal_id in state.told:
            return
        proposal = next((p for p in state.open_round if p.proposal_id == proposal_id), None)
        if proposal is None:
            raise ValueError(f"nothing was proposed with the id {proposal_id!r}")
        wanted = Drafts if side_of(proposal.kind) is Side.PROPOSER else Judgement
        if not isinstance(answer, wanted | Failure):
            raise TypeError(
                f"{proposal_id} is answered by {wanted.__name__} or Failure, "
                f"got {type(answer).__name__}"
            )
        if isinstance(answer, Judgement):
            state.told[proposal_id] = Judged(judgement=answer)
        else:
            state.told[proposal_id] = answer
        if len(state.told) == len(state.open_round):
            take_round(state, self._scorer)

    def result(self) -> SearchResult:
        """Return what was found so far."""
        state = self._state
        return SearchResult(
            best=pick(state),
            stop_reason=state.stop_reason,
            final_judgement=state.final_judgement,
            rollouts_done=state.rollouts_done,
            rounds=state.rounds,
            asked=dict(state.asked),
            failed=dict(state.failed),
            tree=state.tree,
        )
