"""A conversation written in any dialect comes back equal."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callwise.calls.answer_text import split_thoughts
from callwise.recordings.conversation_files import ReadOptions, read_conversations

Exchange = tuple[str, str]
Exchanges = Sequence[Exchange]
Write = Callable[[Exchanges], Any]

# What a message may be; the marks of transcripts and the line ends of tables are their own.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(str.strip)
# Hypothesis also draws the constants of the program, and a reply loses its thoughts.
REPLY = TEXT.filter(lambda text: split_thoughts(text)[0] == text)
EXCHANGES = st.lists(st.tuples(TEXT, REPLY), min_size=1, max_size=4)


def messages(
    said: Exchanges,
    role_key: str = "role",
    text_key: str = "content",
    words: Exchange = ("user", "assistant"),
    wrap: Callable[[str], Any] = str,
) -> list[dict[str, Any]]:
    """Return exchanges as messages."""
    return [
        {role_key: word, text_key: wrap(text)}
        for exchange in said
        for word, text in zip(words, exchange, strict=True)
    ]


def _tree(said: Exchanges) -> dict[str, Any]:
    replies: list[dict[str, Any]] = []
    for user, agent in reversed(said):
        answer = {"role": "assistant", "text": agent, "rank": 0, "replies": replies}
        replies = [{"role": "prompter", "text": user, "replies": [answer]}]
    return {"message_tree_id": "t", "prompt": replies[0]}


def _mapping(said: Exchanges) -> dict[str, Any]:
    nodes: dict[str, Any] = {"0": {"parent": None, "message": None}}
    for number, each in enumerate(messages(said), start=1):
        message = {"author": {"role": each["role"]}, "content": {"parts": [each["content"]]}}
        nodes[str(number)] = {"parent": str(number - 1), "message": message}
    return {"mapping": nodes, "current_node": str(len(nodes) - 1)}


def _locomo(said: Exchanges) -> dict[str, Any]:
    spoken = messages(said, "speaker", "text", ("Ana", "Ben"))
    return {"conversation": {"speaker_a": "Ana", "speaker_b": "Ben", "session_1": spoken}}


def _history(said: Exchanges) -> dict[str, Any]:
    days = {
        f"2024-05-{day:02}": [{"query": user, "response": agent}]
        for day, (user, agent) in enumerate(said, start=1)
    }
    return {"Ana": {"name": "Ana", "history": days}}


DIALECTS: dict[str, Write] = {
    "openai": lambda said: {"messages": messages(said)},
    "parts": lambda said: {
        "messages": messages(said, wrap=lambda text: [{"type": "text", "text": text}])
    },
    "sharegpt": lambda said: {"conversations": messages(said, "from", "value", ("human", "gpt"))},
    "langchain": lambda said: {"messages": messages(said, "type", "content", ("human", "ai"))},
    "gemini": lambda said: {
        "contents": messages(
            said, "role", "parts", ("user", "model"), lambda text: [{"text": text}]
        )
    },
    "letters": lambda said: {"messages": messages(said, "speaker", "text", ("A", "B"))},
    "final": lambda said: {"messages": messages(said)[:-1], "completion": said[-1][1]},
    "strings": lambda said: {"dialog": [text for exchange in said for text in exchange]},
    "pairs": lambda said: {"history": [list(exchange) for exchange in said]},
    "alpaca": lambda said: {
        "instruction": said[-1][0],
        "output": said[-1][1],
        "history": [list(exchange) for exchange in said[:-1]],
    },
    "bare": messages,
    "telegram": lambda said: {"messages": messages(said, "from", "text", ("Ana", "Ben"))},
    "oasst": _tree,
    "chatgpt": _mapping,
    "locomo": _locomo,
    "memorybank": _history,
}


def read_back(path: Path) -> list[Exchange]:
    """Return the turns of the one conversation of a file."""
    options = ReadOptions(agent="Ben") if "telegram" in path.name else None
    (conversation,) = read_conversations([path], options=options).conversations
    return [(turn.user_text, turn.reply or "") for turn in conversation.turns]


@pytest.mark.parametrize("name", sorted(DIALECTS))
@settings(suppress_health_check=list(HealthCheck), max_examples=25)
@given(said=EXCHANGES, indent=st.sampled_from([None, 1]))
def test_every_dialect(tmp_path: Path, name: str, said: Exchanges, indent: int | None) -> None:
    """Whatever is said, and however the JSON is written."""
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(DIALECTS[name](said), indent=indent), encoding="utf-8")

    assert read_back(path) == said


@settings(suppress_health_check=list(HealthCheck), max_examples=40)
@given(said=EXCHANGES, delimiter=st.sampled_from(",;\t"))
def test_tables(tmp_path: Path, said: Exchanges, delimiter: str) -> None:
    """A table as the csv module writes it, with line ends and quotes in its cells."""
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, ["role", "content"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(messages(said))
    path = tmp_path / "talk.csv"
    path.write_bytes(table.getvalue().encode())

    assert read_back(path) == said


@settings(suppress_health_check=list(HealthCheck), max_examples=40)
@given(said=st.lists(EXCHANGES, min_size=1, max_size=4), data=st.data())
def test_dialects_may_be_mixed(tmp_path: Path, said: list[Exchanges], data: st.DataObject) -> None:
    """Each line of a file may be in another dialect; all are read, in order."""
    names = sorted(set(DIALECTS) - {"bare", "telegram", "memorybank"})
    chosen = [data.draw(st.sampled_from(names)) for _ in said]
    path = tmp_path / "mixed.jsonl"
    lines = [json.dumps(DIALECTS[name](each)) for name, each in zip(chosen, said, strict=True)]
    path.write_text("\n".join(lines), encoding="utf-8")

    found = [
        [(turn.user_text, turn.reply) for turn in each.turns]
        for each in read_conversations([path]).conversations
    ]

    assert found == said
