"""The whole small model, which writes the reply itself."""

import time

import pytest

from tests.model.conftest import counted_in, rows_of, spent_in
from tests.model.programs import environment_reason, model_server

pytestmark = pytest.mark.model

SAMPLING = {"seed": 7, "repeat_penalty": 1.1}
"""Of every request: so small a model repeats itself until its answer is cut, and a seed makes
it write the same on the same machine."""


@pytest.fixture(scope="module")
def full_server():
    """Give the base URL of the whole model."""
    if reason := environment_reason():
        pytest.skip(reason)
    with model_server("--slots", "2") as url:
        yield url


def test_a_turn_of_instant_ends_in_a_reply_of_the_model(
    command, behind, conversations, full_server, capsys
):
    """Nothing is replaced: the model reads the prompts and writes the reply."""
    proxy = behind(full_server, stand_in=None, max_output_tokens=None, fixed=SAMPLING)
    command.use(proxy.base_url)
    begun = time.monotonic()
    command(
        *("replay", conversations["en"], "-p", "instant", "--max-turns", 1, "--out", "run"),
    )
    seconds = time.monotonic() - begun
    (turn,) = rows_of(command.folder / "run" / "turns.jsonl")
    spent = spent_in(proxy.log)
    with capsys.disabled():
        print(f"\none turn of instant: {seconds:.0f} s, {spent}\n  {turn['reply']!r}")  # noqa: T201
    assert counted_in([turn]) == spent
    assert turn["reply"]
    assert not turn["is_fallback"]
