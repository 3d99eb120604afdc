"""Bad input gets a clear error in one line, the right exit code, and loses nothing."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest


def _words(result: Any, code: int) -> str:
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return str(result.stderr)


def _lines(path: Path, *records: Any) -> Path:
    texts = (each if isinstance(each, str) else json.dumps(each) for each in records)
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


@pytest.mark.parametrize("command", [("plan",), ("run", "hello"), ("knobs",)])
def test_an_unknown_preset_names_the_nearest(cli: Any, command: tuple[str, ...]) -> None:
    """A misspelt preset is answered with the one that was meant."""
    assert "classic" in _words(cli(*command, "--preset", "clasic"), 2)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("search.rolouts=2", "search.rollouts"),
        ("budget.turn.max_cals=2", "budget.turn.max_calls"),
        ("proccessor.llm=always", "processor.llm"),
        ("search.rollouts=65", "0 to 64"),
        ("search.rollouts=-1", "0 to 64"),
        ("search.rollouts=two", "search.rollouts"),
        ("processor.llm=sometimes", "auto, always, never"),
        ("budget.turn.max_usd=.nan", "budget.turn.max_usd"),
        ("rollouts", "expected knob=value"),
        ("search.rollouts=[1", "not YAML"),
        ("agent_id=", "agent_id"),
        ("budget.turn.roles.manager.max_calls=2", "no such choice"),
    ],
)
def test_a_knob_that_cannot_work_is_refused(cli: Any, override: str, said: str) -> None:
    """Unknown, out of range, of a wrong type or no YAML: the words name what is allowed."""
    assert said in _words(cli("plan", "--set", override), 2)


def test_a_preset_file_that_is_no_yaml_names_its_line(cli: Any, tmp_path: Path) -> None:
    """A broken preset file is named with its line."""
    (tmp_path / "mine.yaml").write_text("search:\n  rollouts: [1\n")
    assert "mine.yaml" in _words(cli("plan", "--preset", "mine.yaml"), 2)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ('{"conversation_id": "c", "turn": 1', "talk.jsonl:2"),
        ({"conversation_id": "c", "turn": 1, "user_text": ""}, "user_text"),
        ({"conversation_id": "c", "turn": 1, "user_text": "  \n"}, "user_text"),
        ({"conversation_id": "c", "turn": -1, "user_text": "x"}, "turn"),
        ({"conversation_id": "c", "turn": "one", "user_text": "x"}, "turn"),
        ({"conversation_id": "c", "turn": 1, "user_text": 5}, "user_text"),
        ({"conversation_id": "c", "user_text": "x"}, "turn"),
        ([1, 2], "object"),
        ({"conversation_id": "c", "turn": 0, "user_text": "x"}, "turn"),
    ],
)
def test_a_malformed_line_is_named_or_skipped(
    cli: Any, one_object: Any, tmp_path: Path, record: Any, said: str
) -> None:
    """File, line and what was expected; with --skip-bad it is counted and the rest goes on."""
    good = {"conversation_id": "c", "turn": 0, "user_text": "Hello."}
    last = {"conversation_id": "c", "turn": 2, "user_text": "And now?"}
    talk = _lines(tmp_path / "talk.jsonl", good, record, last)
    words = _words(cli("replay", talk), 2)
    assert "talk.jsonl:2" in words
    assert said in words
    skipping = cli("replay", talk, "--skip-bad", "--json")
    assert one_object(skipping)["turns"] == 2
    assert "skipped: " in skipping.stderr
    assert "talk.jsonl:2" in skipping.stderr


def test_a_conversation_cut_off_in_a_character_is_named(
    cli: Any, one_object: Any, tmp_path: Path
) -> None:
    """A last line that ends inside a UTF-8 character is bad, and the lines before it are not."""
    talk = tmp_path / "talk.jsonl"
    good = '{"conversation_id": "c", "turn": 0, "user_text": "你好。"}\n'.encode()
    talk.write_bytes(good + good.replace(b"0,", b"1,")[:-6])
    assert "talk.jsonl:2" in _words(cli("replay", talk), 2)
    assert one_object(cli("replay", talk, "--skip-bad", "--json"))["turns"] == 1


def test_half_a_character_is_answered(cli: Any, one_object: Any, tmp_path: Path) -> None:
    """A lone surrogate, as cut emoji leave it in dumps, is a message like others."""
    talk = _lines(
        tmp_path / "talk.jsonl",
        r'{"conversation_id": "c", "turn": 0, "user_text": "a\ud83d b"}',
        r'{"conversation_id": "c", "turn": 1, "user_text": "\ud83d\ude00 whole"}',
    )
    recorded = one_object(cli("replay", talk, "--record", "c.jsonl", "--json"))
    played = one_object(cli("replay", talk, "--cassette", "c.jsonl", "--json"))
    assert recorded["turns"] == played["turns"] == 2
    assert recorded["asked"] == played["asked"] > 0


@pytest.mark.parametrize("name", ["missing.jsonl", "*.nothing", "empty", "empty.jsonl", "x.bin"])
def test_nothing_to_replay_is_an_error(cli: Any, tmp_path: Path, name: str) -> None:
    """No such file, an empty folder, an empty or a binary file: an error that names it."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "x.bin").write_bytes(bytes(range(256)))
    assert name.strip("*.") in _words(cli("replay", name), 2)


def test_a_missing_endpoint_or_key_names_the_variable(
    cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each half of a real endpoint that is not set is asked for by its variable's name."""
    monkeypatch.setenv("CALLWISE_MODEL", "some-model")
    assert "CALLWISE_BASE_URL" in _words(cli("run", "hello"), 2)
    monkeypatch.setenv("CALLWISE_BASE_URL", "https://api.example.com/v1")
    assert "CALLWISE_API_KEY" in _words(cli("run", "hello"), 2)
    monkeypatch.delenv("CALLWISE_MODEL")
    assert "CALLWISE_MODEL" in _words(cli("run", "hello"), 2)


@pytest.mark.parametrize("on_outage", ["fail", "fallback"])
def test_an_endpoint_that_is_not_there(
    cli: Any, monkeypatch: pytest.MonkeyPatch, on_outage: str
) -> None:
    """Nothing listens: the run ends with that error, or replies by rule where that is wanted."""
    monkeypatch.setenv("CALLWISE_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("CALLWISE_MODEL", "some-model")
    knobs = (f"reply.on_outage={on_outage}", "retry.connection_failed_attempts=1")
    result = cli("run", "hello", "--json", "--set", knobs[0], "--set", knobs[1])
    if on_outage == "fail":
        assert "127.0.0.1:9" in _words(result, 1)
        return
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["turn"]["is_fallback"]
    assert document["outcomes"]["failed"] == document["asked"]


def test_an_endpoint_that_answers_html(cli: Any, serving: Any, talk: Path) -> None:
    """A web page is asked for again; if it stays, the run ends and keeps finished turns."""
    server = serving(*["ok"] * 16, *["html"] * 200)
    knobs = ("--set", "retry.first_wait_seconds=0", "--set", "retry.max_wait_seconds=0")
    words = _words(cli("replay", talk, "--out", "run", *knobs), 1)
    assert "BadResponse: main at" in words
    assert "html" in words.lower()
    assert "goes on where it stopped" in words
    assert len(Path("run/turns.jsonl").read_text().splitlines()) == 1
    failed_calls = 4  # detection, monologue, plan of the reply, and the search's first
    assert len(server.log) == 16 + failed_calls * 3


def test_a_key_that_is_refused(cli: Any, serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """401 ends the run at once, and the key is in no word of it."""
    server = serving(*["401"] * 50)
    monkeypatch.setenv("CALLWISE_API_KEY", "sk-very-secret-key-123456")
    result = cli("run", "hello")
    words = _words(result, 1)
    assert "AuthFailed" in words
    assert "Set CALLWISE_API_KEY to a key of this host" in words
    assert "sk-very-secret" not in result.output
    assert len(server.log) == 1


def test_nonsense_json_every_time(cli: Any, serving: Any, one_object: Any) -> None:
    """A model that never fits its schema: a fallback reply, each repair a counted call."""
    server = serving(malformed_json_rate=1.0)
    document = one_object(cli("run", "hello", "--json", "--set", "repair.max_repairs=2"))
    assert document["turn"]["is_fallback"]
    assert document["turn"]["reply"]
    assert document["repairs"] == 2 * 6
    assert document["asked"] == document["requests"] == len(server.log) == 3 * 6
    nodes = {row["node"] for row in document["turn"]["degraded"]}
    assert {"detection", "lats_search", "evolver"} <= nodes


def test_the_server_counts_what_the_ledger_counts(
    cli: Any, serving: Any, one_object: Any, talk: Path
) -> None:
    """With 429, 500 and hangs injected, requests in the ledger are requests at the server."""
    server = serving(
        error_rate_429=0.1, error_rate_500=0.1, retry_after_seconds=0.0, malformed_json_rate=0.1
    )
    fast = ("--set", "retry.first_wait_seconds=0", "--set", "retry.max_wait_seconds=0")
    document = one_object(cli("replay", talk, "--json", *fast))
    assert document["requests"] == len(server.log)
    assert document["attempts"] == document["requests"] > document["outcomes"]["served"]


def test_out_folders_that_cannot_be_used(cli: Any, talk: Path, tmp_path: Path) -> None:
    """Another run, a folder that is no run, a file: said, and left alone."""
    assert cli("replay", talk, "--out", "run", "--max-turns", 1).exit_code == 0
    words = _words(cli("replay", talk, "--out", "run", "--set", "rollouts=1"), 2)
    assert "is another run" in words
    words = _words(cli("replay", talk, "--out", "run", "--preset", "instant"), 2)
    assert "is another run: the preset was" in words
    assert words.count("the knob") == 5
    assert "more knobs. Choose another folder" in words
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    assert "is not a run" in _words(cli("replay", talk, "--out", "mine"), 2)
    assert "is not a run" in _words(cli("replay", talk, "--out", "mine", "--fresh"), 2)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"
    for fresh in ((), ("--fresh",)):
        _words(cli("replay", talk, "--out", "talk.jsonl", *fresh), 2)
    assert len(talk.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--record", "a", "--cassette", "b"), "not both"),
        (("--cassette", "missing.jsonl"), "missing.jsonl"),
        (("--record", "a", "--mode", "strict"), "would record nothing"),
        (("--cassette", "talk.jsonl"), "not a cassette"),
        (("--record", "talk.jsonl"), "not a cassette"),
        (("--record", "no/such/folder/a.jsonl"), "folder"),
        (("--mode", "sometimes"), "strict"),
        (("--max-turns", "0"), "--max-turns"),
        (("--max-concurrency", "0"), "--max-concurrency"),
        (("--app", "nowhere:app"), "nowhere"),
        (("--app", "graph.app"), "module:attribute"),
        (("--app", "json:dumps"), "is not an app"),
        (("--app", "json:__all__"), "`SettingsApp` of callwise.recordings.app_protocol"),
    ],
)
def test_options_that_contradict(
    cli: Any, talk: Path, arguments: tuple[str, ...], said: str
) -> None:
    """Exit code 2, one error that names the option, and the conversation untouched."""
    before = talk.read_bytes()
    assert said in _words(cli("replay", talk, *arguments), 2)
    assert talk.read_bytes() == before


def test_a_report_of_no_run(cli: Any, tmp_path: Path) -> None:
    """A folder that is no run, or is not there, is an error that names it."""
    (tmp_path / "mine").mkdir()
    assert "mine" in _words(cli("report", "mine"), 2)
    assert "nowhere" in _words(cli("report", "nowhere"), 2)


def test_a_strict_miss_ends_with_one(cli: Any, talk: Path, tmp_path: Path) -> None:
    """A call that is not recorded ends the run with 1 and names turn and node."""
    assert cli("replay", talk, "--record", "c.jsonl", "--max-turns", 1).exit_code == 0
    words = _words(cli("replay", talk, "--cassette", "c.jsonl"), 1)
    assert "CassetteMiss" in words
    assert "turn 1, node detection" in words


def test_memory_that_is_something_else(cli: Any, tmp_path: Path) -> None:
    """A memory file that is no database is an error, not a traceback, and is not overwritten."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "memory.sqlite").write_bytes(b"my holiday photos" * 100)
    words = _words(cli("run", "hello", "--conversation", "c", "--home", "home"), 2)
    assert "memory.sqlite" in words
    assert (tmp_path / "home" / "memory.sqlite").read_bytes().startswith(b"my holiday")


def test_a_wrong_role_is_answered_with_the_right_ones(cli: Any) -> None:
    """The keys of a mapping have choices too."""
    shown = cli("plan", "--set", "budget.turn.roles.manager.max_calls=3")
    assert shown.exit_code == 2
    assert "'main', 'judge', 'fast' or 'embed'" in shown.stderr


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("import callwise.replay", "Import them from `callwise.recordings`"),
        ("from turnwise.tune.sweep import sweep", "`tune` is `callwise.tuning`"),
        ("from callwise.calls.nowhere import Call", "Import them from `callwise.calls`"),
        ("from callwise import Cassette", "Import them from `callwise`"),
    ],
)
def test_an_app_that_imports_a_module_of_an_earlier_version(
    cli: Any, talk: Path, line: str, place: str
) -> None:
    """The error names the package that has its names now."""
    name = f"app_{hashlib.sha256(line.encode()).hexdigest()[:8]}"
    Path(f"{name}.py").write_text(f"{line}\n")
    words = _words(cli("replay", talk, "--app", f"{name}:app"), 2)
    assert place in words


def test_checkpoints_that_are_damaged_are_named_before_anything_is_asked(cli: Any) -> None:
    """The conversation is in the memory, so the error has a way on that loses nothing."""
    command = ("run", "I lost my job.", "--home", "home", "--conversation", "c")
    assert cli(*command).exit_code == 0
    Path("home/checkpoints.sqlite").write_bytes(b"no data base at all" * 400)
    assert "move checkpoints.sqlite out of its folder" in _words(cli(*command), 2)
    Path("home/checkpoints.sqlite").unlink()
    assert "[turn 1: " in cli(*command).output
