"""Update of a posterior search by the answers of a round, in any order of arrival."""

import math
from collections.abc import Mapping
from dataclasses import replace
from statistics import NormalDist

from lats.actions import ActionId, Generate, JudgeList, Refine
from lats.answers import (
    ActionAnswer,
    Drafts,
    NoAnswer,
    NodeId,
    Verdict,
    Verdicts,
    clean_draft,
    clean_text,
)
from lats.posterior import belief, drift_of, means_by
from lats.ranking import note_front
from lats.reflection import reflect
from lats.result import StopReason
from lats.schedule import close_bracket_round, unread
from lats.search_state import SearchState
from lats.search_tree import Candidate
from lats.similarity import identity_key

__all__ = ["cleaned_answer", "composite_score", "take_round"]


OVERALL = "score"
"""Name of the overall score among weights."""


def composite_score(verdict: Verdict, weights: Mapping[str, float]) -> float | None:
    """Return the score that counts, in [0, 1]; None when nothing of it was given.

    Args:
        verdict: what the judge said.
        weights: of each attribute, `score` being the overall one. A negative weight means
            the less the better, and reads the value as 1 minus it. Attributes that were not
            given are left out, and the others' weights scaled up. Empty takes the overall
            score, or the plain mean of the attributes where there is none.
    """
    if not weights:
        if verdict.score is not None:
            return verdict.score
        values = verdict.attributes.values()
        return math.fsum(values) / len(values) if values else None
    total = weighted = 0.0
    for name, weight in weights.items():
        value = verdict.score if name == OVERALL else verdict.attributes.get(name)
        if value is not None:
            total += abs(weight)
            weighted += weight * value if weight > 0 else -weight * (1 - value)
    return weighted / total if total else None


MAX_EXPANSIONS = 2
"""Expansions of a candidate without children after which it is closed."""

MAX_DETAIL_CHARS = 400


def cleaned_answer(action_id: ActionId, answer: ActionAnswer) -> ActionAnswer:
    """Return an answer as a state can keep it: no unwritable characters, nothing endless.

    Raises:
        TypeError: when a verdict is something else.
    """
    if isinstance(answer, Drafts):
        return Drafts(tuple(filter(None, map(clean_draft, answer.drafts))))
    if isinstance(answer, NoAnswer):
        return NoAnswer(answer.is_refused, clean_text(answer.detail, MAX_DETAIL_CHARS))
    for node_id, verdict in answer.by_id.items():
        if not isinstance(verdict, Verdict):
            raise TypeError(
                f"{action_id} has a {type(verdict).__name__} for {node_id}; give a Verdict"
            )
    return answer


def take_round(state: SearchState) -> None:
    """Take in the answers to the open round, in the order of its actions.

    What is refused now is refused later: a refused judge ends the search; after a refused
    proposer only judges are asked.
    """
    progress = state.progress
    answered = [(action, progress.told[action.action_id]) for action in progress.open_round]
    progress.closed_ids.update(progress.told)
    progress.open_round, progress.told = [], {}
    born, proposed, usable, judged = 0, 0, 0, 0
    for action, answer in answered:
        if isinstance(answer, NoAnswer):
            progress.failed[action.label] = progress.failed.get(action.label, 0) + 1
            if answer.is_refused and isinstance(action, JudgeList):
                progress.stop_reason = StopReason.BUDGET
            progress.is_refused |= answer.is_refused
        if isinstance(action, JudgeList):
            judged += 1
            usable += _take_verdicts(state, action, answer) if isinstance(answer, Verdicts) else 0
        else:
            proposed += 1
            born += _take_drafts(state, action, answer if isinstance(answer, Drafts) else None)
    if progress.is_refused and not unread(state):
        progress.stop_reason = StopReason.BUDGET
    if proposed:
        progress.empty_rounds = 0 if born else progress.empty_rounds + 1
        progress.cycles += isinstance(answered[0][0], Refine)
    if judged:
        progress.unjudged_rounds = 0 if usable else progress.unjudged_rounds + 1
        close_bracket_round(state)
        progress.guidelines = reflect(
            state.tree.candidates,
            progress.guidelines,
            knobs=state.knobs.reflection,
            weights=state.weights,
        )


def _take_drafts(state: SearchState, action: Generate | Refine, answer: Drafts | None) -> int:
    """Return how many candidates were born of an answer; a failure brings none."""
    tree = state.tree
    parent = tree.top if isinstance(action, Generate) else tree.nodes[action.node_ids[0]]
    if isinstance(action, Refine):
        tree.add_pending(parent.node_id, -1)
    born = [] if answer is None else _admitted(state, parent, answer, action.k)
    if isinstance(action, Generate):
        # A proposer that repeats itself once will do so again, and dearer each time.
        state.progress.is_exhausted |= answer is not None and 2 * len(born) <= action.k
    elif not parent.children_ids and (
        (answer is not None and not born) or parent.expansions >= MAX_EXPANSIONS
    ):
        tree.close(parent)
    return len(born)


def _admitted(state: SearchState, parent: Candidate, answer: Drafts, k: int) -> list[Candidate]:
    """Return the new children that an answer's drafts make of a node."""
    tree, progress = state.tree, state.progress
    prior = None
    if parent.parent_id is not None:
        prior = belief(parent, state.noise).mean
    born: list[Candidate] = []
    # Two ways may lead to the same step, so steps are only told from their siblings.
    is_told_apart = not _has_steps(answer)
    seen: set[str] = set()
    for draft in answer.drafts:
        key = identity_key(draft.reply)
        if len(born) == k or key in seen or (is_told_apart and tree.has_key(key)):
            continue
        seen.add(key)
        node = tree.add(parent, draft, prior_mean=prior)
        if node is not None:
            born.append(node)
            progress.has_steps |= draft.is_step
    if progress.has_steps:
        for node in born:
            is_deepest = node.depth == state.knobs.max_depth
            if not node.draft.is_step or is_deepest:
                tree.close(node)
    return born


def _has_steps(answer: Drafts) -> bool:
    return any(draft.is_step for draft in answer.drafts)


def _take_verdicts(state: SearchState, action: JudgeList, answer: Verdicts) -> int:
    """Return for how many candidates an answer has anything usable."""
    usable: list[tuple[Candidate, Verdict]] = []
    scored: list[tuple[Candidate, float]] = []
    for node_id in action.node_ids:
        verdict = answer.by_id.get(node_id)
        if verdict is None:
            continue
        node = state.tree.nodes[node_id]
        score = composite_score(verdict, state.weights)
        if score is not None:
            scored.append((node, score))
        if score is not None or verdict.checks or verdict.answer:
            usable.append((node, verdict))
    if len(scored) < min(2, len(action.node_ids)) and len(answer.ranking) > 1:
        scored = _scores_by_rank(state, action.node_ids, answer.ranking)
        usable = usable or [(node, Verdict()) for node, _ in scored]
    for node, verdict in usable:
        node.verdict = _merged(node.verdict, verdict)
        node.checks.update(verdict.checks)
    _note_loser(state, scored)
    _note_scores(state, scored)
    return len(usable)


def _merged(before: Verdict | None, now: Verdict) -> Verdict:
    """Return a verdict with the attributes of other rubrics: of each the last."""
    if before is None or before.attributes.keys() <= now.attributes.keys():
        return now
    return replace(now, attributes={**before.attributes, **now.attributes})


def _note_loser(state: SearchState, scored: list[tuple[Candidate, float]]) -> None:
    """Keep the loser of a knock-out pair; none in a draw, or when one has no score."""
    if state.progress.bracket and len(scored) == 2:
        (one, one_score), (other, other_score) = scored
        if one_score != other_score:
            loser = one if one_score < other_score else other
            state.progress.losers.append(loser.node_id)


def _scores_by_rank(
    state: SearchState, asked: tuple[NodeId, ...], ranking: tuple[NodeId, ...]
) -> list[tuple[Candidate, float]]:
    """Return ranks as scores: normal quantiles with the spread that scores usually have."""
    known = [node_id for node_id in dict.fromkeys(ranking) if node_id in set(asked)]
    if len(known) < 2:
        return []
    normal = NormalDist(0.5, state.noise.spread**0.5)
    return [
        (state.tree.nodes[node_id], normal.inv_cdf((len(known) - place - 0.5) / len(known)))
        for place, node_id in enumerate(known)
    ]


def _note_scores(state: SearchState, scored: list[tuple[Candidate, float]]) -> None:
    """Add one call's scores to what is known of its candidates and of the judge."""
    noise = state.noise
    # Who stops at nothing less than 1 has a verifier for a judge, and that does not drift.
    drift = 0.0 if state.knobs.stop_score == 1 else drift_of(scored, noise)
    noise.note_call([score for _, score in scored])
    for node, raw in scored:
        score = raw - drift
        if node.score_count:
            mean = node.score_sum / node.score_count
            noise.note_repeat(score, mean_before=mean, count_before=node.score_count)
        elif node.prior_mean is None:
            noise.mean_sum += score
            noise.mean_count += 1
        else:
            noise.shift_sum += score - node.prior_mean
            noise.shift_count += 1
        node.score_sum += score
        node.score_count += 1
    _count_visits(state, [node for node, _ in scored if node.own_value is None])
    believed, changed = means_by(noise), [node for node, _ in scored]
    for node in changed:
        node.own_value = believed(node)
    _back_up(state, changed)
    note_front(state, changed)


def _count_visits(state: SearchState, fresh: list[Candidate]) -> None:
    """Count candidates that have their first score as visits of themselves and all above."""
    by_parent: dict[NodeId, int] = {}
    for node in fresh:
        node.visits += 1
        if node.parent_id is not None:
            by_parent[node.parent_id] = by_parent.get(node.parent_id, 0) + 1
    nodes = state.tree.nodes
    for parent_id, count in by_parent.items():
        above: NodeId | None = parent_id
        while above is not None:
            step = nodes[above]
            step.visits += count
            above = step.parent_id


def _back_up(state: SearchState, changed: list[Candidate]) -> None:
    """Bring own values, as they are now, into the best values at and above them.

    The youngest first: whatever is below a node is younger, so each is looked at once.
    """
    nodes = state.tree.nodes
    waiting = {node.birth: node for node in changed}
    while waiting:
        # Most often one chain of ancestors is left.
        _, node = waiting.popitem() if len(waiting) == 1 else (0, waiting.pop(max(waiting)))
        was, best = node.best_value, _best_below(nodes, node)
        node.best_value = best
        if was == best or node.parent_id is None:
            continue
        parent = nodes[node.parent_id]
        above = parent.best_value
        # A maximum: what is not above it, and was not it, leaves it as it is.
        if was is None or best is None or above is None or best > above or was == above:
            waiting[parent.birth] = parent


def _best_below(nodes: Mapping[NodeId, Candidate], node: Candidate) -> float | None:
    """Return the best value at or below an answer; of a step, below it where anything is known.

    Children that were judged are better evidence of a step than the step itself.
    """
    best = None
    for child_id in node.children_ids:
        value = nodes[child_id].best_value
        if value is not None and (best is None or value > best):
            best = value
    own = node.own_value
    if best is None or (own is not None and own > best and not node.draft.is_step):
        return own
    return best
