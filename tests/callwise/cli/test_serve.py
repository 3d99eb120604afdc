"""`callwise serve` as a process: its token, its end, and requests that are wrong."""

import asyncio
import os
import re
import signal
import subprocess
import sys

import aiohttp
import pytest
from aiohttp import web

from callwise.report import load_run
from callwise.report.feedback import read_feedback
from callwise.report.live_status import read_status
from callwise.wake import WakeStore

AGENTS = """
models: {one: {}}
wake: {delay_seconds: [0, 0], intent_daily_calls: 0}
agents:
  - {id: alice, persona: A retired sailor., model: one}
"""


@pytest.fixture
def started(tmp_path):
    """Return a function that starts the command; what it started is ended."""
    processes = []

    def start(*arguments, **environ):
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "callwise", "serve", *map(str, arguments), "--port", "0"],
            cwd=tmp_path,
            env={**os.environ, **environ},
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def said_until(process, pattern):
    """Return the lines of standard error up to one that matches, and its match."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if match := re.search(pattern, line):
            return "".join(lines), match
    raise AssertionError("".join(lines))


@pytest.mark.slow
@pytest.mark.parametrize(("received", "code"), [(signal.SIGTERM, 1), (signal.SIGINT, 130)])
def test_the_demo_is_served_and_ends_in_order(started, tmp_path, received, code):
    """A token is made and printed once; a signal closes clients with a reason."""
    process = started("--demo", "--set", "metrics.status=true")
    lines, match = said_until(process, r"page: (http://127.0.0.1:\d+)/#token=(\S+)")
    url, token = match.groups()
    assert "a simulated model answers" in lines

    async def talk():
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
            session.ws_connect(url + "/socket") as socket,
        ):
            await socket.send_json({"type": "hello"})
            assert (await socket.receive_json())["room"] == "harbour"
            async with session.post(url + "/wake") as answer:
                report = await answer.json()
            assert report["requests"] >= 2
            process.send_signal(received)
            while (message := await socket.receive()).type == aiohttp.WSMsgType.TEXT:
                pass
            assert (message.data, socket.close_code) == (1012, 1012)

    asyncio.run(asyncio.wait_for(talk(), 120))
    _, rest = process.communicate(timeout=120)
    assert process.returncode == code
    assert "Traceback" not in rest
    assert token not in rest
    assert "calls under way have 3 s to end" in rest
    assert rest.count("is not kept") == 1
    status = read_status(tmp_path / "callwise-runs" / "serve" / "status.json")
    assert status.has_ended
    assert "are kept" not in rest


@pytest.mark.slow
def test_a_line_is_kept_for_the_next_process(started, tmp_path):
    """With the token of the environment, which is not printed."""
    (tmp_path / "agents.yaml").write_text(AGENTS, encoding="utf-8")
    token = "0123456789abcdef-environment"
    headers = {"Authorization": f"Bearer {token}"}

    async def lines(url, text):
        async with aiohttp.ClientSession(headers=headers) as session:
            async with session.post(
                url + "/messages", json={"author": "Mia", "text": text}
            ) as answer:
                assert answer.status == 202
            async with session.get(url + "/messages?after=0") as answer:
                return [each["text"] for each in (await answer.json())["messages"]]

    for expected in (["first"], ["first", "second"]):
        process = started("agents.yaml", "--store", "kept.sqlite", CALLWISE_SERVE_TOKEN=token)
        printed, match = said_until(process, r"page: (http://\S+)/ with")
        assert asyncio.run(lines(match[1], expected[-1])) == expected
        process.terminate()
        _, rest = process.communicate(timeout=120)
        assert token not in printed + rest


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--feedback", "liked")], ids=repr)
def test_feedback_is_in_a_folder_next_to_the_store(started, tmp_path, options):
    """Or in the named one; the file of a reply of before the start is enough."""
    (tmp_path / "agents.yaml").write_text(AGENTS, encoding="utf-8")
    with WakeStore(tmp_path / "kept.sqlite") as store:
        store.rooms.say("main", "alice", "Hello.", id="main:1:alice", at=1.0)
    token = "0123456789abcdef-environment"

    async def post(url):
        headers = {"Authorization": f"Bearer {token}"}
        given = {"message": "main:1:alice", "rating": 5}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(url + "/feedback", json=given) as answer,
        ):
            assert answer.status == 201, await answer.text()

    arguments = ("agents.yaml", "--store", "kept.sqlite", *options)
    process = started(*arguments, CALLWISE_SERVE_TOKEN=token)
    _, match = said_until(process, r"page: (http://\S+)/ with")
    asyncio.run(post(match[1]))
    process.terminate()
    process.communicate(timeout=120)
    folder = tmp_path / (options[1] if options else "kept.sqlite.feedback")
    run = load_run(folder)
    assert [record.rating for record in read_feedback(run)[0]] == [5]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "give either a file of agents or --demo"),
        (("--demo", "agents.yaml"), "give either a file of agents or --demo"),
        (("missing.yaml",), "there is no file of agents"),
        (("--demo", "--origin", "chat.example/path"), "give a scheme and a host alone"),
        (("--demo", "--origin", "http://["), "give a scheme and a host alone"),
        (("--demo", "--origin", "http://"), "give a scheme and a host alone"),
        (("--demo", "--set", "wake.nonsense=1"), "nonsense"),
    ],
)
def test_a_wrong_request_is_named(cli, arguments, problem):
    """Before anything listens."""
    shown = cli("serve", *arguments)
    assert shown.exit_code == 2
    assert problem in shown.stderr


def test_a_short_token_is_refused(cli, monkeypatch):
    """Rather than served."""
    monkeypatch.setenv("CALLWISE_SERVE_TOKEN", "short")
    shown = cli("serve", "--demo")
    assert shown.exit_code == 2
    assert "CALLWISE_SERVE_TOKEN" in shown.stderr


@pytest.mark.slow
def test_a_model_that_never_answers_does_not_keep_the_process(started, tmp_path):
    """Its call is cancelled, its credits are given back, and what was said is kept."""
    token = "0123456789abcdef-environment"
    asked, is_over = asyncio.Event(), asyncio.Event()

    async def never(_request):
        asked.set()
        await is_over.wait()
        return web.Response()

    async def steps():
        app = web.Application()
        app.router.add_post("/v1/chat/completions", never)
        runner = web.AppRunner(app, shutdown_timeout=0.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address = runner.addresses[0]
        (tmp_path / "agents.yaml").write_text(AGENTS, encoding="utf-8")
        process = started(
            *("agents.yaml", "--store", "kept.sqlite"),
            CALLWISE_SERVE_TOKEN=token,
            CALLWISE_BASE_URL=f"http://{address[0]}:{address[1]}/v1",
            CALLWISE_MODEL="never",
            CALLWISE_API_KEY="none",
        )
        _, match = await asyncio.to_thread(said_until, process, r"page: (http://\S+)/ with")
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            line = {"author": "Mia", "text": "@alice are you up?"}
            async with session.post(match[1] + "/messages", json=line) as answer:
                assert answer.status == 202
        await asked.wait()
        process.terminate()
        await asyncio.to_thread(process.communicate, timeout=120)
        is_over.set()
        await runner.cleanup()
        return process.returncode

    assert asyncio.run(asyncio.wait_for(steps(), 300)) == 1
    with WakeStore(tmp_path / "kept.sqlite") as store:
        assert [each.text for each in store.rooms.messages("main")] == ["@alice are you up?"]
        assert store.credits.open_holds() == []
        assert store.credits.total() == 0


def test_without_its_extra_the_error_names_it(tmp_path):
    """In a process that has none of its packages, as after a plain installation."""
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('starlette', 'uvicorn', 'websockets')))\n"
        "from callwise.cli.main import main\n"
        "sys.argv = ['callwise', 'serve', '--demo']\n"
        "main()\n"
    )
    ended = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2, ended.stderr
    assert "starlette, uvicorn, websockets" in ended.stderr
    assert "pip install '.[serve]'" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "the chat was in memory and is not kept"),
        (("--store", "kept.sqlite"), "chat, credits and memories are kept"),
    ],
)
def test_a_wake_that_is_stopped_names_what_is_kept(cli, tmp_path, monkeypatch, options, said):
    """Of simulated models nothing is, without a store."""
    from callwise.budget import virtual_time

    def stopped(running):
        running.close()
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(virtual_time, "run_in_virtual_time", stopped)
    (tmp_path / "agents.yaml").write_text(AGENTS, encoding="utf-8")
    shown = cli("wake", "agents.yaml", *options)
    assert shown.exit_code == 130
    assert f"stopped; {said}" in shown.stderr
