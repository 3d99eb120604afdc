"""A call: the question that a node puts to a model, its outcome, and its listener.

A listener travels with a call and is no part of its identity. The client feeds it the
pieces of a streamed answer; the budgeter reports how each asking ended, the repairs of an
answer included. Both may happen in another thread than the caller's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from math import isnan
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel

from callwise.calls.choice import Choice
from callwise.calls.pieces import Piece
from callwise.calls.reply import ReportedUsage

__all__ = [
    "Call",
    "CallEnd",
    "HoldBack",
    "Listener",
    "Message",
    "Origin",
    "Outcome",
    "Priority",
    "Purpose",
    "Role",
    "Sampling",
    "as_priority",
]


class _Word(StrEnum):
    """A word that is hashed as the string it is: it keys every count of the hot path."""

    __hash__ = str.__hash__


WordT = TypeVar("WordT", bound=_Word)


class Role(_Word):
    """Role of the model that serves a call."""

    MAIN = "main"
    JUDGE = "judge"
    FAST = "fast"
    EMBED = "embed"


class Purpose(_Word):
    """Purpose of a call. Shown in every ledger, plan and plot."""

    DETECT = "detect"
    MONOLOGUE = "monologue"
    REASON = "reason"
    PLAN = "plan"
    EXPAND = "expand"
    JUDGE = "judge"
    CHECK = "check"
    HUMANIZE = "humanize"
    EVOLVE = "evolve"
    REMEMBER = "remember"
    INTENT = "intent"
    FUSE = "fuse"
    EMBED = "embed"
    RETRIEVE = "retrieve"
    """Search in a store of vectors that a model or a service answers."""
    SUMMARIZE = "summarize"
    RERANK = "rerank"
    REFEREE = "referee"
    """Judging a reply from outside, after the fact. Never part of a turn."""
    OTHER = "other"
    """A call of another application that does not name its purpose."""


class Priority(IntEnum):
    """Class of urgency of a call. A smaller number goes ahead."""

    CRITICAL = 0
    """A person waits for it now."""
    HIGH = 1
    NORMAL = 2
    LOW = 3
    """May wait for long."""
    BACKGROUND = 4
    """May wait for hours: work offline."""


class Outcome(_Word):
    """Outcome of a call. Each call ends in exactly one of these."""

    SERVED = "served"
    CACHED = "cached"
    COALESCED = "coalesced"
    REPLAYED = "replayed"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"


class CallEnd(NamedTuple):
    """End of one asking of a call.

    Args:
        billed: tokens that this asking was billed, by its ledger row; those of a cached,
            coalesced or replayed one are 0.
        turn_tool_calls: tool calls that models have asked for in its turn so far; None
            outside of a turn.
    """

    sequence: int
    outcome: Outcome
    model: str
    billed: ReportedUsage
    turn_tool_calls: int | None = None


class Listener(Protocol):
    """Callbacks of one call."""

    def on_piece(self, piece: Piece) -> None:
        """Take a piece of the answer, in order. Must not raise."""

    def on_end(self, end: CallEnd) -> None:
        """Take how an asking ended, before its answer is returned. Must not raise."""


MAX_TOP_LOGPROBS = 20
"""Most alternatives per token that an OpenAI-compatible endpoint returns."""


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message.

    Args:
        content: its text. Untrusted; never evaluated, never markup.
        tool_calls: tool calls of an assistant message, in the OpenAI wire format.
        parts: all content parts in the OpenAI wire format, where some are not text (images,
            audio, files); empty for text alone. `content` is the text among them.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    parts: tuple[Mapping[str, Any], ...] = ()

    def followed_by(self, other: "Message") -> "Message":
        """Return this message with another's content as a further paragraph."""
        content = "\n\n".join(filter(None, (self.content, other.content)))
        parts: tuple[Mapping[str, Any], ...] = ()
        if self.parts or other.parts:
            parts = tuple(
                part
                for each in (self, other)
                for part in each.parts or ({"type": "text", "text": each.content},)
                if part.get("type") != "text" or part.get("text")
            )
        return replace(self, content=content, parts=parts)


@dataclass(frozen=True, slots=True)
class Sampling:
    """The parameters that shape an answer. `None` leaves the endpoint's default.

    Args:
        temperature: 0 is greedy; usual range [0, 2].
        top_p: nucleus mass in (0, 1].
        max_tokens: most output tokens; also what is reserved for the output.
        seed: the endpoint's own sampling seed, where it honours one. A resample is sent
            this plus its index, so that no two samples are one request.
        n: answers per request; at least 1.
        top_logprobs: how many likely tokens to return per place of the answer, with
            their log-probabilities, in [0, 20]; 0 returns the chosen tokens only.
            None asks for none, and leaves the call's identity as it was. They come as
            `Reply.token_logprobs`, where the endpoint gives them; one that refuses the
            parameter is not sent it again. An endpoint of kind `langchain` is not asked
            for them.
        presence_penalty: usual range [-2, 2].
        frequency_penalty: usual range [-2, 2].
        extra_body: further fields of the request body, for what an endpoint has of its
            own; JSON values. They go before the fields above.

    Raises:
        ValueError: when `top_logprobs` is out of its range.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    reasoning_effort: str | None = None
    top_logprobs: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a number of tokens that no endpoint takes."""
        if self.top_logprobs is not None and not 0 <= self.top_logprobs <= MAX_TOP_LOGPROBS:
            raise ValueError(
                f"Sampling.top_logprobs is in [0, {MAX_TOP_LOGPROBS}], or None for none; "
                f"got {self.top_logprobs}"
            )


@dataclass(frozen=True, slots=True)
class Origin:
    """Place in a program without scopes that asks a call. Not part of the call's identity.

    Args:
        node: its node, after those of the graphs and tools around it, such as
            `researcher/model`; empty outside of a node.
        task: what distinguishes tasks of one node that run side by side; empty where nothing
            has to.
        step: the steps of its graphs, the outermost first: `3.1-2` is task 1 of step 3, and
            step 2 of the graph inside. Empty outside of a node.
    """

    node: str = ""
    task: str = ""
    step: str = ""


_TIMES = ("timeout_seconds", "deadline_seconds")
"""Fields of a call that are times, and have no meaning as NaN."""


def _word(name: str, words: type[WordT], given: str) -> WordT:
    """Return the role or the purpose of a text.

    Raises:
        ValueError: when there is no such one; names those there are.
    """
    try:
        return words(given)
    except ValueError:
        known = ", ".join(words)
        raise ValueError(f"Call.{name} is one of {known}; got {given!r:.40}") from None


@dataclass(frozen=True, slots=True)
class Call:
    """One time that an answer of a model is wanted, chat or embedding.

    A call that asks for k candidates in one answer is one call.

    Args:
        messages: the chat, oldest first; empty for an embedding call.
        inputs: texts to embed; empty for a chat call.
        tools: tool definitions in the OpenAI wire format.
        tool_choice: which tool the model may or must call, in the OpenAI wire format.
        sample: which resample of an otherwise equal call this is. Starts at 0.
            Two calls that differ only here are never merged: the third resample
            is not the first.
        share: whether equal calls may be answered once, in flight and from the cache. None
            merges those whose answers are meant to be equal: embeddings, and a temperature
            of 0. Not part of the call's identity; repairs follow the call.
        repair: how many times this question has been asked again because its
            answer did not fit `response_model`. 0 for the first asking.
        speculative: asked before it was known to be needed (a prefetch).
        lease: name of the lease this call may draw on, when its scope has one.
        timeout_seconds: longest wait for one attempt; None leaves the client's own.
            Not part of the call's identity.
        stream: fetch the answer as a stream; the same answer, so not identity.
        unkeyed_body: further fields of the request body that do not change the answer, such
            as `user` and `metadata`: sent, and not part of the call's identity.
        held_back: what to hold back for a later call while this one is asked.
        listener: receives its pieces and its end. Not part of the call's identity.
        note: what its ledger row notes of it. Not part of the call's identity.
        origin: where a program that opens no scopes asks it; None where scopes name it.
        priority: its class of urgency, also by number or name; None takes that of its purpose
            (`calls.kinds`). This and the next four are not part of the call's identity.
        deadline_seconds: time from asking until which an answer is of use; then it is refused,
            or cut. None for none but those of its scopes.
        batch_key: calls with another key never travel in one request; with None, alone always.
        cache_ttl_seconds: time for which its answer is kept for equal calls; None takes that of
            its purpose.
        model: name under which the budgeter has its endpoint; empty for that of its role. Its
            limits are those of its role.
        choice: why this model is asked, where a policy has chosen it; None where none has. Not
            part of the call's identity.
    """

    role: Role
    purpose: Purpose
    messages: tuple[Message, ...] = ()
    inputs: tuple[str, ...] = ()
    response_model: type[BaseModel] | None = None
    sampling: Sampling = Sampling()
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: str | Mapping[str, Any] | None = None
    sample: int = 0
    share: bool | None = None
    repair: int = 0
    speculative: bool = False
    lease: str | None = None
    max_repairs: int = 1
    timeout_seconds: float | None = None
    stream: bool = False
    unkeyed_body: Mapping[str, Any] = field(default_factory=dict)
    held_back: "HoldBack | None" = None
    listener: Listener | None = field(default=None, compare=False, repr=False)
    note: str = ""
    origin: Origin | None = None
    priority: Priority | None = None
    deadline_seconds: float | None = None
    batch_key: str | None = ""
    cache_ttl_seconds: float | None = None
    model: str = ""
    choice: Choice | None = None

    def __post_init__(self) -> None:
        """Refuse a call that is neither chat nor embedding, or both, and values of no meaning."""
        if type(self.role) is not Role or type(self.purpose) is not Purpose:
            object.__setattr__(self, "role", _word("role", Role, self.role))
            object.__setattr__(self, "purpose", _word("purpose", Purpose, self.purpose))
        if bool(self.messages) == bool(self.inputs):
            raise ValueError(
                "a Call has either messages (chat) or inputs (embedding): "
                f"got {len(self.messages)} messages and {len(self.inputs)} inputs"
            )
        if self.sampling.n < 1:
            raise ValueError(f"Sampling.n is at least 1, got {self.sampling.n}")
        if self.priority is not None and type(self.priority) is not Priority:
            object.__setattr__(self, "priority", as_priority(self.priority))
        for name in _TIMES:
            seconds = getattr(self, name)
            if seconds is not None and isnan(seconds):
                raise ValueError(f"Call.{name} is a number of seconds, or None; got nan")

    @property
    def is_embedding(self) -> bool:
        """Whether this asks for vectors instead of text."""
        return bool(self.inputs)

    @property
    def is_shared(self) -> bool:
        """Whether an equal call's answer may be its answer."""
        if self.share is not None:
            return self.share
        sampling = self.sampling
        temperature = sampling.extra_body.get("temperature", sampling.temperature)
        return self.is_embedding or temperature == 0

    def resample(self, sample: int) -> "Call":
        """Return the same question asked as its `sample`-th resample."""
        return replace(self, sample=sample)


def as_priority(given: int | str) -> Priority:
    """Return the class of a number, or of a name such as `critical`.

    Raises:
        ValueError: when there is no such class; names those there are.
    """
    try:
        return Priority[given.upper()] if isinstance(given, str) else Priority(given)
    except (KeyError, ValueError):
        known = ", ".join(f"{each.name} ({each.value})" for each in Priority)
        raise ValueError(f"a priority is one of {known}; got {given!r:.40}") from None


@dataclass(frozen=True, slots=True)
class HoldBack:
    """Capacity that is held back for a later call, in the turn that asks.

    It is renewed by each call that names it, by the estimate of the later call as
    it would be then, until that one draws on it.

    Args:
        call: the later call; its `lease` names what is held back.
        calls: how many such calls may be made in the turn; at least 1.
        seconds: the end of the turn's time to hold back as well.
    """

    call: Call
    calls: int = 1
    seconds: float = 0.0
