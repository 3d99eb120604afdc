"""Turns of several users under a schedule: their order changes, and nothing that is asked."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from callwise.budget import LedgerRow
from callwise.calls import Call, CallError, Client, Reply
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.sqlite_backend import SqliteBackend
from callwise.recordings.app_protocol import TurnInput
from graph.app import app
from graph.endpoints import endpoints_of
from graph.engine import make_engine
from graph.session import ReplySession
from tests.graph.conftest import TEXTS, simulated

USERS = 4


@dataclass
class LiveClient:
    """A simulated model that counts as a real one: its first answers wait for one another."""

    client: Client
    together: int
    under_way: int = 0
    most_under_way: int = 0
    is_simulated: bool = False
    all_came: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(
        self, calls: Sequence[Call], *, model: str, on_sent: Any = None
    ) -> Sequence[Reply | CallError]:
        """Answer once as many calls as expected have come together."""
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.under_way == self.together:
                self.all_came.set()
            await self.all_came.wait()
            return await self.client.answer(calls, model=model, on_sent=on_sent)
        finally:
            self.under_way -= 1

    async def aclose(self) -> None:
        """Close the client."""
        await self.client.aclose()


async def turns_of_users(
    folder: Path, together: int, *overrides: str
) -> tuple[LiveClient, list[list[str]], list[LedgerRow]]:
    """Return the client, the replies of each user's turns, and their rows."""
    settings = app.settings("classic_parallel", [simulated(), *overrides])
    endpoints = endpoints_of(settings)
    client = LiveClient(next(iter(endpoints.values())).client, together)
    endpoints = {role: replace(each, client=client) for role, each in endpoints.items()}
    rows: list[LedgerRow] = []
    with SqliteBackend(folder / "memory.sqlite") as store:
        engine = make_engine(
            settings, endpoints, ConversationMemory(store), cache=None, sinks=(rows.append,)
        )
        session = ReplySession(engine=engine, graph=None, is_simulated=True)

        async def turns(user: int) -> list[str]:
            asked = [TurnInput(f"talk {user}", None, f"{text} ({user})") for text in TEXTS[:2]]
            return [(await session.run_turn(each)).record["reply"] for each in asked]

        replies = await asyncio.gather(*(turns(user) for user in range(USERS)))
        engine.budgeter.ledger.check()
        engine.close()
    return client, replies, rows


def asked(rows: Sequence[LedgerRow]) -> list[tuple[object, ...]]:
    """Return what was asked and what it cost, in a stable order and without times."""
    return sorted((row.scope, row.purpose, row.key, row.outcome, row.usage.tokens) for row in rows)


@pytest.mark.parametrize("slots", [1, 3])
async def test_a_schedule_changes_the_order_of_sending_alone(tmp_path: Path, slots: int) -> None:
    """Same replies, keys and tokens, with no more under way than there are places."""
    folders = [tmp_path / name for name in ("free", "scheduled")]
    for folder in folders:
        folder.mkdir()
    free, replies, rows = await turns_of_users(folders[0], USERS)
    knobs = f"load={{schedule: {{max_concurrency: {slots}, ageing_seconds: 3600}}}}"
    scheduled, other_replies, other_rows = await turns_of_users(folders[1], slots, knobs)
    assert all(all(each) for each in replies)
    assert other_replies == replies
    assert asked(other_rows) == asked(rows)
    assert scheduled.most_under_way == slots < free.most_under_way
