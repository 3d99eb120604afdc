"""Identities: agent, user and conversation, for users who talk at the same time."""

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from langgraph.checkpoint.memory import InMemorySaver

from callwise.calls import Call, CallError, Client, Reply
from callwise.calls.errors import ConfigError
from callwise.memory import AgentUser, Identity
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.sqlite_backend import SqliteBackend
from callwise.recordings import Conversation, RecordedTurn
from callwise.recordings.app_protocol import TurnInput, TurnResult
from callwise.recordings.replay_run import replay_conversations
from callwise.recordings.run_folder import RunFolder
from graph.app import app
from graph.drivers import build_graph
from graph.endpoints import endpoints_of
from graph.engine import TurnContext, make_engine
from graph.langgraph_app import ServedTurns, thread_graph
from graph.session import ReplySession

ANN = AgentUser("agent", "ann")

USERS: tuple[str | None, ...] = ("talk", "user", "thread-1", None)
"""Names that conversations, threads and users without a name have been taken for."""


@dataclass
class Wire:
    """A client that keeps the user messages that it was sent."""

    client: Client
    sent: list[str]

    @property
    def is_simulated(self) -> bool:
        """Whether the answers are simulated."""
        return self.client.is_simulated

    async def answer(
        self, calls: Sequence[Call], *, model: str, on_sent: Any = None
    ) -> Sequence[Reply | CallError]:
        """Keep what is asked, and answer it."""
        for call in calls:
            self.sent += [*call.inputs, *(each.content for each in call.messages[1:])]
        return await self.client.answer(calls, model=model, on_sent=on_sent)

    async def aclose(self) -> None:
        """Close the client."""
        await self.client.aclose()


@dataclass
class Pipeline:
    """A session and a graph server's graph on one engine, with all that was sent."""

    session: ReplySession
    graph: Any
    sent: list[str] = field(default_factory=list)

    def said(self, marker: str) -> list[dict[str, Any]]:
        """Return the materials of the turns whose message has a marker."""
        materials = [orjson.loads(text) for text in self.sent if text.startswith("{")]
        return [
            each
            for each in materials
            if marker in next(line["user"] for line in reversed(each["chat"]) if "user" in line)
        ]


@asynccontextmanager
async def _pipeline(folder: Path, preset: str = "balanced") -> AsyncIterator[Pipeline]:
    settings = app.settings(preset)
    sent: list[str] = []
    endpoints = {
        role: replace(endpoint, client=Wire(endpoint.client, sent))
        for role, endpoint in endpoints_of(settings).items()
    }
    rows: list[Any] = []
    with SqliteBackend(folder / "memory.sqlite") as store:
        engine = make_engine(
            settings,
            endpoints,
            ConversationMemory(store),
            recorder=None,
            cache=None,
            sinks=(rows.append,),
        )
        graph = build_graph(overlap=settings.overlap, fuse=settings.fuse)
        session = ReplySession(engine=engine, graph=graph, is_simulated=True)

        async def context(_arm: str) -> TurnContext:
            return TurnContext(engine)

        served = thread_graph(
            ServedTurns(context),
            overlap=settings.overlap,
            fuse=settings.fuse,
            checkpointer=InMemorySaver(),
        )
        yield Pipeline(session, served, sent)
        engine.close()


Ask = Callable[[Pipeline, str | None, str, str], Awaitable[Any]]
"""Asks as a user, in a conversation, with a text."""


async def _in_session(
    pipeline: Pipeline, user: str | None, conversation: str, text: str
) -> dict[str, Any]:
    result = await pipeline.session.run_turn(TurnInput(conversation, None, text, user_id=user))
    return dict(result.record)


async def _served(
    pipeline: Pipeline, user: str | None, conversation: str, text: str
) -> dict[str, Any]:
    config = {"configurable": {"thread_id": f"thread of {user!r} in {conversation}"}}
    given = {"messages": [("user", text)], "user_id": user, "conversation_id": conversation}
    return dict(await pipeline.graph.ainvoke(given, config))


@pytest.mark.parametrize("ask", [_in_session, _served])
async def test_users_of_one_conversation_id_lose_nothing_and_share_nothing(
    tmp_path: Path, ask: Ask
) -> None:
    """Each of 20 turns side by side is answered, and no prompt has another user's memory."""

    async def talk(pipeline: Pipeline, user: str | None) -> list[dict[str, Any]]:
        texts = [f"I am {user!r}.", f"The word of {user!r} is secret-of-{user!r}, keep the word."]
        texts += [f"What is the word of {user!r}, asked {n} times?" for n in range(3)]
        return [await ask(pipeline, user, "talk", text) for text in texts]

    async with _pipeline(tmp_path) as pipeline:
        turns = await asyncio.gather(*(talk(pipeline, user) for user in USERS))
    for states in turns:
        assert [state["turn"] for state in states] == [0, 1, 2, 3, 4]
        assert all(state["reply"] for state in states)
    for user in USERS:
        materials = pipeline.said(f"word of {user!r}, asked")
        assert any(f"secret-of-{user!r}" in str(each) for each in materials)
        for other in set(USERS) - {user}:
            assert not any(f"secret-of-{other!r}" in str(each) for each in materials)


@pytest.mark.parametrize("ask", [_in_session, _served])
@pytest.mark.parametrize("named_first", [True, False])
async def test_no_name_is_not_a_name(tmp_path: Path, ask: Ask, named_first: bool) -> None:
    """A conversation without a user has its own memory, whatever users are called."""
    named, anonymous = ("talk", "elsewhere"), (None, "talk")
    first, second = (named, anonymous) if named_first else (anonymous, named)
    async with _pipeline(tmp_path, "instant") as pipeline:
        await ask(pipeline, *first, "My password is heron-7, remember my password.")
        await ask(pipeline, *second, "What is my password?")
        await ask(pipeline, None, "another", "What is my password?")
    asked = pipeline.said("What is my password?")
    assert len(asked) >= 2
    assert not any("heron" in str(each) for each in asked)


async def test_a_thread_named_like_a_user_is_not_that_user(tmp_path: Path) -> None:
    """A thread without ids is anonymous, and has its own memory."""

    async def ask(pipeline: Pipeline, thread: str, text: str, **given: str) -> None:
        config = {"configurable": {"thread_id": thread}}
        await pipeline.graph.ainvoke({"messages": [text], **given}, config)

    async with _pipeline(tmp_path, "instant") as pipeline:
        await ask(pipeline, "t", "My password is heron-7, remember my password.", user_id="ann")
        await ask(pipeline, "ann", "What is my password?")
        await ask(pipeline, "other", "Tell my password.", user_id="ann")
    assert "heron" in str(pipeline.said("Tell my password."))
    assert "heron" not in str(pipeline.said("What is my password?"))


async def test_a_threads_next_user_is_not_shown_what_the_first_one_wrote(tmp_path: Path) -> None:
    """Nor is one without a name; what broke off under another user is not answered."""
    config: Any = {"configurable": {"thread_id": "t"}}
    ann = {"messages": ["My password is heron-7."], "user_id": "ann"}
    async with _pipeline(tmp_path, "instant") as pipeline:
        graph = pipeline.graph
        await graph.ainvoke(ann, config)
        with pytest.raises(Exception, match="Recursion limit"):
            await graph.ainvoke({"messages": ["heron-7!"]}, {**config, "recursion_limit": 3})
        with pytest.raises(ValueError, match="nothing to answer"):
            await graph.ainvoke({"user_id": "bob"}, config)
        said = len(pipeline.sent)
        for text, user_id in (("I am Bob.", "bob"), ("And I?", None), ("Who is it?", "  ")):
            state = await graph.ainvoke({"messages": [text], "user_id": user_id}, config)
            assert state["user_id"] == (user_id if user_id == "bob" else None)
        assert "heron" not in str(pipeline.sent[said:])
        again = await graph.ainvoke({"messages": ["My password?"], "user_id": "ann"}, config)
    assert (again["user_id"], again["turn"]) == ("ann", 1)
    assert "heron" in str(pipeline.said("My password?"))


async def test_rows_of_users_with_one_conversation_id_are_their_own(tmp_path: Path) -> None:
    """Two turns of one id side by side: each record counts its own calls, in a separate scope."""
    async with _pipeline(tmp_path, "classic_parallel") as pipeline:
        turns = await asyncio.gather(
            *(
                pipeline.session.run_turn(TurnInput("talk", 0, f"Hello from {user}.", user))
                for user in ("ann", "bob")
            )
        )
    for turn in turns:
        assert len(turn.rows) == turn.record["asked"]
    names = [{row["conversation"] for row in turn.rows} for turn in turns]
    assert names[0] == {"talk"}
    (second,) = names[1]
    assert second.startswith("talk#")


async def test_an_id_that_resembles_a_made_name_gets_a_separate_scope(tmp_path: Path) -> None:
    """Knowing the name of an id's second conversation does not give access to its scope."""
    async with _pipeline(tmp_path, "instant") as pipeline:
        engine = pipeline.session.engine
        bob = Identity("agent", "bob", "talk")
        digest = hashlib.sha256(bob.thread_id.encode()).hexdigest()
        identities = [
            Identity("agent", "ann", "talk"),
            Identity("agent", "eve", f"talk#{digest[:12]}"),
            bob,
        ]
        names = [engine.conversation(each).name for each in identities]
    assert len(set(names)) == 3


async def test_turns_of_one_user_wait_for_each_other(tmp_path: Path) -> None:
    """Two conversations of a user write one memory side by side, and neither turn is lost."""
    async with _pipeline(tmp_path, "instant") as pipeline:
        records = await asyncio.gather(
            *(_in_session(pipeline, "ann", name, "Hello.") for name in ("a", "b", "a", "c"))
        )
    assert [(each["conversation_id"], each["turn"]) for each in records] == [
        ("a", 0),
        ("b", 0),
        ("a", 1),
        ("c", 0),
    ]


@pytest.mark.parametrize("given", [{}, {"conversation_id": "talk"}], ids=repr)
async def test_threads_of_one_user_wait_for_each_other(tmp_path: Path, given: Any) -> None:
    """A user who writes in several threads side by side is answered in each."""

    async def ask(pipeline: Pipeline, thread: str | None) -> dict[str, Any]:
        config = {"configurable": {"thread_id": thread}}
        inputs = {"messages": [f"Hello from {thread}."], "user_id": "ann", **given}
        return dict(await pipeline.graph.ainvoke(inputs, config))

    async with _pipeline(tmp_path, "instant") as pipeline:
        states = await asyncio.gather(*(ask(pipeline, f"thread-{n}") for n in range(5)))
        assert pipeline.session.engine.turn_order.held(ANN) is None
    assert sorted(state["turn"] for state in states) == ([0, 1, 2, 3, 4] if given else [0] * 5)
    assert sorted(state["version"] for state in states) == [0, 1, 2, 3, 4]


async def test_a_thread_that_was_given_up_blocks_no_other_for_ever(tmp_path: Path) -> None:
    """A turn that stops between two nodes is waited for; on its own thread it is not."""
    config = {"configurable": {"thread_id": "left"}}
    first = {"messages": ["Hello."], "user_id": "ann"}
    async with _pipeline(tmp_path, "instant") as pipeline:
        await pipeline.graph.ainvoke(first, config, interrupt_before=["style"])
        assert pipeline.session.engine.turn_order.held(ANN)
        again = await pipeline.graph.ainvoke({"messages": ["Are you there?"]}, config)
        assert (again["turn"], again["user_text"]) == (0, "Are you there?")
        await pipeline.graph.ainvoke(first, config, interrupt_before=["style"])
        pipeline.session.engine.patience_seconds = 0
        other = {"configurable": {"thread_id": "other"}}
        assert (await pipeline.graph.ainvoke(first, other))["reply"]


@pytest.mark.parametrize("breaks_off", [False, True])
async def test_persona_and_time_follow_the_user_of_the_turn(
    tmp_path: Path, breaks_off: bool
) -> None:
    """Another user on a thread is not answered by the first one's persona, at its time."""
    config = {"configurable": {"thread_id": "t"}}
    nora = {"name": "Nora", "background": "Mends boats.", "speaking_style": "dry"}
    first = {"user_text": "Hi.", "user_id": "ann", "time": "2020-02-02", "persona": nora}
    async with _pipeline(tmp_path, "instant") as pipeline:
        if breaks_off:
            interrupted = {**config, "recursion_limit": 4}
            with pytest.raises(Exception, match="Recursion limit"):
                await pipeline.graph.ainvoke(first, interrupted)
        else:
            await pipeline.graph.ainvoke(first, config)
            again = await pipeline.graph.ainvoke({"user_text": "And you?"}, config)
            assert (again["persona"]["name"], again["time"]) == ("Nora", None)
        other = {"user_text": "Who are you?", "user_id": "bob"}
        state = await pipeline.graph.ainvoke(other, config)
        assert state["persona"]["name"] == pipeline.session.engine.settings.persona.name
        assert (state["user_id"], state["time"], state["turn"]) == ("bob", None, 0)
        eve = {"user_text": "And who is this?", "user_id": "eve", "persona": nora}
        assert (await pipeline.graph.ainvoke(eve, config))["persona"]["name"] == "Nora"
    assert pipeline.said("Who are you?")
    assert not any("Nora" in str(each) for each in pipeline.said("Who are you?"))


def test_identities_never_collide() -> None:
    """Separators and names of other kinds inside an id make no other identity."""
    identities = [
        Identity(agent, user, conversation)
        for agent in ("a", "a/b", "a,b", "")
        for user in ("b/c", "c", None, "null", "", "~c", '"', "~")
        for conversation in ("c", "b/c", "null", "~")
    ]
    assert len({each.thread_id for each in identities}) == len(identities)
    owners = {each.agent_user for each in identities}
    assert len({each.labels for each in owners}) == len(owners)
    with pytest.raises(ValueError, match="belongs to a user or to one anonymous conversation"):
        replace(Identity("a", "b", "c").agent_user, conversation_id="c")


async def test_a_conversation_kept_under_a_former_name_is_not_begun_again(tmp_path: Path) -> None:
    """A memory from before says which user goes on with it, and is read for that user."""
    async with _pipeline(tmp_path, "instant") as pipeline:
        await _in_session(pipeline, "user", "talk", "My cat is called Bo.")
        assert (await _in_session(pipeline, None, "talk", "Hello."))["turn"] == 0
    older = tmp_path / "older"
    older.mkdir()
    with closing(sqlite3.connect(tmp_path / "memory.sqlite")) as kept:
        kept.execute(f"VACUUM INTO '{older / 'memory.sqlite'}'")
    with closing(sqlite3.connect(older / "memory.sqlite")) as kept:
        kept.execute("DELETE FROM turns WHERE owner <> 'user'")
        kept.execute("UPDATE turns SET state = CAST(json_remove(state, '$.owners') AS BLOB)")
        kept.commit()
    async with _pipeline(older, "instant") as pipeline:
        with pytest.raises(ConfigError, match="as one of the user 'user'"):
            await _in_session(pipeline, None, "talk", "What is my cat called?")
        assert (await _in_session(pipeline, "user", "talk", "And my cat?"))["turn"] == 1
        assert (await _in_session(pipeline, None, "new", "Hello."))["turn"] == 0


async def test_a_run_that_an_older_version_began_says_how_to_go_on(tmp_path: Path) -> None:
    """Its memory is under a name that is read no more; a finished one is left as it is."""
    talk = Conversation("talk", None, None, tuple(RecordedTurn("talk", n, "Hi.") for n in (0, 1)))
    folder = RunFolder(tmp_path / "run", identity={}, details={})
    folder.add(TurnResult({"conversation_id": "talk", "turn": 0, "user_id": "talk"}, ()))
    async with _pipeline(tmp_path, "instant") as pipeline:
        with pytest.raises(ConfigError, match=r"begun by an older version.*--out"):
            await replay_conversations([talk], pipeline.session, folder)
        folder.finished.add(("talk", 1))
        await replay_conversations([talk], pipeline.session, folder)
    folder.close()
    assert pipeline.sent == []
