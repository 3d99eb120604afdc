"""A reply that is streamed by a real server: requests, counts, and its strict replay."""

import pytest

from tests.model.conftest import counted_in, rows_of, spent_in
from tests.model.programs import environment_reason, model_server
from tests.model.test_full_model import SAMPLING
from tests.model.test_presets import as_bought

pytestmark = pytest.mark.model


def test_a_streamed_turn_counts_as_any_other(command, behind, conversations):
    """One request of `instant` is a stream; ledger and proxy agree, and a replay has the same."""
    proxy = behind()
    command.use(proxy.base_url)
    options = ("-p", "instant", "--set", "reply.stream=true", "--max-turns", 2)
    arguments = ("replay", conversations["en"], *options)
    command(*arguments, "--out", "bought", "--record", "calls.jsonl")
    turns = rows_of(command.folder / "bought" / "turns.jsonl")
    assert [turn["is_fallback"] or turn["degraded"] for turn in turns] == [[], []]
    assert [bool(each.body.get("stream")) for each in proxy.log] == [True, False, True, False]
    assert counted_in(turns) == spent_in(proxy.log)
    command(*arguments, "--out", "replayed", "--cassette", "calls.jsonl")
    replayed = rows_of(command.folder / "replayed" / "turns.jsonl")
    assert [as_bought(turn) for turn in replayed] == [as_bought(turn) for turn in turns]
    assert len(proxy.log) == 4


def test_bubbles_of_the_model_itself_are_those_of_the_record(command):
    """The whole model writes and streams the reply, which is printed before the ledger."""
    if reason := environment_reason():
        pytest.skip(reason)
    with model_server("--slots", "2") as url:
        command.use(url)
        body = f"sampling.default.extra_body={{repeat_penalty: {SAMPLING['repeat_penalty']}}}"
        limit = "sampling.fuse.max_tokens=300"
        shown = command(
            "run", "I lost my job today.", "-p", "instant", "-s", "reply.stream=true",
            "-s", body, "-s", limit, "--conversation", "talk",
        )  # fmt: skip
    reply, _, ledger = shown.stdout.partition("\n\n")
    assert reply.strip()
    assert "detection" in ledger
