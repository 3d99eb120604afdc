"""A search without a pipeline around it, as a row that statistics and figures take."""

from turnwise.tune.row import Standing, TurnRow

__all__ = ["row_of_trial"]


def row_of_trial(
    setting: str, prompt: str, *, calls: int, rounds: int, quality: float, quality_by: str
) -> TurnRow:
    """Return one search on one prompt of a simulated pool as a row, a prompt being a turn.

    So the statistics and figures of sweeps serve searches that no pipeline stands around.
    Such a search writes no text: it has no tokens, no price and no reply.

    Args:
        setting: name of the policy and its knobs.
        prompt: its id; each is a conversation of its own.
        calls: asked.
        rounds: of calls that waited for each other.
        quality: true quality of the pick, in the pool's unit.
        quality_by: who says so.
    """
    return TurnRow(
        setting=setting,
        conversation=prompt,
        turn=0,
        seed=0,
        standing=Standing.EXACT,
        diverged_at=None,
        missing_calls=0,
        missing_tokens=0,
        missing_usd=0.0,
        asked=calls,
        requests=calls,
        input_tokens=0,
        output_tokens=0,
        usd=None,
        rounds_reply=rounds,
        rounds_turn=rounds,
        seconds_reply=None,
        seconds_turn=None,
        is_reply_exact=True,
        reply_id="",
        is_simulated=True,
        quality=quality,
        quality_by=quality_by,
    )
