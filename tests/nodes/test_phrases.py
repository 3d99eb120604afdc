"""The numbers of the state as short phrases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.prompt import words
from nodes.records import Detection, Mood, Relationship, Signal, Stage, StyleVector
from nodes.turn import detection_shown, phrase_of


def test_what_is_middling_takes_no_words():
    """A dimension is named only where it differs from the middle."""
    middle = StyleVector(**dict.fromkeys(StyleVector.model_fields, 0.5))
    assert phrase_of("style", middle, "en") == ""
    assert phrase_of("style", middle.model_copy(update={"formality": 0.7}), "en") == "rather formal"
    assert phrase_of("mood", Mood(), "zh") == ""


def test_each_scale_has_four_ranges_and_a_middle():
    """The words get stronger towards the ends."""
    found = [phrase_of("mood", Mood(pleasure=value), "en") for value in (-1.0, -0.4, 0.0, 0.4, 1.0)]
    assert found == ["miserable", "displeased", "", "pleased", "delighted"]


def test_strangers_are_not_close_and_do_not_trust():
    """The stage is a separate field and stays out of the phrase."""
    assert phrase_of("relationship", Relationship(), "en") == "not close, little trust"
    assert phrase_of("relationship", Relationship(stage=Stage.BONDING), "zh") == "不亲近、不大信任"


def test_what_was_found_is_shown_without_numbers_and_hints():
    """An ordinary message shows nothing but what it is about."""
    found = Detection(
        context="Asks for help.",
        signals=(Signal.QUESTION,),
        sentiment=-0.5,
        hostility=0.9,
        stage_hint=Stage.BONDING,
    )
    assert detection_shown(found, "en") == {
        "context": "Asks for help.",
        "signals": (Signal.QUESTION,),
        "user": "unhappy, attacks the agent fiercely",
    }
    assert detection_shown(Detection(), "en") == {}


@pytest.mark.parametrize(
    ("kind", "record"),
    [("style", StyleVector), ("relationship", Relationship), ("mood", Mood), ("user", Detection)],
)
def test_both_languages_name_the_same_scales_of_the_record(kind, record):
    """A scale that one language lacks would be lost there."""
    scales = words("phrases")[kind]
    assert list(scales["en"]) == list(scales["zh"])
    assert set(scales["en"]) <= set(record.model_fields)


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_small_change_seldom_changes_the_prompt(value, other):
    """Values of one range give equal phrases, so that a prompt cache still serves them."""
    phrases = {
        phrase_of("style", StyleVector(warmth=each), "en") for each in sorted((value, other))
    }
    same = all(each < 0.15 for each in (value, other)) or all(
        0.35 <= each <= 0.65 for each in (value, other)
    )
    assert len(phrases) == 1 if same else len(phrases) <= 2
