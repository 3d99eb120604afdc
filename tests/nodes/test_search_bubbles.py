"""The bubbles that came with a reply."""

import pytest

from lats.answers import Draft
from nodes.lats_search import MAX_PLANNED_BUBBLES, planned_bubbles
from nodes.records import StyleVector


def _bubbles(reply="Hello there. Tea?", **payload):
    return planned_bubbles(Draft(reply=reply, payload=payload), StyleVector())


def test_bubbles_that_say_the_reply_are_timed():
    """What is blank is left out; a bubble may end without the full stop of the reply."""
    bubbles = _bubbles(bubbles=[" Hello there", " ", "Tea?"])
    assert [bubble.text for bubble in bubbles] == ["Hello there", "Tea?"]
    assert all(bubble.delay_seconds > 0 for bubble in bubbles)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"goal": "make peace"},
        {"bubbles": None},
        {"bubbles": []},
        {"bubbles": "Hello there. Tea?"},
        {"bubbles": ["Hello."]},
        {"bubbles": ["Other words."]},
    ],
)
def test_what_cannot_be_used_is_left_to_the_processor(payload):
    """Other words, nothing at all."""
    assert _bubbles(**payload) is None


def test_too_many_bubbles_are_not_used():
    """A bubble a letter is no way to talk."""
    letters = list("abcdefghijklmnop")[: MAX_PLANNED_BUBBLES + 1]
    assert _bubbles(reply="".join(letters), bubbles=letters) is None
    assert _bubbles(reply="".join(letters[1:]), bubbles=letters[1:]) is not None
