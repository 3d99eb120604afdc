"""Drafts fit for a tree."""

import json

from hypothesis import given
from hypothesis import strategies as st

from lats.answers import MAX_REPLY_CHARS, Draft, Drafts, NoAnswer, clean_text, cleaned_answer
from lats.classic_uct import ClassicUct
from lats.rule_score import ReplyContext
from lats.search_knobs import SearchKnobs


def _cleaned(*drafts):
    return cleaned_answer("generate:0", Drafts(drafts)).drafts


def _admit(*replies, k=4, root="root"):
    """Return the replies that a classic search admits below its root."""
    knobs = SearchKnobs(expand_k=k, max_top_ups=0, soft_top_n=0)
    search = ClassicUct(knobs, ReplyContext(user_text=""))
    for answer in (Drafts((Draft(reply=root),)), NoAnswer()):
        search.tell(search.ask()[0].action_id, answer)
    drafts = tuple(Draft(reply=reply) for reply in replies)
    search.tell(search.ask()[0].action_id, Drafts(drafts))
    search.ask()
    return [node.draft.reply for node in search.tree.candidates][1:]


def test_replies_are_stripped_and_blank_ones_dropped():
    """A reply of nothing but space is no reply."""
    assert _admit("  hi \n", "", "   ", "\x00") == ["hi"]


def test_copies_are_dropped_within_and_against_the_tree():
    """Case and punctuation make no new reply."""
    assert _admit("Hello!", "hello", "bye", "Good.", root="good") == ["Hello!", "bye"]


def test_more_than_asked_are_dropped_and_fewer_are_fine():
    """The first `k` that may enter do."""
    assert _admit("a", "a", "b", "c", k=2) == ["a", "b"]
    assert _admit("a", k=3) == ["a"]
    assert _admit(k=3) == []


def test_a_reply_of_fifty_thousand_characters_is_cut():
    """To the documented maximum."""
    (reply,) = _admit("word " * 10_000)
    assert len(reply) <= MAX_REPLY_CHARS


@given(st.text(st.characters(codec=None), max_size=60))
def test_clean_text_can_be_written_anywhere(text):
    """Lone surrogates and control characters are gone, and cleaning twice changes nothing."""
    cleaned = clean_text(text, 50)
    json.dumps(cleaned, ensure_ascii=False).encode()
    assert clean_text(cleaned, 50) == cleaned
    assert len(cleaned) <= 50


def test_the_payload_is_carried_as_it_is():
    """Cleaning touches the words only."""
    (draft,) = _cleaned(Draft(reply=" x ", payload={"goal": " y "}))
    assert draft.payload == {"goal": " y "}
