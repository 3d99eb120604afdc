"""What one answer is, and what it used."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

__all__ = ["Reply", "TokenLogprobs", "Usage", "is_simulated_model"]


def is_simulated_model(model: str) -> bool:
    """Return whether a model's own name says that it is simulated.

    The simulated server names itself so in every answer: reached over the network, its
    answers are labelled like those of the model in process.
    """
    return model.startswith("simulated-")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer. `None` means unknown, never 0.

    Args:
        input_tokens: tokens of the prompt, cached ones included.
        output_tokens: tokens of the answer, reasoning included.
        cached_tokens: the part of `input_tokens` that the provider had in its
            prompt cache.
        usd: what the provider says it cost, where it says so; otherwise None,
            and the budgeter prices it from the endpoint's price list.
        reasoning_tokens: the part of `output_tokens` that were thoughts.
        odd: figures that could not be right and how they contradict each other, in a few
            words; empty where nothing is odd. Untrusted. See `turnwise.calls.usage`.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    usd: float | None = None
    reasoning_tokens: int | None = None
    odd: str = ""

    @property
    def total_tokens(self) -> int | None:
        """Input plus output, or None when either is unknown."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """One token of an answer, and what might have stood in its place.

    Args:
        token: its text. Empty where a character is spread over several tokens and this
            is not the last of them.
        logprob: natural logarithm of its probability; finite.
        alternatives: the likeliest tokens at this place as (text, logprob), as the
            endpoint orders them, the chosen one among them if it is likely enough.
    """

    token: str
    logprob: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer to one call.

    Args:
        text: the answer's text; of several choices the first with anything in it.
        choices: all choices' texts, in order; empty when there is only one.
        parsed: the answer as `Call.response_model`, set by the budgeter.
        vectors: embeddings, one a text of `Call.inputs`, in order.
        tool_calls: tool calls of the answer, in the OpenAI wire format.
        usage: tokens and cost.
        model: the model that answered, as it names itself.
        finish_reason: why the answer ended, in the provider's words.
        latency_seconds: time of the answering attempt; virtual when simulated.
        chunks: the texts of a streamed answer, in order; empty otherwise.
        is_simulated: whether a simulated model wrote this.
        token_logprobs: the tokens of the answer, of its first choice when the call asked
            for n > 1, in order. Empty when none were asked for, or the endpoint gave
            none. What a provider counts or strips apart from the text (an end token, a
            thought) may stand among them.
        reasoning_text: what the model thought before it answered, where the endpoint
            tells it apart from the answer. Untrusted.
        system_fingerprint: the provider's name for the configuration that answered.
    """

    text: str
    choices: tuple[str, ...] = ()
    parsed: BaseModel | None = None
    vectors: tuple[tuple[float, ...], ...] = ()
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    usage: Usage = Usage()
    model: str = ""
    finish_reason: str | None = None
    latency_seconds: float = 0.0
    chunks: tuple[str, ...] = ()
    is_simulated: bool = False
    token_logprobs: tuple[TokenLogprobs, ...] = ()
    reasoning_text: str = ""
    system_fingerprint: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether it carries nothing: no text, no tool call, no vector."""
        return not (self.text.strip() or self.tool_calls or self.vectors)
