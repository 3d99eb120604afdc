"""The quality of a run's replies, out of a table of scores (`scores.csv`).

The gate judges nothing. It reads what a referee, people or a known truth said of the very
replies that the run gave; a reply is known by its text.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from turnwise.calls.errors import ConfigError
from turnwise.report.run_record import TurnKey, TurnLine

__all__ = ["quality_by_turn"]

_KINDS = frozenset({"pointwise", "label", "truth"})
"""Scores that say something of one reply. Which of two won is not in the same unit."""


def quality_by_turn(scores_file: Path, turns: Iterable[TurnLine]) -> dict[TurnKey, float]:
    """Return the mean score of each turn's reply; a reply that nobody scored has none.

    Args:
        scores_file: the table, all its scores by one judge.
        turns: the run's turns, with their replies.

    Raises:
        ConfigError: when several judges stand in the table: their units differ.
        FormatError: when the table cannot be read.
    """
    # Scores stand on the floor of sweeps, which a gate without them need not load.
    from turnwise.tune.quality.score_file import read_scores  # noqa: PLC0415
    from turnwise.tune.quality.scores import reply_id  # noqa: PLC0415

    values: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    judges: set[str] = set()
    for score in read_scores(scores_file).scores:
        if score.kind in _KINDS:
            judges.add(score.by)
            values[score.conversation, score.turn, score.reply_id].append(score.value)
    if len(judges) > 1:
        raise ConfigError(
            f"{scores_file} holds scores by {len(judges)} judges ({', '.join(sorted(judges))}), "
            "whose units differ; give a table by one of them"
        )
    keys = {turn.key: (*turn.key, reply_id(turn.reply)) for turn in turns}
    return {key: fmean(values[reply]) for key, reply in keys.items() if reply in values}
