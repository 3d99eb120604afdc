"""Policy `cascade`: a small model answers first, and the next one where it is not sure enough.

Each step but the last is asked without repairs: an answer that cannot be read, a refusal or a
failure is no confidence, and the next model is asked immediately. So is one whose endpoint gives
no probabilities. Where a later model is refused by the budget or fails, the surest answer before
it is kept, unless pieces of the later one were given out already.

Only the first call of a step without an earlier answer may draw on the question's lease: what was
held back secures one answer, and the escalation is paid from what is free.

Invariant: which steps are asked follows from the answers before them alone, so a replay asks the
same ones.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from callwise.budget.in_flight import ReadReply
from callwise.budget.policies.agreement import groups_of, view_of
from callwise.budget.policies.asking import (
    PieceCounter,
    WithheldPieces,
    ask_together,
    give_out,
)
from callwise.budget.policies.confidence import (
    AnswerCheck,
    check_call,
    logprob_confidence,
    with_logprobs,
)
from callwise.budget.policies.model_question import ModelQuestion
from callwise.calls.call import Call
from callwise.calls.client import Endpoint
from callwise.calls.errors import CallError, ConfigError
from callwise.calls.policies import CascadePolicy

__all__ = ["Cascade", "Confidence"]


class Confidence(NamedTuple):
    """One step's answer, and how sure it is.

    Args:
        answer: None where there is none.
        raw: in [0, 1]; None where nothing is known of it.
        problem: why nothing is known, in a few words.
    """

    answer: ReadReply | None
    raw: float | None
    problem: str = ""


class _Kept(NamedTuple):
    """The surest answer so far."""

    model: str
    answer: ReadReply
    chance: float


class Cascade:
    """Asks models one after another, until one is sure enough."""

    kind = "cascade"

    def __init__(self, knobs: CascadePolicy) -> None:
        self._knobs = knobs
        self._calibrations = {each.model: each for each in knobs.calibration}
        self.models = knobs.asked
        self.digest = hashlib.sha256(knobs.model_dump_json().encode()).hexdigest()[:16]
        self._counts: Counter[str] = Counter()

    def require_distinct(self, purpose: str, endpoints: Mapping[str, Endpoint]) -> None:
        """Do nothing where no step asks the model of another one.

        Raises:
            ConfigError: names two steps of one model.
        """
        seen: dict[tuple[str, str], str] = {}
        for name in self._knobs.models:
            endpoint = endpoints[name]
            if endpoint.client.is_simulated:
                continue  # its models differ by nothing that is set here
            other = seen.setdefault(endpoint.identity, name)
            if other != name:
                raise ConfigError(
                    f"policies.{purpose}: {other!r:.80} and {name!r:.80} are the same model, so "
                    "the cascade would ask in a circle; name another model"
                )

    async def answer(self, question: ModelQuestion) -> ReadReply:
        """Return the first answer that is sure enough, or that of the last model.

        Raises:
            CallError: what ended the last model's call, where no earlier one has answered.
        """
        knobs, call = self._knobs, question.call
        *small, last = knobs.models
        kept: _Kept | None = None
        reason = "the first of its cascade"
        for step, model in enumerate(small):
            self._counts[f"to_{model}"] += 1
            found = await self._step(question, model, step, reason, is_leased=kept is None)
            chance = -1.0 if found.raw is None else self._chance(model, found.raw)
            is_sure = found.answer is not None and chance >= knobs.confidence
            if found.answer is not None and found.raw is not None:
                question.note(found.answer, confidence=chance, is_taken=is_sure)
            if found.answer is not None and is_sure:
                self._counts[f"taken_from_{model}"] += 1
                return give_out(call, self._noted(found.answer, model, self._words(model, found)))
            if found.answer is not None and (kept is None or chance > kept.chance):
                kept = _Kept(model, found.answer, chance)
            self._counts["escalated"] += 1
            if found.raw is None:
                self._counts["without_confidence"] += 1
            reason = f"escalated from {model}: {self._words(model, found)}"
        self._counts[f"to_{last}"] += 1
        listener = PieceCounter(call.listener)
        asked = replace(
            call,
            lease=call.lease if kept is None else None,
            listener=None if call.listener is None else listener,
        )
        choice = question.choice(last, reason=reason, step=len(small), alternatives=(*small,))
        try:
            answer = await question.ask(choice, call=asked)
        except CallError as error:
            if kept is None or error.is_fatal or listener.has_given:
                raise
            self._counts[f"kept_{kept.model}"] += 1
            question.note(kept.answer, is_taken=True)
            note = f"kept, since {last} has ended in {type(error).__name__}"
            return give_out(call, self._noted(kept.answer, kept.model, note))
        self._counts[f"taken_from_{last}"] += 1
        question.note(answer, is_taken=True)
        return answer

    def statistics(self) -> Mapping[str, int]:
        """Return how often each model was asked and its answer taken, and how often one was kept.

        `without_confidence` are escalations for want of an answer or its probabilities;
        `uncalibrated` answers were measured by their raw confidence.
        """
        return dict(self._counts)

    async def _step(
        self, question: ModelQuestion, model: str, step: int, reason: str, *, is_leased: bool
    ) -> Confidence:
        """Return one model's answer, and how sure it is."""
        knobs, call = self._knobs, question.call
        listener = call.listener
        asked = replace(
            call,
            max_repairs=0,
            lease=call.lease if is_leased else None,
            listener=None if listener is None else WithheldPieces(listener),
        )
        after = knobs.models[step + 1 :]
        choice = question.choice(model, reason=reason, step=step, alternatives=after)
        if knobs.by == "agreement":
            samples = [
                (choice, replace(asked, sample=sample, lease=asked.lease if place == 0 else None))
                for place, sample in enumerate(_samples(call, knobs.samples))
            ]
            return self._agreement(await ask_together(question, samples))
        try:
            if knobs.by == "logprobs":
                answer = await question.ask(choice, call=with_logprobs(asked))
                raw = logprob_confidence(answer)
                return Confidence(answer, raw, "" if raw is not None else "no probabilities came")
            answer = await question.ask(choice, call=asked)
        except CallError as error:
            if error.is_fatal:
                raise
            return Confidence(None, None, f"ended in {type(error).__name__}")
        return await self._judged(question, asked, answer, step)

    def _agreement(self, ends: list[ReadReply | CallError]) -> Confidence:
        answers = [end for end in ends if isinstance(end, ReadReply)]
        if not answers:
            return Confidence(None, None, f"ended in {type(ends[0]).__name__}")
        groups = groups_of([view_of(answer) for answer in answers], self._knobs.agreement)
        largest = max(groups, key=len)  # the first of equals
        return Confidence(answers[largest[0]], len(largest) / len(ends))

    async def _judged(
        self, question: ModelQuestion, asked: Call, answer: ReadReply, step: int
    ) -> Confidence:
        judge = self._knobs.judge
        model = self._knobs.models[step]
        choice = question.choice(judge, reason=f"checks the answer of {model}", step=step)
        try:
            check = await question.ask(choice, call=check_call(asked, answer))
        except CallError as error:
            if error.is_fatal:
                raise
            return Confidence(answer, None, f"its judge ended in {type(error).__name__}")
        verdict = check.reply.parsed
        if not isinstance(verdict, AnswerCheck):
            return Confidence(answer, None, "its judge gave no number")
        return Confidence(answer, verdict.good)

    def _chance(self, model: str, raw: float) -> float:
        calibration = self._calibrations.get(model)
        if calibration is None:
            self._counts["uncalibrated"] += 1
            return raw
        return calibration.chance_of(raw)

    def _words(self, model: str, found: Confidence) -> str:
        """Return how sure an answer is, and from where that is known."""
        if found.raw is None:
            return found.problem
        knobs = self._knobs
        calibration = self._calibrations.get(model)
        if calibration is None:
            shown, source = found.raw, f"{knobs.by}, not calibrated"
        else:
            shown, source = calibration.chance_of(found.raw), f"{knobs.by} {found.raw:.4f}"
        relation = "<" if shown < knobs.confidence else ">="
        return f"confidence {shown:.4f} {relation} {knobs.confidence:g} ({source})"

    @staticmethod
    def _noted(answer: ReadReply, model: str, note: str) -> ReadReply:
        return answer._replace(notes=(*answer.notes, f"{model}: {note}"))


def _samples(call: Call, count: int) -> range:
    """Return the indices of a question's samples, which no other resample of it has."""
    return range(call.sample * count, (call.sample + 1) * count)
