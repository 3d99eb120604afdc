"""The interface of a provider's batches: many calls in one submission, answered within a day.

`batch_http` implements it for the providers that are known. Each method is one attempt: what is
tried again, and when, is decided by who keeps the submission.

Invariant: creating a batch is the only request that buys something. Whether it was created can
be found out afterwards: a submission notes the newest batch of the list before it is created, so
that only what is newer needs to be searched.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

from callwise.calls.call import Call
from callwise.calls.errors import CallError
from callwise.calls.reply import Reply

__all__ = [
    "BatchApi",
    "BatchClient",
    "BatchLine",
    "BatchState",
    "LineResult",
    "PayRequest",
    "Submitted",
]

NOT_RUN = frozenset({"batch_expired", "batch_cancelled"})
"""Codes of lines that no model has run, and that are not billed."""

_UNDER_WAY = frozenset({"validating", "in_progress", "finalizing", "cancelling"})

_ENDED = frozenset({"completed", "expired", "cancelled"})

_LIMIT = re.compile(r"token_limit_exceeded|enqueued token limit", re.IGNORECASE)
"""Words of OpenAI where too many tokens wait in batches already."""


class BatchLine(NamedTuple):
    """One call of a batch.

    Args:
        custom_id: names it within its batch; up to 64 letters, digits and `-`.
        body: request body as JSON.
    """

    custom_id: str
    body: bytes


class Submitted(NamedTuple):
    """The facts of a submission before its batch is known.

    Args:
        name: unique; in the metadata of the batch, where there are any.
        path: interface of the lines, as `/chat/completions`.
        marker: id of the newest batch before the creation; empty for none.
        file_id: id of the uploaded file; empty where there is none.
    """

    name: str
    path: str
    model: str
    marker: str
    file_id: str
    line_count: int


class LineResult(NamedTuple):
    """The end of one line.

    Args:
        status: HTTP status of its response; None without one.
        body: the response's body, or the error in its place.
        code: code of an error without a response; empty otherwise.
    """

    custom_id: str
    status: int | None
    body: Any
    code: str = ""

    @property
    def was_run(self) -> bool:
        """Whether a model may have run, so that it may be billed."""
        return self.code not in NOT_RUN


class BatchState(NamedTuple):
    """A batch as its provider reports it.

    Args:
        word: the provider's word for it, as `in_progress`.
        problem: why a failed batch was refused. Untrusted.
        bad_lines: places of the lines that are named as the reason, from 0, each with the reason.
        document: the batch, for its results.
    """

    batch_id: str
    word: str
    problem: str
    bad_lines: Mapping[int, str]
    document: Mapping[str, Any]

    @property
    def refusal(self) -> LineResult:
        """The reason why it was refused, as the result of any of its lines."""
        is_over_limit = _LIMIT.search(self.problem) is not None
        problem = self.problem or f"batch {self.batch_id} was refused"
        return LineResult("", 429 if is_over_limit else 400, {"error": {"message": problem}})

    @property
    def has_failed(self) -> bool:
        """Whether it was refused as a whole: no line was run."""
        return self.word == "failed"

    @property
    def has_ended(self) -> bool:
        """Whether its results are there, all or some."""
        return self.word in _ENDED

    @property
    def is_known(self) -> bool:
        """Whether the word is one that this interface is known to have."""
        return self.has_failed or self.has_ended or self.word in _UNDER_WAY

    @property
    def is_partial(self) -> bool:
        """Whether lines without a result were not run."""
        return self.word in {"expired", "cancelled"}


@runtime_checkable
class BatchClient(Protocol):
    """A client whose endpoint may have a batch interface."""

    @property
    def batch_api(self) -> str:
        """The interface that its host has, as a word of `BATCH_APIS`."""

    def batch_line(self, call: Call, *, model: str) -> tuple[str, dict[str, Any]]:
        """Return the path of a call's interface, and its request body."""

    def batch_answer(
        self, call: Call, body: Mapping[str, Any], result: LineResult
    ) -> Reply | CallError:
        """Return the reply or the error that the result of a line means."""

    async def request(
        self,
        method: str,
        url: str,
        content: bytes = b"",
        *,
        content_type: str,
        timeout_seconds: float,
        max_answer_bytes: int,
        on_sent: Callable[[], None] | None = None,
    ) -> bytes:
        """Return the body of a response whose status means success.

        Args:
            on_sent: called when the request leaves the machine.

        Raises:
            CallError: when there is none, by its class.
        """


PayRequest = Callable[[bool], Callable[[], None]]
"""Pays for a request before it is sent, or raises `CallRefused`; takes whether it may buy
something. What it returns is called when the request leaves, and does nothing when called again."""


class BatchApi(Protocol):
    """The batch interface of one endpoint. Each method is one attempt, and raises `CallError`."""

    max_lines: ClassVar[int]
    """Most lines of a batch."""
    names_batches: ClassVar[bool]
    """Whether its list gives back the names of submissions."""

    def paid_by(self, pay: PayRequest) -> Self:
        """Return the interface with each of its requests, also the pages of a list, paid for."""

    def line_body(self, body: Mapping[str, Any], *, model: str) -> bytes:
        """Return a request body as a line has it, as JSON."""

    async def upload(self, name: str, path: str, lines: Sequence[BatchLine]) -> str:
        """Upload the lines; return the id of their file, empty where nothing is uploaded."""

    async def newest(self) -> str:
        """Return the id of the newest batch; empty for none."""

    async def create(self, submitted: Submitted, lines: Sequence[BatchLine]) -> str:
        """Create the batch and return its id."""

    async def find(self, submitted: Submitted, known: frozenset[str]) -> list[str]:
        """Return the ids of the batches that may be this submission's, oldest first.

        Whether one is shows in its results, where the list does not have it.

        Args:
            known: ids that belong to other submissions.
        """

    async def state(self, batch_id: str) -> BatchState:
        """Return the batch as it is now."""

    async def results(self, state: BatchState) -> list[LineResult]:
        """Return the results of a batch that has ended, in any order."""
