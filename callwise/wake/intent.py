"""The intent of an hour: which agents wake, and why.

The answer is untrusted. An id is taken only where it is exactly that of an agent; everything
else in the list is dropped and counted. Where no call decides, a stated fallback does: it is
never silence.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, WithJsonSchema, create_model

from callwise.calls.call import Call, Message, Purpose, Role
from callwise.safe_text import clipped, shown
from callwise.wake.agents import Agent, Mentions
from callwise.wake.wake_prompts import ChatLine

__all__ = [
    "IntentAnswer",
    "WakeChoice",
    "fallback_choice",
    "intent_call",
    "intent_form",
    "read_intent",
]

MAX_NAMED_IDS = 200
"""Most agents whose ids are in the schema of the answer."""

MAX_REASON_CHARS = 200
"""Longest reason that is kept, in characters."""

_TEXT = WithJsonSchema({"type": "string"})


class _Named(BaseModel):
    agent: Annotated[Any, _TEXT]
    reason: Annotated[Any, _TEXT] = ""


class IntentAnswer(BaseModel):
    """The answer to an intent call. Values in the list may be anything."""

    wake_list: list[_Named]
    everyone: bool = False


@dataclass(frozen=True, slots=True)
class WakeChoice:
    """The agents of a wake.

    Args:
        intent: `answered`, `not asked`, or `fallback: ` and why.
        agents: their ids in the order of the list, each once.
        reasons: why, by id, where something names a reason; in one line. Untrusted.
        dropped: entries of the list that were not taken, counted by why.
        tried: agents that fallbacks have chosen, in this hour and before, and that had no message
            since: the number of the chat's last message then, and the hour.
    """

    intent: str
    agents: tuple[str, ...]
    reasons: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    tried: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return it as JSON, for `from_json`."""
        return orjson.dumps(self).decode()

    @classmethod
    def from_json(cls, text: str, agents: Mapping[str, Agent]) -> "WakeChoice":
        """Return the choice that `to_json` has written, without agents that are there no more."""
        fields = orjson.loads(text)
        ids = tuple(each for each in fields["agents"] if each in agents)
        tried = {name: (last, slot) for name, (last, slot) in fields.get("tried", {}).items()}
        return cls(fields["intent"], ids, fields["reasons"], fields["dropped"], tried)


def intent_form(ids: Sequence[str]) -> type[IntentAnswer]:
    """Return the form of the answer; it names the ids where they are few."""
    if not 0 < len(ids) <= MAX_NAMED_IDS:
        return IntentAnswer
    named = Annotated[Any, WithJsonSchema({"type": "string", "enum": [*ids]})]
    entry = create_model("_Named", __base__=_Named, agent=(named, ...))
    entries = list[entry]
    return create_model("IntentAnswer", __base__=IntentAnswer, wake_list=(entries, ...))


def intent_call(messages: tuple[Message, ...], form: type[IntentAnswer]) -> Call:
    """Return the call. It is asked once: a repair would be a second call of the hour."""
    return Call(
        Role.FAST,
        Purpose.INTENT,
        messages,
        response_model=form,
        max_repairs=0,
        batch_key=None,
    )


def read_intent(
    answer: BaseModel | None, agents: Mapping[str, Agent], max_awake: int | None
) -> WakeChoice:
    """Return the choice of an answer; one without agents where it names none that there is."""
    reasons: dict[str, str] = {}
    dropped: Counter[str] = Counter()
    read = answer if isinstance(answer, IntentAnswer) else IntentAnswer(wake_list=[])
    for entry in read.wake_list:
        if not isinstance(entry.agent, str):
            dropped["not a text"] += 1
        elif entry.agent not in agents:
            dropped["unknown"] += 1
        elif entry.agent in reasons:
            dropped["repeated"] += 1
        else:
            reason = entry.reason if isinstance(entry.reason, str) else ""
            line = " ".join(clipped(reason, MAX_REASON_CHARS).split())
            reasons[entry.agent] = shown(line)
    if read.everyone:
        for agent in agents:
            reasons.setdefault(agent, "")
    return _limited("answered", [*reasons], reasons, dropped, max_awake)


def _limited(
    intent: str,
    ids: Sequence[str],
    reasons: Mapping[str, str],
    dropped: Counter[str],
    max_awake: int | None,
) -> WakeChoice:
    kept = tuple(ids[:max_awake])
    if len(kept) < len(ids):
        dropped["over max_awake"] += len(ids) - len(kept)
    return WakeChoice(intent, kept, {each: reasons[each] for each in kept}, dict(dropped))


def fallback_choice(
    intent: str,
    agents: Mapping[str, Agent],
    *,
    kind: Literal["mentioned", "everyone"],
    mentions: Mentions,
    hour: Sequence[ChatLine],
    last_spoken: Mapping[str, int],
    max_awake: int | None,
    tried: Mapping[str, tuple[int, int]],
    can_pay: Callable[[str], bool],
) -> WakeChoice:
    """Return the agents that wake where no intent call decides.

    Agents that cannot pay are left out, unless none can.

    Args:
        intent: why none does, as `WakeChoice.intent` has it.
        kind: the knob `fallback`.
        mentions: finds agents in a text.
        hour: the chat of the last hour.
        last_spoken: number of the last message of each author, larger for later ones.
        tried: see `WakeChoice`. One that was tried comes after one that has spoken since.
        can_pay: returns whether an agent has the credits of a message.
    """
    if kind == "everyone":
        ids, reason = [*agents], ""
    else:
        found = {agent for _, text in hour for agent in mentions.find(text)}
        ids, reason = [each for each in agents if each in found and can_pay(each)], "mentioned"
        if not ids:
            order = sorted(
                agents,
                key=lambda each: max((last_spoken.get(each, 0), -1), tried.get(each, (0, -1))),
            )
            ids = [next(filter(can_pay, order), order[0])] if order else []
            reason = "has spoken least recently"
    return _limited(intent, ids, dict.fromkeys(ids, reason), Counter(), max_awake)
