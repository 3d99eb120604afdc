"""Days, terms, BM25, vectors and fusion: small facts, and the recorded probes."""

import json
import math
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.calls.errors import ConfigError
from callwise.memory.lexical_index import (
    K1,
    B,
    LexicalIndex,
    day_of_time,
    query_weights,
    split_days,
    text_terms,
)
from callwise.memory.retrieval import DenseIndex, TurnIndex, reciprocal_rank_fusion
from callwise.memory.stored_records import Embedding

DATA = Path(os.environ.get("CALLWISE_DATA", "../shared/data")) / "sample_memorybank_cn"


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("4月28号我们聊了什么", ["@04-28"]),
        ("2023年4月8日和12月 1 日", ["@04-08", "@12-01"]),
        ("on 2023-04-28 at 10:00", ["@04-28"]),
        ("what was on April 28th, and on Dec. 3?", ["@04-28", "@12-03"]),
        ("the 2nd of May and 3 June", ["@05-02", "@06-03"]),
        ("4月 was nice, in 2023", []),
        ("I may 99 times, 13月40日", []),
        ("mar 2:30 is no day, nor is may 5%", []),
        ("", []),
    ],
)
def test_days_are_found(text: str, days: list[str]) -> None:
    """Chinese, ISO and English dates, and nothing that only resembles one."""
    assert split_days(text)[0] == days


def test_days_of_times() -> None:
    """An ISO time has a day; anything else has none."""
    assert day_of_time("2023-04-28T10:00:00Z") == "@04-28"
    assert day_of_time("yesterday") is day_of_time(None) is None


def test_chinese_is_indexed_by_pairs_and_singles() -> None:
    """A run of characters gives its pairs; the length counts those."""
    counts, length = text_terms("我爱茶，茶香")
    assert counts == {"我": 1, "爱": 1, "茶": 2, "香": 1, "我爱": 1, "爱茶": 1, "茶香": 1}
    assert length == 3


def test_words_are_indexed_without_case_or_plural() -> None:
    """Full-width letters are letters; `glass` keeps its s."""
    counts, length = text_terms("Cats, cat; ＣＡＴ 3 glass berries")
    assert counts == {"cat": 3, "3": 1, "glass": 1, "berry": 1}
    assert length == 6


def test_questions_are_stripped_of_asking() -> None:
    """Words of asking go, single characters weigh less, days weigh more."""
    weights = query_weights("你还记得4月28号我喝了什么茶吗")
    assert set(weights) == {"@04-28", "喝", "茶", "我喝", "喝了", "么茶", "茶吗"}
    assert weights["@04-28"] > weights["我喝"] > weights["茶"] > 0
    assert set(query_weights("What did you say about the blue boats?")) == {"blue", "boat"}


def test_a_question_of_asking_words_only_keeps_them() -> None:
    """A search for common words is better than none."""
    assert query_weights("what was that") == {"what": 1, "was": 1, "that": 1}


def test_bm25_follows_the_formula() -> None:
    """One term, by hand."""
    index = LexicalIndex()
    for text in ("tea tea milk", "milk", "coffee"):
        index.add(text)
    idf = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    damper = K1 * (1 - B + B * 3 / (5 / 3))
    expected = idf * 2 * (K1 + 1) / (2 + damper)
    assert index.scores("tea") == pytest.approx([expected, 0, 0])


def test_later_documents_do_not_change_the_past() -> None:
    """Scores up to a place are those of an index that ends there."""
    texts = ["tea and milk", "绿茶和牛奶", "more tea", "milk 4月3日", "tea"]
    whole = LexicalIndex()
    for text in texts:
        whole.add(text)
    for size in range(len(texts) + 1):
        part = LexicalIndex()
        for text in texts[:size]:
            part.add(text)
        for query in ("tea milk", "绿茶", "April 3"):
            assert whole.scores(query, size).tolist() == part.scores(query).tolist()


def test_an_empty_index_finds_nothing() -> None:
    """No documents, no scores."""
    assert len(LexicalIndex().scores("tea")) == 0
    assert TurnIndex().search("tea", 5) == []


@given(st.lists(st.text(max_size=30), max_size=12), st.text(max_size=30))
def test_any_text_can_be_indexed_and_asked(texts: list[str], query: str) -> None:
    """Hits are distinct, above 0, and in order."""
    index = TurnIndex()
    for text in texts:
        index.add(text, conversation_id="c")
    hits = index.search(query, 5)
    assert len({hit.position for hit in hits}) == len(hits) <= 5
    assert all(hit.relevance > 0 for hit in hits)
    assert [h.relevance for h in hits] == sorted((h.relevance for h in hits), reverse=True)


def test_ties_go_to_the_newest() -> None:
    """Equal documents come back newest first, however many there are."""
    index = TurnIndex()
    for number in range(200):
        index.add("tea", conversation_id=str(number))
    assert [hit.position for hit in index.search("tea", 3)] == [199, 198, 197]


def test_neighbours_in_a_sitting_are_lent_relevance() -> None:
    """The turn next to a hit is found too; across conversations or days it is not."""
    index = TurnIndex()
    days = ("2026-01-01", "2026-01-01", "2026-01-02", "2026-01-02")
    for place, (text, day) in enumerate(zip(("sky", "tea", "sea", "sun"), days, strict=True)):
        index.add(text, conversation_id="a" if place < 3 else "b", time=day)
    assert [hit.position for hit in index.search("tea", 5)] == [1, 0]


def test_vectors_are_ranked_by_angle() -> None:
    """Length does not matter, a vector of nothing is like nothing, and growth keeps all."""
    index = DenseIndex(2)
    vectors = [(1, 0), (0, 5), (3, 3), (0, 0)] + [(-1, -1)] * 100
    for position, vector in enumerate(vectors):
        index.add(position, vector)
    assert len(index) == 104
    assert index.ranking((0, 1), 4) == [1, 2, 3, 0]
    assert index.ranking((0, 1), 2) == [1, 0]
    assert index.ranking((1, 1), 104)[-1] == 4


def test_vectors_of_another_length_are_refused() -> None:
    """Both lengths are named; a vector of no length is no vector."""
    index = DenseIndex(2)
    with pytest.raises(ConfigError, match="3 dimensions where the stored ones have 2"):
        index.add(0, (1, 2, 3))
    with pytest.raises(ConfigError, match="at least 1"):
        DenseIndex(0)


def test_dense_similarity_is_cosine() -> None:
    """Exactly numpy's, for many random vectors."""
    rng = np.random.default_rng(0)
    vectors, query = rng.normal(size=(300, 16)), rng.normal(size=16)
    index = DenseIndex(16)
    for position, vector in enumerate(vectors):
        index.add(position, vector.tolist())
    cosines = vectors @ query / np.linalg.norm(vectors, axis=1)
    assert index.ranking(query.tolist(), 300) == np.argsort(-cosines).tolist()


def test_fusion_adds_reciprocal_ranks() -> None:
    """A document that both rankings have beats one that leads a single ranking."""
    fused = reciprocal_rank_fusion([[7, 8], [9, 8]])
    assert fused[7] == fused[9] == pytest.approx(1 / 61)
    assert fused[8] == pytest.approx(2 / 62)
    assert reciprocal_rank_fusion([]) == {}


def test_a_turn_index_fuses() -> None:
    """With vectors, a turn that shares no word can be found."""
    index = TurnIndex()
    index.add("tea", conversation_id="a", embedding=Embedding("m", (1.0, 0.0)))
    index.add("sky", conversation_id="b", embedding=Embedding("m", (0.0, 1.0)))
    assert [h.position for h in index.search("tea", 5)] == [0]
    both = index.search("tea", 5, embedding=Embedding("m", (0.0, 1.0)))
    assert [h.position for h in both] == [0, 1]
    with pytest.raises(ValueError, match="at least 0"):
        index.search("tea", -1)


def recorded(name: str) -> list[dict[str, object]]:
    """Return the rows of a recorded file."""
    lines = (DATA / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason=f"needs the recorded data in {DATA}")
def test_recorded_questions_are_answered() -> None:
    """Own user's memory, words and days only: at least what plain BM25 reaches."""
    turns = recorded("turns.jsonl")
    probes = recorded("probes.jsonl")
    indexes: dict[str, TurnIndex] = defaultdict(TurnIndex)
    ids: dict[str, list[str]] = defaultdict(list)
    for row in turns:
        text = f"{row['user_text']}\n{row['bot_text']}"
        indexes[row["user_id"]].add(text, conversation_id=row["user_id"], time=row["date"])
        ids[row["user_id"]].append(row["turn_id"])
    firsts = fives = 0
    for probe in probes:
        hits = indexes[probe["user_id"]].search(probe["question"], 5)
        found = [ids[probe["user_id"]][hit.position] for hit in hits]
        wanted = set(probe["evidence_turn_ids"])
        firsts += found[0] in wanted
        fives += bool(wanted & set(found))
    assert firsts / len(probes) >= 0.60
    assert fives / len(probes) >= 0.95
