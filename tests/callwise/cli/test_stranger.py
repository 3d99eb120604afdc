"""Recordings and presets of strangers: what they name is neither run nor sent anything."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ormsgpack
import pytest

import callwise
from callwise.calls.errors import ConfigError
from callwise.simulator.server import SimServer
from callwise.tuning import notebook

pytestmark = pytest.mark.slow

SECRET = "aws-secret-0123456789abcdef"
MARK = "ran.txt"
CODE = f"open({MARK!r}, 'w').close()\nraise SystemExit(99)\n"


class Trap(SimServer):
    """A stranger's server, which keeps the keys that it is sent and answers well."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    @property
    def place(self) -> str:
        """How it is confirmed."""
        return self.origin.removeprefix("http://")

    async def _body_of(self, request: Any, *rest: Any) -> Any:
        self.heard.append(request.headers.get("authorization", ""))
        return await super()._body_of(request, *rest)


@pytest.fixture
def trap() -> Iterator[Trap]:
    """Return a listening trap, in a thread since commands bring a loop of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = Trap()
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(timeout=20)
        yield server
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=20)
        loop.close()


@pytest.fixture
def recorded(cli: Any, talk: Path) -> Path:
    """Return an honest recording, made on the simulated model."""
    assert cli("replay", talk, "-p", "instant", "--out", "run").exit_code == 0
    return Path("run")


def forged(run: Path, *, app: str | None = None, **given: Any) -> Path:
    """Change what a recording's manifest says."""
    path = run / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if app is not None:
        manifest["identity"]["app"] = app
    manifest["given"].update(given)
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return run


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return an import string of a module in the working directory that ends the process."""
    (tmp_path / "evil_models.py").write_text(CODE, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "evil_models:chat"


TUNE = ("--knob", "search.max_calls=1,3", "--jobs", "1", "--out", "sweep")


def test_a_recordings_app_is_not_imported(cli: Any, recorded: Path, evil: str) -> None:
    """It is compared with what is given, and refused with the way out."""
    for app in ("os:abort", evil, "this:s"):
        for buys in ((), ("--buy", "--yes")):
            result = cli("tune", forged(recorded, app=app), *TUNE, *buys)
            assert result.exit_code == 2
            assert f"--app {app}" in result.stderr
    assert not Path(MARK).exists()
    assert "evil_models" not in sys.modules


def test_a_given_app_is_the_one_that_is_imported(cli: Any, recorded: Path) -> None:
    """Another one than the recording's is an error; the same one is loaded."""
    assert "not of 'other:app'" in cli("tune", recorded, *TUNE, "--app", "other:app").stderr
    Path("mine.py").write_text("from graph.app import app\n", encoding="utf-8")
    run = forged(recorded, app="mine:app")
    assert cli("tune", run, *TUNE, "--app", "mine:app").exit_code == 0


def test_a_recordings_model_is_not_imported(cli: Any, recorded: Path, evil: str) -> None:
    """Not to evaluate settings, and not to buy what they lack."""
    run = forged(recorded, endpoints={"main": {"kind": "langchain", "langchain": evil}})
    for buys in ((), ("--buy", "--yes")):
        assert cli("tune", run, *TUNE, *buys).exit_code != 0
    assert not Path(MARK).exists()
    assert "evil_models" not in sys.modules


def preset(**endpoints: Any) -> str:
    """Write a preset file and return its path."""
    document = {"extends": "instant", "endpoints": endpoints}
    Path("theirs.yaml").write_text(json.dumps(document), encoding="utf-8")
    return "theirs.yaml"


def test_a_presets_model_is_not_imported(cli: Any, talk: Path, evil: str) -> None:
    """By no command, and not in a replay that sends nothing."""
    path = preset(main={"kind": "langchain", "langchain": evil})
    commands: list[tuple[object, ...]] = [
        ("run", "hello", "-p", path),
        ("chat", "-p", path),
        ("replay", talk, "-p", path),
        ("replay", talk, "-p", path, "--record", "new.jsonl"),
        ("endpoints", "check", "-p", path),
    ]
    for command in commands:
        result = cli(*command, stdin="hello\n")
        assert result.exit_code == 2, (command, result.output)
        assert f"--trust-code {evil}" in result.stderr
    for command in [("plan", "-p", path), ("knobs", "-p", path)]:
        assert cli(*command).exit_code == 0
    assert not Path(MARK).exists()
    assert "evil_models" not in sys.modules


def test_a_confirmed_model_is_used_and_a_strict_replay_needs_no_confirmation(
    cli: Any, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was recorded with it is played without importing it."""
    Path("my_models.py").write_text(
        "from langchain_core.language_models.fake_chat_models import FakeListChatModel\n"
        "def chat():\n    return FakeListChatModel(responses=['fine'])\n",
        encoding="utf-8",
    )
    path = preset(main={"kind": "langchain", "langchain": "my_models:chat"})
    record = ("replay", talk, "-p", path, "--record", "c.jsonl", "--trust-code", "my_models:chat")
    recorded = cli(*record)
    assert recorded.exit_code == 0, recorded.output
    assert "code: my_models:chat" in recorded.stderr
    Path("my_models.py").write_text(CODE, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "my_models")
    played = cli("replay", talk, "-p", path, "--cassette", "c.jsonl")
    assert played.exit_code == 0, played.output
    assert "my_models" not in sys.modules
    assert not Path(MARK).exists()


def server_of(trap: Trap, **fields: str) -> dict[str, str]:
    """Return settings that point at a trap."""
    return {"base_url": trap.base_url, "model": "m", **fields}


@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", None])
def test_a_recording_gets_no_key_and_no_request(
    cli: Any, talk: Path, trap: Trap, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    """It is evaluated without a request; what it lacks is bought once it is named again."""
    named = {} if variable is None else {"api_key_env": variable}
    made = [
        each
        for name, text in server_of(trap, **named).items()
        for each in ("-s", f"endpoints.main.{name}={text}")
    ]
    assert cli("replay", talk, "-p", "frugal", *made, "--out", "run").exit_code == 0
    trap.heard.clear()
    monkeypatch.setenv(variable or "CALLWISE_API_KEY", SECRET)
    command = ("tune", "run", *TUNE)
    assert cli(*command).exit_code == 0
    refused = cli(*command, "--buy", "--yes")
    assert refused.exit_code == 2
    option = f"{variable or 'CALLWISE_API_KEY'}@{trap.place}"
    assert f"--trust-endpoint {option}" in refused.stderr
    assert trap.heard == []
    bought = cli(*command, "--buy", "--yes", "--trust-endpoint", option)
    assert set(trap.heard) == {f"Bearer {SECRET}"}
    assert f"endpoint of main: {trap.place}, with the key in" in bought.stderr
    assert SECRET not in refused.output + bought.output


def test_a_sweep_file_names_no_endpoint(
    cli: Any, recorded: Path, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings may be a stranger's as well as the recording."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    own = server_of(trap, api_key_env="AWS_SECRET_ACCESS_KEY")
    fixed = {f"endpoints.main.{name}": text for name, text in own.items()}
    document = {"settings": [{"name": "x", "fixed": fixed}]}
    Path("sweep.yaml").write_text(json.dumps(document), encoding="utf-8")
    result = cli("tune", recorded, "--grid", "sweep.yaml", *TUNE[2:], "--buy", "--yes")
    assert "--trust-endpoint AWS_SECRET_ACCESS_KEY@" in result.stderr, result.output
    assert trap.heard == []


@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", None])
def test_a_preset_gets_no_key_and_no_request(
    cli: Any, talk: Path, trap: Trap, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    """By no command; the error names the option, which then sends it."""
    monkeypatch.setenv(variable or "CALLWISE_API_KEY", SECRET)
    named = {} if variable is None else {"api_key_env": variable}
    path = preset(main=server_of(trap, **named))
    commands: list[tuple[object, ...]] = [
        ("run", "hello", "-p", path),
        ("chat", "-p", path),
        ("replay", talk, "-p", path),
        ("endpoints", "check", "-p", path),
    ]
    option = f"{variable or 'CALLWISE_API_KEY'}@{trap.place}"
    for command in commands:
        result = cli(*command, stdin="hello\n")
        assert result.exit_code == 2, (command, result.output)
        assert f"--trust-endpoint {option}" in result.stderr
        assert SECRET not in result.output
    assert trap.heard == []
    result = cli("run", "hello", "-p", path, "--trust-endpoint", option)
    assert set(trap.heard) == {f"Bearer {SECRET}"}
    assert f"endpoint of main: {trap.place}, with the key in" in result.stderr
    assert SECRET not in result.output


def test_settings_of_the_command_line_and_the_environment_need_no_confirmation(
    cli: Any, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are the user's own, whatever preset they are laid over."""
    monkeypatch.setenv("MY_KEY", SECRET)
    own = server_of(trap, api_key_env="MY_KEY")
    sets = [each for name, text in own.items() for each in ("-s", f"endpoints.main.{name}={text}")]
    assert cli("run", "hello", "-p", preset(), *sets).exit_code == 0
    for name, text in own.items():
        monkeypatch.setenv(f"CALLWISE__ENDPOINTS__MAIN__{name.upper()}", text)
    assert cli("run", "hello", "-p", preset()).exit_code == 0
    assert set(trap.heard) == {f"Bearer {SECRET}"}


def test_a_server_on_this_machine_needs_no_confirmation_without_a_key(cli: Any, trap: Trap) -> None:
    """A preset for a local model works as it is, and shows what it names."""
    result = cli("run", "hello", "-p", preset(main=server_of(trap)))
    assert set(trap.heard) == {""}
    assert f"endpoint of main: {trap.place}, without a key" in result.stderr


def test_a_preset_writes_no_cache_outside_of_the_working_directory(
    cli: Any, tmp_path: Path
) -> None:
    """Unless the command line names the folder too."""
    Path("link").symlink_to(tmp_path.parent)
    for place in (tmp_path.parent / "elsewhere", "../elsewhere", "link/elsewhere"):
        Path("theirs.yaml").write_text(
            json.dumps({"extends": "instant", "cache": {"disk": str(place)}})
        )
        result = cli("run", "hello", "-p", "theirs.yaml")
        assert result.exit_code == 2
        assert "cache.disk" in result.stderr
        assert not (tmp_path.parent / "elsewhere").exists()
    Path("theirs.yaml").write_text(json.dumps({"extends": "instant", "cache": {"disk": "kept"}}))
    assert cli("run", "hello", "-p", "theirs.yaml").exit_code == 0


def test_a_preset_with_an_impossible_folder_or_seed_is_a_clear_error(cli: Any) -> None:
    """Neither a NUL nor a number too large for JSON ends in a traceback."""
    for knobs in ('cache: {disk: "a\\0b"}', f"seed: {10**30}", "extends: ~no-such-user/a.yaml"):
        Path("theirs.yaml").write_text(knobs)
        assert cli("run", "hello", "-p", "theirs.yaml").exit_code == 2


def test_a_preset_of_many_unknown_knobs_is_soon_refused(cli: Any) -> None:
    """Each would be compared with every name that is known."""
    Path("theirs.yaml").write_text("\n".join(f"knob{number}: 1" for number in range(3000)))
    result = cli("plan", "-p", "theirs.yaml")
    assert result.exit_code == 2
    assert result.stderr.count("unknown knob") == 20
    assert "and 2,980 more problems" in result.stderr


def test_what_is_to_be_added_is_quoted_for_a_shell(cli: Any, recorded: Path) -> None:
    """A refusal is copied into a terminal, and the names in it are a stranger's."""
    host = "models.example;touch${IFS}ran"
    main = {"base_url": f"https://{host}/v1", "model": "m"}
    result = cli("run", "hello", "-p", preset(main=main))
    assert f"add --trust-endpoint '{host.lower()}'" in result.stderr
    main = {"kind": "langchain", "langchain": "a:b; touch ran", "model": "m"}
    result = cli("run", "hello", "-p", preset(main=main))
    assert "add --trust-code 'a:b; touch ran'" in result.stderr
    result = cli("tune", str(forged(recorded, app="a:b $(touch ran)")), "-k", "seed=1")
    assert "add --app 'a:b $(touch ran)'" in result.stderr


def test_a_deep_manifest_is_a_clear_error(cli: Any, recorded: Path) -> None:
    """JSON has more levels than Python calls."""
    deep = json.loads("[" * 900 + "]" * 900)
    result = cli("tune", str(forged(recorded, sampling=deep)), "-k", "seed=1")
    assert result.exit_code == 2
    assert "nested deeper than 64 levels" in result.stderr


def test_a_chat_folders_checkpoint_names_no_code(cli: Any) -> None:
    """Checkpoints of a stranger are plain data: what they would have called is not called."""
    assert cli("chat", "--home", "home", stdin="hello\n").exit_code == 0
    packed = ormsgpack.packb(("os", "mkdir", MARK))
    with sqlite3.connect("home/checkpoints.sqlite") as file:
        (whole,) = file.execute("select checkpoint from checkpoints").fetchone()
        known = ormsgpack.unpackb(whole, ext_hook=ormsgpack.Ext)
        known["channel_values"]["summary"] = ormsgpack.Ext(0, packed)
        file.execute("update checkpoints set checkpoint = ?", (ormsgpack.packb(known),))
    file.close()
    cli("chat", "--home", "home", stdin="hello again\n")
    assert not Path(MARK).exists()


MANIFESTS: list[dict[str, Any]] = [
    {"identity": None},
    {"identity": []},
    {"identity": {"app": 7}},
    {"identity": {"app": ["graph.app:app"]}},
    {"identity": {"app": "graph.app:app", "cassette": 7}},
    {"identity": {"app": "graph.app:app", "cassette": "//evil.example/share/c.jsonl"}},
    {"identity": {"app": "graph.app:app", "cassette": "/dev/zero"}},
    {"identity": {"app": "graph.app:app", "cassette": "nul\u0000"}},
    {"given": []},
    {"given": "x"},
    {"given": {"endpoints": []}},
    {"given": {"endpoints": {"main": {"kind": "pickle"}}}},
    {"given": {"no such knob": 1}},
    {"given": {"search": {"rollouts": "many"}}},
]


def test_a_forged_manifest_is_a_clear_error(cli: Any, recorded: Path) -> None:
    """Of whatever type its fields are; and nothing of it is opened that is no file here."""
    path = recorded / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    for fields in MANIFESTS:
        path.write_text(json.dumps({**manifest, **fields}), encoding="utf-8")
        result = cli("tune", recorded, *TUNE)
        assert result.exit_code == 2, (fields, result.output)
        assert result.stderr.startswith("callwise: ")


def test_bought_calls_are_added_to_no_cassette_of_another_run(cli: Any, talk: Path) -> None:
    """A recording may name any file of its reader's; one that lacks the run is left alone."""
    for name in ("mine", "own"):
        made = ("replay", talk, "-p", "frugal", "--record", f"{name}.jsonl", "--out", name)
        assert cli(*made, "--set", f"seed={len(name)}").exit_code == 0
    path = Path("own/manifest.json")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    kept = manifest["identity"]["cassette"]
    before = Path("mine.jsonl").read_bytes()
    for named in ("mine.jsonl", str(Path("mine.jsonl").resolve())):
        manifest["identity"]["cassette"] = named
        path.write_text(json.dumps(manifest), encoding="utf-8")
        assert cli("tune", "own", *TUNE, "--buy", "--yes").exit_code == 2
    assert Path("mine.jsonl").read_bytes() == before
    manifest["identity"]["cassette"] = kept
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert cli("tune", "own", *TUNE, "--buy", "--yes").exit_code == 0


def test_a_notebook_confirms_by_argument_or_by_variable(
    talk: Path, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rules hold where no command line is."""
    monkeypatch.setenv("THEIR_KEY", SECRET)
    path = preset(main=server_of(trap, api_key_env="THEIR_KEY"))
    with pytest.raises(ConfigError, match="CALLWISE_TRUST_ENDPOINTS"):
        notebook.replay(talk, "one", preset=path)
    assert trap.heard == []
    named = [f"THEIR_KEY@{trap.place}"]
    notebook.replay(talk, "one", preset=path, trust_endpoints=named)
    assert set(trap.heard) == {f"Bearer {SECRET}"}
    trap.heard.clear()
    own = server_of(trap, api_key_env="THEIR_KEY")
    fixed = {f"endpoints.main.{name}": text for name, text in own.items()}
    with pytest.raises(ConfigError, match="--trust-endpoint THEIR_KEY@"):
        notebook.tune(
            "one", "sweep", settings={"x": {"preset": "frugal", **fixed}}, max_buy_calls=5
        )
    assert trap.heard == []
    monkeypatch.setenv("CALLWISE_TRUST_ENDPOINTS", named[0])
    notebook.replay(talk, "two", preset=path)
    assert set(trap.heard) == {f"Bearer {SECRET}"}


def test_a_recordings_app_is_confirmed_in_a_notebook(recorded: Path) -> None:
    """By name, as the command line does."""
    run = forged(recorded, app="os:abort")
    with pytest.raises(ConfigError, match="--app os:abort"):
        notebook.tune(run, "sweep", knobs={"search.max_calls": [1]})
    Path("mine.py").write_text("from graph.app import app\n", encoding="utf-8")
    run = forged(recorded, app="mine:app")
    notebook.tune(run, "sweep", knobs={"search.max_calls": [1]}, app="mine:app")


def test_modules_of_the_working_directory_are_not_run(tmp_path: Path) -> None:
    """`python -m` would put them before what is installed; a folder may be a stranger's."""
    for name in ("graph", "optuna", "yaml"):
        (tmp_path / f"{name}.py").write_text(CODE, encoding="utf-8")
    root = Path(callwise.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "callwise", "plan"],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Plan of one turn")
    assert not Path(MARK).exists()
