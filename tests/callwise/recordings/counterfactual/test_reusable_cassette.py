"""A recording that is played under many settings: which exchange answers which call."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from callwise.budget.recorder import CallOrigin, RecordedExchange
from callwise.budget.usage import NO_USAGE
from callwise.calls import Call, CallKey, Outcome
from callwise.calls.errors import CassetteMiss, FormatError
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.recordings.counterfactual.evaluation import CounterfactualRecorder
from callwise.recordings.counterfactual.purchase import SpendingCap, SpendingCapReached
from callwise.recordings.counterfactual.reusable_cassette import ReusableCassette, StandInAnswers

Ask = Callable[..., tuple[CallKey, Call, CallOrigin]]
Answer = Callable[..., RecordedExchange]


def _scope(turn: int, conversation: str = "a") -> str:
    return f"run/conv:{conversation}/turn:{turn}/node:detection"


def _reusable(
    path: Path, *exchanges: tuple[tuple[CallKey, Call, CallOrigin], RecordedExchange]
) -> ReusableCassette:
    with open_cassette(path, CassetteMode.REWRITE) as cassette:
        for asked, exchange in exchanges:
            cassette.record(*asked, exchange)
    return ReusableCassette(path)


def _text(exchange: RecordedExchange | None) -> str | None:
    return None if exchange is None or exchange.reply is None else exchange.reply.text


def test_own_scope_first_then_any_other_paid_one_first(
    tmp_path: Path, ask: Ask, answer: Answer
) -> None:
    """That an equal call was shared elsewhere says nothing of this one."""
    shared = replace(answer("shared"), outcome=Outcome.COALESCED, usage=NO_USAGE)
    reusable = _reusable(
        tmp_path / "c.jsonl",
        (ask("hello", scope=_scope(0)), shared),
        (ask("hello", scope=_scope(1)), answer("elsewhere")),
        (ask("hello", scope=_scope(2)), answer("here")),
    )
    taken: set[int] = set()
    found = [_text(reusable.take(*ask("hello", scope=_scope(2)), taken)) for _ in range(4)]
    assert found == ["here", "elsewhere", "shared", None]


def test_each_turn_is_given_everything_again(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """A reusable does not wear out."""
    reusable = _reusable(tmp_path / "c.jsonl", (ask("hello", scope=_scope(0)), answer("hi")))
    for _ in range(2):
        player = CounterfactualRecorder(reusable)
        for turn in (0, 1):
            player.open_turn("a", turn)
            assert _text(player.lookup(*ask("hello", scope=_scope(turn)))) == "hi"
        with pytest.raises(CassetteMiss, match=r"turn 1, node detection.*\n.*played already"):
            player.lookup(*ask("hello", scope=_scope(1)))


def test_a_trace_says_where_a_turn_diverged(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """From which call on, with what it would cost, and whether the reply was out."""
    reusable = _reusable(tmp_path / "c.jsonl", (ask("hello", scope=_scope(0)), answer("hi")))
    player = CounterfactualRecorder(reusable, StandInAnswers(reusable))
    trace = player.open_turn("a", 0)
    player.lookup(*ask("hello", scope=_scope(0)))
    trace.reply_is_out()
    stand_in = player.lookup(*ask("unheard", scope=_scope(0)))
    assert _text(stand_in) == "hi"
    assert (trace.asked_count, trace.diverged_at, trace.is_reply_exact) == (2, 2, True)
    (missing,) = trace.missing
    assert (missing.node, missing.purpose.value) == ("detection", "detect")
    assert missing.input_tokens == stand_in.usage.input_tokens


def test_stand_ins_are_the_nearest_of_their_kind(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """Of the same turn in turn, else of the nearest turn, else the oldest; failures never."""
    failed = replace(answer(), outcome=Outcome.FAILED, reply=None)
    reusable = _reusable(
        tmp_path / "c.jsonl",
        (ask("z", scope=_scope(0, "b")), answer("oldest")),
        (ask("a", scope=_scope(3)), answer("first of 3")),
        (ask("b", scope=_scope(3)), answer("second of 3")),
        (ask("c", scope=_scope(3)), failed),
        (ask("d", scope=_scope(8)), answer("of 8")),
    )
    stand_ins = StandInAnswers(reusable)

    def found(turn: int, conversation: str = "a") -> list[str | None]:
        _, call, where = ask("unheard", scope=_scope(turn, conversation))
        used: dict[object, int] = {}
        return [_text(stand_ins.find(call, where, used)) for _ in range(3)]  # type: ignore[arg-type]

    assert found(3) == ["first of 3", "second of 3", "first of 3"]
    assert found(7) == ["of 8"] * 3
    assert found(1, "c") == ["oldest"] * 3


def test_another_kind_replaces_nothing(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """An answer of another node is no answer here."""
    reusable = _reusable(tmp_path / "c.jsonl", (ask("hello", scope=_scope(0)), answer("hi")))
    _, call, where = ask("hello", scope="run/conv:a/turn:0/node:evolver")
    assert StandInAnswers(reusable).find(call, where, {}) is None


def test_a_damaged_line_is_named(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """With its number, when the reusable is opened."""
    path = tmp_path / "c.jsonl"
    _reusable(path, (ask("hello"), answer("hi")), (ask("there"), answer("ho"))).close()
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:200] + b"\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(FormatError, match=r"c\.jsonl.*3"):
        ReusableCassette(path)


def test_a_budget_reserves_what_a_like_call_cost() -> None:
    """And is settled with what it did cost; what is not known is counted, not free."""
    budget = SpendingCap(max_usd=0.01)
    reserved = budget.reserve(0.006)
    with pytest.raises(SpendingCapReached, match=r"0\.006000 of 0\.010000 are spent"):
        budget.reserve(0.006)
    budget.settle(reserved, 0.002)
    budget.settle(budget.reserve(0.006), None)
    assert (budget.calls, round(budget.usd, 6), budget.unknown_usd) == (2, 0.008, 1)
