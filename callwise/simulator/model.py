"""The simulated model: one pure function from a request body to an answer.

`SimulatedClient` puts it behind the client protocol, `server` behind a socket, and both give
the same bytes for the same body, seed and sample index.

Embeddings are hashed letter groups, so that like texts are near: each word adds its
three-letter groups and itself, each run of Chinese its characters and pairs, to one of 256
places, up or down. They are lexical only.
"""

import hashlib
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import orjson

from callwise.calls.reply import ReportedUsage
from callwise.simulator.faults import SeededStream, hashed_int, hashed_normal
from callwise.simulator.fill import fill
from callwise.simulator.forms import MAX_VALUES, Allowance, FormNode, SchemaRefused, compile_schema
from callwise.simulator.judge import AnswerOdds, SimulatedJudge, numbers_of
from callwise.simulator.message import read_message
from callwise.simulator.phrases import weighted_phrases
from callwise.simulator.request import SimulatedRequest, asked_schema, read_material
from callwise.simulator.scene import Scene, compose, render
from callwise.simulator.simulator_settings import SimulatedSettings

__all__ = [
    "EMBEDDING_DIMENSIONS",
    "TOKENS_PER_MESSAGE",
    "SchemaRefused",
    "SimulatedAnswer",
    "SimulatedModel",
    "body_digest",
    "count_tokens",
    "embed",
    "malformed",
    "pieces_of",
    "prompt_tokens",
    "sample_of",
    "simulated_name",
]

PIECE_CHARS = 12
"""Length of the pieces of a streamed answer."""

_NOT_CONTENT = ("stream", "stream_options", "seed")
_LOGPROB_FIELDS = ("logprobs", "top_logprobs")


@dataclass(frozen=True, slots=True)
class SimulatedAnswer:
    """One answer.

    Args:
        text: of the first choice; empty when it is a tool call.
        usage: tokens by the rule of `count_tokens`, of all choices. None are cached.
        latency_seconds: virtual; no time passes.
        finish_reason: `stop`, `length` or `tool_calls`.
        choices: all texts when the body asked for `n` > 1; otherwise empty.
        tool_calls: the forced tool call in the OpenAI wire format; otherwise empty.
        odds: of each choice, the source of its log-probabilities; empty when the body asked
            for none, and for a tool call.
    """

    text: str
    usage: ReportedUsage
    latency_seconds: float
    finish_reason: str
    choices: tuple[str, ...] = ()
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    odds: tuple[AnswerOdds, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of all choices."""
        return self.choices or (self.text,)

    def spoilt(self, digest: str) -> "SimulatedAnswer":
        """Return the answer with its first text malformed, in a way that the digest decides."""
        text = malformed(self.text, int(digest[:4], 16))
        return replace(self, text=text, choices=(text, *self.choices[1:]) if self.choices else ())


def simulated_name(model: str) -> str:
    """Return the name under which the simulated model answers for a model."""
    return model if model.startswith("simulated-") else f"simulated-{model}"


def body_digest(body: Mapping[str, Any]) -> str:
    """Return 32 hexadecimal digits that identify a request body.

    Streaming does not change an answer, and the seed is only the index of the sample (see
    `sample_of`), so both are left out.
    """
    body = _without(body, _NOT_CONTENT)
    try:
        data = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        # Lone surrogates are legal in a Python string and illegal in UTF-8.
        data = repr(sorted(body.items())).encode("utf-8", "backslashreplace")
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def sample_of(body: Mapping[str, Any]) -> int | None:
    """Return the index of the sample that a body asks for: its seed, or None."""
    seed = body.get("seed")
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else None


def _without(body: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
    if not any(name in body for name in names):
        return body
    return {name: value for name, value in body.items() if name not in names}


def _asked_logprobs(body: Mapping[str, Any]) -> int | None:
    """Return the number of alternatives per token that a body asks for, or None for no logprobs."""
    if body.get("logprobs") is not True:
        return None
    top = body.get("top_logprobs")
    return top if isinstance(top, int) and top > 0 else 0


def pieces_of(text: str) -> list[str]:
    """Return the pieces in which a text is streamed."""
    return [text[start : start + PIECE_CHARS] for start in range(0, len(text), PIECE_CHARS)]


def malformed(text: str, number: int) -> str:
    """Return an answer's text spoilt in one of three ways: cut off, plain text, another form.

    No field of the answer can be read. `number` decides the way; any integer.
    """
    ways = (
        text[: text.find(":") + 2] or "{",
        "Sorry, I would rather put it in my own words than as data.",
        '{"apology": "I would rather put it in my own words than as data."}',
    )
    return ways[number % len(ways)]


def _asked_tool(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the function of the tool that the body forces, or None."""
    tools = [tool.get("function") for tool in body.get("tools") or () if isinstance(tool, Mapping)]
    functions = [function for function in tools if isinstance(function, Mapping)]
    choice = body.get("tool_choice")
    if choice in ("required", "any"):
        return functions[0] if functions else None
    if isinstance(choice, Mapping):
        wanted = (choice.get("function") or {}).get("name")
        return next((f for f in functions if f.get("name") == wanted), None)
    return None


def _tool_call(tool: Mapping[str, Any], arguments: str, digest: str) -> dict[str, Any]:
    function = {"name": tool.get("name"), "arguments": arguments}
    return {"id": f"call_{digest[:12]}", "type": "function", "function": function}


class SimulatedModel:
    """A model that answers from a seed: a pure function, without a clock.

    Args:
        seed: decides everything; None takes the settings' seed.
        settings: of the answers.
    """

    def __init__(self, seed: int | None = None, settings: SimulatedSettings | None = None) -> None:
        chosen = settings or SimulatedSettings()
        if seed is not None and seed != chosen.seed:
            chosen = chosen.model_copy(update={"seed": seed})
        self.settings = chosen
        self._phrases = weighted_phrases(chosen.seed)
        self._judge = SimulatedJudge(chosen.seed, chosen.judge_accuracy)
        self._compiled = lru_cache(maxsize=128)(_compiled)

    def true_quality(self, text: str) -> float:
        """Return the hidden true quality of a reply under this seed."""
        return self._phrases.read(text).quality

    def answer(
        self, body: Mapping[str, Any], sample: int = 0, *, digest: str | None = None
    ) -> SimulatedAnswer:
        """Return the answer to a chat completion body.

        Args:
            body: as an OpenAI-compatible endpoint would receive it.
            sample: index of the sample; another one draws another answer.
            digest: `body_digest` of the body, if known already.

        Raises:
            SchemaRefused: when the schema is none, or asks for more than can be written.
        """
        top = _asked_logprobs(body)
        if top is not None:
            # Log-probabilities do not change the answer.
            body, digest = _without(body, _LOGPROB_FIELDS), None
        digest = digest or body_digest(body)
        tool = _asked_tool(body)
        schema = (tool.get("parameters") or {"type": "object"}) if tool else asked_schema(body)
        data = b"" if schema is None else orjson.dumps(schema)
        node = None if schema is None else self._compiled(data)
        material = read_material(body)
        allowance = Allowance(MAX_VALUES, "values")
        written = [
            self._write((digest, sample, choice), node, material, top, allowance)
            for choice in range(body.get("n") or 1)
        ]
        cut = [_cut(body, text) for text, _ in written]
        texts = tuple(text for text, _ in cut)
        input_tokens = prompt_tokens(body, schema_bytes=len(data))
        usage = _usage(input_tokens, sum(map(count_tokens, texts)))
        latency = self._latency(digest, sample, usage)
        if tool is not None:
            called = (_tool_call(tool, texts[0], digest),)
            return SimulatedAnswer("", usage, latency, "tool_calls", tool_calls=called)
        reason = "length" if any(was_cut for _, was_cut in cut) else "stop"
        return SimulatedAnswer(
            texts[0],
            usage,
            latency,
            reason,
            choices=texts if len(texts) > 1 else (),
            odds=tuple(odds for _, odds in written if odds is not None),
        )

    def embed(self, inputs: list[str]) -> tuple[list[tuple[float, ...]], ReportedUsage, float]:
        """Return vectors in the order of the inputs, the usage, and the virtual latency."""
        vectors = [embed(text, seed=self.settings.seed) for text in inputs]
        usage = _usage(sum(map(count_tokens, inputs)), 0)
        return vectors, usage, self._latency(body_digest({"input": inputs}), 0, usage)

    def _write(
        self,
        answer: tuple[str, int, int],
        node: FormNode | None,
        material: SimulatedRequest,
        top: int | None,
        allowance: Allowance,
    ) -> tuple[str, AnswerOdds | None]:
        """Return the text of a choice (digest, sample, number), and its odds if `top` is not None.

        Without a form, `node`, it is plain text. The allowance is of all choices together.
        """
        allowance.take()
        draws = SeededStream(hashed_int("answer", self.settings.seed, *answer))
        seed = (self.settings.seed, *answer)
        if node is None:
            message = read_message(material.user_text, material.language)
            slots = self._phrases.slots[material.language][message.kind]
            draft = compose(slots, draws)
            text = render(slots, draft, draws.pick(message.topics) if message.topics else None)
            return text, None if top is None else AnswerOdds(top, seed)
        scene = Scene(
            settings=self.settings,
            phrases=self._phrases,
            judge=self._judge,
            material=material,
            draws=draws,
            allowance=allowance,
            keeps_levels=top is not None,
        )
        try:
            content = fill(scene, node)
            text = orjson.dumps(content, default=None if top is None else float).decode()
        except SchemaRefused:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise SchemaRefused(f"no answer fits the schema: {error}") from error
        if top is None:
            return text, None
        return text, AnswerOdds(top, seed, tuple(numbers_of(content)))

    def _latency(self, digest: str, sample: int, usage: ReportedUsage) -> float:
        settings = self.settings
        middle = (
            settings.latency_base_seconds
            + (usage.input_tokens or 0) * settings.latency_seconds_per_input_token
            + (usage.output_tokens or 0) * settings.latency_seconds_per_output_token
        )
        noise = hashed_normal("latency", settings.seed, digest, sample)
        seconds = middle * math.exp(settings.latency_sigma * noise) * settings.latency_scale
        return round(seconds, 6)


def _compiled(schema: bytes) -> FormNode:
    return compile_schema(orjson.loads(schema))


def _usage(input_tokens: int, output_tokens: int) -> ReportedUsage:
    return ReportedUsage(input_tokens, output_tokens, cached_tokens=0)


def _cut(body: Mapping[str, Any], text: str) -> tuple[str, bool]:
    """Return the text up to `stop` and the token limit, and whether the limit cut it."""
    stops = body.get("stop") or ()
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.partition(stop)[0] if stop else text
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    tokens = count_tokens(text)
    if not most or tokens <= most:
        return text, False
    while text and (tokens := count_tokens(text)) > most:
        text = text[: min(len(text) * most // tokens, len(text) - 1)]
    return text, True


TOKENS_PER_MESSAGE = 4
"""Tokens of a chat message on top of its text."""

_TOKENS_PER_WIDE = 0.8
_TOKENS_PER_NARROW = 0.25


def count_tokens(text: str) -> int:
    """Return the tokens of a text: 0.25 per Latin character, 0.8 per Chinese one, rounded up.

    The script follows from the UTF-8 length: a character of one byte is narrow, of three
    bytes wide, of two bytes half of each, and an emoji counts as one and a half wide.
    A rule, not a tokenizer: deterministic, without tables, and near to current
    tokenizers for plain text in both languages.
    """
    characters = len(text)
    if text.isascii():
        return -int(-characters * _TOKENS_PER_NARROW // 1)
    wide = (len(text.encode("utf-8", "surrogatepass")) - characters) / 2
    narrow = max(characters - wide, 0.0)
    return -int(-(wide * _TOKENS_PER_WIDE + narrow * _TOKENS_PER_NARROW) // 1)


def prompt_tokens(body: Mapping[str, Any], *, schema_bytes: int = 0) -> int:
    """Return the tokens of a chat request: messages, tools and response schema.

    `schema_bytes` is the length of the response schema as JSON; endpoints put it into the prompt.
    """
    tokens = -(-schema_bytes // 4)
    for message in body.get("messages") or ():
        content = message.get("content")
        tokens += TOKENS_PER_MESSAGE
        if isinstance(content, str):
            tokens += count_tokens(content)
        elif content is not None:
            tokens += -(-len(orjson.dumps(content)) // 4)
    if body.get("tools"):
        tokens += -(-len(orjson.dumps(body["tools"])) // 4)
    return tokens


EMBEDDING_DIMENSIONS = 256

_MAX_CHARS = 8000
_RUNS = re.compile(r"[a-z0-9]+|[^\W\x00-\x7f]+")
_MIX = 0x9E3779B1


def _groups(text: str) -> list[str]:
    groups: list[str] = []
    for run in _RUNS.findall(text[:_MAX_CHARS].lower()):
        if run.isascii():
            padded = f" {run} "
            groups.append(run)
            groups.extend(padded[start : start + 3] for start in range(len(padded) - 2))
        else:
            groups.extend(run)
            groups.extend(run[start : start + 2] for start in range(len(run) - 1))
    return groups


def embed(text: str, *, seed: int = 0) -> tuple[float, ...]:
    """Return a vector of unit length, shape [256]; texts that share letters are near.

    Only the first 8,000 characters are read. Vectors of two seeds do not compare: each seed
    uses other places.
    """
    vector = [0.0] * EMBEDDING_DIMENSIONS
    start = seed & 0xFFFFFFFF
    for group in _groups(text):
        # The product spreads the checksum, whose own bits are linear in the letters.
        mixed = (zlib.crc32(group.encode("utf-8", "surrogatepass"), start) * _MIX) & 0xFFFFFFFF
        vector[mixed >> 24] += 1.0 if mixed & 0x800000 else -1.0
    length = math.sqrt(math.fsum(value * value for value in vector))
    if length == 0.0:
        vector[0] = length = 1.0
    return tuple(round(value / length, 7) for value in vector)
