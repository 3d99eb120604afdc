"""One judging under way: it asks a plan's looks step by step, and reads their scores."""

from collections.abc import Sequence

from turnwise.budget.counters import Counts
from turnwise.calls.call import Call
from turnwise.calls.client import Endpoint
from turnwise.calls.errors import CallError, CallRefused
from turnwise.calls.key import CallKey
from turnwise.tune.quality.answers import Answer, AnswerBook
from turnwise.tune.quality.judged import Judged, Loss, Losses
from turnwise.tune.quality.looks import Look, Method
from turnwise.tune.quality.planning import JudgingPlan, PlannedLook
from turnwise.tune.quality.scores import Order, Score

__all__ = ["Judging", "referee_name"]


def referee_name(method: Method, model: str, *, is_simulated: bool = False) -> str:
    """Return the name that a referee's scores bear.

    `referee:<model>` for the shipped marks, and `referee:<model>:<rubric>` for every other
    way to judge, so that two ways are never averaged. A simulated model says that it is one.
    """
    who = f"simulated-{model}" if is_simulated and not model.startswith("simulated") else model
    is_usual = method.kind == "pointwise" and method.rubric.name == "pointwise"
    return f"referee:{who}" if is_usual else f"referee:{who}:{method.rubric.name}"


class Judging:
    """One judging under way.

    Args:
        book: asks and remembers.
        method: how replies are judged.
        plan: what is asked.
        endpoint: who judges.
        max_repairs: most repairs to buy; None for all.
    """

    def __init__(
        self,
        book: AnswerBook,
        method: Method,
        plan: JudgingPlan,
        *,
        endpoint: Endpoint,
        max_repairs: int | None,
    ) -> None:
        self._book = book
        self._method = method
        self._plan = plan
        self._model = endpoint.model
        self._repairs_left = max_repairs
        self._scores: list[Score] = []
        self._losses = Losses()
        self._is_simulated = endpoint.client.is_simulated
        for _ in plan.left_out:
            self._losses.add(Loss.PAST_BUDGET)

    async def step(self, planned: Sequence[PlannedLook]) -> list[Score]:
        """Ask some looks, and return their scores in order."""
        calls: dict[CallKey, Call] = {}
        for each in planned:
            questions = zip(each.keys, each.look.questions, strict=True)
            calls.update({key: question.call for key, question in questions})
        errors = await self._book.ask(calls)
        bought, repair_errors = await self._book.repair(calls, max_bought=self._repairs_left)
        if self._repairs_left is not None:
            self._repairs_left -= bought
        errors.update(repair_errors)
        answers = (self._book.get(key) for key in calls)
        self._is_simulated |= any(answer is not None and answer.is_simulated for answer in answers)
        scores = [score for each in planned for score in self._read(each, errors)]
        self._scores += scores
        return scores

    def judged(self, counts: Counts) -> Judged:
        """Return what came of it.

        Args:
            counts: what the ledger says of it.
        """
        looks = [each.look for each in (*self._plan.taken, *self._plan.left_out)]
        wanted = dict.fromkeys(look.item.key for look in looks)
        scored = {score.reply_key for score in self._scores}
        unscored = tuple(sorted(key for key in wanted if key not in scored))
        lost = self._losses.lost_sentence(len(looks), len(wanted), len(unscored))
        notices = [*self._losses.settled_sentences(), *([lost] if lost else [])]
        if self._is_simulated:
            notices.append("the referee is simulated: its scores prove arithmetic, not quality")
        stopped_by = self._book.stopped_by
        if stopped_by is not None:
            notices.append("a fatal error ended the judging; what was judged before it is kept")
        return Judged(
            by=referee_name(self._method, self._model, is_simulated=self._is_simulated),
            scores=tuple(self._scores),
            replies=len(wanted),
            unscored=unscored,
            losses=dict(self._losses.counts),
            counts=counts,
            notices=tuple(notices),
            is_simulated=self._is_simulated,
            stopped_by=stopped_by,
            lost=lost,
        )

    def _read(self, planned: PlannedLook, errors: dict[CallKey, CallError]) -> list[Score]:
        """Return the scores of one look; none when one of its questions has no answer."""
        look = planned.look
        if look.settled is not None:
            return self._settled(look)
        answers = [self._book.get(key) for key in planned.keys]
        loss = next(
            (
                lost
                for key, answer in zip(planned.keys, answers, strict=True)
                if (lost := self._loss_of(answer, errors.get(key))) is not None
            ),
            None,
        )
        if loss is not None:
            self._losses.add(*loss)
            return []
        scores = []
        for answer, question in zip(answers, look.questions, strict=True):
            if answer is None or answer.parsed is None:  # `_loss_of` has seen to it
                continue
            value = self._method.value(answer.parsed, question.order)
            scores.append(self._score(look, value, question.order))
        return scores

    def _loss_of(
        self, answer: Answer | None, error: CallError | None
    ) -> tuple[Loss, CallError | None] | None:
        """Return why a question has no readable answer, or None when it has one."""
        if answer is not None and answer.parsed is not None:
            return None
        if isinstance(error, CallRefused):
            return Loss.PAST_BUDGET, error
        if error is not None:
            return Loss.FAILED, error
        if answer is None:
            return Loss.STOPPED, self._book.stopped_by
        return (Loss.UNREADABLE if answer.is_repaired else Loss.PAST_BUDGET), answer.unreadable

    def _settled(self, look: Look) -> list[Score]:
        settled = look.settled
        if settled is None or settled.value is None:
            self._losses.add(Loss.NOT_JUDGEABLE)
            return []
        self._losses.settle(settled.why)
        return [self._score(look, settled.value, "")]

    def _score(self, look: Look, value: float, order: Order) -> Score:
        low, high = self._method.scale
        item = look.item
        conversation, turn, reply = item.key
        return Score(
            by=referee_name(self._method, self._model, is_simulated=self._is_simulated),
            conversation=conversation,
            turn=turn,
            reply_id=reply,
            value=value,
            scale_low=low,
            scale_high=high,
            repeat=look.repeat,
            order=order,
            kind=self._method.kind,
            against=look.against,
        )
