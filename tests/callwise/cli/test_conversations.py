"""`callwise conversations`: what is understood of files."""

import json
from pathlib import Path
from typing import Any

import pytest

CHAT = [
    {"from": "Ana", "text": "Is it far?", "date": "2024-05-01T10:00:00"},
    {"from": "Helper", "text": "No. \x1b[31m"},
]


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    """Return a chat whose speakers have names."""
    path = tmp_path / "chat.json"
    path.write_text(json.dumps({"messages": CHAT}), encoding="utf-8")
    return path


def test_what_is_understood_is_shown(cli: Any, one_object: Any, chat: Path) -> None:
    """Format, counts, roles and the first turn, for people and for programs."""
    shown = cli("conversations", chat, "--agent", "Helper")
    assert shown.exit_code == 0, shown.output
    for words in (
        "sharegpt 1",
        "1, 1 with a reply, 1 with a time",
        "Ana 1",
        "Helper 1",
        "Is it far?",
        "2024-05-01T10:00:00",
    ):
        assert words in shown.stdout
    assert "\x1b" not in shown.stdout

    document = one_object(cli("conversations", chat, "--agent", "Helper", "--json"))
    assert document["formats"] == {"sharegpt": 1}
    assert (document["conversations"], document["turns"], document["replies"]) == (1, 1, 1)
    assert document["roles"] == {"user": {"Ana": 1}, "agent": {"Helper": 1}}
    assert document["first"]["turns"][0]["user_text"] == "Is it far?"
    assert document["skipped"] == document["ignored"] == []


def test_what_cannot_be_read_ends_with_two(cli: Any, chat: Path, tmp_path: Path) -> None:
    """A choice that is missing and a file of something else are errors that say what to do."""
    shown = cli("conversations", chat)
    assert shown.exit_code == 2
    assert "give --agent NAME to choose which one is the agent" in shown.stderr
    (tmp_path / "other.json").write_text('{"n": 1}')
    assert "an object with keys n" in cli("conversations", "other.json", "--skip-bad").stderr
    assert cli("conversations", chat, "--side", "c").exit_code == 2


def test_what_was_left_out_is_shown(cli: Any, one_object: Any, tmp_path: Path) -> None:
    """Bad records, other files of a folder, and what no turn shows."""
    good = {"messages": [{"role": "user", "content": "hi"}, {"role": "tool", "content": "x"}]}
    (tmp_path / "talks").mkdir()
    lines = [json.dumps(good), "{broken", *["noise"] * 30]
    (tmp_path / "talks" / "a.jsonl").write_text("\n".join(lines))
    (tmp_path / "talks" / "b.json").write_text('{"n": 1}')

    shown = cli("conversations", "talks", "--skip-bad")
    assert "not in turns   tool message 1" in shown.stdout
    assert "other files    1: talks/b.json" in shown.stdout
    assert "skipped: talks/a.jsonl:2: expected one whole JSON object" in shown.stderr
    assert "skipped: 11 more" in shown.stderr
    document = one_object(cli("conversations", "talks", "--skip-bad", "--json"))
    assert document["skipped_count"] == len(document["skipped"]) == 31
    assert document["left_out"] == {"tool message": 1}
    assert document["ignored"] == ["talks/b.json"]
    assert cli("conversations", "talks").exit_code == 2


def test_replay_takes_the_same_choices(cli: Any, one_object: Any, chat: Path) -> None:
    """What `conversations` shows is what `replay` answers."""
    assert cli("replay", chat).exit_code == 2
    document = one_object(cli("replay", chat, "--agent", "Helper", "--json"))
    assert document["turns"] == 1


def test_columns_are_chosen(cli: Any, one_object: Any, tmp_path: Path) -> None:
    """Of a table, or of records, where their names are not the usual ones."""
    path = tmp_path / "talks.csv"
    path.write_text("frage,antwort,n\nIs it far?,No.,1\n", encoding="utf-8")
    refused = cli("conversations", path)
    assert refused.exit_code == 2
    assert "--column prompt=KEY" in refused.stderr
    chosen = ("--column", "prompt=frage", "--column", "response=antwort")
    document = one_object(cli("conversations", path, *chosen, "--json"))
    assert document["first"]["turns"][0]["reply"] == "No."
    wrong = cli("conversations", path, "--column", "prompt")
    assert (wrong.exit_code, "expected --column NAME=COLUMN" in wrong.stderr) == (2, True)


def test_a_name_of_the_hub_is_checked_first(cli: Any) -> None:
    """Nothing is asked of a server for what is no name there."""
    shown = cli("conversations", "talks.parquet", "--hub")
    assert (shown.exit_code, "as OWNER/NAME" in shown.stderr) == (2, True)


def test_parquet_is_shown_as_any_other_file(cli: Any, one_object: Any, tmp_path: Path) -> None:
    """And replayed, with its rows as conversations."""
    pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    talk = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    table = pa.table({"conversation_id": ["a", "b"], "conversation": [talk, talk]})
    parquet.write_table(table, tmp_path / "talks.parquet")
    document = one_object(cli("conversations", tmp_path / "talks.parquet", "--json"))
    assert (document["conversations"], document["formats"]) == (2, {"openai": 2})
    first = ("--max-conversations", 1, "--json")
    assert one_object(cli("conversations", "talks.parquet", *first))["conversations"] == 1
    shown = cli("replay", tmp_path / "talks.parquet", "--preset", "instant", "--json")
    assert one_object(shown)["turns"] == 2
