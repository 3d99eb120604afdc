"""Results of `callwise wake` for a terminal: lines as they come, tables, and one JSON object."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from callwise.cli.terminal import print_wrapped, say

if TYPE_CHECKING:
    from callwise.report import Table
    from callwise.wake import AgentReply, RoomMessage, WakeReport

__all__ = ["WakeResults", "hours_table", "results_document", "variants_table"]

_FOLDS = ("requests", "woken", "tokens")
"""Columns that a narrow terminal goes without."""


@dataclass(slots=True)
class WakeResults:
    """One run, and its results.

    Args:
        shows_chat: whether messages are printed as they come.
        extracts_facts: whether agents remember facts of their messages.
        hours: hours that were woken, those that failed included.
    """

    variant: str
    extracts_facts: bool = False
    shows_chat: bool = False
    shows_wakes: bool = False
    reports: "list[WakeReport]" = field(default_factory=list)
    messages: "list[RoomMessage]" = field(default_factory=list)
    hours: int = 0

    def on_message(self, message: "RoomMessage") -> None:
        """Keep a message, and print it where that is asked for."""
        self.messages.append(message)
        if self.shows_chat:
            print_wrapped(f"{_clock_time(message.at)}  {message.author}: {message.text}")

    def on_wake(self, report: "WakeReport") -> None:
        """Keep a report; print it where hours pass."""
        self.reports.append(report)
        if self.shows_wakes:
            say(wake_line(report))

    @property
    def replies(self) -> "list[AgentReply]":
        """The published messages of hours, without those that answer a single message."""
        hours = (each for each in self.reports if not each.is_message)
        return [reply for each in hours for reply in each.replies if reply.text]


def wake_line(report: "WakeReport") -> str:
    """Return what came of an hour or a message, in one line."""
    ends = Counter(each.outcome for each in report.replies)
    failed = [each for each in report.replies if each.outcome == "failed"]
    unembedded = [each for each in report.replies if each.recall_problem]
    forgetful = [each for each in report.replies if each.memory_problem]
    parts = [
        f"intent {report.intent}",
        ", ".join(f"{count} {outcome}" for outcome, count in ends.items()) or "none woken",
        f"{report.calls} calls in {report.requests} requests",
        *(f"{each.agent}: {each.reason}" for each in failed[:3]),
        *(f"{each.agent}: facts, {each.memory_problem}" for each in forgetful[:3]),
        *(f"{each.agent}: notes: {each.recall_problem}" for each in unembedded[:3]),
    ]
    return f"{_clock_time(report.at)}  {'; '.join(parts)}"


def _clock_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _label(name: str, *, is_simulated: bool) -> str:
    return f"{name} (simulated)" if is_simulated else name


def hours_table(run: WakeResults, *, is_simulated: bool) -> "Table":
    """Return the wakes and answered messages of a run, one a row."""
    from callwise.report import Table

    rows = [
        (
            _clock_time(each.at)[:16],
            "message" if each.is_message else each.intent,
            len(each.woken),
            sum(reply.outcome == "published" for reply in each.replies),
            *([sum(len(reply.facts) for reply in each.replies)] if run.extracts_facts else ()),
            each.calls,
            each.requests,
            each.tokens,
            each.usd,
        )
        for each in run.reports
    ]
    counts = ("messages", *(["facts"] if run.extracts_facts else ()), "calls", "requests")
    columns = ("time (UTC)", "intent", "woken", *counts, "tokens", "usd")
    return Table("wakes", _label("Wakes", is_simulated=is_simulated), columns, tuple(rows), _FOLDS)


def variants_table(runs: Sequence[WakeResults]) -> "Table":
    """Return what the same hours cost under each variant."""
    from callwise.report import Table

    first = {each.message_id: each.text for each in runs[0].replies}
    rows = []
    for run in runs:
        hours = [each for each in run.reports if not each.is_message]
        common = [each for each in run.replies if each.message_id in first]
        same = sum(each.text == first[each.message_id] for each in common)
        usd = [each.usd for each in hours]
        rows.append(
            (
                run.variant,
                len(hours),
                sum(each.calls for each in hours),
                sum(each.requests for each in hours),
                sum(each.tokens for each in hours),
                None if None in usd else math.fsum(each for each in usd if each is not None),
                len(run.replies),
                f"{same} of {len(common)}",
            )
        )
    counts = ("hours", "calls", "requests", "tokens", "usd", "messages")
    columns = ("wake.variant", *counts, f"texts as in {runs[0].variant}")
    title = _label("The same hours under each variant, messages by people apart", is_simulated=True)
    return Table("variants", title, columns, tuple(rows), (columns[-1], *_FOLDS))


def results_document(runs: Sequence[WakeResults], *, is_simulated: bool) -> dict[str, Any]:
    """Return runs as one JSON object."""
    return {
        "simulated": is_simulated,
        "runs": [
            {
                "variant": run.variant,
                "wakes": [asdict(each) for each in run.reports],
                "messages": [asdict(each) for each in run.messages],
            }
            for run in runs
        ],
    }
