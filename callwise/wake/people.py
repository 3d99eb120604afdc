"""Messages of people from a recorded group chat, at their times from the start of a run."""

import re
from collections.abc import Sequence

from callwise.calls.errors import ConfigError
from callwise.recordings.group_chat import GroupChat
from callwise.safe_text import clipped, shown
from callwise.wake.agents import MAX_NAME_CHARS, Agent, Mentions
from callwise.wake.wake_settings import MAX_MESSAGES, SaidLine

__all__ = ["hours_of", "said_lines"]

MAX_SECONDS = 366 * 86_400.0

_PERSON = " (person)"
"""Added to the name of a speaker who has an agent's."""

_ADDRESSED = re.compile(r"\s*@?([^\s:,][^:,\n]{0,63}?)[ \t]*[:,]")
"""Begins a line for one member, as in `name: text` and `name, text`."""


def hours_of(chat: GroupChat, *, every_seconds: float) -> int | None:
    """Return how many wakes a run needs until one comes after its last line.

    None where no line has a time.
    """
    return None if chat.seconds is None else int(chat.seconds // every_seconds) + 2


def said_lines(
    chat: GroupChat, agents: Sequence[Agent], *, hours: int, every_seconds: float
) -> tuple[SaidLine, ...]:
    """Return what people say in a run, in the order of the chat.

    The first line that has a time is said at the start, and the others as much later as they were
    written. A line without a time comes between its neighbours; where no line has one, they are
    spread evenly over the hours until the last wake. A speaker who has an agent's name gets another
    one, and a line that begins with an agent's name and `:` or `,` is for that agent.

    Args:
        hours: wakes of the run, at least 1.

    Raises:
        ConfigError: when the chat is longer than a run can be.
    """
    if len(chat.lines) > MAX_MESSAGES:
        raise ConfigError(
            f"the chat has {len(chat.lines):,} lines; a run takes at most {MAX_MESSAGES:,}. "
            "Split it"
        )
    if chat.seconds is not None and chat.seconds > MAX_SECONDS:
        raise ConfigError(
            f"the chat goes on for {chat.seconds / 86_400:,.0f} days; a run takes at most 366. "
            "Split it"
        )
    mentions = Mentions(agents)
    span = max(hours - 1, 1) * every_seconds
    times = _spread([each.seconds for each in chat.lines], span)
    return tuple(
        SaidLine(
            author=_label(line.author, mentions),
            text=line.text,
            after_seconds=seconds,
            to=_addressed(line.text, mentions),
        )
        for line, seconds in zip(chat.lines, times, strict=True)
    )


def _label(author: str, mentions: Mentions) -> str:
    """Return a speaker's name in one printable line, which is no agent's."""
    name = clipped(" ".join(shown(author).split()), MAX_NAME_CHARS)
    while mentions.is_name(name):
        name = clipped(name, MAX_NAME_CHARS - len(_PERSON)) + _PERSON
    return name


def _addressed(text: str, mentions: Mentions) -> str:
    """Return the agent that a line begins with; empty where it begins with none."""
    found = _ADDRESSED.match(text)
    return found[1] if found is not None and mentions.agent_of(found[1]) else ""


def _spread(times: Sequence[float | None], span: float) -> list[float]:
    """Return times with those that are missing between their neighbours, evenly."""
    known = [(place, at) for place, at in enumerate(times) if at is not None]
    if not known:
        return [span * place / len(times) for place in range(len(times))]
    whole = [0.0] * len(times)
    before, earlier = -1, 0.0
    for place, at in [*known, (len(times), known[-1][1])]:
        for missing in range(before + 1, place):
            share = (missing - before) / (place - before)
            whole[missing] = earlier + (at - earlier) * share
        if place < len(times):
            whole[place] = at
        before, earlier = place, at
    return whole
