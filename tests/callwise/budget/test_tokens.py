"""Token estimates: kinds of characters, calls, and tables that are or are not on disk."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from callwise.budget.token_estimate import RESERVE_MARGIN, TokenEstimator, count_kinds, estimator
from callwise.budget.token_tables import (
    FAMILIES,
    cached_encoding,
    is_at_hand,
    is_known_tokenizer,
    weights_for,
)
from callwise.calls import Call, Message, Purpose, Role


class Verdict(BaseModel):
    """An answer with two fields."""

    score: float
    reason: str


class WordEncoding:
    """A stand-in for a tiktoken encoding: one token per word."""

    name = "words"

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode_ordinary(self, text: str) -> list[int]:
        """Return one token per word."""
        self.texts.append(text)
        return list(range(len(text.split())))


def call_of(*texts: str, **fields: object) -> Call:
    """Return a chat call of user messages."""
    messages = tuple(Message("user", text) for text in texts)
    return Call(Role.MAIN, Purpose.EXPAND, messages, **fields)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point tiktoken at an empty cache folder."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    return tmp_path


def test_kinds_are_counted_by_character() -> None:
    """Each kind of character lands in its own place."""
    assert count_kinds("Hi you,  2!\n") == (2, 5, 1, 1, 2, 1, 1, 0, 0, 0, 0, 0)
    assert count_kinds("你好，ё한😀") == (0, 0, 0, 0, 0, 0, 0, 2, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("The kettle is on, and your favourite cup is waiting by the window.", 12, 18),
        ("水已经烧上了，你最喜欢的杯子就放在窗边。", 12, 22),
        ('{"goal": "comfort", "tags": ["warm", "slow"], "score": 0.82}', 18, 28),
    ],
)
def test_estimates_are_plausible(text: str, low: int, high: int) -> None:
    """Prose of either language and JSON come out within what real tokenizers give."""
    assert low <= estimator("some-model", use_tables=False).tokens(text) <= high


def test_only_an_empty_text_is_free() -> None:
    """Nothing costs nothing, and a single space costs one token."""
    free = estimator("some-model", use_tables=False)
    assert free.tokens("") == 0
    assert free.tokens(" ") == 1


@settings(deadline=None)
@given(st.text(max_size=400), st.text(max_size=400))
def test_more_text_is_never_fewer_tokens(first: str, second: str) -> None:
    """Any text has an estimate, and appending to it never makes it cheaper by more than one.

    Joining two words makes them one, which may save that word's token.
    """
    count = TokenEstimator(FAMILIES["cl100k_base"]).tokens
    assert 0 <= count(first) <= count(first + second) + 1


def test_lone_surrogates_are_counted() -> None:
    """A string that UTF-8 cannot hold still gets an estimate."""
    assert estimator("some-model", use_tables=False).tokens("broken \ud83d emoji") > 2


def test_a_call_is_its_messages_its_schema_and_its_tools() -> None:
    """Every part of a call that travels is counted."""
    count = estimator("some-model", use_tables=False)
    plain = count.call_tokens(call_of("hello"))
    assert plain == count.tokens("hello") + 4 + 3
    assert count.call_tokens(call_of("hello", "hello")) == plain + count.tokens("hello") + 4
    assert count.call_tokens(call_of("hello", response_model=Verdict)) > plain + 20
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    assert count.call_tokens(call_of("hello", tools=(tool,))) > plain + 10


def test_tool_messages_count_their_calls_and_names() -> None:
    """All fields of a message are counted, not only its content."""
    count = estimator("some-model", use_tables=False)
    bare = Call(Role.MAIN, Purpose.OTHER, (Message("assistant", "ok"),))
    rich = Call(
        Role.MAIN,
        Purpose.OTHER,
        (Message("assistant", "ok", tool_calls=({"id": "1"},), tool_call_id="x", name="Ann"),),
    )
    assert count.call_tokens(rich) > count.call_tokens(bare) + 3


def test_an_embedding_call_is_its_inputs() -> None:
    """Texts to embed have no message overhead."""
    count = estimator("some-model", use_tables=False)
    call = Call(Role.EMBED, Purpose.EMBED, inputs=("one text", "二"))
    assert count.call_tokens(call) == count.tokens("one text") + count.tokens("二")


def test_a_table_counts_exactly_and_remembers_long_texts() -> None:
    """With an encoding on disk it alone decides, and a long prompt is encoded once."""
    encoding = WordEncoding()
    exact = TokenEstimator(FAMILIES["o200k_base"], encoding)
    prompt = "be kind " * 100
    assert exact.is_exact
    assert [exact.tokens(prompt), exact.tokens(prompt), exact.tokens("a b c")] == [200, 200, 3]
    assert encoding.texts == [prompt, "a b c"]


def test_models_get_the_weights_of_their_tokenizer() -> None:
    """A vendor before a slash does not matter; an unknown model gets the default."""
    assert weights_for("deepseek/DeepSeek-V3.2") is FAMILIES["deepseek"]
    assert weights_for("openai/gpt-4o-mini") is FAMILIES["o200k_base"]
    assert weights_for("gpt-4-turbo") is FAMILIES["cl100k_base"]
    assert weights_for("qwen3-32b") is FAMILIES["o200k_base"]
    known = ("openai/gpt-5-mini", "o3", "gpt-oss-120b", "deepseek-chat", "gpt-3.5-turbo")
    assert all(map(is_known_tokenizer, known))
    assert not any(map(is_known_tokenizer, ("qwen3-32b", "smollm2", "claude-x", "simulated")))


def test_no_table_at_hand_means_no_table(offline: Path) -> None:
    """An absent table is not fetched, and an unknown model has none."""
    assert cached_encoding("gpt-4o") is None
    assert cached_encoding("llama-4") is None
    assert not estimator("gpt-4o").is_exact
    assert list(offline.iterdir()) == []


def test_a_damaged_table_is_left_alone(offline: Path) -> None:
    """A table with the wrong digest is neither used, nor deleted, nor fetched again."""
    address = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
    table = offline / hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()
    table.write_bytes(b"half a tab")
    assert cached_encoding("gpt-4o") is None
    assert table.read_bytes() == b"half a tab"


def test_a_switched_off_cache_holds_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache variable switches tiktoken's cache off, so no table is found."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    assert cached_encoding("gpt-4") is None


def test_a_whole_table_is_recognised(offline: Path) -> None:
    """A file in the cache is used only with the digest that is expected."""
    address = "https://tables.invalid/toy.tiktoken"
    table = offline / hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()
    table.write_bytes(b"YQ== 0")
    assert is_at_hand(address, hashlib.sha256(b"YQ== 0").hexdigest())
    assert not is_at_hand(address, hashlib.sha256(b"YQ== 1").hexdigest())


def test_the_margin_adds() -> None:
    """Reserving takes more than the estimate."""
    assert RESERVE_MARGIN > 1


def test_a_call_is_split_by_kind_of_character(offline: Path) -> None:
    """ASCII text and wrapping apart from the rest; together they are the call's tokens."""
    count = estimator("some-model")
    parts = count.call_parts(call_of("hello there", "你好你好"))
    assert parts.total == count.call_tokens(call_of("hello there", "你好你好"))
    assert parts.other == count.tokens("你好你好")
    assert count.call_parts(call_of("hello there")).other == 0
    exact = TokenEstimator(FAMILIES["o200k_base"], WordEncoding())
    mixed = exact.call_parts(call_of("one two 你好 three"))
    assert mixed.total == 4 + 4 + 3
    assert 0 < mixed.other < 4
