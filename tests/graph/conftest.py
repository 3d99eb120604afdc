"""Turns of the whole pipeline, on the simulated model."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from graph.answering import endpoints_of
from graph.app import app
from graph.opening import make_engine
from graph.session import ReplySession
from graph.wiring import build_graph
from turnwise.budget.recorder import Recorder
from turnwise.calls import Call, CallError, Client, Purpose, Reply
from turnwise.memory.over_store import open_book
from turnwise.memory.sqlite_store import SqliteMemoryStore
from turnwise.replay.app import TurnInput, TurnResult

PLAIN = {"null_rate": 0, "missing_score_rate": 0, "strategy_repeat_rate": 0}
"""A simulated model that leaves nothing out: bubbles and every score come along."""

GATES_OPEN = (
    "search.early_exit.min_root_score=0",
    "search.early_exit.min_plan_alignment=0",
    "search.early_exit.max_assistantness=1",
    "search.early_exit.min_mode_fit=0",
)
GATES_SHUT = ("search.early_exit.enabled=false",)

TEXTS = (
    "I lost my job this morning and have not told anyone yet.",
    "No, my sister does not know. She worries too much as it is.",
    "What would you do in my place?",
)

Answer = Callable[..., Awaitable[list[TurnResult]]]

FusedAnswerChange = Callable[[dict[str, Any]], dict[str, Any] | str | CallError]
"""What becomes of a fused call's answer on its way."""


@dataclass
class SpoilingClient:
    """A client whose fused answers are changed on the way; the others come as they are.

    Args:
        client: who answers.
        change: what becomes of a fused answer.
    """

    client: Client
    change: FusedAnswerChange
    fused: list[Call] = field(default_factory=list)

    @property
    def is_simulated(self) -> bool:
        """Whether the answers are simulated."""
        return self.client.is_simulated

    async def answer(
        self, calls: Sequence[Call], *, model: str, on_sent: Any = None
    ) -> list[Reply | CallError]:
        """Answer, and change what is fused."""
        answers = list(await self.client.answer(calls, model=model, on_sent=on_sent))
        for place, (call, reply) in enumerate(zip(calls, answers, strict=True)):
            if call.purpose is Purpose.FUSE and isinstance(reply, Reply):
                self.fused.append(call)
                answers[place] = self._changed(reply)
        return answers

    def _changed(self, reply: Reply) -> Reply | CallError:
        changed = self.change(orjson.loads(reply.text))
        if isinstance(changed, CallError):
            return changed
        text = changed if isinstance(changed, str) else orjson.dumps(changed).decode()
        return replace(reply, text=text)

    async def aclose(self) -> None:
        """Close the client."""
        await self.client.aclose()


def simulated(**fields: Any) -> str:
    """Return the override that sets the simulated model's fields for every role."""
    inner = ", ".join(f"{name}: {value}" for name, value in {**PLAIN, **fields}.items())
    return f"endpoints={{main: {{kind: simulated, simulated: {{{inner}}}}}}}"


def count_by(rows: Sequence[Any], field: str) -> dict[str, int]:
    """Return how many rows have each value of a field."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row[field]] = counts.get(row[field], 0) + 1
    return counts


@pytest.fixture(name="simulated")
def _simulated() -> Callable[..., str]:
    return simulated


@pytest.fixture(name="count_by")
def _count_by() -> Callable[..., dict[str, int]]:
    return count_by


@pytest.fixture
def gates_open() -> tuple[str, ...]:
    """Return the overrides with which every judged reply passes the early exit."""
    return GATES_OPEN


@pytest.fixture
def gates_shut() -> tuple[str, ...]:
    """Return the overrides with which no reply ends the search early."""
    return GATES_SHUT


@pytest.fixture
def texts() -> tuple[str, ...]:
    """Return three messages of one English conversation."""
    return TEXTS


@pytest.fixture
def answer(tmp_path: Path) -> Answer:
    """Return a function that answers messages of one conversation, each time anew."""
    made = 0

    async def run(
        *overrides: str,
        preset: str = "classic",
        texts: Sequence[str] = TEXTS[:1],
        conversation_id: str = "talk",
        folder: Path | None = None,
        keep_checkpoints: bool = False,
    ) -> list[TurnResult]:
        nonlocal made
        made += 1
        settings = app.settings(preset, [simulated(), *overrides])
        where = folder or tmp_path / f"session-{made}"
        where.mkdir(exist_ok=True)
        async with app.open(settings, folder=where, keep_checkpoints=keep_checkpoints) as session:
            return [
                await session.run_turn(TurnInput(conversation_id, None, text)) for text in texts
            ]

    return run


@pytest.fixture
def answer_through(tmp_path: Path) -> Answer:
    """Return a function that answers messages through clients that a function wraps."""

    async def run(
        wrapped: Callable[[Client], Client],
        *overrides: str,
        preset: str = "instant",
        texts: Sequence[str] = TEXTS[:1],
        recorder: Recorder | None = None,
        memory: str = "memory.sqlite",
    ) -> list[TurnResult]:
        settings = app.settings(preset, [simulated(), *overrides])
        endpoints = {
            role: replace(endpoint, client=wrapped(endpoint.client))
            for role, endpoint in endpoints_of(settings).items()
        }
        rows: list[Any] = []
        with SqliteMemoryStore(tmp_path / memory) as store:
            engine = make_engine(
                settings,
                endpoints,
                open_book(store),
                recorder=recorder,
                cache=None,
                sinks=(rows.append,),
            )
            graph = build_graph(overlap=settings.overlap, fuse=settings.fuse)
            session = ReplySession(engine=engine, graph=graph, is_simulated=True, rows=rows)
            turns = [await session.run_turn(TurnInput("talk", None, text)) for text in texts]
            engine.close()
        return turns

    return run


@pytest.fixture
def answer_spoiled(answer_through: Answer) -> Answer:
    """Return a function that answers messages while fused answers are changed on the way."""

    async def run(change: FusedAnswerChange, *overrides: str, **options: Any) -> list[TurnResult]:
        return await answer_through(
            lambda client: SpoilingClient(client, change), *overrides, **options
        )

    return run
