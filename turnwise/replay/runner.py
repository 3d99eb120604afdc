"""Replaying conversations through an app, turn by turn.

Turns of one user go one after another, because each stands on what the one before
left in memory; users go side by side, as many as `max_concurrency` says. A finished
turn is written at once. Whatever stops a run (Ctrl-C, an error, a killed process),
running it again goes on where it stopped, and calls of the interrupted turn that were
already paid for come from its recording.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from turnwise.calls.errors import ConfigError
from turnwise.calls.payload import well_formed_id
from turnwise.replay.app import Session, TurnInput, TurnResult
from turnwise.replay.conversation import Conversation
from turnwise.replay.run_folder import RunFolder, TurnKey

__all__ = ["TurnListener", "replay_conversations", "turn_order"]

TurnListener = Callable[[TurnResult], None]
"""Told each turn that has just been finished and written."""


def _inputs(conversation: Conversation) -> Iterable[TurnInput]:
    for turn in conversation.turns:
        yield TurnInput(
            conversation_id=conversation.conversation_id,
            turn=turn.turn,
            user_text=turn.user_text,
            user_id=conversation.user_id,
            time=turn.time,
            persona=turn.persona or conversation.persona or None,
        )


def turn_order(conversations: Sequence[Conversation]) -> list[TurnKey]:
    """Return the turns of conversations in the order in which files list them."""
    return [
        (well_formed_id(conversation.conversation_id), turn.turn)
        for conversation in conversations
        for turn in conversation.turns
    ]


def _lanes(conversations: Sequence[Conversation]) -> list[list[TurnInput]]:
    """Return the turns that must go one after another: one lane per memory."""
    lanes: dict[tuple[str, str], list[TurnInput]] = {}
    for conversation in conversations:
        for turn in _inputs(conversation):
            lanes.setdefault(turn.memory_owner, []).append(turn)
    return list(lanes.values())


def _check_users(lanes: Sequence[Sequence[TurnInput]], folder: RunFolder) -> None:
    """Refuse to go on with turns that an older version kept for another user.

    It gave a conversation without a user the user of the conversation's name, whose memory
    is no longer read for it.
    """
    former = {
        row["conversation_id"]
        for row in folder.turns
        if row.get("user_id") == row["conversation_id"]
    }
    for turn in (turn for lane in lanes for turn in lane):
        if turn.user_id is None and turn.conversation_id in former and not _is_done(turn, folder):
            raise ConfigError(
                f"{folder.path} was begun by an older version, which kept the memory of "
                f"conversation {turn.conversation_id!r} for a user of that name. Choose another "
                f"folder with --out and give its recording with --cassette; no call is paid twice"
            )


def _is_done(turn: TurnInput, folder: RunFolder) -> bool:
    return turn.turn is not None and (turn.conversation_id, turn.turn) in folder.finished


async def replay_conversations(
    conversations: Sequence[Conversation],
    session: Session,
    folder: RunFolder,
    *,
    max_concurrency: int = 1,
    on_turn: TurnListener | None = None,
) -> None:
    """Answer every turn that the folder does not hold yet, and write each as it ends.

    Args:
        conversations: what to replay, in the order in which the files shall list it.
        session: the open app.
        folder: where finished turns stand and go.
        max_concurrency: most users at once; at least 1.
        on_turn: told each finished turn.

    Raises:
        ConfigError: when an older version began the run and kept memory otherwise.
        Exception: whatever a turn raised; the other lanes are cancelled, and the turns
            finished so far stand in the folder.
    """
    if max_concurrency < 1:
        raise ValueError(f"max_concurrency is at least 1, got {max_concurrency}")
    turns = _lanes(conversations)
    _check_users(turns, folder)
    lanes = iter(turns)

    async def work() -> None:
        # Each worker takes the next lane, so that lanes start in order.
        for lane in lanes:
            for turn in lane:
                if _is_done(turn, folder):
                    continue
                result = await session.run_turn(turn)
                folder.add(result)
                if on_turn is not None:
                    on_turn(result)

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(max_concurrency):
                workers.create_task(work())
    except* Exception as group:  # noqa: BLE001 - unwrapped, not handled
        raise group.exceptions[0] from None
    folder.finish(turn_order(conversations))
