"""Turns of the whole pipeline, on the simulated model."""

import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from callwise.budget.recorder import Recorder
from callwise.calls import Call, CallError, Client, Purpose, Reply, Role
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.sqlite_backend import SqliteBackend
from callwise.recordings.app_protocol import TurnInput, TurnResult
from graph.app import app
from graph.drivers import build_graph
from graph.endpoints import endpoints_of
from graph.engine import make_engine
from graph.session import ReplySession

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


Change = Callable[[Call, int, str], str | CallError | None]
"""A call, its number at its client from 0, and its answer -> what comes instead, if anything."""


@dataclass
class ChangingClient:
    """A client some of whose answers are replaced.

    Args:
        client: who answers the others.
        change: what comes instead.
        asked: calls so far.
    """

    client: Client
    change: Change
    asked: int = 0

    @property
    def is_simulated(self) -> bool:
        """Whether the answers are simulated."""
        return self.client.is_simulated

    async def answer(
        self, calls: Sequence[Call], *, model: str, on_sent: Any = None
    ) -> list[Reply | CallError]:
        """Answer, and replace what is to be replaced."""
        answers = list(await self.client.answer(calls, model=model, on_sent=on_sent))
        for place, (call, answer) in enumerate(zip(calls, answers, strict=True)):
            text = answer.text if isinstance(answer, Reply) else ""
            changed = self.change(call, self.asked, text)
            self.asked += 1
            if isinstance(changed, CallError):
                answers[place] = changed
            elif changed is not None and isinstance(answer, Reply):
                answers[place] = replace(answer, text=changed)
        return answers

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
    """Return a function that answers messages of one conversation, each time from the start."""
    made = 0

    async def run(
        *overrides: str,
        preset: str = "classic",
        texts: Sequence[str] = TEXTS[:1],
        conversation_id: str = "talk",
        user_id: str | None = None,
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
                await session.run_turn(TurnInput(conversation_id, None, text, user_id))
                for text in texts
            ]

    return run


@pytest.fixture
def answer_through() -> Answer:
    """Return a function that answers messages through clients around the simulated ones.

    With `is_direct` without LangGraph, which gives the same bytes and takes less time.
    """

    async def run(
        around: Callable[[Role, Client], Client],
        *overrides: str,
        preset: str = "classic",
        texts: Sequence[str] = TEXTS[:1],
        recorder: Recorder | None = None,
        is_direct: bool = False,
    ) -> list[TurnResult]:
        settings = app.settings(preset, [simulated(), *overrides])
        endpoints = {
            role: replace(endpoint, client=around(role, endpoint.client))
            for role, endpoint in endpoints_of(settings).items()
        }
        rows: list[Any] = []
        with (
            tempfile.TemporaryDirectory() as name,
            SqliteBackend(Path(name) / "memory.sqlite") as store,
        ):
            engine = make_engine(
                settings,
                endpoints,
                ConversationMemory(store),
                recorder=recorder,
                cache=None,
                sinks=(rows.append,),
            )
            graph = None
            if not is_direct:
                graph = build_graph(overlap=settings.overlap, fuse=settings.fuse)
            session = ReplySession(engine=engine, graph=graph, is_simulated=True)
            turns = [await session.run_turn(TurnInput("talk", None, text)) for text in texts]
            engine.close()
        return turns

    return run


@pytest.fixture
def answer_spoiled(answer_through: Answer) -> Answer:
    """Return a function that answers messages while fused answers are changed on the way."""

    async def run(
        change: FusedAnswerChange, *overrides: str, preset: str = "instant", **options: Any
    ) -> list[TurnResult]:
        return await answer_through(
            lambda _role, client: SpoilingClient(client, change),
            *overrides,
            preset=preset,
            **options,
        )

    return run
