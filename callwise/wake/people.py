"""Messages of people from a recorded group chat, at their times from the start of a run."""

import re
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from callwise.calls.errors import ConfigError
from callwise.recordings.group_chat import GroupChat, read_group_chat
from callwise.safe_text import clipped, shown
from callwise.wake.agents import MAX_NAME_CHARS, Agent, Mentions
from callwise.wake.wake_settings import MAX_MESSAGES, SaidLine, WakeSettings

__all__ = ["hours_of", "late_lines", "said_lines", "with_chat"]

MAX_SECONDS = 366 * 86_400.0

SPREAD_HOURS = 24
"""Hours over which lines without times are spread in a run without an end."""

_ADDRESSED = re.compile(r"\s*@?([^\s:,][^:,\n]{0,63}?)[ \t]*[:,]")
"""Begins a line for one member, as in `name: text` and `name, text`."""


def hours_of(chat: GroupChat, *, every_seconds: float) -> int | None:
    """Return how many wakes a run needs until one comes after its last line.

    None where no line has a time.
    """
    return None if chat.seconds is None else int(chat.seconds // every_seconds) + 2


def with_chat(
    settings: WakeSettings,
    path: Path,
    *,
    given: int | None,
    hours: int | None,
    notify: Callable[[str], None],
) -> tuple[WakeSettings, int | None]:
    """Return settings with the messages of a recorded chat, and the hours of the run.

    Args:
        given: hours that the user has named; None takes as many as a chat with times needs.
        hours: hours of a run without the chat; None for no end.
        notify: called with each kind of line that is left out or changed, and how many.

    Raises:
        ConfigError: when the chat is longer than a run can be.
        FormatError: when the file cannot be read, or has no chat.
    """
    chat, every = read_group_chat(path), settings.wake.every_seconds
    if given is None and hours is not None:
        hours = hours_of(chat, every_seconds=every) or hours
    lines = said_lines(chat, settings.agents, hours=hours or SPREAD_HOURS, every_seconds=every)
    for what, number in chat.left_out.items():
        notify(f"{path.name}: {number:,} x {what}")
    return settings.model_copy(update={"messages": lines}), hours


def late_lines(settings: WakeSettings, hours: int | None) -> int:
    """Return how many lines of people come after the last of some hours, and are not said."""
    if hours is None:
        return 0
    end = hours * settings.wake.every_seconds
    return sum(each.after_seconds >= end for each in settings.messages)


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
    others = (" (person)" if number == 1 else f" (person {number})" for number in count(1))
    label = name
    while mentions.is_name(label):  # each time another one, and agents have so many names
        other = next(others)
        label = clipped(name, MAX_NAME_CHARS - len(other)) + other
    return label


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
