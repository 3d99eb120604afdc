"""The order of a run's turns, and the failures that its recording does not keep."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from callwise.budget.recorder import RecordedError, RecordedExchange
from callwise.calls import Outcome
from callwise.recordings import Conversation, RecordedTurn
from callwise.recordings.app_protocol import ReplyListener, TurnInput, TurnResult
from callwise.recordings.replay_run import RunRecorder, replay_conversations
from callwise.recordings.run_folder import RunFolder

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
    """Return a run's recorder, and a function that reports to it a call in a turn."""
    recorder = RunRecorder(kept)

    def record(text: str, outcome: Outcome, *, turn: int = 0, error: str = "") -> None:
        key, call, where = ask(text, scope=f"run/conv:a/turn:{turn}/node:detection")
        failure = RecordedError(error, "no") if error else None
        recorder.record(key, call, where, replace(answer(), outcome=outcome, error=failure))

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


def test_a_fatal_failure_is_kept_at_the_end_of_its_turn(
    kept: Kept, tell: tuple[RunRecorder, Callable[..., None]]
) -> None:
    """Answers of calls that were sent with it are kept, and do not show that the turn went on."""
    recorder, record = tell
    record("one", Outcome.FAILED, error="AuthFailed")
    record("two", Outcome.SERVED)
    assert kept.texts == ["two"]
    recorder.keep("a", "0")
    assert kept.texts == ["two", "one"]


def test_other_turns_do_not_show_that_one_goes_on(
    kept: Kept, tell: tuple[RunRecorder, Callable[..., None]]
) -> None:
    """A failure waits for its own turn, whatever other turns do meanwhile."""
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
    """What was answered or refused is in the recording before anything else happens."""
    tell[1]("one", outcome)
    assert kept.texts == ["one"]


class _Listener:
    """A session that answers with what it was told."""

    def __init__(self) -> None:
        self.told: list[TurnInput] = []

    async def run_turn(
        self, turn: TurnInput, *, on_reply: ReplyListener | None = None
    ) -> TurnResult:
        self.told.append(turn)
        record = {"conversation_id": turn.conversation_id, "turn": turn.turn, "reply": "yes"}
        return TurnResult(record=record, rows=[])


async def test_a_turn_may_state_its_own_persona(tmp_path: Path) -> None:
    """It answers that turn; the conversation's own answers the others."""
    turns = (
        RecordedTurn("talk", 0, "Hello."),
        RecordedTurn("talk", 1, "And you?", persona={"name": "Mo"}),
    )
    talk = Conversation("talk", "ann", {"name": "Lin"}, turns)
    session = _Listener()
    folder = RunFolder(tmp_path / "run", identity={}, details={})
    await replay_conversations([talk], session, folder)
    folder.close()
    assert [turn.persona for turn in session.told] == [{"name": "Lin"}, {"name": "Mo"}]


async def test_ids_with_half_a_character_are_not_one(tmp_path: Path) -> None:
    """Conversations and users that differ in it alone lose no turn, and share no memory."""
    talks = [
        Conversation(f"talk{half}", f"ann{half}", None, (RecordedTurn(f"talk{half}", 0, "Hello."),))
        for half in ("\ud800", "\ud801")
    ]
    session = _Listener()
    folder = RunFolder(tmp_path / "run", identity={}, details={})
    await replay_conversations(talks, session, folder)
    folder.close()
    assert len({turn.conversation_id for turn in session.told}) == 2
    assert len({turn.memory_owner for turn in session.told}) == 2
