"""Update of a posterior search by the answers of a round."""

import math
from collections.abc import Mapping
from dataclasses import replace
from statistics import NormalDist

from lats.actions import Action, Generate, JudgeList, Refine
from lats.answers import ActionAnswer, Draft, Drafts, NoAnswer, NodeId, Verdict, Verdicts
from lats.judge_bias import note_reading
from lats.judges import common_scale
from lats.posterior import drift_of, posterior_means
from lats.ranking import note_front
from lats.reflection import reflect
from lats.result import StopReason
from lats.search_schedule import close_bracket_round, unread
from lats.search_state import SearchState, is_solution, verified_score
from lats.search_tree import Candidate
from lats.widening import close, note_judged, note_request

__all__ = ["apply_round", "composite_score"]

OVERALL = "score"
"""Name of the overall score among weights."""


def composite_score(verdict: Verdict, weights: Mapping[str, float]) -> float | None:
    """Return the score that counts, in [0, 1]; None when no part of it was given.

    Args:
        verdict: on one candidate.
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
"""Expansions of an answer without children after which it is closed."""


def apply_round(state: SearchState, answered: list[tuple[Action, ActionAnswer]]) -> int:
    """Apply the answers of a closed round, in the order of its actions.

    Return how many of the actions asked a judge.

    A call like a refused one would be refused as well: a refused judge ends the search; after a
    refused proposer only judges are asked.
    """
    progress = state.progress
    born, proposed, usable, judged = 0, 0, 0, 0
    for action, answer in answered:
        if isinstance(answer, NoAnswer) and answer.is_refused:
            progress.is_refused = True
            if isinstance(action, JudgeList):
                progress.stop_reason = StopReason.BUDGET
        if isinstance(action, JudgeList):
            judged += 1
            if isinstance(answer, Verdicts):
                usable += _take_verdicts(state, action, answer)
            else:
                note_reading(state.readings, action, answer, (), state.tree.nodes)
            if progress.has_steps:
                note_judged(state, state.nodes(action.node_ids))
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
    return judged


def _take_drafts(state: SearchState, action: Generate | Refine, answer: Drafts | None) -> int:
    """Return how many candidates an answer adds to the tree; a failure adds none."""
    tree = state.tree
    parent = tree.top if isinstance(action, Generate) else tree.nodes[action.node_ids[0]]
    if isinstance(action, Refine):
        tree.add_pending(parent.node_id, -1)
    born = 0 if answer is None else _add_children(state, parent, answer.drafts, action.k)
    if state.progress.has_steps:
        note_request(state, parent, answer, k=action.k, born=born)
    elif isinstance(action, Generate):
        # A proposer that repeats itself once will do so again, and dearer each time.
        state.progress.is_exhausted |= answer is not None and 2 * born <= action.k
    elif not parent.children_ids and (
        (answer is not None and not born) or parent.expansions >= MAX_EXPANSIONS
    ):
        tree.close(parent)
    return born


def _add_children(state: SearchState, parent: Candidate, drafts: tuple[Draft, ...], k: int) -> int:
    """Return how many new children drafts make of a node, at most `k`."""
    tree, progress = state.tree, state.progress
    prior = None
    if state.progress.has_steps and parent.parent_id is not None:
        prior = posterior_means((parent,), state.noise)[0]
    # Two ways may lead to the same step, so without keys steps are compared with their siblings.
    has_steps = any(draft.is_step for draft in drafts)
    born: list[Candidate] = []
    seen = {tree.key_of(child.draft) for child in tree.children(parent)} if has_steps else set()
    max_depth = None if state.knobs.max_depth is None else parent.depth + 1
    for draft in drafts:
        key = tree.key_of(draft)
        if len(born) == k or key in seen:
            continue
        # A longer way to a state may leave too few steps to an answer; a shorter one is new.
        if (draft.key or not has_steps) and tree.has_key(key, max_depth=max_depth):
            continue
        seen.add(key)
        node = tree.add(parent, draft, prior_mean=prior, key=key)
        if node is not None:
            born.append(node)
            progress.has_steps |= draft.is_step
    if progress.has_steps:
        _close_ends(state, born)
    if state.task.has_verifier:
        _take_verified(state, born)
    return len(born)


def _close_ends(state: SearchState, born: list[Candidate]) -> None:
    """Close answers, and steps at the knob `max_depth`."""
    for node in born:
        is_deepest = node.depth == state.knobs.max_depth
        state.progress.has_shallow_answer |= not node.draft.is_step and not is_deepest
        if not node.draft.is_step or is_deepest:
            close(state, node)


def _take_verified(state: SearchState, born: list[Candidate]) -> None:
    """Take a verifier's results on new candidates.

    A right answer is the search's answer, a refuted step leads nowhere. Without a judge the
    results are the scores.
    """
    progress, scored = state.progress, []
    for node in born:
        score = verified_score(node.draft)
        if is_solution(node.draft, state.task) and not state.is_solved:
            progress.champion = node.node_id
        if node.draft.verified is False and node.draft.is_step:
            close(state, node)
        if score is not None and (node.draft.verified is not None or not state.task.has_judge):
            node.verdict = Verdict(score=score)
        if score is not None and not state.task.has_judge:
            scored.append((node, score))
    if scored:
        _note_scores(state, scored)
    if progress.has_steps and not state.task.has_judge:
        note_judged(state, born)


def _take_verdicts(state: SearchState, action: JudgeList, answer: Verdicts) -> int:
    """Return how many candidates have anything usable in an answer."""
    nodes = state.tree.nodes
    usable: list[tuple[Candidate, Verdict]] = []
    scored: list[tuple[Candidate, float]] = []
    for node_id in action.node_ids:
        verdict = answer.by_id.get(node_id)
        if verdict is None:
            continue
        node = nodes[node_id]
        score = composite_score(verdict, state.weights)
        if score is not None:
            scored.append((node, score))
        elif not (verdict.checks or verdict.answer):
            continue
        usable.append((node, verdict))
    if len(scored) < min(2, len(action.node_ids)) and len(answer.ranking) > 1:
        scored = _scores_by_rank(state, action.node_ids, answer.ranking)
        usable = usable or [(node, Verdict()) for node, _ in scored]
    for node, verdict in usable:
        node.verdict = _merged(node.verdict, verdict)
        node.checks.update(verdict.checks)
    note_reading(state.readings, action, answer, scored, nodes)
    if action.judge and not state.is_exact:  # a verifier's scores stay as they are
        common = common_scale([score for _, score in scored], action.judge, state.readings)
        scored = [(node, score) for (node, _), score in zip(scored, common, strict=True)]
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
    """Add one call's scores to those of its candidates, and to the judge's noise."""
    noise = state.noise
    drift = 0.0 if state.is_exact else drift_of(scored, noise)
    noise.note_call([score for _, score in scored])
    for node, raw in scored:
        score = raw - drift
        if node.score_count:
            mean = node.score_sum / node.score_count
            noise.note_repeat(score, mean_before=mean, count_before=node.score_count)
        elif node.prior_mean is not None:
            noise.shift_sum += score - node.prior_mean
            noise.shift_count += 1
        elif node.depth > 1:
            noise.refined_sum += score
            noise.refined_count += 1
        else:
            noise.mean_sum += score
            noise.mean_count += 1
        node.score_sum += score
        node.score_count += 1
    changed = [node for node, _ in scored]
    _count_visits(state.tree.nodes, changed)
    for node, mean in zip(changed, posterior_means(changed, noise), strict=True):
        node.own_value = mean
    # The highest first: then most paths to the top are walked once.
    _back_up(state.tree.nodes, sorted(changed, key=lambda node: -(node.own_value or 0.0)))
    note_front(state, changed)


def _count_visits(nodes: Mapping[NodeId, Candidate], scored: list[Candidate]) -> None:
    """Count candidates that have their first score as visits of themselves and all above."""
    fresh_by_parent: dict[NodeId | None, int] = {}
    for node in scored:
        if node.own_value is None:
            node.visits += 1
            fresh_by_parent[node.parent_id] = fresh_by_parent.get(node.parent_id, 0) + 1
    for parent_id, count in fresh_by_parent.items():
        step = parent_id
        while step is not None:
            node = nodes[step]
            node.visits += count
            step = node.parent_id


def _back_up(nodes: Mapping[NodeId, Candidate], changed: list[Candidate]) -> None:
    """Bring own values, as they are now, into the best values at and above them."""
    for each in changed:
        node, best = each, _best_below(nodes, each)
        while node.best_value != best:
            was, node.best_value = node.best_value, best
            if node.parent_id is None:
                break
            node = nodes[node.parent_id]
            above = node.best_value
            if best is not None and above is not None and best > above:
                continue  # a new maximum
            if was is None or best is None or above is None or was == above:
                best = _best_below(nodes, node)
            else:
                break


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
