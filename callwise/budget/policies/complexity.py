"""Complexity of a request, from 0 to 1: a pure function of the call, with the parts that it is of.

The parts are what document 004 names: length of the input, kind of task, context (messages, tools,
the form of the answer), and time of earlier work, which is that of the table and no clock's.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import orjson
from pydantic import BaseModel

from callwise.calls.call import Call, Purpose
from callwise.calls.policies import ComplexityKnobs
from callwise.calls.schema import response_schema

__all__ = ["TASKS", "Complexity", "complexity_of", "prompt_tokens"]

TASKS: Mapping[Purpose, float] = {
    Purpose.DETECT: 0.2,
    Purpose.CHECK: 0.2,
    Purpose.INTENT: 0.2,
    Purpose.RETRIEVE: 0.2,
    Purpose.HUMANIZE: 0.3,
    Purpose.RERANK: 0.3,
    Purpose.EVOLVE: 0.4,
    Purpose.REMEMBER: 0.4,
    Purpose.SUMMARIZE: 0.4,
    Purpose.MONOLOGUE: 0.5,
    Purpose.EXPAND: 0.6,
    Purpose.JUDGE: 0.6,
    Purpose.REASON: 0.8,
    Purpose.REFEREE: 0.8,
    Purpose.PLAN: 0.9,
    Purpose.FUSE: 0.9,
}
"""Part `task` by purpose: from classifying over writing to reasoning and several tasks in one. A
convention, not a measurement. `other` has none: its task is not known."""

BYTES_PER_TOKEN = 4
"""UTF-8 bytes of a prompt for each token: a rule of thumb for English, and within a third for
Chinese. A token count proper would take as long as the whole decision may."""


class Complexity(NamedTuple):
    """Complexity of one request.

    Args:
        value: weighted mean of the known parts, in [0, 1], to 4 decimals.
        parts: name, part in [0, 1] and weight of each known one.
    """

    value: float
    parts: tuple[tuple[str, float, float], ...]

    def explain(self, max_parts: int | None = None) -> str:
        """Return the value and its parts, those that add most to it first; None gives all."""
        most = sorted(self.parts, key=_added, reverse=True)[:max_parts]
        return f"complexity {self.value:.2f} ({', '.join([f'{n} {p:.2f}' for n, p, _ in most])})"


def _added(part: tuple[str, float, float]) -> float:
    return part[1] * part[2]


def prompt_tokens(call: Call) -> int:
    """Return the number of tokens of a prompt, about, by its bytes."""
    size = 0
    for message in call.messages:
        text = message.content
        size += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return size // BYTES_PER_TOKEN


@lru_cache(maxsize=256)
def _schema_bytes(model: type[BaseModel]) -> int:
    return len(orjson.dumps(response_schema(model)))


def complexity_of(
    call: Call,
    knobs: ComplexityKnobs,
    *,
    full_tokens: int,
    seconds: float | None = None,
    tokens: int | None = None,
) -> Complexity:
    """Return the complexity of a chat call.

    Args:
        full_tokens: length of a prompt that counts as 1, where `knobs` have none.
        seconds: mean time of earlier work of its kind; None: not known.
        tokens: those of the prompt; None counts them.
    """
    tokens = prompt_tokens(call) if tokens is None else tokens
    form_bytes = len(orjson.dumps(call.tools, default=dict)) if call.tools else 0
    if call.response_model is not None:
        form_bytes += _schema_bytes(call.response_model)
    known = [
        ("length", tokens / (knobs.full_tokens or full_tokens), knobs.length),
        ("messages", (len(call.messages) + len(call.tools)) / knobs.full_messages, knobs.messages),
        ("form", form_bytes / knobs.full_form_bytes, knobs.form),
    ]
    task = TASKS.get(call.purpose)
    if task is not None:
        known.append(("task", task, knobs.task))
    if seconds is not None:
        known.append(("seconds", seconds / knobs.full_seconds, knobs.seconds))
    weighted = weight_sum = 0.0
    parts = []
    for name, part, weight in known:
        if weight:
            part = min(part, 1.0)  # noqa: PLW2901 - a part ends at 1
            parts.append((name, part, weight))
            weighted += part * weight
            weight_sum += weight
    return Complexity(round(weighted / weight_sum, 4) if weight_sum else 0.0, tuple(parts))
