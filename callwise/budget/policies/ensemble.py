"""Policy `ensemble`: several models are asked together, and their answers are combined.

Members are asked in one round, without repairs: one that fails, is refused or cannot be read costs
its own call and nothing else. Where all fail, the error is that of the first.

Answers that agree are a group (`agreement.py`); the group of most weight wins, and of equal ones
that of the member that is named first. Numbers of a group's answers are combined to their weighted
mean or median. Long texts have no groups: the answer most like the others is taken, by weight.

Invariant: the combination follows from the members' answers in the order of their names, so it is
the same at any concurrency and in a replay.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pydantic import ValidationError

from callwise.budget.in_flight import ReadReply
from callwise.budget.policies.agreement import AnswerView, Place, groups_of, medoid, view_of
from callwise.budget.policies.asking import PieceCounter, WithheldPieces, ask_together, give_out
from callwise.budget.policies.confidence import logprob_confidence, with_logprobs
from callwise.budget.policies.model_question import ModelQuestion
from callwise.calls.errors import CallError
from callwise.calls.policies import EnsemblePolicy

__all__ = ["Combination", "Ensemble", "combine"]


class Combination(NamedTuple):
    """The answer of an ensemble, and how far its members disagreed.

    Args:
        place: of the member whose answer it is made of, among those that have answered.
        votes: answers that agree with it, itself among them.
        share_against: share of the weight that is not theirs, in [0, 1].
        spread: mean over its numbers of the largest less the least of the group; 0 without any.
    """

    answer: ReadReply
    place: int
    votes: int
    share_against: float
    spread: float


class Ensemble:
    """Asks all its models, and combines their answers."""

    kind = "ensemble"

    def __init__(self, knobs: EnsemblePolicy) -> None:
        self._knobs = knobs
        self.models = knobs.asked
        self.digest = hashlib.sha256(knobs.model_dump_json().encode()).hexdigest()[:16]
        self._counts: Counter[str] = Counter()
        self._sums: Counter[str] = Counter()
        """Of 1e-12 each: whole numbers, whose sum does not depend on which call ends first."""

    async def answer(self, question: ModelQuestion) -> ReadReply:
        """Return the combined answer, or that of the last model where too few agree.

        Raises:
            CallError: the error of the first member, where none has answered.
        """
        knobs, call = self._knobs, question.call
        own = with_logprobs(call) if knobs.by == "confidence" else call
        listener = call.listener
        own = replace(
            own, max_repairs=0, listener=None if listener is None else WithheldPieces(listener)
        )
        reason = f"a member of an ensemble of {len(knobs.models)}, by {knobs.by}"
        asked = [
            (
                question.choice(
                    model,
                    reason=reason,
                    step=step,
                    alternatives=tuple(each for each in knobs.models if each != model),
                ),
                own if step == 0 else replace(own, lease=None),
            )
            for step, model in enumerate(knobs.models)
        ]
        ends = await ask_together(question, asked)
        answers = {place: end for place, end in enumerate(ends) if isinstance(end, ReadReply)}
        self._counts["asked"] += 1
        self._counts["failed_members"] += len(ends) - len(answers)
        found = self._combined(answers) if answers else None
        is_enough = found is not None and found.votes >= knobs.min_agreement * len(ends) - 1e-9
        if found is not None:
            self._sums["questions"] += 1
            self._sums["share_against"] += round(found.share_against * 1e12)
            self._sums["spread"] += round(found.spread * 1e12)
            question.note(
                [*answers.values()][found.place],
                is_taken=is_enough or not knobs.otherwise,
                share_against=found.share_against,
                spread=found.spread,
            )
        if knobs.otherwise and not is_enough:
            return await self._otherwise(question, ends, found)
        if found is None:
            raise _first_error(ends)
        return give_out(call, found.answer)

    def statistics(self) -> Mapping[str, int | float]:
        """Return counts, the mean share against an answer, and the mean spread of its numbers."""
        counted = dict[str, int | float](self._counts)
        if count := self._sums["questions"]:
            counted["mean_share_against"] = self._sums["share_against"] / (count * 10**12)
            counted["mean_spread"] = self._sums["spread"] / (count * 10**12)
        return counted

    def _combined(self, answers: Mapping[int, ReadReply]) -> Combination:
        knobs = self._knobs
        weights = [1.0] * len(answers)
        if knobs.by == "weighted":
            weights = [knobs.weights[place] for place in answers]
        elif knobs.by == "confidence":
            confidences = [logprob_confidence(answer) for answer in answers.values()]
            known = [each for each in confidences if each is not None]
            if len(known) == len(confidences):
                weights = known
            else:
                self._counts["without_confidence"] += 1
        return combine([*answers.values()], weights, knobs)

    async def _otherwise(
        self,
        question: ModelQuestion,
        ends: Sequence[ReadReply | CallError],
        found: Combination | None,
    ) -> ReadReply:
        """Return the answer of the model for questions on which too few agree."""
        knobs, call = self._knobs, question.call
        self._counts["escalated"] += 1
        if found is None:
            reason = "no member has answered"
        else:
            reason = (
                f"{found.votes} of {len(ends)} agree, which is below {knobs.min_agreement:g}: "
                f"share against {found.share_against:.4f}, spread {found.spread:.4f}"
            )
        listener = PieceCounter(call.listener)
        choice = question.choice(
            knobs.otherwise, reason=reason, step=len(knobs.models), alternatives=knobs.models
        )
        asked = replace(
            call,
            lease=call.lease if found is None else None,
            listener=None if call.listener is None else listener,
        )
        try:
            answer = await question.ask(choice, call=asked)
        except CallError as error:
            if found is None or error.is_fatal or listener.has_given:
                raise
            self._counts["kept"] += 1
            members = [end for end in ends if isinstance(end, ReadReply)]
            question.note(members[found.place], is_taken=True)
            note = f"the vote is kept, since {knobs.otherwise} has ended in {type(error).__name__}"
            voted = found.answer
            return give_out(call, voted._replace(notes=(*voted.notes, note)))
        question.note(answer, is_taken=True)
        return answer


def combine(
    answers: Sequence[ReadReply], weights: Sequence[float], knobs: EnsemblePolicy
) -> Combination:
    """Return the combination of at least one answer, in the order of their models.

    Numbers do not count against agreement where they are combined: only `by: agreement` asks for
    equal ones, within `tolerance`.

    Args:
        weights: one for each answer, at least 0; all 0 counts as all equal.
    """
    if not any(weights):
        weights = [1.0] * len(answers)
    total = math.fsum(weights)
    views = [view_of(answer) for answer in answers]
    is_text = not any(view.numbers or view.words for view in views)
    if is_text:
        place = medoid(views, weights)
        group = [
            other
            for other, view in enumerate(views)
            if other == place or view.agrees_with(views[place], knobs.agreement)
        ]
        answer, spread = answers[place], 0.0
    else:
        alike = knobs.agreement
        if knobs.by != "agreement":
            alike = alike.model_copy(update={"tolerance": math.inf})
        groups = groups_of(views, alike)
        mass = [round(math.fsum(weights[each] for each in group), 12) for group in groups]
        group = groups[mass.index(max(mass))]
        members = [views[each] for each in group]
        own = [weights[each] for each in group]
        # The group's most typical answer brings its long texts.
        place = group[medoid(members, own)]
        answer = _with_numbers(answers[place], _numbers(members, own, knobs.numbers))
        spread = _spread(members)
    for_it = math.fsum(weights[each] for each in group)
    return Combination(answer, place, len(group), max(1 - for_it / total, 0.0), spread)


def _numbers(
    members: Sequence[AnswerView], weights: Sequence[float], how: str
) -> dict[Place, float]:
    """Return the combination of each number of a group's answers."""
    total = math.fsum(weights)
    if total == 0:
        weights, total = [1.0] * len(members), float(len(members))
    combined: dict[Place, float] = {}
    for place in members[0].numbers:
        values = [view.numbers[place] for view in members]
        if how == "mean":
            mean = math.fsum(value * w for value, w in zip(values, weights, strict=True)) / total
            combined[place] = min(max(mean, min(values)), max(values))
        else:
            combined[place] = _median(values, weights)
    return combined


def _median(values: Sequence[float], weights: Sequence[float]) -> float:
    """Return the weighted median: the mean of both middle values where it falls between them."""
    half = math.fsum(weights) / 2
    pairs = sorted(zip(values, weights, strict=True))
    below = 0.0
    for place, (value, weight) in enumerate(pairs):
        below = math.fsum((below, weight))
        if math.isclose(below, half) and place + 1 < len(pairs):
            return (value + pairs[place + 1][0]) / 2
        if below > half:
            return value
    return pairs[-1][0]


def _spread(members: Sequence[AnswerView]) -> float:
    ranges = [
        max(view.numbers[place] for view in members) - min(view.numbers[place] for view in members)
        for place in members[0].numbers
    ]
    return math.fsum(ranges) / len(ranges) if ranges else 0.0


def _with_numbers(answer: ReadReply, numbers: Mapping[Place, float]) -> ReadReply:
    """Return an answer with other numbers in it; as it is where they do not fit its form."""
    reply = answer.reply
    if reply.tool_calls and not reply.text.strip():
        return answer
    if reply.parsed is None:
        if () not in numbers or float(reply.text) == numbers[()]:
            return answer
        return answer._replace(reply=replace(reply, text=f"{numbers[()]:.12g}", chunks=()))
    before = reply.parsed.model_dump(mode="json", by_alias=True, warnings=False)
    document = _replaced(before, (), numbers)
    if document == before:
        return answer
    try:
        parsed = type(reply.parsed).model_validate(document)
    except ValidationError as error:
        note = f"numbers were not combined: {error.error_count()} do not fit the form"
        return answer._replace(notes=(*answer.notes, note))
    text = parsed.model_dump_json(by_alias=True, warnings=False)
    return answer._replace(reply=replace(reply, parsed=parsed, text=text, chunks=()))


def _replaced(value: Any, place: Place, numbers: Mapping[Place, float]) -> Any:
    if isinstance(value, dict):
        return {name: _replaced(each, (*place, name), numbers) for name, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, (*place, index), numbers) for index, each in enumerate(value)]
    if place not in numbers:
        return value
    return round(numbers[place]) if isinstance(value, int) else numbers[place]


def _first_error(ends: Sequence[ReadReply | CallError]) -> CallError:
    return next(end for end in ends if isinstance(end, CallError))
