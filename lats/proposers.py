"""Several proposers of one search: which answers each proposal, learned from what came of theirs.

Each proposer is asked once, in a seeded order. Then a proposal goes to the one with the most
expected gain for its cost:

    gain = new candidates per call * E[(value - best)+] / cost,   value ~ N(level, V)

`level` is drawn from a normal posterior of the proposer's level among its rivals, `V` is the
variance of its candidates' scores, and `best` the best posterior mean so far.
Calls under way count as calls that brought nothing yet, so proposals of one round go to
different proposers unless one is plainly better; a proposer that always fails is asked ever less.

Source: Thompson sampling over models, as in the multi-LLM form of AB-MCTS-M (arXiv 2503.04412).
We depart from it in four places. A proposer has one level for the whole search, compared among
candidates of equal depth, rather than one for each node: with few calls there is nothing to learn
a node's from. The posterior is a normal in closed form, not a sampled mixed model. The gain over
the best so far counts, not the score, since a search keeps its best candidate; so costs can be
compared. And failures and repeats count, as candidates that did not come.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist, fmean
from typing import Any

from lats.actions import Action, Generate, JudgeList, Refine
from lats.answers import ActionAnswer, Draft, Drafts, checked_name
from lats.posterior import posterior_means
from lats.result import ProposerStats, StateError
from lats.search_state import SearchState
from lats.search_tree import Candidate

__all__ = [
    "assign_proposers",
    "check_same_costs",
    "checked_costs",
    "costs_of",
    "proposer_stats",
    "signed_drafts",
]

LEVEL_SD = 0.7
"""Assumed standard deviation of proposers' levels, in that of candidates within one."""

PRIOR_VARIANCE_WEIGHT = 1.0
"""Observations that the judge's spread counts for in the variance within all proposers."""

USUAL_VARIANCE_WEIGHT = 4.0
"""Observations that the variance within all proposers counts for in that of one."""

PRIOR_CALLS = 0.5
"""Calls of the usual yield that each proposer is credited with."""

ASYMPTOTE_SDS, FARTHEST_SDS = 8.0, 36.0
"""Standard deviations below 0 from which an expected rise is taken from its asymptote, and no
longer falls."""

_NORMAL = NormalDist()


def checked_costs(costs: Mapping[str, float]) -> dict[str, float]:
    """Return proposers' relative costs by name.

    Raises:
        ValueError: when there is none, a name is blank, too long or not plain text, or a cost is
            no positive figure.
    """
    if not costs:
        raise ValueError("a search needs a proposer; got an empty mapping of them")
    given: Mapping[Any, Any] = costs
    for name, cost in given.items():
        checked_name(name, "proposer")
        is_figure = isinstance(cost, int | float) and not isinstance(cost, bool)
        if not is_figure or not 0 < cost < math.inf:
            raise ValueError(f"proposer {name!r} costs {cost!r}; give a figure above 0")
    return {name: float(cost) for name, cost in costs.items()}


def costs_of(propose: object, costs: Mapping[str, float]) -> dict[str, float] | None:
    """Return the costs of a problem's proposers by name; None of one without a name.

    Args:
        propose: a function, or several by name.
        costs: those that are not 1.

    Raises:
        ValueError: when there are no functions, or names or costs do not fit.
    """
    if not isinstance(propose, Mapping):
        if costs:
            raise ValueError(
                f"proposer_costs has {sorted(costs)}, but propose is one function; give propose "
                "as a mapping of these names to functions"
            )
        return None
    unknown = sorted(costs.keys() - propose.keys())
    if unknown:
        raise ValueError(f"proposer_costs has {unknown[0]!r}, but propose has {sorted(propose)}")
    return checked_costs({name: costs.get(name, 1.0) for name in propose})


def check_same_costs(saved: Mapping[str, float], given: Mapping[str, float] | None) -> None:
    """Check that a saved search has the proposers that a problem gives.

    Raises:
        StateError: when it has not.
    """
    here = given or {}
    if saved != here:
        raise StateError(
            f"the state is of a problem with the proposers {dict(saved) or 'unnamed'}, here they "
            f"are {dict(here) or 'unnamed'}; resume with the same names and costs"
        )


def signed_drafts(action: Action, answer: ActionAnswer) -> ActionAnswer:
    """Return an answer whose drafts name the proposer that was asked."""
    if isinstance(action, JudgeList) or not action.proposer or not isinstance(answer, Drafts):
        return answer
    return Drafts(tuple([_signed(draft, action.proposer) for draft in answer.drafts]))


def _signed(draft: Draft, proposer: str) -> Draft:
    return draft if draft.proposer == proposer else draft.model_copy(update={"proposer": proposer})


def assign_proposers(state: SearchState, actions: Sequence[Action]) -> list[Action]:
    """Return a round's actions, each proposal with the name of its proposer.

    A function of the state and its seed. Actions are neither added nor left out.
    """
    if not state.proposers or all(isinstance(action, JudgeList) for action in actions):
        return list(actions)
    asked = state.progress.proposer_calls
    calls = {name: asked.get(name, 0) for name in state.proposers}
    order = sorted(calls, key=lambda name: _lot(state, name))
    evidence: _Evidence | None = None
    assigned: list[Action] = []
    for action in actions:
        if isinstance(action, JudgeList):
            assigned.append(action)
            continue
        chosen = min(order, key=lambda name: calls[name] > 0)
        if calls[chosen] and len(order) > 1:
            evidence = evidence or _evidence(state)
            chosen = _most_gain(state, evidence, action, order=order, calls=calls)
        calls[chosen] += 1
        assigned.append(replace(action, proposer=chosen))
    return assigned


def _most_gain(
    state: SearchState,
    evidence: "_Evidence",
    action: Generate | Refine,
    *,
    order: list[str],
    calls: Mapping[str, int],
) -> str:
    depth = 1 if isinstance(action, Generate) else state.tree.nodes[action.node_ids[0]].depth + 1
    gains = {
        name: evidence.gain(name, depth, calls=calls[name], lot=_lot(state, name, action))
        / state.proposers[name]
        for name in order
    }
    return max(order, key=gains.__getitem__)


def _lot(state: SearchState, name: str, action: Action | None = None) -> float:
    """Return a figure in (0, 1) that is drawn by the seed."""
    drawn = f"{state.knobs.seed}/{'' if action is None else action.action_id}/{name}"
    digest = hashlib.blake2b(drawn.encode("utf-8", "surrogatepass"), digest_size=6).digest()
    return (int.from_bytes(digest) + 0.5) / 2**48


@dataclass(slots=True)
class _Evidence:
    """Evidence of a search on its proposers.

    Args:
        variance: usual one of the values of a proposer's candidates at one depth; above 0.
        best: the best value so far.
        mean_by_depth: mean value of the candidates at each depth that has any.
        born: candidates by proposer.
        valued: those that have a value.
        above_sum: sum of the differences between these values and the mean at their depth.
        square_sum: sum of their squared deviations from their own mean at their depth.
        usual_born: new candidates of a call, whichever was asked.
    """

    variance: float
    best: float
    mean_by_depth: dict[int, float]
    born: Counter[str]
    valued: Counter[str]
    above_sum: dict[str, float]
    square_sum: dict[str, float]
    usual_born: float

    def gain(self, name: str, depth: int, *, calls: int, lot: float) -> float:
        """Return a draw of the gain that a call promises, in score; above 0 or next to it.

        Args:
            name: of the proposer.
            depth: of the candidates that are asked for.
            calls: asked of it so far, those under way included.
            lot: in (0, 1).
        """
        means, count = self.mean_by_depth, self.valued[name]
        usual = means.get(depth, means.get(depth - 1, self.best))
        weight = LEVEL_SD**-2 + count
        squares = USUAL_VARIANCE_WEIGHT * self.variance + self.square_sum.get(name, 0.0)
        sd = math.sqrt(squares / (USUAL_VARIANCE_WEIGHT + max(count - 1, 0)))
        level = usual + self.above_sum.get(name, 0.0) / weight
        drawn = level + sd / math.sqrt(weight) * _NORMAL.inv_cdf(lot)
        born = (PRIOR_CALLS * self.usual_born + self.born[name]) / (PRIOR_CALLS + calls)
        return born * _expected_rise(drawn - self.best, sd)


def _expected_rise(mean: float, sd: float) -> float:
    """Return the mean of the positive part of a normal.

    Source: the expected improvement of Jones, Schonlau and Welch (1998). Far below 0 by its
    asymptote, so that proposers that are all unlikely to bring a gain still differ.
    """
    score = max(mean / sd, -FARTHEST_SDS)
    density = math.exp(-0.5 * score * score) / math.sqrt(2 * math.pi)
    if score < -ASYMPTOTE_SDS:
        return sd * density / (score * score)
    return sd * (density + score * _NORMAL.cdf(score))


def _value(node: Candidate) -> float | None:
    """Return a candidate's mean score, or else its share of checks passed; None without both."""
    if node.mean_score is not None or not node.checks:
        return node.mean_score
    return sum(node.checks.values()) / len(node.checks)


def _evidence(state: SearchState) -> _Evidence:
    born: Counter[str] = Counter()
    values: defaultdict[tuple[int, str], list[float]] = defaultdict(list)
    by_depth: defaultdict[int, list[float]] = defaultdict(list)
    best = -math.inf
    for node in state.tree.candidates:
        name, value = node.draft.proposer, _value(node)
        born[name] += 1
        if value is not None:
            values[node.depth, name].append(value)
            by_depth[node.depth].append(value)
            best = max(best, value if node.own_value is None else node.own_value)
    mean_by_depth = {depth: fmean(found) for depth, found in by_depth.items()}
    valued: Counter[str] = Counter()
    above_sum: defaultdict[str, float] = defaultdict(float)
    square_sum: defaultdict[str, float] = defaultdict(float)
    prior, weight = PRIOR_VARIANCE_WEIGHT * state.noise.spread, PRIOR_VARIANCE_WEIGHT
    for (depth, name), found in values.items():
        mean = fmean(found)
        valued[name] += len(found)
        above_sum[name] += len(found) * (mean - mean_by_depth[depth])
        square_sum[name] += math.fsum([(value - mean) ** 2 for value in found])
        weight += len(found) - 1
    calls = sum(state.progress.proposer_calls.values())
    return _Evidence(
        variance=math.fsum([prior, *square_sum.values()]) / weight,
        best=best if by_depth else state.noise.grand_mean,
        mean_by_depth=mean_by_depth,
        born=born,
        valued=valued,
        above_sum=above_sum,
        square_sum=square_sum,
        usual_born=max(len(state.tree), 1) / max(calls, 1),
    )


def proposer_stats(state: SearchState) -> tuple[ProposerStats, ...]:
    """Return each proposer's part in a search, by name; none where it has no names."""
    calls = state.progress.proposer_calls
    total = sum(calls.values())
    born: defaultdict[str, list[Candidate]] = defaultdict(list)
    for node in state.tree.candidates:
        born[node.draft.proposer].append(node)
    found = []
    for name, cost in sorted(state.proposers.items()):
        scored = [node for node in born[name] if node.score_count]
        means = posterior_means(scored, state.noise)
        asked = calls.get(name, 0)
        found.append(
            ProposerStats(
                name=name,
                calls=asked,
                share=asked / total if total else 0.0,
                candidates=len(born[name]),
                mean=fmean(means) if means else None,
                best=max(means, default=None),
                cost=cost,
            )
        )
    return tuple(found)
