"""The rule score of a reply."""

import importlib
import pkgutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lats
from lats.rule_score import (
    ReplyContext,
    RuleScore,
    assistant_phrases,
    length_fit,
    length_units,
    question_balance,
)

EN = ReplyContext(user_text="I got the job and now I am scared of it", language="en")
ZH = ReplyContext(user_text="我拿到那份工作了，可是现在有点怕", language="zh")
GOOD = {
    "en": "You got it! I threw up before my first day at the shop. What scares you most?",
    "zh": "太好了！我第一天上班前紧张得吃不下饭。你最怕哪一块？",
}


@given(
    st.text(max_size=80),
    st.lists(st.text(max_size=40), max_size=3),
    st.text(max_size=60),
    st.sampled_from(["en", "zh"]),
)
def test_it_is_in_range_and_ignores_the_order_of_siblings(reply, siblings, user_text, language):
    """For any text at all."""
    context = ReplyContext(user_text=user_text, language=language)
    score = RuleScore(context)(reply, siblings)
    assert 0 <= score <= 1
    assert score == RuleScore(context)(reply, siblings[::-1])


@pytest.mark.parametrize(
    ("context", "worse"),
    [
        (EN, "As an AI language model, I'm here to help. Is there anything else I can do?"),
        (EN, "Here are some tips:\n- Breathe.\n- Prepare.\n- Sleep."),
        (EN, "I got the job and now I am scared of it"),
        (EN, "Why? When? Where? Who told you?"),
        (EN, "word " * 400),
        (EN, "k"),
        (ZH, "作为一个AI助手，我很高兴为您服务，请问有什么可以帮您？"),
        (ZH, "以下是一些建议：\n1. 放松。\n2. 准备。"),
        (ZH, "我拿到那份工作了，可是现在有点怕"),
        (ZH, "为什么？什么时候？在哪里？谁说的？"),
        (ZH, "嗯"),
        (ZH, "很好" * 400),
    ],
)
def test_a_human_line_beats_what_the_rules_look_for(context, worse):
    """Assistant's phrases, lists, echoes, interrogations, and odd lengths."""
    good = RuleScore(context)(GOOD[context.language], [])
    assert RuleScore(context)(worse, []) < good - 0.05


def test_a_copy_of_a_sibling_scores_less():
    """Novelty is one of the five figures."""
    good = GOOD["en"]
    assert RuleScore(EN)(good, ["Nice."]) - RuleScore(EN)(good, [good]) == pytest.approx(
        0.15, abs=0.01
    )


def test_length_counts_characters_of_chinese_and_words_of_the_rest():
    """Mixed text counts both."""
    assert length_units("我用Python写了3行") == 4 + 1 + 1 + 1


def test_the_length_band_follows_the_users_length():
    """A long message may be answered at length."""
    reply = "word " * 60
    long = ReplyContext(user_text="word " * 40, language="en")
    assert length_fit(reply, EN) < length_fit(reply, long) == 1


def test_one_question_is_best_and_runs_of_marks_are_one():
    """`??` is emphasis."""
    scores = [question_balance(text) for text in ("a?", "a", "a? b?", "a? b? c?")]
    assert scores == sorted(scores, reverse=True)
    assert question_balance("really??") == question_balance("really?")


def test_typographic_apostrophes_hide_no_phrase():
    """I'm here to help, however it is typed."""
    assert assistant_phrases("I\u2019m here to help", "en") == 1


def test_english_phrases_count_in_chinese_too():
    """A model that slips into English slips into its role."""
    assert assistant_phrases("好的, how can I help you", "zh") == 1
    assert assistant_phrases("请问有什么可以帮你", "en") == 0


def test_no_memo_outlives_its_search():
    """A process that searches every turn keeps no text of an earlier turn."""
    for found in pkgutil.walk_packages(lats.__path__, "lats."):
        module = importlib.import_module(found.name)
        memos = [name for name, value in vars(module).items() if hasattr(value, "cache_info")]
        assert not memos, f"{found.name} has {memos}"
