"""What ended a run is not part of its recording; what a turn survived is."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from turnwise.budget.recorder import RecordedExchange
from turnwise.calls import Outcome
from turnwise.replay.run_recorder import RunRecorder

Ask = Callable[..., Any]


class Kept:
    """A recorder that keeps what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def lookup(self, key: Any, call: Any, where: Any) -> None:
        """Find nothing."""

    def record(self, key: Any, call: Any, where: Any, exchange: RecordedExchange) -> None:
        """Keep the call's words."""
        self.texts.append(call.messages[-1].content)


@pytest.fixture
def kept() -> Kept:
    """Return an empty recording."""
    return Kept()


@pytest.fixture
def tell(kept: Kept, ask: Ask, answer: Any) -> tuple[RunRecorder, Callable[..., None]]:
    """Return a run's recorder, and a function that tells it of a call in a turn."""
    recorder = RunRecorder(kept)

    def record(text: str, outcome: Outcome, *, turn: int = 0) -> None:
        key, call, where = ask(text, scope=f"run/conv:a/turn:{turn}/node:detection")
        recorder.record(key, call, where, replace(answer(), outcome=outcome))

    return recorder, record


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.CANCELLED])
def test_a_failure_is_kept_once_its_turn_goes_on(
    kept: Kept, tell: tuple[RunRecorder, Callable[..., None]], outcome: Outcome
) -> None:
    """It comes before the call that shows that the turn went on, in the order of the calls."""
    _, record = tell
    record("one", Outcome.SERVED)
    record("two", outcome)
    record("three", outcome)
    assert kept.texts == ["one"]
    record("four", Outcome.SERVED)
    assert kept.texts == ["one", "two", "three", "four"]


def test_other_turns_do_not_show_that_one_goes_on(
    kept: Kept, tell: tuple[RunRecorder, Callable[..., None]]
) -> None:
    """A failure waits for its own turn, whatever goes on beside it."""
    _, record = tell
    record("one", Outcome.FAILED, turn=0)
    record("two", Outcome.SERVED, turn=1)
    assert kept.texts == ["two"]


def test_the_last_call_of_a_finished_turn_is_kept(
    kept: Kept, tell: tuple[RunRecorder, Callable[..., None]]
) -> None:
    """A turn that ended in spite of its last call keeps that call, once."""
    recorder, record = tell
    record("one", Outcome.FAILED)
    recorder.keep("a", "0")
    recorder.keep("a", "0")
    assert kept.texts == ["one"]


@pytest.mark.parametrize(
    "outcome", [Outcome.SERVED, Outcome.REFUSED, Outcome.CACHED, Outcome.COALESCED]
)
def test_everything_else_is_kept_at_once(
    kept: Kept, tell: tuple[RunRecorder, Callable[..., None]], outcome: Outcome
) -> None:
    """What was answered or refused stands in the recording before anything else happens."""
    tell[1]("one", outcome)
    assert kept.texts == ["one"]
