"""Pairs and figures of the benchmark of similar answers."""

import asyncio
from collections import Counter

import pytest

from benchmarks.polarity.cost import content_figures
from benchmarks.polarity.layer import served, without_gate
from benchmarks.polarity.pairs import DIFFERENT_KINDS, SAME_KINDS, Pair, different_pairs, same_pairs
from benchmarks.polarity.peers import missing_reason
from benchmarks.polarity.pipeline import pipeline_figures
from benchmarks.similar_answers import (
    THRESHOLDS,
    interval,
    kinds_table,
    layer_hits,
    pairs_table,
    with_section,
)
from callwise.budget.similar.content import content_of
from callwise.recordings.app_protocol import TurnInput


def test_there_are_500_pairs_and_150_paraphrases():
    """Half of each in each language; 50 pairs of each are held out."""
    assert Counter(pair.language for pair in different_pairs()) == {"en": 250, "zh": 250}
    assert Counter(pair.language for pair in same_pairs()) == {"en": 75, "zh": 75}
    held_out = [pair for pair in different_pairs() if pair.is_held_out]
    assert Counter(pair.language for pair in held_out) == {"en": 50, "zh": 50}


def test_every_kind_is_in_both_languages_and_in_both_parts():
    """So that a figure by kind is none of a language."""
    found = {(pair.kind, pair.language, pair.is_held_out) for pair in different_pairs()}
    assert found == {
        (kind, language, held)
        for kind in DIFFERENT_KINDS
        for language in ("en", "zh")
        for held in (False, True)
    }
    assert {pair.kind for pair in same_pairs()} == set(SAME_KINDS)


@pytest.mark.parametrize("pairs", [different_pairs(), same_pairs()])
def test_no_pair_is_there_twice(pairs):
    """Neither the other way round, and no text is its own pair."""
    texts = [frozenset((pair.first, pair.second)) for pair in pairs]
    assert len(set(texts)) == len(texts)
    assert all(len(each) == 2 for each in texts)


def test_a_chinese_pair_is_chinese_and_an_english_one_is_not():
    """By its characters."""
    for pair in (*different_pairs(), *same_pairs()):
        for text in (pair.first, pair.second):
            has_chinese = any("一" <= sign <= "鿿" for sign in text)
            assert has_chinese == (pair.language == "zh"), text


def test_the_gate_lets_no_pair_pass_that_needs_another_answer():
    """Whatever the vectors are."""
    for pair in different_pairs():
        first, second = content_of(pair.first).form, content_of(pair.second).form
        assert not first or first != second, pair


def test_the_layer_serves_paraphrases_and_no_other_pair():
    """At every threshold; without the gate it serves others too."""
    different = [
        Pair("en", "negation", "I got the job", "I didn't get the job"),
        Pair("en", "comparison", "Is gold heavier than lead?", "Is lead heavier than gold?"),
    ]
    same = [Pair("zh", "synonym", "自行车怎么修？", "单车如何修？")]
    found = layer_hits(different, same, "words", None)
    with_gate, without = found[: len(THRESHOLDS)], found[len(THRESHOLDS) :]
    assert {sum(hits.different) for hits in with_gate} == {0}
    assert with_gate[0].same == [True]
    assert without[0].different == [False, True]
    table = pairs_table(different, same, found)
    assert "| Callwise | words | 0.92 | 0 (0.0% to 84.2%) | 0 / 0 | 0 / 0 | 1 (" in table
    kinds = kinds_table(different, [("gate", with_gate[0].different), ("none", [True, False])])
    assert "| negation | en | 1 | 0 | 1 |" in kinds


def test_vectors_decide_where_they_are_given():
    """A paraphrase whose vectors are not alike is asked."""
    pair = Pair("en", "synonym", "Is the film worth seeing?", "Is the movie worth seeing?")
    for second, is_served in (((1.0, 0.1), True), ((0.5, 1.0), False)):
        vectors = {pair.first: (1.0, 0.0), pair.second: second}
        (found,) = asyncio.run(served([pair], 0.95, vectors))
        assert found.is_served == is_served
    with without_gate():
        other = Pair("en", "name", pair.first, "Is the dog worth seeing?")
        vectors = {other.first: (1.0, 0.0), other.second: (1.0, 0.1)}
        (found,) = asyncio.run(served([other], 0.95, vectors))
    assert found.is_served
    (found,) = asyncio.run(served([other], 0.95, vectors))
    assert not found.is_served


def test_the_interval_is_that_of_clopper_and_pearson():
    """0 of 500 has the rule of three's upper end, two-sided."""
    assert interval(0, 500) == pytest.approx((0.0, 0.00735), abs=1e-5)
    assert interval(10, 100) == pytest.approx((0.0490, 0.1762), abs=1e-4)


def test_the_content_of_a_prompt_takes_time_in_proportion_to_its_length():
    """Each figure has the growth as its target."""
    figures = content_figures((100, 1_000))
    assert all(each.target for each in figures)


async def test_calls_and_messages_with_a_similar_one_are_counted():
    """In a conversation whose second message has the content of the first."""
    texts = ("How do I reset my password?", "Please, how can I reset my password?")
    turns = [TurnInput("c", number, text) for number, text in enumerate(texts)]
    figures = await pipeline_figures({"talks": {"c": turns}})
    assert figures[0].figure == "1 and 0 of 2"
    assert all("fuse" in each.figure or "detect" in each.figure for each in figures[1:])


def test_a_part_replaces_its_section_alone():
    """Sections keep their order."""
    page = with_section("", "Cost", "first")
    page = with_section(page, "Pairs", "pairs\n\n### By kind\n\nkinds")
    page = with_section(page, "Cost", "second")
    assert "first" not in page
    assert page.index("pairs") < page.index("kinds") < page.index("second")


def test_a_missing_environment_is_named_with_the_way_to_it(tmp_path, monkeypatch):
    """The command has to be run without it too."""
    monkeypatch.setenv("CALLWISE_PEERS", str(tmp_path / "none"))
    assert "CALLWISE_PEERS" in missing_reason()
