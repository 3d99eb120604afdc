"""Recorded IRC chats of people, hour by hour, with five agents among them, and strict replays.

In virtual time, on the simulated model. The agents have personas of ours and the names of the five
people that a chat's lines address most, so that lines such as `name: text` wake them; the people
themselves stay in the chat under other names. The data are read in place.
"""

import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Figure, Measured
from callwise.budget.clock import LoopClock
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.recordings.group_chat import GroupChat, read_group_chat
from callwise.wake import RoomMessage, WakeReport, WakeSettings, WakeStore
from callwise.wake.people import hours_of, said_lines
from callwise.wake.recorded_run import replay_wakes, run_settings
from callwise.wake.wake_recording import RecordedWakes

__all__ = ["measure"]

HOUR = 3600.0
HALF_MINUTE = 30.0
START = 1_767_225_600.0
VARIANTS = ("server_batch", "mixed", "agents_alone")
FILES = ("wakes.jsonl", "messages.jsonl")

PERSONAS = (
    "A patient teacher who explains one step at a time and asks what has been tried.",
    "An impatient expert who answers in few words and names the manual's chapter.",
    "A cheerful beginner who repeats what has worked for others, and says how sure that is.",
    "A careful administrator who warns of what cannot be undone before anything else.",
    "A former printer who compares everything with machines of metal, and is mostly right.",
)
MODELS = ("dsv3", "dsv3", "dsv3", "qwen32b", "qwen32b")

_NAMED = re.compile(r"\s*([^\s:,]{1,64})[:,]")


class _Seen:
    """Keeps what happens in a run."""

    def __init__(self) -> None:
        self.reports: list[WakeReport] = []
        self.messages: list[RoomMessage] = []

    def on_wake(self, report: WakeReport) -> None:
        """Keep a report."""
        self.reports.append(report)

    def on_message(self, message: RoomMessage) -> None:
        """Keep a message."""
        self.messages.append(message)


class _Run(NamedTuple):
    """One chat under one variant.

    Args:
        is_equal: whether reports and messages of the replay are the same, byte for byte.
        played: calls that the replay has taken from the recording, of which `left` remain.
    """

    hours: list[WakeReport]
    mentions: list[WakeReport]
    messages: int
    is_equal: bool
    played: int
    left: int


def _most_addressed(chat: GroupChat) -> list[str]:
    """Return the five speakers that lines of others begin with most often."""
    speakers = {line.author.casefold(): line.author for line in chat.lines}
    counts = Counter(
        speakers[found[1].casefold()]
        for line in chat.lines
        if (found := _NAMED.match(line.text)) is not None
        and found[1].casefold() in speakers
        and found[1].casefold() != line.author.casefold()
    )
    return [name for name, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0]))][:5]


def _settings(chat: GroupChat, variant: str) -> tuple[WakeSettings, int]:
    """Return settings of five agents in a chat, and the hours that it needs."""
    prices = {
        "dsv3": {"input_usd_per_million": 0.28, "output_usd_per_million": 0.42},
        "qwen32b": {"input_usd_per_million": 0.10, "output_usd_per_million": 0.30},
        "fast": {"input_usd_per_million": 0.0, "output_usd_per_million": 0.0},
    }
    agents = [
        {"id": f"agent-{number}", "name": name, "persona": persona, "model": model}
        for number, (name, persona, model) in enumerate(
            zip(_most_addressed(chat), PERSONAS, MODELS, strict=False), start=1
        )
    ]
    settings = WakeSettings.model_validate(
        {
            "endpoints": {
                "main": {"kind": "simulated"},
                "fast": {"model": "fast", "prices": prices["fast"]},
            },
            "models": {name: {"prices": prices[name]} for name in dict.fromkeys(MODELS)},
            "wake": {"variant": variant},
            "agents": agents,
        }
    )
    hours = hours_of(chat, every_seconds=HOUR) or 24
    lines = said_lines(chat, settings.agents, hours=hours, every_seconds=HOUR)
    # Times are of whole minutes: in the middle of them, no line is said just when an hour begins.
    later = [
        line.model_copy(update={"after_seconds": line.after_seconds + HALF_MINUTE})
        for line in lines
    ]
    return settings.model_copy(update={"messages": tuple(later)}), hours


async def _recorded(settings: WakeSettings, hours: int, folder: Path, seen: _Seen) -> None:
    clock = LoopClock()
    with WakeStore(":memory:") as store:
        await run_settings(
            settings,
            store,
            settings.served_by({}),
            seen,
            clock=clock,
            wall=lambda: START + clock.now(),
            count=hours,
            out=folder,
            keeps_store=False,
        )


def _run(chat: GroupChat, variant: str) -> _Run:
    """Return what came of a chat, recorded and replayed."""
    settings, hours = _settings(chat, variant)
    seen = _Seen()
    with tempfile.TemporaryDirectory(prefix="callwise-") as name:
        first, second = Path(name) / "first", Path(name) / "second"
        run_in_virtual_time(_recorded(settings, hours, first, seen))
        endpoints = settings.served_by({}, is_offline=True)
        found = replay_wakes(settings, RecordedWakes.read(first), endpoints, _Seen(), out=second)
        is_equal = all(
            (first / each).read_bytes() == (second / each).read_bytes() for each in FILES
        )
    return _Run(
        [each for each in seen.reports if not each.is_message],
        [each for each in seen.reports if each.is_message],
        len(seen.messages),
        is_equal,
        found.played_count,
        found.left_count,
    )


def _costs(reports: list[WakeReport]) -> str:
    usd = sum(each.usd or 0.0 for each in reports)
    return (
        f"{sum(each.calls for each in reports)} calls, "
        f"{sum(each.requests for each in reports)} requests, "
        f"{sum(each.tokens for each in reports):,} tokens, {usd:.4f} USD"
    )


def _published(reports: list[WakeReport]) -> int:
    return sum(reply.outcome == "published" for each in reports for reply in each.replies)


def _figures(name: str, chat: GroupChat, runs: Mapping[str, _Run]) -> Iterator[Figure]:
    run = runs["server_batch"]
    people = len({line.author for line in chat.lines})
    minutes = (chat.seconds or 0.0) / 60
    woken = ", ".join(str(len(each.woken)) for each in run.hours)
    yield Figure(
        f"chat {name}: lines and speakers, minutes",
        f"{len(chat.lines)} lines of {people} people, {minutes:.0f} min",
    )
    yield Figure(
        f"{name}: hours, agents woken in each, messages of theirs",
        f"{len(run.hours)} hours; {woken}; {_published(run.hours)} messages",
    )
    yield Figure(
        f"{name}: lines that address an agent, and replies to them",
        f"{len(run.mentions)} lines, {_published(run.mentions)} replies",
    )
    yield Figure(f"{name}: cost of the replies to lines", _costs(run.mentions))
    for variant, each in runs.items():
        yield Figure(f"{name}: cost of the hours, `{variant}`", _costs(each.hours))
    equal = sum(each.is_equal for each in runs.values())
    played = sum(each.played for each in runs.values())
    left = sum(each.left for each in runs.values())
    yield Figure(
        f"{name}: strict replays with equal bytes of reports and chat, of {len(runs)} variants",
        f"{equal}; {played} calls played, {left} left, 0 sent",
        "all; 0 left, 0 sent",
        equal == len(runs) and left == 0,
        "A strict replay has no client: a call that is not recorded would have ended it.",
    )


def measure() -> Measured:
    """Return the figures of the three chats; skipped where the data are absent."""
    data = Path(os.environ.get("CALLWISE_DATA", "../shared/data")) / "sample_irc_groupchat"
    paths = sorted(data.glob("*.jsonl"))
    if not paths:
        return Measured("irc", [], "there is no sample_irc_groupchat in CALLWISE_DATA")
    figures: list[Figure] = []
    for path in paths:
        chat = read_group_chat(path)
        runs = {variant: _run(chat, variant) for variant in VARIANTS}
        figures += _figures(path.stem, chat, runs)
    return Measured("irc", figures)
