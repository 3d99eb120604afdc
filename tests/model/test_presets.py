"""Every preset on a real server: replies, calls as planned, and the same counts on both sides."""

import json

import pytest

from tests.model.conftest import counted_in, rows_of, spent_in
from tests.model.proxy import CHAT

pytestmark = pytest.mark.model

TURNS = 3
PLANNED = {"instant": 2, "frugal": 5, "balanced": 8, "classic": 16, "thorough": 20}
"""Calls a turn by the plan, without an early exit."""

CASES = [
    ("instant", "en"),
    ("frugal", "en"),
    ("frugal", "zh"),
    ("balanced", "en"),
    ("balanced", "zh"),
    ("classic", "en"),
    ("classic", "zh"),
    ("thorough", "en"),
]

OF_THE_REPLAY = frozenset({"outcomes", "work_seconds"})
"""Fields in which a replay of a turn differs: its outcomes and its duration."""


@pytest.mark.parametrize(("preset", "language"), CASES)
def test_turns_end_in_replies_and_ledger_and_proxy_agree(
    preset, language, command, behind, conversations
):
    """Three turns: replies, no call over the plan, ledger = proxy, strict replay the same."""
    proxy = behind()
    command.use(proxy.base_url)
    arguments = ("replay", conversations[language], "-p", preset, "--max-turns", TURNS)
    command(*arguments, "--out", "bought", "--record", "calls.jsonl")
    bought = command.folder / "bought"
    turns, ledger = rows_of(bought / "turns.jsonl"), rows_of(bought / "ledger.jsonl")

    assert len(turns) == TURNS
    assert [turn["is_fallback"] for turn in turns] == [False] * TURNS
    assert all(turn["reply"] and not turn["degraded"] for turn in turns)
    assert max(turn["asked"] for turn in turns) <= PLANNED[preset]
    assert sum(turn["repairs"] for turn in turns) == 0

    assert counted_in(ledger) == counted_in(turns) == spent_in(proxy.log)
    each_row = sorted((row["input_tokens"], row["cached_tokens"]) for row in ledger)
    assert each_row == sorted((each.input_tokens, each.cached_tokens) for each in proxy.log)
    assert not any(turn["simulated"] for turn in turns)

    received = len(proxy.log)
    command(*arguments, "--out", "replayed", "--cassette", "calls.jsonl")
    assert len(proxy.log) == received, "a strict replay sends nothing"
    replayed = rows_of(command.folder / "replayed" / "turns.jsonl")
    assert [as_bought(turn) for turn in replayed] == [as_bought(turn) for turn in turns]


def as_bought(turn):
    """Return a turn as bytes, without the fields in which a replay differs."""
    kept = {name: value for name, value in turn.items() if name not in OF_THE_REPLAY}
    return json.dumps(kept, ensure_ascii=False)


def test_unreadable_answers_are_repairs_in_ledger_and_proxy(command, behind, conversations):
    """Answers that the model left unreadable are asked for again, and each is a request."""
    proxy = behind()
    readable = proxy.stand_in

    async def every_third_unreadable(body):
        choice = await readable(body)
        if len(proxy.log) % 3 == 0:
            message = {**choice["message"], "content": "I would rather not say it as data."}
            choice = {**choice, "message": message}
        return choice

    proxy.stand_in = every_third_unreadable
    command.use(proxy.base_url)
    command("replay", conversations["en"], "-p", "balanced", "--max-turns", 2, "--out", "run")
    turns = rows_of(command.folder / "run" / "turns.jsonl")
    assert [turn["is_fallback"] for turn in turns] == [False, False]
    assert sum(turn["repairs"] for turn in turns) > 0
    assert counted_in(turns) == spent_in(proxy.log)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_the_model_itself_writes_ends_in_a_turn(language, command, behind, conversations):
    """Nonsense under the server's grammar: whatever it is, the turn ends and is counted."""
    proxy = behind(stand_in=None, max_output_tokens=120)
    command.use(proxy.base_url)
    command("replay", conversations[language], "-p", "frugal", "--max-turns", 1, "--out", "run")
    (turn,) = rows_of(command.folder / "run" / "turns.jsonl")
    assert turn["reply"]
    assert counted_in([turn]) == spent_in(proxy.log)
    assert {each.path for each in proxy.log} == {CHAT}
