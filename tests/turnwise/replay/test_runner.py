"""What the runner hands to a session."""

from pathlib import Path

from turnwise.replay import Conversation, RecordedTurn
from turnwise.replay.app import ReplyListener, TurnInput, TurnResult
from turnwise.replay.run_folder import RunFolder
from turnwise.replay.runner import replay_conversations


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
