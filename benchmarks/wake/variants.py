"""A day of five agents on two models under each variant: calls, requests, tokens, USD.

In virtual time, on the simulated model, with the shipped agents of `configs/wake`. Prompts are
compared as the bytes of each conversation's body. In a live day the three variants differ, since
agents who may be silent write otherwise; so batching is compared with the same calls sent apart,
`mixed`.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from benchmarks.figures import Figure, Measured
from callwise.budget import Budgeter
from callwise.budget.clock import LoopClock
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Call, Reply
from callwise.calls.errors import CallError
from callwise.calls.payload import body_bytes
from callwise.calls.wire import chat_body
from callwise.shipped import configs_folder
from callwise.simulator import SimulatedClient, SimulatedSettings
from callwise.wake import (
    RoomMessage,
    WakeReport,
    WakeSettings,
    WakeStore,
    read_wake_settings,
    run_wakes,
)

__all__ = ["measure"]

HOURS = 24
START = 1_767_225_600.0
VARIANTS = ("server_batch", "mixed", "agents_alone")


class _LoggedClient:
    """The simulated model, which notes the bytes of each conversation that it is asked."""

    is_simulated = True

    def __init__(self) -> None:
        settings = SimulatedSettings(boolean_true_rate=1.0)
        self._client = SimulatedClient(settings, sleep=asyncio.sleep)
        self.bodies: list[bytes] = []
        self.requests: list[int] = []

    async def answer(
        self, calls: Sequence[Call], *, model: str, on_sent: Callable[[int], None] | None = None
    ) -> list[Reply | CallError]:
        """Note and answer one call."""
        self._note(calls, model)
        return list(await self._client.answer(calls, model=model, on_sent=on_sent))

    async def answer_conversations(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        path: str,
        on_sent: Callable[[], None] | None = None,
    ) -> list[Reply | CallError]:
        """Note and answer several conversations."""
        self._note(calls, model)
        return list(
            await self._client.answer_conversations(calls, model=model, path=path, on_sent=on_sent)
        )

    def _note(self, calls: Sequence[Call], model: str) -> None:
        self.requests.append(len(calls))
        self.bodies += [body_bytes(chat_body(call, model=model)) for call in calls]

    async def aclose(self) -> None:
        """Close the model."""
        await self._client.aclose()


class _Day:
    """A listener of a run, which keeps the course of a day."""

    def __init__(self) -> None:
        self.hours: list[WakeReport] = []
        self.messages: list[RoomMessage] = []
        self.bodies: list[bytes] = []
        self.requests: list[int] = []

    def on_message(self, message: RoomMessage) -> None:
        """Keep a message."""
        self.messages.append(message)

    def on_wake(self, report: WakeReport) -> None:
        """Keep the report of an hour; those of addressed agents are no part of the table."""
        if not report.is_message:
            self.hours.append(report)


class _Sums(NamedTuple):
    calls: int
    requests: int
    tokens: int
    usd: float
    messages: int


async def _run(settings: WakeSettings, day: _Day) -> None:
    clock, client = LoopClock(), _LoggedClient()
    endpoints = {
        name: replace(endpoint, client=client)
        for name, endpoint in settings.served_by(os.environ).items()
    }
    budgeter = Budgeter(endpoints, clock=clock, load=settings.wake.load(settings.load))
    with WakeStore(":memory:") as store:
        await run_wakes(
            settings,
            store,
            budgeter,
            day,
            clock=clock,
            wall=lambda: START + clock.now(),
            count=HOURS,
        )
        if store.credits.total() or store.credits.open_holds():
            raise RuntimeError("credits do not add up")
    budgeter.ledger.check()
    await budgeter.aclose()
    day.bodies, day.requests = client.bodies, client.requests


def _day(*overrides: str) -> _Day:
    path = configs_folder() / "wake" / "five_agents.yaml"
    settings = read_wake_settings(path, overrides=overrides, environ={}, is_shipped=True)
    day = _Day()
    run_in_virtual_time(_run(settings, day))
    return day


def _sums(day: _Day) -> _Sums:
    return _Sums(
        sum(each.calls for each in day.hours),
        sum(each.requests for each in day.hours),
        sum(each.tokens for each in day.hours),
        sum(each.usd or 0.0 for each in day.hours),
        sum(reply.outcome == "published" for each in day.hours for reply in each.replies),
    )


def _figures(days: dict[str, _Day]) -> Iterator[Figure]:
    batch, apart = days["server_batch"], days["mixed"]
    for variant, day in days.items():
        sums = _sums(day)
        target = "24 + 48 requests" if variant == "server_batch" else ""
        yield Figure(
            f"`{variant}`, {HOURS} hours: calls, requests, tokens, USD, messages",
            f"{sums.calls}, {sums.requests}, {sums.tokens:,}, {sums.usd:.5f}, {sums.messages}",
            target,
            sums.requests == HOURS * 3 if target else None,
            note="1: hours alone, without the messages of people that address an agent; everyone "
            "wakes each hour. Prices are those of `configs/wake/five_agents.yaml`, the tokens are "
            "the simulated model's. In `agents_alone` each agent is free to be silent (here all "
            "speak), is asked with other instructions, and answers as JSON",
        )
    per_hour = sorted({(each.requests, each.calls) for each in batch.hours})
    yield Figure(
        "requests of each hour in `server_batch`, and calls in them",
        "; ".join(f"{requests}, {calls}" for requests, calls in per_hour),
        "1 + 2, 6",
        per_hour == [(3, 6)],
    )
    same = sorted(batch.bodies) == sorted(apart.bodies)
    yield Figure(
        "conversations of the day that are equal byte for byte with and without batch",
        f"{len(batch.bodies) if same else 'not all'} of {len(apart.bodies)}",
        "all",
        same,
    )
    texts = [
        [(each.id, each.author, each.text, each.at) for each in day.messages]
        for day in (batch, apart)
    ]
    yield Figure(
        "messages of the room (id, author, text, time) that are equal with and without batch",
        f"{sum(a == b for a, b in zip(*texts, strict=False))} of {len(texts[1])}",
        "all",
        texts[0] == texts[1],
    )


def _with_facts(day: _Day) -> Figure:
    sums = _sums(day)
    facts = sum(len(reply.facts) for each in day.hours for reply in each.replies)
    per_hour = sorted({(each.requests, each.calls) for each in day.hours})
    return Figure(
        "`server_batch` with `wake.memory=extracted`: requests of each hour, and calls in them; "
        "calls, requests, tokens, USD, messages of the day, new facts",
        f"{'; '.join(f'{requests}, {calls}' for requests, calls in per_hour)}; {sums.calls}, "
        f"{sums.requests}, {sums.tokens:,}, {sums.usd:.5f}, {sums.messages}, {facts}",
        "1 + 2 + 1, 11",
        per_hour == [(4, 11)],
        note="1: facts are extracted by the fast model, whose price is 0 here as that of the "
        "specification's is",
    )


def measure() -> Measured:
    """Return the table of the variants, and whether batching changes anything else."""
    days = {each: _day(f"wake.variant={each}") for each in VARIANTS}
    return Measured("variants", [*_figures(days), _with_facts(_day("wake.memory=extracted"))])
