"""SIGTERM and Ctrl-C: calls under way are answered and kept, and a run goes on where it stopped."""

import asyncio
import json
import os
import signal
import sys

import orjson
import pytest
from aiohttp import web

from callwise.budget import Budgeter
from callwise.calls import Call, Endpoint, Message, Purpose, Role
from callwise.calls.errors import RunStopped
from callwise.cli.draining import SignalDrain
from callwise.recordings.replay_run import play_in_lanes
from callwise.simulator import SimulatedSettings
from callwise.simulator.model import SimulatedModel, body_digest
from callwise.simulator.server_responses import chat_response
from callwise.testing.fakes import ScriptedClient


class OneBudgeter:
    """A session that drains a budgeter."""

    def __init__(self, budgeter):
        self.budgeter = budgeter
        self.is_draining = asyncio.Event()

    async def drain(self, seconds, *, reason):
        """Drain it."""
        asyncio.get_running_loop().call_soon(self.is_draining.set)
        return await self.budgeter.drain(seconds, reason=reason)


def call(text):
    """Return a call."""
    return Call(Role.MAIN, Purpose.OTHER, (Message("user", text),))


async def test_a_signal_lets_calls_under_way_end_and_accepts_no_other():
    """Of every session that is open, and of one that is opened later."""
    gate, asked = asyncio.Event(), asyncio.Event()

    async def answer(_call):
        asked.set()
        await gate.wait()
        return "late"

    client = ScriptedClient(answer)
    sessions = [OneBudgeter(Budgeter({Role.MAIN: Endpoint("a", "m", client)})) for _ in range(3)]
    first, second, third = (session.budgeter for session in sessions)
    drain = SignalDrain()
    with drain.watching(sessions[0]):
        drain.watch(sessions[1])
        under_way = asyncio.ensure_future(first.ask(call("1")))
        await asked.wait()
        signal.raise_signal(signal.SIGTERM)
        await sessions[0].is_draining.wait()
        drain.watch(sessions[2])
        await sessions[2].is_draining.wait()
        for each in (first, second, third):
            with pytest.raises(RunStopped, match="SIGTERM ended it"):
                await each.ask(call("2"))
        gate.set()
        assert (await under_way).text == "late"
    with pytest.raises(RunStopped, match="SIGTERM ended it"):
        drain.check()


@pytest.mark.parametrize("received", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_cancels_what_is_left(received):
    """The second one shows that waiting is not wanted; a third ends the process as ever."""
    asked = asyncio.Event()

    async def answer(_call):
        asked.set()
        await asyncio.Event().wait()

    budgeter = Budgeter({Role.MAIN: Endpoint("a", "m", ScriptedClient(answer))})
    before = signal.getsignal(received)
    drain = SignalDrain()
    with drain.watching(OneBudgeter(budgeter)):
        under_way = asyncio.ensure_future(budgeter.ask(call("1")))
        await asked.wait()
        assert signal.getsignal(received) is not before
        for _ in range(2):
            signal.raise_signal(received)
        with pytest.raises(RunStopped, match="ended it"):
            await under_way
        assert signal.getsignal(received) is before
        budgeter.ledger.check()
    assert signal.getsignal(received) is before
    assert drain.received is received


async def test_a_session_that_cannot_drain_is_left_alone():
    """Signals end it as ever."""
    before = signal.getsignal(signal.SIGTERM)
    SignalDrain().watch(object())
    assert signal.getsignal(signal.SIGTERM) is before


def test_sessions_of_one_loop_after_another_are_watched():
    """As those of a purchase block by block."""
    drain = SignalDrain()

    async def one():
        session = OneBudgeter(Budgeter({}))
        drain.watch(session)
        signal.raise_signal(signal.SIGTERM)
        await session.is_draining.wait()
        return session.budgeter.stopped_by

    async def none():
        drain.watch(OneBudgeter(Budgeter({})))

    before = signal.getsignal(signal.SIGTERM)
    asyncio.run(none())
    assert signal.getsignal(signal.SIGTERM) is before
    assert asyncio.run(one()) == "SIGTERM ended it"


@pytest.mark.parametrize(
    ("received", "error"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, RunStopped)],
)
@pytest.mark.parametrize("raised", [RunStopped("x"), KeyboardInterrupt()])
def test_a_stopped_command_ends_by_the_error_of_its_signal(received, error, raised):
    """Whichever way the signal reached it."""
    drain = SignalDrain()
    drain.received = received
    with pytest.raises(error), drain.ending():
        raise raised


def test_sigterm_interrupts_a_command_that_waits_for_its_user():
    """No session is watched then."""
    before = signal.getsignal(signal.SIGTERM)
    drain = SignalDrain()
    with pytest.raises(RunStopped, match="SIGTERM"), drain.ending(), drain.interrupted():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


class Turn:
    """A turn of a memory."""

    def __init__(self, name):
        self.memory_owner = ("user", name)


async def test_a_run_that_stops_cancels_no_lane():
    """Others go on to their own next call, so that what is under way is answered."""
    answered, stop = [], asyncio.Event()

    async def play(turn):
        if turn.memory_owner[1] == "a":
            stop.set()
            raise RunStopped("the run has stopped")
        await stop.wait()
        await asyncio.sleep(0)
        answered.append(turn)
        raise RunStopped("the run has stopped")

    with pytest.raises(RunStopped):
        await play_in_lanes([Turn("a"), Turn("b"), Turn("c")], play, max_concurrency=3)
    assert len(answered) == 2


class Service:
    """An endpoint that answers each request once it is released.

    Attributes:
        requests: bodies, in the order of arrival.
        arrived: set when one arrives.
        release: lets it be answered.
    """

    def __init__(self):
        self.requests = []
        self.arrived, self.release = asyncio.Event(), asyncio.Event()
        self._model = SimulatedModel(settings=SimulatedSettings())
        self._runner = None

    async def __aenter__(self):
        """Listen."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(self, *_error):
        """Answer what is left, and stop."""
        self.release.set()
        await self._runner.cleanup()

    async def started(self, folder, *arguments):
        """Return a process of a command that asks it."""
        url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from callwise.cli.main import main; main()", *arguments),
            cwd=folder,
            env={
                **os.environ,
                "PYTHONUNBUFFERED": "1",
                "CALLWISE_BASE_URL": url,
                "CALLWISE_MODEL": "m",
            },
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def _chat(self, request):
        body = await request.json()
        self.requests.append(orjson.dumps(body))
        self.arrived.set()
        await self.release.wait()
        answer = self._model.answer(body, 0, digest=body_digest(body))
        return web.json_response(chat_response(answer, model="m", request_id="1"))


async def ended(process, service, received):
    """Signal a process, answer the call under way, and return its code and errors."""
    process.send_signal(received)
    shown = await process.stderr.readuntil(b"signal cancels them\n")
    service.release.set()
    _, rest = await process.communicate()
    service.arrived.clear()
    return process.returncode, (shown + rest).decode()


ENDS = [(signal.SIGTERM, 1, "SIGTERM ended it"), (signal.SIGINT, 130, "Ctrl-C ended it")]


@pytest.mark.slow
@pytest.mark.parametrize(("received", "code", "reason"), ENDS[:1])
async def test_a_replay_that_was_ended_goes_on_without_buying_its_answer_again(
    tmp_path, received, code, reason
):
    """One request before the signal, and none of it again after."""
    talk = tmp_path / "talk.jsonl"
    talk.write_text(json.dumps({"conversation_id": "c", "turn": 0, "user_text": "hi"}) + "\n")
    async with Service() as service:
        command = ("replay", "talk.jsonl", "-p", "instant", "--out", "run")
        process = await service.started(tmp_path, *command)
        await service.arrived.wait()
        returned, text = await ended(process, service, received)
        assert returned == code, text
        assert reason in text
        assert "run the same command to go on" in text
        assert "unfinished turn: 1 call asked, 1 request sent" in text
        assert len(service.requests) == 1
        process = await service.started(tmp_path, *command)
        await process.communicate()
        assert process.returncode == 0
        assert len(set(service.requests)) == len(service.requests) > 1


@pytest.mark.slow
@pytest.mark.parametrize(("received", "code", "reason"), ENDS[:1])
async def test_a_chat_that_was_ended_keeps_its_whole_turns(tmp_path, received, code, reason):
    """In the second turn, once its call is answered; the next process goes on there."""
    async with Service() as service:
        command = ("chat", "-p", "instant")
        process = await service.started(tmp_path, *command)
        service.release.set()
        process.stdin.write(b"hi\n")
        await process.stderr.readuntil(b"[turn 0")
        service.release.clear()
        service.arrived.clear()
        before = len(service.requests)
        process.stdin.write(b"and now?\n")
        await service.arrived.wait()
        returned, text = await ended(process, service, received)
        assert returned == code, text
        assert reason in text
        assert "run the same command to go on" in text
        assert "unfinished turn: 1 call asked, 1 request sent" in text
        assert len(service.requests) == before + 1
        process = await service.started(tmp_path, *command)
        _, text = await process.communicate(b"and now?\n")
        assert b"[turn 1" in text


@pytest.mark.slow
@pytest.mark.parametrize(("received", "code", "reason"), ENDS[1:])
async def test_a_purchase_that_was_ended_goes_on_without_buying_its_answers_again(
    tmp_path, received, code, reason
):
    """The answer under way is recorded; what was spent is printed, and the command goes on."""
    talk = tmp_path / "talk.jsonl"
    talk.write_text(json.dumps({"conversation_id": "c", "turn": 0, "user_text": "hi"}) + "\n")
    async with Service() as service:
        service.release.set()
        recorded = await service.started(
            tmp_path, "replay", "talk.jsonl", "-p", "frugal", "--out", "run"
        )
        await recorded.communicate()
        assert recorded.returncode == 0
        service.release.clear()
        service.arrived.clear()
        service.requests.clear()
        command = (
            "tune",
            "run",
            "--knob",
            "search.max_calls=4,5,6",
            "--jobs",
            "1",
            "--quality",
            "none",
            "--buy",
            "--yes",
        )
        process = await service.started(tmp_path, *command)
        await service.arrived.wait()
        returned, text = await ended(process, service, received)
        assert returned == code, text
        assert reason in text
        assert "Bought 1 call: USD" in text
        assert "run the same command to go on" in text
        assert len(service.requests) == 1
        process = await service.started(tmp_path, *command)
        _, text = await process.communicate()
        assert process.returncode == 0, text
        assert len(set(service.requests)) == len(service.requests) > 1
