"""The simulated model: one pure function from a request body to an answer.

It is neither a client nor a server, and knows neither calls nor HTTP: `SimulatedClient`
puts it behind the client protocol, `server` behind a socket, and both give the same bytes
for the same body, seed and sample index.

Embeddings are hashed letter groups, so that like texts are near: each word adds its
three-letter groups and itself, each run of Chinese its characters and pairs, to one of 256
places, up or down. They are lexical only.
"""

import hashlib
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from callwise.simulator.faults import SeededStream, hashed_int, hashed_normal
from callwise.simulator.fill import fill
from callwise.simulator.forms import MAX_VALUES, Allowance, FormNode, SchemaRefused, compile_schema
from callwise.simulator.judge import JUDGE_CALIBRATION, AnswerOdds, SimulatedJudge, numbers_of
from callwise.simulator.phrases import phrase_book
from callwise.simulator.request import SimulatedRequest, asked_schema, read_material
from callwise.simulator.scene import Scene, compose, fragment_of, render
from callwise.simulator.simulator_settings import SimulatedSettings

__all__ = [
    "EMBEDDING_DIMENSIONS",
    "TOKENS_PER_MESSAGE",
    "SchemaRefused",
    "SimulatedAnswer",
    "SimulatedModel",
    "SimulatedUsage",
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

_MAX_COMPILED = 512
_NOT_CONTENT = ("stream", "stream_options", "seed")
_LOGPROB_FIELDS = ("logprobs", "top_logprobs")


@dataclass(frozen=True, slots=True)
class SimulatedUsage:
    """Tokens by the rule of `tokens.count_tokens`. Nothing is ever cached.

    Args:
        input_tokens: tokens of the request.
        output_tokens: tokens of all its choices.
        cached_tokens: 0.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class SimulatedAnswer:
    """One answer.

    Args:
        text: the text of the first choice; empty when it is a tool call.
        usage: tokens.
        latency_seconds: how long it took, in virtual seconds; nobody waited.
        finish_reason: `stop`, `length` or `tool_calls`.
        choices: all texts when the body asked for `n` > 1; otherwise empty.
        tool_calls: the forced tool call in the OpenAI wire format; otherwise empty.
        odds: of each choice, what its tokens' log-probabilities follow from; empty when
            the body asked for none, and for a tool call.
    """

    text: str
    usage: SimulatedUsage
    latency_seconds: float
    finish_reason: str
    choices: tuple[str, ...] = ()
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    odds: tuple[AnswerOdds, ...] = ()


def simulated_name(model: str) -> str:
    """Return the name under which the simulated model answers for a model."""
    return model if model.startswith("simulated-") else f"simulated-{model}"


def body_digest(body: Mapping[str, Any]) -> str:
    """Return 32 hexadecimal digits that identify a request body.

    Whether the answer is streamed does not change it, and the seed only says which
    sample it is (see `sample_of`), so both are left out.
    """
    body = _without(body, _NOT_CONTENT)
    try:
        data = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        # Lone surrogates are legal in a Python string and illegal in UTF-8.
        data = repr(sorted(body.items())).encode("utf-8", "backslashreplace")
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def sample_of(body: Mapping[str, Any]) -> int | None:
    """Return which sample of an otherwise equal request a body asks for, by its seed."""
    seed = body.get("seed")
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else None


def _without(body: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
    if not any(name in body for name in names):
        return body
    return {name: value for name, value in body.items() if name not in names}


def _asked_logprobs(body: Mapping[str, Any]) -> int | None:
    """Return how many alternatives a token the body asks for, or None for no logprobs."""
    if body.get("logprobs") is not True:
        return None
    top = body.get("top_logprobs")
    return top if isinstance(top, int) and top > 0 else 0


def pieces_of(text: str) -> list[str]:
    """Return the pieces in which a text is streamed."""
    return [text[start : start + PIECE_CHARS] for start in range(0, len(text), PIECE_CHARS)]


def malformed(text: str, number: int) -> str:
    """Return an answer's text as a model spoils it: cut off, in words, or of another form.

    Nothing of it can be read: no field of the answer is whole, or there is none.

    Args:
        text: the whole answer.
        number: which way; any integer.
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


def _filled(scene: Scene, node: FormNode) -> Any:
    """Return content that fits a schema.

    Raises:
        SchemaRefused: when it asks for too much, or for what cannot be.
    """
    try:
        return fill(scene, node)
    except SchemaRefused:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise SchemaRefused(f"nothing fits the schema: {error}") from error


class SimulatedModel:
    """A model that answers from a seed. Pure: no clock, no state that shows.

    Args:
        seed: decides everything; None takes the settings' seed.
        settings: how it answers.
    """

    def __init__(self, seed: int | None = None, settings: SimulatedSettings | None = None) -> None:
        chosen = settings or SimulatedSettings()
        if seed is not None and seed != chosen.seed:
            chosen = chosen.model_copy(update={"seed": seed})
        self.settings = chosen
        self._book = phrase_book(chosen.seed)
        self._judge = SimulatedJudge(chosen.seed, chosen.judge_accuracy, JUDGE_CALIBRATION)
        self._compiled: dict[bytes, FormNode] = {}

    def true_quality(self, text: str) -> float:
        """Return the hidden true quality of a reply under this seed."""
        return self._book.read(text).quality

    def answer(
        self, body: Mapping[str, Any], sample: int = 0, *, digest: str | None = None
    ) -> SimulatedAnswer:
        """Return the answer to a chat completion body.

        Args:
            body: as an OpenAI-compatible endpoint would receive it.
            sample: which resample of this body; another one draws another answer.
            digest: `body_digest` of the body, where the asker has it already.

        Raises:
            SchemaRefused: when the form is none, or asks for more than is written.
        """
        top = _asked_logprobs(body)
        if top is not None:
            # To ask how sure the answer is does not change it.
            body, digest = _without(body, _LOGPROB_FIELDS), None
        digest = digest or body_digest(body)
        tool = _asked_tool(body)
        schema = (tool.get("parameters") or {"type": "object"}) if tool else asked_schema(body)
        node, schema_bytes = self._node(schema)
        material = read_material(body)
        count = body.get("n") or 1
        allowance = Allowance(MAX_VALUES, "values")
        written = [
            self._write((digest, sample, choice), node, material, top, allowance)
            for choice in range(count)
        ]
        cut = [self._cut(body, text) for text, _ in written]
        texts = tuple(text for text, _ in cut)
        usage = SimulatedUsage(
            input_tokens=prompt_tokens(body, schema_bytes=schema_bytes),
            output_tokens=sum(count_tokens(text) for text in texts),
        )
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

    def embed(self, inputs: list[str]) -> tuple[list[tuple[float, ...]], SimulatedUsage, float]:
        """Return vectors in the order of the inputs, the usage, and the virtual latency."""
        vectors = [embed(text, seed=self.settings.seed) for text in inputs]
        usage = SimulatedUsage(sum(count_tokens(text) for text in inputs), 0)
        digest = body_digest({"input": inputs})
        return vectors, usage, self._latency(digest, 0, usage)

    def _node(self, schema: Mapping[str, Any] | None) -> tuple[FormNode | None, int]:
        """Return the compiled schema and the length of its JSON."""
        if schema is None:
            return None, 0
        data = orjson.dumps(schema)
        node = self._compiled.get(data)
        if node is None:
            if len(self._compiled) >= _MAX_COMPILED:
                self._compiled.clear()
            node = self._compiled[data] = compile_schema(schema)
        return node, len(data)

    def _write(
        self,
        answer: tuple[str, int, int],
        node: FormNode | None,
        material: SimulatedRequest,
        top: int | None,
        allowance: Allowance,
    ) -> tuple[str, AnswerOdds | None]:
        """Return a choice's text, and the odds of its tokens where `top` of them are asked for.

        Args:
            answer: digest of the body, sample and choice.
            node: the form, or None for plain text.
            material: what it is about.
            top: as in `_asked_logprobs`.
            allowance: what all choices together may still write.
        """
        allowance.take()
        draws = SeededStream(hashed_int("answer", self.settings.seed, *answer))
        seed = (self.settings.seed, *answer)
        if node is None:
            draft = compose(self._book, material.language, draws)
            words = fragment_of(material.user_text, material.language, draws)
            text = render(self._book, material.language, draft, words)
            return text, None if top is None else AnswerOdds(top, seed)
        scene = Scene(
            settings=self.settings,
            book=self._book,
            judge=self._judge,
            material=material,
            draws=draws,
            keeps_levels=top is not None,
            allowance=allowance,
        )
        content = _filled(scene, node)
        if top is None:
            return orjson.dumps(content).decode(), None
        odds = AnswerOdds(top, seed, tuple(numbers_of(content)))
        return orjson.dumps(content, default=float).decode(), odds

    def _cut(self, body: Mapping[str, Any], text: str) -> tuple[str, bool]:
        """Return the text as `stop` and the token limit leave it, and whether the limit cut."""
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

    def _latency(self, digest: str, sample: int, usage: SimulatedUsage) -> float:
        settings = self.settings
        middle = (
            settings.latency_base_seconds
            + usage.input_tokens * settings.latency_seconds_per_input_token
            + usage.output_tokens * settings.latency_seconds_per_output_token
        )
        noise = hashed_normal("latency", settings.seed, digest, sample)
        seconds = middle * math.exp(settings.latency_sigma * noise) * settings.latency_scale
        return round(seconds, 6)


TOKENS_PER_MESSAGE = 4
"""What each chat message costs on top of its text."""

_TOKENS_PER_WIDE = 0.8
_TOKENS_PER_NARROW = 0.25


def count_tokens(text: str) -> int:
    """Return the tokens of a text: 0.25 a Latin character, 0.8 a Chinese one, rounded up.

    The script is told by UTF-8 length: a character of one byte is narrow, of three
    bytes wide, of two bytes half of each, and an emoji counts as one and a half wide.
    A rule, not a tokenizer: deterministic, without tables, and near to what current
    tokenizers count for plain text in both languages.
    """
    characters = len(text)
    if text.isascii():
        return -int(-characters * _TOKENS_PER_NARROW // 1)
    wide = (len(text.encode("utf-8", "surrogatepass")) - characters) / 2
    narrow = max(characters - wide, 0.0)
    return -int(-(wide * _TOKENS_PER_WIDE + narrow * _TOKENS_PER_NARROW) // 1)


def prompt_tokens(body: Mapping[str, Any], *, schema_bytes: int = 0) -> int:
    """Return the tokens of a chat request: messages, tools and response schema.

    Args:
        body: a chat body in the OpenAI format.
        schema_bytes: length of the response schema as JSON; endpoints put it into
            the prompt.
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

    Args:
        text: the text; what follows the first 8,000 characters is not read.
        seed: another seed uses other places, so vectors of two seeds do not compare.
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
