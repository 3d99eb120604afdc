"""Output of the command line on endpoints that fail: the role, its source, how to go on."""

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from callwise.cli.main import callwise
from tests.providers.behaviour import Behaviour
from tests.providers.behaviours import BEHAVIOURS
from tests.providers.running import QUICK, USER_TEXT, variables_for
from tests.providers.server import ProviderServer

BY_NAME = {behaviour.name: behaviour for behaviour in BEHAVIOURS}

GOES_ON = r"(?is)same command|goes on|go on|resume|again"


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[ProviderServer]:
    """Run a server in a thread, since commands bring a loop of their own."""
    loop = asyncio.new_event_loop()
    server = ProviderServer(behaviour.make() if behaviour.make else None)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(timeout=120)
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=120)
        loop.close()


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a conversation of one turn, in the folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")
    path = tmp_path / "talk.jsonl"
    line = {"conversation_id": "talk", "turn": 0, "user_text": USER_TEXT}
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    return path


def _replayed(talk: Path, behaviour: Behaviour, base_url: str) -> Result:
    knobs = [*QUICK, *(knob.replace("{main}", base_url) for knob in behaviour.knobs)]
    arguments = ["replay", str(talk), "--preset", "balanced", "--out", "run"]
    for knob in knobs:
        arguments += ["--set", knob]
    return CliRunner().invoke(callwise, arguments)


@pytest.mark.parametrize(
    ("name", "patterns"),
    [
        ("wrong key: OpenAI", (r"\bmain\b", "127.0.0.1", "CALLWISE_API_KEY")),
        ("quota: DeepSeek", (r"\bmain\b", "127.0.0.1", "quota|credit|balance")),
        ("quota: DashScope", (r"\bmain\b", "127.0.0.1", "quota|credit|balance")),
        ("quota: in Chinese", (r"\bmain\b", "127.0.0.1", "quota|credit|balance")),
        ("unknown model: Ollama", (r"\bmain\b", "main-model", "CALLWISE_MODEL")),
        ("the judge's endpoint has no such model", (r"\bjudge\b", "CALLWISE_JUDGE_MODEL")),
        ("base URL without /v1", ("/v1", "CALLWISE_BASE_URL")),
        ("base URL with the route in it", ("CALLWISE_BASE_URL",)),
        ("501 always", (r"\bmain\b", "501", "CALLWISE_BASE_URL|endpoints check")),
    ],
)
def test_an_error_says_which_role_what_sets_it_and_how_to_go_on(
    talk: Path, monkeypatch: pytest.MonkeyPatch, name: str, patterns: tuple[str, ...]
) -> None:
    """The same command goes on when the cause is mended, and no key is shown."""
    behaviour = BY_NAME[name]
    with serving(behaviour) as server:
        path = "/v1" if behaviour.path is None else behaviour.path
        for variable, value in variables_for(behaviour, server.origin + path).items():
            monkeypatch.setenv(variable, value)
        failed = _replayed(talk, behaviour, server.base_url)
        if behaviour.expected.ends == "either" and failed.exit_code == 0:
            return  # the client found the right one
        assert failed.exit_code == 1, failed.output
        for pattern in (*patterns, GOES_ON):
            assert _found(pattern, failed.output), f"{pattern!r} is not in: {failed.output}"
        assert "0123456789abcdef" not in failed.output
        assert "During task" not in failed.output, "the graph's own words are no help"
        server.mend()
        monkeypatch.setenv("CALLWISE_BASE_URL", server.base_url)
        mended = _replayed(talk, behaviour, server.base_url)
        assert mended.exit_code == 0, mended.output


def _found(pattern: str, text: str) -> bool:
    return re.search(pattern, " ".join(text.split()), re.IGNORECASE) is not None


def test_a_dead_judge_is_named_in_the_first_lines(
    talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply comes all the same; what was lost is not left to be found in a file."""
    behaviour = BY_NAME["the judge's host refuses connections"]
    with serving(behaviour) as server:
        for variable, value in variables_for(behaviour, server.base_url).items():
            monkeypatch.setenv(variable, value)
        result = _replayed(talk, behaviour, server.base_url)
    assert result.exit_code == 0, result.output
    beginning = "\n".join(result.output.splitlines()[:6])
    assert _found("degraded", beginning), result.output
    assert _found(r"judge\b.*127\.0\.0\.1", beginning), result.output


def test_a_learned_fact_is_reported_once(talk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, and never again in the same folder."""
    behaviour = BY_NAME["temperature: Moonshot"]
    with serving(behaviour) as server:
        for variable, value in variables_for(behaviour, server.base_url).items():
            monkeypatch.setenv(variable, value)
        result = _replayed(talk, behaviour, server.base_url)
    assert result.exit_code == 0, result.output
    lines = [line for line in result.output.splitlines() if _found("temperature", line)]
    assert len(lines) == 1, result.output
