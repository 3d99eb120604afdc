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
