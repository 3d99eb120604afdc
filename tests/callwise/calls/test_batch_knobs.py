"""Knobs of batches: the documents' defaults, limits that contradict each other, and profiles."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from callwise.calls.load.batch_knobs import BATCH_PROFILES, BatchKnobs, BatchLimits
from callwise.calls.load.load_knobs import LoadKnobs


def test_defaults_are_those_of_the_documents():
    """32 texts, 50 and 200 ms; 8 conversations, 100 ms, between 4 and 16 and 50 and 200 ms."""
    knobs = BatchKnobs()
    assert (knobs.embedding_size, knobs.chat_size) == (32, 8)
    assert (knobs.embedding_window_seconds, knobs.embedding_max_wait_seconds) == (0.05, 0.2)
    assert knobs.chat_window_seconds == 0.1
    assert (knobs.chat_min_size, knobs.chat_max_size) == (4, 16)
    assert (knobs.chat_min_window_seconds, knobs.chat_max_window_seconds) == (0.05, 0.2)
    assert knobs.chat_path is None


@pytest.mark.parametrize(
    "given_knobs",
    [
        {"chat_min_size": 9, "chat_max_size": 8},
        {"chat_min_window_seconds": 0.3},
        {"embedding_window_seconds": 0.3},
        {"embedding_size": 0},
        {"max_concurrent": 0},
        {"max_items": -1},
        {"chat_path": "https://elsewhere.example/batch"},
        {"profile": "unknown"},
        {"window": 1},
    ],
)
def test_knobs_that_cannot_work_are_refused_by_name(given_knobs):
    """When they are set, and not when a call is asked."""
    with pytest.raises(ValidationError, match=next(iter(given_knobs))):
        BatchKnobs(**given_knobs)


@pytest.mark.parametrize(
    ("name", "items", "concurrent"),
    [("openai", 1000, 10), ("groq", 500, 20), ("claude", 2000, 5), ("deepseek", 100, 15)],
)
def test_example_profiles_are_those_of_the_document(name, items, concurrent):
    """Items and requests at a time; what is set by hand goes before them."""
    assert BATCH_PROFILES[name] == BatchLimits(items, None, concurrent)
    knobs = BatchKnobs(profile=name, max_items=7, max_text_bytes=99)
    assert knobs.limits(BatchLimits(1, 1, 1)) == BatchLimits(7, 99, concurrent)


def test_without_a_profile_the_limits_are_those_that_are_known():
    """Of the endpoint's host."""
    known = BatchLimits(10, 300, None)
    assert BatchKnobs(max_concurrent=3).limits(known) == BatchLimits(10, 300, 3)


def test_an_endpoints_knobs_are_laid_over_those_of_the_run():
    """Field by field."""
    run = LoadKnobs(batch=BatchKnobs(embedding_size=16))
    own = LoadKnobs(batch=BatchKnobs(chat_path="/chat/completions/batch"))
    batch = run.laid_under(own).batch
    assert (batch.embedding_size, batch.chat_path) == (16, "/chat/completions/batch")


@given(
    under_way=st.integers(0, 100),
    sizes=st.tuples(st.integers(1, 50), st.integers(1, 50)).map(sorted),
    full_load=st.integers(1, 20),
)
@settings(deadline=None, max_examples=50)
def test_size_and_window_are_within_their_limits(under_way, sizes, full_load):
    """And grow with the load."""
    knobs = BatchKnobs(chat_min_size=sizes[0], chat_max_size=sizes[1], full_load=full_load)
    size, window = knobs.chat_rule(under_way)
    more, longer = knobs.chat_rule(under_way + 1)
    assert sizes[0] <= size <= more <= sizes[1]
    assert 0.05 <= window <= longer <= 0.2 + 1e-12
