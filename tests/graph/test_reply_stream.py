"""Bubbles as they become final, and the turn that goes on behind them."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from callwise.budget.recorder import Recorder
from callwise.calls import Call, CallError, Client, Purpose, Reply
from callwise.calls.errors import AuthFailed, ConfigError, StreamCut
from callwise.calls.pieces import Piece
from callwise.memory import Identity
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.sqlite_backend import SqliteBackend
from callwise.recordings.app_protocol import TurnInput, TurnResult
from callwise.recordings.cassette import CassetteMode, open_cassette
from graph.app import app
from graph.drivers import build_graph, run_step
from graph.endpoints import endpoints_of
from graph.engine import TurnContext, make_engine
from graph.reply_stream import ReplyStream, ShownReply
from graph.session import ReplySession
from graph.state import TurnState
from nodes.records import Bubble
from tests.graph.conftest import simulated

HELLO = TurnInput("talk", None, "I lost my job this morning.")
AGAIN = TurnInput("talk", None, "And now?")
STREAMED = ("reply.stream=true",)

LONG = (
    "That is a lot to carry on one morning, and I am glad that you say it here. "
    "Did they give you a reason, or only a box for your things? "
    "Come by when you like, the kettle is on and it is quiet here on Mondays. "
    "And your sister will be less worried than you think, once she hears it from you. "
    "I would tell her before the weekend. Would you?"
)
ANSWER = json.dumps({"thought": "Oh no.", "reply": LONG})


@dataclass
class TypingClient:
    """A client that types the answer of the call that replies, and may hang or fail elsewhere.

    Args:
        client: answers the other calls.
        text: of the reply's answer; None has the simulated one.
        stops_after: characters after which the answer breaks off.
        behind: what becomes of a call of the role `fast`.
        calls: calls so far.
    """

    client: Client
    text: str | None = None
    stops_after: int | None = None
    behind: CallError | asyncio.Event | None = None
    calls: list[Call] = field(default_factory=list)
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    is_simulated: bool = True

    async def answer(
        self, calls: Sequence[Call], *, model: str, on_sent: Any = None
    ) -> Sequence[Reply | CallError]:
        """Answer, the call that replies piece by piece."""
        (call,) = calls
        self.calls.append(call)
        self.was_asked.set()
        if call.role == "fast" and isinstance(self.behind, CallError):
            return [self.behind]
        if call.role == "fast" and self.behind is not None:
            await self.behind.wait()
        (reply,) = await self.client.answer(calls, model=model, on_sent=on_sent)
        is_typed = call.purpose is Purpose.FUSE and call.role == "main" and not call.repair
        if self.text is None or not is_typed or not isinstance(reply, Reply):
            return [reply]
        text = self.text[: self.stops_after]
        pieces = [text[at : at + 7] for at in range(0, len(text), 7)]
        if call.stream and call.listener is not None:
            for piece in pieces:
                call.listener.on_piece(Piece(piece))
                await asyncio.sleep(0)
        if self.stops_after is not None:
            return [StreamCut("broke off", status=200)]
        return [replace(reply, text=text, chunks=tuple(pieces) if call.stream else ())]

    async def aclose(self) -> None:
        """Close the client."""
        await self.client.aclose()


@asynccontextmanager
async def opened(
    folder: Path,
    preset: str,
    *overrides: str,
    recorder: Recorder | None = None,
    is_offline: bool = False,
    **typing: Any,
) -> AsyncIterator[tuple[ReplySession, TypingClient]]:
    """Give a session, and the client of all its roles."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - in memory
    settings = app.settings(preset, [simulated(), *overrides])
    given = endpoints_of(settings, is_offline=is_offline)
    client = TypingClient(given["main"].client, **typing)  # type: ignore[index]
    endpoints = {
        role: endpoint if is_offline else replace(endpoint, client=client)
        for role, endpoint in given.items()
    }
    with SqliteBackend(folder / "memory.sqlite") as store:
        memory = ConversationMemory(store)
        engine = make_engine(settings, endpoints, memory, recorder=recorder, is_offline=is_offline)
        graph = None
        if not is_offline:
            graph = build_graph(overlap=settings.overlap, fuse=settings.fuse)
        session = ReplySession(engine=engine, graph=graph, is_simulated=True)
        yield session, client
        await session.settle()
        engine.close()


async def shown_by(session: ReplySession) -> tuple[list[Mapping[str, Any]], TurnResult]:
    """Return the bubbles of one turn as they came, and the turn."""
    stream = session.astream(HELLO)
    bubbles = [bubble async for bubble in stream]
    return bubbles, await stream.result()


@pytest.mark.parametrize("preset", ["classic", "balanced", "instant"])
async def test_showing_changes_nothing(preset: str, tmp_path: Path) -> None:
    """The bubbles are those of the record, and calls, rows and record are those of any turn."""
    async with opened(tmp_path / "shown", preset) as (session, _):
        bubbles, turn = await shown_by(session)
    async with opened(tmp_path / "plain", preset) as (session, _):
        plain = await session.run_turn(HELLO)
    assert bubbles == turn.record["bubbles"] != []
    assert turn == plain


async def test_bubbles_are_out_before_the_bookkeeping(tmp_path: Path) -> None:
    """The reply is whole while a call behind it is under way; the next turn waits for that."""
    async with opened(tmp_path, "balanced", behind=asyncio.Event()) as (session, client):
        stream = session.astream(HELLO)
        bubbles = [bubble async for bubble in stream]
        assert bubbles
        asked = len(client.calls)
        later = session.astream(AGAIN)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(client.calls) in {asked, asked + 1}  # none of the next turn's
        assert isinstance(client.behind, asyncio.Event)
        client.behind.set()
        turns = [await stream.result(), await later.result()]
    assert [turn.record["turn"] for turn in turns] == [0, 1]
    assert turns[0].record["bubbles"] == bubbles


async def test_closing_waits_for_the_turn_behind(tmp_path: Path) -> None:
    """A reader who leaves after the reply loses nothing: the turn is in memory."""
    settings = app.settings("balanced", [simulated()])
    async with app.open(settings, folder=tmp_path) as session:
        stream = session.astream(HELLO)
        async for _ in stream:
            break
    assert stream.has_ended
    async with app.open(settings, folder=tmp_path) as session:
        again = await session.run_turn(AGAIN)
    assert again.record["turn"] == 1


async def test_leaving_before_the_reply_cancels_the_turn(tmp_path: Path) -> None:
    """Nothing is kept of it, every call is settled, and the turn can be run again."""
    async with opened(tmp_path, "classic", behind=asyncio.Event()) as (session, client):
        stream = session.astream(HELLO)
        reading = asyncio.ensure_future(anext(aiter(stream)))
        await client.was_asked.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert session.engine.turn(Identity("agent", None, "talk")) is None
        session.engine.budgeter.ledger.check()
        with pytest.raises(asyncio.CancelledError):
            await stream.result()
        assert isinstance(client.behind, asyncio.Event)
        client.behind.set()
        again = await session.run_turn(HELLO)
    assert again.record["turn"] == 0


async def test_an_error_before_the_reply_is_raised_to_the_reader(tmp_path: Path) -> None:
    """There are no bubbles, and closing does not raise it again."""
    wrong = AuthFailed("no", status=401)
    async with opened(tmp_path, "classic", behind=wrong) as (session, _):
        with pytest.raises(AuthFailed):
            await shown_by(session)


async def test_an_error_that_none_has_seen_is_raised_by_closing(tmp_path: Path) -> None:
    """No failure is lost with a stream that is not read."""
    wrong = AuthFailed("no", status=401)
    with pytest.raises(AuthFailed):
        async with opened(tmp_path, "classic", behind=wrong) as (session, _):
            session.astream(HELLO)


async def test_a_turn_that_cannot_be_is_refused_before_it_begins(tmp_path: Path) -> None:
    """The caller is given the field and the value, and no stream is begun."""
    async with opened(tmp_path, "instant") as (session, client):
        with pytest.raises(ConfigError, match=r"`turn` is a whole number from 0 to .*got -1"):
            session.astream(replace(HELLO, turn=-1))
    assert client.calls == []


@pytest.mark.parametrize("preset", ["balanced", "instant"])
async def test_a_failure_behind_the_reply_is_in_the_record(preset: str, tmp_path: Path) -> None:
    """A wrong key of the bookkeeping's role: the reply remains, and memory has it."""
    wrong = AuthFailed("no such key", status=401)
    async with opened(tmp_path, preset, behind=wrong) as (session, client):
        bubbles, turn = await shown_by(session)
        client.behind = None
        again = await session.run_turn(AGAIN)
    assert bubbles == turn.record["bubbles"] != []
    failed = {(row["node"], row["reason"]): row["detail"] for row in turn.record["degraded"]}
    assert failed["evolver", "failed"] == "behind the reply: AuthFailed: no such key"
    assert again.record["turn"] == 1
    async with opened(tmp_path / "plain", preset, behind=wrong) as (session, _):
        with pytest.raises(AuthFailed):  # a turn that is not shown can be run again
            await session.run_turn(HELLO)


async def test_a_memory_that_fails_behind_the_reply_is_in_the_record(tmp_path: Path) -> None:
    """The reply remains, and the record names the node that kept nothing."""
    async with (
        opened(tmp_path, "balanced", behind=asyncio.Event()) as (session, client),
        opened(tmp_path, "balanced") as (other, _),
    ):
        stream = session.astream(replace(HELLO, user_id="ann"))
        bubbles = [bubble async for bubble in stream]
        await other.run_turn(TurnInput("another talk", None, "Hi.", user_id="ann"))
        assert isinstance(client.behind, asyncio.Event)
        client.behind.set()
        turn = await stream.result()
    assert turn.record["bubbles"] == bubbles
    assert [row["node"] for row in turn.record["degraded"]] == ["memory_writer"]
    assert "MemoryConflict" in turn.record["degraded"][0]["detail"]


async def test_a_reply_that_is_out_is_not_changed(tmp_path: Path) -> None:
    """A node behind it that would change it is refused, before anything of that is shown."""

    async def other(_state: TurnState, _context: TurnContext) -> Mapping[str, Any]:
        return {"reply": "Something else."}

    async with opened(tmp_path, "balanced") as (session, _):
        state = TurnState(conversation_id="talk", requested_turn=0)
        session.engine.open_turn(state.identity, 0)
        shown = ShownReply()
        context = TurnContext(session.engine, shown=shown)
        assert await run_step("loader", other, (), state, context)
        shown.show((Bubble(text="Hi.", delay_seconds=1.0),), is_whole=True)
        with pytest.raises(ValueError, match="'own' changes the reply after it was shown"):
            await run_step("own", other, (), state, context)
    with pytest.raises(RuntimeError, match="has changed"):
        shown.show((Bubble(text="Ho.", delay_seconds=1.0),))


# The reply's own call.


async def test_bubbles_are_shown_while_the_answer_arrives(tmp_path: Path) -> None:
    """Each is out before the next piece, and the record has them with the same delays."""
    async with opened(tmp_path, "instant", *STREAMED, text=ANSWER) as (session, client):
        stream = session.astream(HELLO)
        bubbles = []
        async for bubble in stream:
            bubbles.append(bubble)
            if len(bubbles) < 4:
                assert len(client.calls) == 1
        turn = await stream.result()
    assert turn.record["bubbles"] == bubbles
    assert len(bubbles) == 4
    assert "".join(bubble["text"] for bubble in bubbles).replace(" ", "") == LONG.replace(" ", "")
    assert not turn.record["degraded"]


async def test_streaming_costs_no_call(tmp_path: Path) -> None:
    """Streamed, with or without a reader, and not: the same calls, keys, rows and tokens."""
    turns, keys = [], []
    for name, overrides in (("plain", ()), ("read", STREAMED), ("unread", STREAMED)):
        with open_cassette(tmp_path / f"{name}.jsonl", CassetteMode.NEW_EPISODES) as cassette:
            async with opened(
                tmp_path / name, "instant", *overrides, recorder=cassette, text=ANSWER
            ) as (session, client):
                if name == "read":
                    turns.append((await shown_by(session))[1])
                else:
                    turns.append(await session.run_turn(HELLO))
        lines = (tmp_path / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        keys.append([key for line in lines if (key := json.loads(line).get("key"))])
        assert client.calls[0].stream == bool(overrides)
    assert keys[0] == keys[1] == keys[2] != []
    assert turns[0].rows == turns[1].rows == turns[2].rows
    assert turns[1].record == turns[2].record
    assert turns[0].record["reply"] == turns[1].record["reply"]


CASES: Mapping[str, tuple[str, int | None, int, str]] = {
    # answer, characters until it breaks off, bubbles, how it is reported
    "whole": (ANSWER, None, 4, ""),
    "breaks off": (ANSWER, 200, 2, "StreamCut"),
    "cannot be read": (ANSWER[:-2] + " and", None, 3, "InvalidAnswer"),
    "turns out to be thoughts": (
        json.dumps({"thought": "", "reply": LONG + "</think>Hello."}),
        None,
        3,
        "shown_before",
    ),
    "another answer after it": (ANSWER + '\n{"thought": "b", "reply": "Hello."}', None, 3, "shown"),
    "breaks off before a bubble": (ANSWER, 30, 0, "fused"),
}


@pytest.mark.parametrize("name", CASES)
async def test_what_is_shown_is_the_reply(name: str, tmp_path: Path) -> None:
    """However the answer goes on: no other answer takes its place, and a replay has the same."""
    text, stops_after, count, reported = CASES[name]
    path = tmp_path / "calls.jsonl"
    retry = "retry.total_attempts=1"
    with open_cassette(path, CassetteMode.NEW_EPISODES) as cassette:
        async with opened(
            tmp_path / "live",
            "instant",
            *STREAMED,
            retry,
            recorder=cassette,
            text=text,
            stops_after=stops_after,
        ) as (session, client):
            bubbles, turn = await shown_by(session)
    assert turn.record["bubbles"] == bubbles
    assert len(bubbles) == count or not count
    problems = json.dumps([turn.record["violations"], turn.record["degraded"]])
    assert reported in problems
    assert bool(reported) == (problems != "[[], []]")
    assert len(client.calls) == 2 or not count
    with open_cassette(path, CassetteMode.STRICT) as cassette:
        async with opened(
            tmp_path / "replay", "instant", *STREAMED, retry, recorder=cassette, is_offline=True
        ) as (session, _):
            replayed = await session.run_turn(HELLO)
            assert session.graph is None
    outcomes = {"outcomes", "sent", "work_seconds"}
    assert {name: value for name, value in replayed.record.items() if name not in outcomes} == {
        name: value for name, value in turn.record.items() if name not in outcomes
    }


async def test_an_answer_of_which_a_part_is_shown_is_not_tried_again(tmp_path: Path) -> None:
    """Before the first bubble an attempt is repeated, and after it no more."""
    for stops_after, attempts in ((30, 3), (240, 1)):
        async with opened(
            tmp_path / str(stops_after), "instant", *STREAMED, text=ANSWER, stops_after=stops_after
        ) as (session, client):
            await session.run_turn(HELLO)
        fused = [call for call in client.calls if call.purpose is Purpose.FUSE]
        assert sum(call.role == "main" for call in fused) == attempts


async def test_a_stream_ends_once(tmp_path: Path) -> None:
    """Two readers have the same bubbles; closing a stream after its reply changes nothing."""
    async with opened(tmp_path, "instant") as (session, _), aclosing(session.astream(HELLO)) as one:
        assert isinstance(one, ReplyStream)
        first, second = [[each async for each in one] for _ in range(2)]
        await one.aclose()
        assert first == second == (await one.result()).record["bubbles"]


async def test_a_session_shows_the_times_of_its_steps(tmp_path: Path) -> None:
    """Every call that has an answer form was read, and questions were made and formatted."""
    async with opened(tmp_path, "balanced") as (session, _):
        turn = await session.run_turn(HELLO)
        steps = session.statistics()["steps"]
    assert steps["parse"]["runs"] == steps["validate"]["runs"] == turn.record["asked"]
    assert steps["clean"]["runs"] == steps["format"]["runs"] == 2
    assert all(each["seconds"] >= 0 for each in steps.values())


async def test_cleaned_prompts_are_other_calls_with_the_same_record_of_words(
    tmp_path: Path,
) -> None:
    """What was written remains in the record; the calls have other keys."""
    digests = []
    said = TurnInput("talk", None, "I  lost \n\n\n my job.")
    for name, knobs in (("off", ()), ("on", ("preprocess.normalise=true",))):
        path = tmp_path / f"{name}.jsonl"
        with open_cassette(path, CassetteMode.NEW_EPISODES) as cassette:
            async with opened(tmp_path / name, "balanced", *knobs, recorder=cassette) as (
                session,
                client,
            ):
                turn = await session.run_turn(said)
        assert turn.record["user_text"] == said.user_text
        digests.append({call.messages[1].content for call in client.calls})
    assert digests[0].isdisjoint(digests[1])
