"""Normalisers: what a recording's keys leave out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from callwise.budget.recorder import CallOrigin, RecordedExchange
from callwise.calls import Call, CallKey, call_key
from callwise.calls.errors import CassetteMiss, ConfigError, FormatError
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.recordings.normalising import BUILT_IN, normaliser_of

Ask = Callable[..., tuple[CallKey, Call, CallOrigin]]
Answer = Callable[..., RecordedExchange]


def without_digits(text: str) -> str:
    """Return a text without its digits."""
    return "".join(mark for mark in text if not mark.isdigit())


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        ("uuid", "id 3f2b8c1e-0a4d-4e7f-9b3a-5d6c7e8f9a0b.", "id <uuid>."),
        ("iso-time", "at 2025-09-11T19:20:00.123+01:00, again", "at <iso-time>, again"),
        ("iso-time", "at 2025-09-11 19:20Z", "at <iso-time>"),
        ("iso-date", "on 2025-09-11.", "on <iso-date>."),
        ("clock-time", "it is 7:05 pm", "it is <clock-time>"),
        ("unix-time", "since 1757614800.25", "since <unix-time>"),
        ("hex", "object at 0x7fab38158220", "object at <hex>"),
        ("hex", "a feedback of 1234567", "a feedback of 1234567"),
        ("call-id", "call_u7Gh2kLm and more", "<call-id> and more"),
        (r"order-\d+", "order-17 and order-9", "<pattern> and <pattern>"),
        (without_digits, "order-17", "order-"),
    ],
)
def test_what_a_rule_takes_out(rule: str, text: str, expected: str) -> None:
    """Volatile text becomes the rule's name; all else stays."""
    assert normaliser_of([rule]).text(text) == expected


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_rules_are_linear_in_the_text(name: str) -> None:
    """A long text of what almost matches is read once."""
    normaliser = normaliser_of([name])
    for almost in ("a1" * 50_000, "2025-09-11T19:20:00." * 5_000, "1" * 100_000, "0-" * 50_000):
        assert len(normaliser.text(almost)) < 2 * len(almost)


@pytest.mark.parametrize("rule", ["uuid", r"order-\d+"])
def test_a_call_with_another_id_is_the_same_call(
    tmp_path: Path, ask: Ask, answer: Answer, rule: str
) -> None:
    """Recorded with one id and asked with another, the call is found; what was sent is kept."""
    path = tmp_path / "c.jsonl"
    ids = {
        "uuid": ("3f2b8c1e-0a4d-4e7f-9b3a-5d6c7e8f9a0b", "00000000-0a4d-4e7f-9b3a-5d6c7e8f9a0b"),
        r"order-\d+": ("order-1", "order-22"),
    }
    first, second = ids[rule]
    with open_cassette(path, CassetteMode.NEW_EPISODES, normalise=[rule]) as cassette:
        cassette.record(*ask(f"Where is {first}?"), answer("there"))

    assert first.encode() in path.read_bytes()
    with open_cassette(path, normalise=[rule]) as cassette:
        assert cassette.lookup(*ask(f"Where is {second}?")) == answer("there")
        with pytest.raises(CassetteMiss, match="have been played already"):
            cassette.lookup(*ask(f"Where is {first}?"))
    with open_cassette(path, normalise=[rule]) as cassette:
        with pytest.raises(CassetteMiss, match="first difference") as caught:
            cassette.lookup(*ask(f"When is {second}?"))
        assert second not in str(caught.value)


def test_tool_calls_and_their_ids_are_normalised_too(
    tmp_path: Path, ask: Ask, answer: Answer
) -> None:
    """A framework's own ids are in messages next to their text."""
    path = tmp_path / "c.jsonl"

    def asked(number: int) -> tuple[CallKey, Call, CallOrigin]:
        call, where = ask("hello")[1:]
        name = f"call_abcdef{number}"
        message = replace(call.messages[1], tool_call_id=name, tool_calls=({"id": name},))
        call = replace(call, messages=(call.messages[0], message))
        return call_key(call, endpoint="local", model="tiny"), call, where

    with open_cassette(path, CassetteMode.REWRITE, normalise=["call-id"]) as cassette:
        cassette.record(*asked(1), answer("found"))
    with open_cassette(path) as cassette:
        assert cassette.lookup(*asked(2)) == answer("found")


def test_built_in_rules_are_taken_from_the_header(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """A recording is played without knowing how it was made."""
    path = tmp_path / "c.jsonl"
    with open_cassette(path, CassetteMode.REWRITE, normalise=["iso-date", "uuid"]) as cassette:
        cassette.record(*ask("today is 2025-01-01"), answer("noted"))
    assert b'"normalise":[{"name":"iso-date"},{"name":"uuid"}]' in path.read_bytes()
    for mode in (CassetteMode.STRICT, CassetteMode.NEW_EPISODES):
        with open_cassette(path, mode) as cassette:
            assert cassette.lookup(*ask("today is 2026-12-31")) == answer("noted")


@pytest.mark.parametrize("rule", [r"order-\d+", without_digits])
def test_a_recordings_own_rules_must_be_given_again(
    tmp_path: Path, ask: Ask, answer: Answer, rule: str
) -> None:
    """An expression or a function of a stranger is shown, compared, and never run."""
    path = tmp_path / "c.jsonl"
    with open_cassette(path, CassetteMode.REWRITE, normalise=["uuid", rule]) as cassette:
        cassette.record(*ask("order-1"), answer())
    for mode in (CassetteMode.STRICT, CassetteMode.NEW_EPISODES):
        with pytest.raises(FormatError, match=r"c.jsonl:1: .*give all of them again.*--normalise"):
            open_cassette(path, mode)
    with pytest.raises(FormatError, match="give the same in the same order"):
        open_cassette(path, normalise=[rule, "uuid"])
    with open_cassette(path, normalise=["uuid", rule]) as cassette:
        assert cassette.lookup(*ask("order-2")) == answer()


def test_a_recording_without_rules_takes_none_later(
    tmp_path: Path, ask: Ask, answer: Answer
) -> None:
    """Its keys were made from whole texts, so a rule would find nothing."""
    path = tmp_path / "c.jsonl"
    with open_cassette(path, CassetteMode.REWRITE) as cassette:
        cassette.record(*ask(), answer())
    with pytest.raises(FormatError, match="with the normalisers none, and given were name 'uuid'"):
        open_cassette(path, normalise=["uuid"])


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (["(unclosed"], "is no regular expression"),
        (["x*"], "matches a text of nothing"),
        ([""], "is empty"),
        (["a" * 1_001], "at most 1,000"),
        (["a"] * 51, "at most 50"),
    ],
)
def test_what_is_no_rule(tmp_path: Path, rules: list[str], words: str) -> None:
    """The error says what is wrong and what to give, and no file is made."""
    with pytest.raises(ConfigError, match=words):
        open_cassette(tmp_path / "c.jsonl", CassetteMode.NEW_EPISODES, normalise=rules)
    assert not list(tmp_path.iterdir())


def test_calls_of_an_endpoint_at_another_address_are_found(
    tmp_path: Path, ask: Ask, answer: Answer
) -> None:
    """The same model on another port answers from its recording, and a notice says so."""
    path = tmp_path / "c.jsonl"

    def at(endpoint: str, text: str, model: str = "tiny") -> tuple[CallKey, Call, CallOrigin]:
        call, where = ask(text)[1:]
        where = replace(where, endpoint=endpoint, model=model)
        return call_key(call, endpoint=endpoint, model=model), call, where

    with open_cassette(path, CassetteMode.REWRITE) as cassette:
        cassette.record(*at("localhost-8000", "a"), answer("a"))
        cassette.record(*at("localhost-8000", "a"), answer("a, again"))
    for mode in (CassetteMode.STRICT, CassetteMode.NEW_EPISODES):
        with open_cassette(path, mode) as cassette:
            assert cassette.lookup(*at("localhost-9000", "a")) == answer("a")
            assert cassette.lookup(*at("localhost-9000", "a")) == answer("a, again")
            assert "localhost-9000" in cassette.notices[0]
            assert "localhost-8000" in cassette.notices[0]
    with open_cassette(path) as cassette, pytest.raises(CassetteMiss):
        cassette.lookup(*at("localhost-9000", "a", model="other"))
    # Where an endpoint is recorded itself, another one's answers are not its own.
    with open_cassette(path, CassetteMode.NEW_EPISODES) as cassette:
        cassette.record(*at("localhost-9000", "b"), answer("b"))
    with open_cassette(path) as cassette, pytest.raises(CassetteMiss):
        cassette.lookup(*at("localhost-9000", "a"))
