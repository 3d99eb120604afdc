"""What one call is: the question a node puts to a model, before anyone answers it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel

from turnwise.calls.listener import Listener
from turnwise.calls.vocabulary import Purpose, Role

__all__ = ["MAX_TOP_LOGPROBS", "Call", "HoldBack", "Message", "Origin", "Sampling"]

MAX_TOP_LOGPROBS = 20
"""Most likely tokens that an OpenAI-compatible endpoint tells at one place."""


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message.

    Args:
        role: who speaks, in the words of the OpenAI chat format.
        content: its text. Untrusted; never evaluated, never markup.
        tool_calls: tool calls of an assistant message, in the OpenAI wire format.
        tool_call_id: for a `tool` message, the tool call that it answers.
        name: speaker's name where the wire format has one.
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
        stop: strings that end the answer.
        n: answers per request; at least 1.
        reasoning_effort: for models that think before they answer.
        top_logprobs: how many likely tokens to tell at each place of the answer, with
            their log-probabilities, in [0, 20]; 0 tells those of the chosen tokens only.
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
    """Where a program that opens no scopes of its own asks a call. Not part of its identity.

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


@dataclass(frozen=True, slots=True)
class Call:
    """One time that someone wants an answer from a model, chat or embedding.

    A call that asks for k candidates in one answer is one call.

    Args:
        role: which model serves it.
        purpose: what for.
        messages: the chat, oldest first; empty for an embedding call.
        inputs: texts to embed; empty for a chat call.
        response_model: a pydantic model that the answer must fit, or None for text.
        sampling: parameters that shape the answer.
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
        lease: name of the lease this call may draw on, when its scope holds one.
        max_repairs: how many times an answer that does not fit may be asked again.
        timeout_seconds: longest wait for one attempt; None leaves the client's own.
            Not part of the call's identity.
        stream: fetch the answer as a stream; the same answer, so not identity.
        unkeyed_body: further fields of the request body that do not change the answer, such
            as `user` and `metadata`: sent, and not part of the call's identity.
        held_back: what to hold back for a later call while this one is asked.
        listener: who is told of its pieces and its end. Not part of the call's identity.
        note: what its ledger row notes of it. Not part of the call's identity.
        origin: where a program that opens no scopes asks it; None where scopes say it.
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

    def __post_init__(self) -> None:
        """Refuse a call that is neither chat nor embedding, or both."""
        if bool(self.messages) == bool(self.inputs):
            raise ValueError(
                "a Call has either messages (chat) or inputs (embedding): "
                f"got {len(self.messages)} messages and {len(self.inputs)} inputs"
            )
        if self.sampling.n < 1:
            raise ValueError(f"Sampling.n is at least 1, got {self.sampling.n}")

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
