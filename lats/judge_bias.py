"""Signs of a judge's bias, measured on the scores that a search has anyway.

Scores are compared within a call only, in units of the standard deviation of that judge's scores
within a call. Reading orders are drawn independently of what is read, so a judge that goes by the
text alone has no effect of places in expectation, whatever the candidates are worth. A case is a
whole search, since its calls share their candidates.

Source: places as a judge's bias: arXiv 2406.07791.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from pydantic import Field

from lats.actions import JudgeList, is_blank
from lats.answers import ActionAnswer, NodeId, Verdicts
from lats.judge_report import EffectSums, JudgeReport, JudgeStatistics
from lats.search_tree import Candidate, Count

__all__ = ["MAX_READINGS", "JudgeReading", "note_reading", "report_on"]

MAX_READINGS = 256
"""Judge calls of one search whose scores are kept, the first ones."""


def _is_zero(count: int) -> bool:
    return not count


@dataclass(frozen=True, slots=True)
class JudgeReading:
    """One judge call, as its scores came.

    Args:
        judge: its name; blank where the search has one judge.
        births: the candidates by `Candidate.birth`, in the order in which they were read.
        scores: as many, each the one that counts, drift left in, or None where it is missing;
            empty where the call failed. Ranks count as scores.
        unreadable: candidates with a verdict, but without a score in [0, 1].
        unknown_ids: verdicts on candidates that the call was not asked about.
    """

    rubric: str
    births: tuple[Count, ...]
    scores: tuple[float | None, ...]
    judge: Annotated[str, Field(exclude_if=is_blank)] = ""
    unreadable: Annotated[int, Field(ge=0, exclude_if=_is_zero)] = 0
    unknown_ids: Annotated[int, Field(ge=0, exclude_if=_is_zero)] = 0

    @property
    def scored(self) -> list[tuple[int, int, float]]:
        """Place (from 0), birth and score of each candidate that has one."""
        pairs = zip(self.births, self.scores, strict=False)
        return [(at, birth, score) for at, (birth, score) in enumerate(pairs) if score is not None]


def note_reading(
    readings: list[JudgeReading],
    action: JudgeList,
    answer: ActionAnswer,
    scored: Sequence[tuple[Candidate, float]],
    nodes: Mapping[NodeId, Candidate],
) -> None:
    """Keep the scores of a judge call, unless `MAX_READINGS` are kept.

    Args:
        readings: earlier ones; added to.
        action: the call.
        answer: to it.
        scored: candidates with the score that counts, drift left in.
        nodes: the candidates by id.
    """
    if len(readings) >= MAX_READINGS:
        return
    births = tuple([nodes[node_id].birth for node_id in action.node_ids])
    if not isinstance(answer, Verdicts):
        readings.append(JudgeReading(action.rubric, births, (), action.judge))
        return
    by_id = {node.node_id: score for node, score in scored}
    scores = tuple([by_id.get(node_id) for node_id in action.node_ids])
    unreadable = unknown_ids = 0
    if not len(by_id) == len(births) == len(answer.by_id):
        given = [answer.by_id[each] for each in action.node_ids if each in answer.by_id]
        if not scored and any(verdict.checks or verdict.answer for verdict in given):
            return  # a judge of checks gives no scores
        unreadable = max(len(given) - len(scored), 0)
        unknown_ids = len(answer.by_id) - len(given)
    readings.append(
        JudgeReading(action.rubric, births, scores, action.judge, unreadable, unknown_ids)
    )


def report_on(readings: Sequence[JudgeReading], chars: Sequence[int]) -> JudgeReport:
    """Return the report on the judges of one search.

    Args:
        readings: its judge calls, in the order in which they were asked for.
        chars: lengths of the candidates' texts, by `Candidate.birth`.
    """
    lengths = [math.log1p(each) for each in chars]
    by_judge: dict[str, list[JudgeReading]] = {}
    for reading in readings:
        by_judge.setdefault(reading.judge, []).append(reading)
    judges = {name: _statistics(own, lengths) for name, own in sorted(by_judge.items())}
    return JudgeReport(int(bool(readings)), judges, _agreements(readings))


def _statistics(readings: Sequence[JudgeReading], lengths: Sequence[float]) -> JudgeStatistics:
    found = JudgeStatistics(calls=len(readings))
    earlier: dict[tuple[str, int], float] = {}
    for reading in readings:
        scores = [score for _, _, score in reading.scored]
        found.failed += not reading.scores
        found.silent += bool(reading.scores) and not scores
        found.unreadable += reading.unreadable
        found.unknown_ids += reading.unknown_ids
        for _, birth, score in reading.scored:
            before = earlier.get((reading.rubric, birth))
            found.repeats += before is not None
            found.equal_repeats += before == score
            earlier[reading.rubric, birth] = score
        if len(scores) < 2:
            continue
        best = max(scores)
        found.compared += 1
        found.flat += len(set(scores)) == 1
        found.top_ties += scores.count(best) > 1
        found.levels += len(set(scores))
        found.scores += len(scores)
        found.spread_sum += math.fsum(value * value for value in _centred(scores))
        found.spread_weight += len(scores) - 1
    if found.sd:
        _add_places(found, readings, found.sd)
        _add_length(found, readings, found.sd, lengths)
        _add_repeats(found.self_agreement, _same_sets(readings))
    return found


def _centred(values: Sequence[float]) -> list[float]:
    mean = math.fsum(values) / len(values)
    return [value - mean for value in values]


def _cross(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def _add_places(found: JudgeStatistics, readings: Sequence[JudgeReading], sd: float) -> None:
    """Add the effects of places; the search is one case."""
    effects = (found.order, found.first, found.last)
    sums = [[0.0, 0.0] for _ in effects]
    for reading in readings:
        scored = reading.scored
        if len(scored) < 2:
            continue
        scores = _centred([score for _, _, score in scored])
        last = len(reading.births) - 1
        contrasts = [[0.5 - place / last for place, _, _ in scored]]
        if last > 1:
            contrasts += [[float(place == at) for place, _, _ in scored] for at in (0, last)]
        for own, contrast in zip(sums, map(_centred, contrasts), strict=False):
            own[0] += _cross(contrast, scores) / sd
            own[1] += _cross(contrast, contrast)
    for effect, (value, weight) in zip(effects, sums, strict=True):
        effect.add(value, weight)


def _add_length(
    found: JudgeStatistics, readings: Sequence[JudgeReading], sd: float, lengths: Sequence[float]
) -> None:
    """Add the effect of length within calls; the search is one case."""
    value = weight = 0.0
    for reading in readings:
        scored = reading.scored
        if len(scored) < 3:
            continue
        own = _centred([lengths[birth] for _, birth, _ in scored])
        squares = _cross(own, own) / (len(own) - 1)
        if squares > 0:
            scores = _centred([score for _, _, score in scored])
            value += _cross(own, scores) / (sd * math.sqrt(squares))
            weight += len(own) - 1
    found.length.add(value, weight)


def _same_sets(readings: Iterable[JudgeReading]) -> Iterator[tuple[JudgeReading, JudgeReading]]:
    """Yield calls by one rubric that read the same candidates, each with the next of them.

    Only candidates that were the first to be read by that rubric: later ones were chosen by their
    scores, which lowers a correlation.
    """
    by_rubric: dict[str, list[JudgeReading]] = {}
    for reading in readings:
        own = by_rubric.setdefault(reading.rubric, [])
        if not own or set(own[0].births) == set(reading.births):
            own.append(reading)
    for own in by_rubric.values():
        yield from pairwise(own)


def _add_repeats(sums: EffectSums, pairs: Iterable[tuple[JudgeReading, JudgeReading]]) -> None:
    """Add the correlation of paired calls; all pairs together are one case.

    Not standardised by the search, which would lower it where candidates are few.
    """
    value = weight = 0.0
    for one, other in pairs:
        first = {birth: score for _, birth, score in one.scored}
        both = [(first[birth], score) for _, birth, score in other.scored if birth in first]
        if len(both) >= 2:
            a, b = (_centred(scores) for scores in zip(*both, strict=True))
            value += _cross(a, b)
            weight += math.sqrt(_cross(a, a) * _cross(b, b))
    sums.add(value, weight)


def _agreements(readings: Sequence[JudgeReading]) -> dict[tuple[str, str], EffectSums]:
    """Return the correlation of each two judges over the candidates that were read first."""
    read = [each for each in readings if each.scored]
    if len({each.judge for each in read}) < 2:
        return {}
    first_calls: dict[str, JudgeReading] = {}
    for reading in read:
        if set(reading.births) == set(read[0].births):
            first_calls.setdefault(reading.judge, reading)
    found = {}
    names = sorted(first_calls)
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            sums = EffectSums()
            _add_repeats(sums, [(first_calls[one], first_calls[other])])
            if sums.cases:
                found[one, other] = sums
    return found
