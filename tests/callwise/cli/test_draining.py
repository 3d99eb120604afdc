"""SIGTERM: calls under way are answered and kept, and the run goes on later where it stopped."""

import asyncio
import json
import os
import signal
import sys

import pytest
from aiohttp import web

from callwise.budget import Budgeter
from callwise.calls import Call, Endpoint, Message, Purpose, Role
from callwise.calls.errors import RunStopped
from callwise.cli.terminal import drain_at_sigterm
from callwise.recordings.replay_run import play_in_lanes
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


async def test_sigterm_lets_calls_under_way_end_and_accepts_no_other():
    """In a process that has asked for it."""
    gate, asked = asyncio.Event(), asyncio.Event()

    async def answer(_call):
        asked.set()
        await gate.wait()
        return "late"

    budgeter = Budgeter({Role.MAIN: Endpoint("a", "m", ScriptedClient(answer))})
    session = OneBudgeter(budgeter)
    drain_at_sigterm(session)
    try:
        under_way = asyncio.ensure_future(budgeter.ask(call("1")))
        await asked.wait()
        signal.raise_signal(signal.SIGTERM)
        await session.is_draining.wait()
        with pytest.raises(RunStopped, match="SIGTERM"):
            await budgeter.ask(call("2"))
        gate.set()
        assert (await under_way).text == "late"
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


async def test_a_second_sigterm_cancels_what_is_left():
    """The second one shows that waiting is not wanted."""
    asked = asyncio.Event()

    async def answer(_call):
        asked.set()
        await asyncio.Event().wait()

    budgeter = Budgeter({Role.MAIN: Endpoint("a", "m", ScriptedClient(answer))})
    drain_at_sigterm(OneBudgeter(budgeter))
    try:
        under_way = asyncio.ensure_future(budgeter.ask(call("1")))
        await asked.wait()
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(RunStopped, match="SIGTERM"):
            await under_way
        budgeter.ledger.check()
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


async def test_a_session_that_cannot_drain_is_left_alone():
    """SIGTERM ends it as ever."""
    drain_at_sigterm(object())
    assert not asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


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


@pytest.mark.slow
async def test_a_replay_that_was_ended_goes_on_without_buying_its_answer_again(tmp_path):
    """In a process of the command: one request before SIGTERM, and none of it again after."""
    requests, arrived, release = [], asyncio.Event(), asyncio.Event()

    async def chat(request):
        body = await request.json()
        requests.append(body["messages"])
        arrived.set()
        await release.wait()
        message = {"role": "assistant", "content": "no form at all"}
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return web.json_response({"model": "m", "choices": [choice], "usage": usage})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    talk = tmp_path / "talk.jsonl"
    talk.write_text(json.dumps({"conversation_id": "c", "turn": 0, "user_text": "hi"}) + "\n")
    command = (
        *(sys.executable, "-c", "from callwise.cli.main import main; main()"),
        *("replay", str(talk), "--preset", "instant", "--out", str(tmp_path / "run")),
        *("--set", f"endpoints.main.base_url=http://127.0.0.1:{port}/v1"),
        *("--set", "endpoints.main.model=m"),
    )
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}

    async def run():
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=tmp_path,
            env=environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    try:
        process = await run()
        await arrived.wait()
        process.send_signal(signal.SIGTERM)
        shown = await process.stderr.readuntil(b"calls under way have 30 s to end\n")
        release.set()
        _, rest = await process.communicate()
        text = (shown + rest).decode()
        assert process.returncode == 1, text
        assert "SIGTERM ended it" in text
        assert "run the same command to go on" in text
        assert len(requests) == 1
        arrived.clear()
        process = await run()
        await process.communicate()
        assert requests.count(requests[0]) == 1
        assert len(requests) > 1
    finally:
        release.set()
        await runner.cleanup()
