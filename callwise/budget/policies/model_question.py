"""One question that a policy may put to several models, each time as a call with its own row."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from callwise.budget.critical_path import CriticalPathTrack
from callwise.budget.in_flight import InFlightCall, ReadReply
from callwise.budget.recorder import CallOrigin, RecordsChoices
from callwise.budget.token_estimate import Estimator
from callwise.calls.call import Call
from callwise.calls.choice import Choice
from callwise.calls.client import Endpoint
from callwise.calls.errors import ConfigError
from callwise.calls.key import CallKey

__all__ = ["ModelQuestion", "Policy"]


@dataclass(frozen=True, slots=True)
class ModelQuestion:
    """A question whose models a policy chooses.

    Args:
        carried: the call as it was asked, for no model yet; it is not opened itself.
        asked: key of the question as the endpoint of its role would be asked it.
        policy: kind of the policy.
        table: digest of the policy's settings.
        endpoints: by role or by name of a model.
        where: where it was asked, with the endpoint of its role.
        amend: writes into the row of an ended call what was found of its answer.
        recorder: the recording whose choices are taken; None where there is none.
        answered: the answers so far, each with its call.
    """

    carried: InFlightCall
    asked: CallKey
    policy: str
    table: str
    endpoints: Mapping[str, Endpoint]
    estimator: Estimator
    next: Callable[[InFlightCall], Awaitable[ReadReply]]
    amend: Callable[[InFlightCall, Choice], None]
    where: CallOrigin
    recorder: RecordsChoices | None = None
    answered: list[tuple[ReadReply, InFlightCall]] = field(default_factory=list)

    @property
    def call(self) -> Call:
        """The call as it was asked."""
        return self.carried.call

    def recorded(self, step: int = 0, *, is_by_budget: bool = False) -> Choice | None:
        """Take the recorded choice of this question; None where it has to be decided.

        Args:
            step: place in the policy's order of asking, from 0.
            is_by_budget: whether what is left of limits may decide too.

        Raises:
            ConfigError: when it names a model that is not there.
        """
        if self.recorder is None:
            return None
        choice = self.recorder.recorded_choice(
            self.asked, self.where, table=self.table, step=step, is_by_budget=is_by_budget
        )
        if choice is not None and choice.model not in self.endpoints:
            raise ConfigError(
                f"the recording has a call of {self.where.scope} answered by the model "
                f"{choice.model!r:.80}, which is not in `models`: add it, or record again"
            )
        return choice

    def choice(
        self, model: str, *, reason: str, alternatives: tuple[str, ...] = (), step: int = 0
    ) -> Choice:
        """Return the record of asking a model."""
        return Choice(self.policy, self.table, self.asked, model, reason, alternatives, step)

    async def ask(
        self, choice: Choice, *, call: Call | None = None, track: CriticalPathTrack | None = None
    ) -> ReadReply:
        """Ask one model, by a call with its own key and row.

        Args:
            choice: which, and why.
            call: what is asked in place of the question, such as a resample; None for itself.
            track: where on the path it starts, and ends; None goes on after the last one.

        Raises:
            CallError: what ended the call.
        """
        own, asked = self.carried, call or self.carried.call
        # Limits, leases and counts stay those of its role, also at the endpoint of another one.
        model = "" if choice.model == asked.role else choice.model
        asked = replace(asked, model=model, choice=choice)
        carried = InFlightCall(asked, own.scope, own.track if track is None else track)
        carried.before_seconds = own.before_seconds
        try:
            answer = await self.next(carried)
            self.answered.append((answer, carried))
            return answer
        finally:
            if track is None:
                own.before_seconds += carried.path_seconds

    def note(self, answer: ReadReply, **found: Any) -> None:
        """Write fields of `Choice` into the row of the call that gave an answer."""
        for each, carried in self.answered:
            if each is answer and carried.call.choice is not None:
                choice = carried.call.choice._replace(**found)
                carried.call = replace(carried.call, choice=choice)
                self.amend(carried, choice)
                return


class Policy(Protocol):
    """A way of answering a question by one or several models. It keeps no state of a run."""

    @property
    def kind(self) -> str:
        """Its kind, as in its knobs."""
        ...

    @property
    def models(self) -> tuple[str, ...]:
        """Names of all models that it may ask."""
        ...

    @property
    def digest(self) -> str:
        """Digest of its knobs, 16 hexadecimal digits."""
        ...

    async def answer(self, question: ModelQuestion) -> ReadReply:
        """Return the answer.

        Raises:
            CallError: what ended it instead.
        """
        ...

    def statistics(self) -> Mapping[str, int | float]:
        """Return what it has counted since it was built."""
        ...
