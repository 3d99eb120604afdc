"""The decision table of modes."""

import pytest

from nodes.mode_manager import choose_mode
from nodes.records import Detection, Mode, Mood, Relationship, Signal, Stage

STRANGER = Relationship()
LOVER = Relationship(stage=Stage.BONDING)


def _mode(
    *signals: Signal,
    previous: Mode | None = None,
    relationship: Relationship = STRANGER,
    busyness: float = 0.2,
    **detection: float,
) -> Mode:
    found = Detection(signals=signals, **detection)
    return choose_mode(found, Mood(busyness=busyness), relationship, previous)


def test_nothing_special_is_normal() -> None:
    """A plain message is taken normally."""
    assert _mode() is Mode.NORMAL


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (_mode(hostility=0.5), Mode.GUARDED),
        (_mode(Signal.MANIPULATION), Mode.GUARDED),
        (_mode(Signal.VULNERABILITY), Mode.SUPPORTIVE),
        (_mode(sentiment=-0.5), Mode.SUPPORTIVE),
        (_mode(Signal.FAREWELL), Mode.BRIEF),
        (_mode(Signal.BOUNDARY), Mode.BRIEF),
        (_mode(busyness=0.9), Mode.BRIEF),
        (_mode(Signal.HUMOR), Mode.PLAYFUL),
        (_mode(Signal.HUMOR, sentiment=-0.1), Mode.NORMAL),
        (_mode(Signal.FLIRTATION), Mode.NORMAL),
        (_mode(Signal.FLIRTATION, relationship=LOVER), Mode.PLAYFUL),
        (_mode(Signal.SELF_DISCLOSURE), Mode.CURIOUS),
        (_mode(vagueness=0.6), Mode.CURIOUS),
    ],
)
def test_each_row_of_the_table(mode: Mode, expected: Mode) -> None:
    """Each row is taken when its condition is met."""
    assert mode is expected


def test_hostility_outranks_everything() -> None:
    """The first row that applies wins."""
    assert _mode(Signal.HUMOR, Signal.VULNERABILITY, hostility=0.9) is Mode.GUARDED


@pytest.mark.parametrize(
    ("previous", "values"),
    [
        (Mode.GUARDED, {"hostility": 0.35}),
        (Mode.SUPPORTIVE, {"sentiment": -0.3}),
        (Mode.BRIEF, {"busyness": 0.65}),
        (Mode.CURIOUS, {"vagueness": 0.5}),
    ],
)
def test_a_mode_is_left_later_than_it_is_entered(previous: Mode, values: dict[str, float]) -> None:
    """Between the two thresholds a mode is kept, and not entered from another."""
    assert _mode(previous=previous, **values) is previous
    assert _mode(previous=Mode.NORMAL, **values) is Mode.NORMAL


def test_an_apology_ends_the_guard() -> None:
    """Waning hostility with an apology is not held against the user."""
    assert _mode(Signal.APOLOGY, previous=Mode.GUARDED, hostility=0.35) is Mode.NORMAL
