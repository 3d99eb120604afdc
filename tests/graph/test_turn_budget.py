"""Limits on turns, conversations and runs: never passed, and the reply comes all the same."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from callwise.memory import Identity
from callwise.recordings.app_protocol import TurnInput, TurnResult
from graph.app import app
from graph.settings import ReplyKnobs

TEXTS = (
    "I lost my job this morning and have not told anyone yet.",
    "我今天很难过，不知道该怎么跟家里人说。",
)
PRICES = "prices: {input_usd_per_million: 1, output_usd_per_million: 2}"

ON_OUTAGE = "reply.on_outage=fallback"
"""An endpoint that fails for good shall not end these turns."""

QUOTA_FOR_A_REPLY = {
    "max_calls": 1,
    "max_requests": 1,
    "max_tokens": 5_000,
    "max_usd": 0.01,
    "max_seconds": 6.0,
}
"""What one root plan of these short conversations takes at most, its whole reservation."""

QUOTA_FOR_A_FUSED_REPLY = {**QUOTA_FOR_A_REPLY, "max_seconds": 16.0}
"""The same where one call may have to think as well, or writes several candidates: what is held
back for its answer, and a little time before it."""

PRESETS = ("classic", "classic_parallel", "balanced", "instant", "thorough")

LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "max_calls": st.integers(0, 18),
        "max_requests": st.integers(0, 18),
        "max_tokens": st.integers(0, 30_000),
        "max_usd": st.floats(0, 0.05),
        "max_seconds": st.floats(0, 40),
    },
)


def _answered(
    limits: dict[str, Any],
    *,
    preset: str = "classic",
    scope: str = "turn",
    fields: str = "null_rate: 0.1",
    texts: Sequence[str] = TEXTS,
    overrides: Sequence[str] = (),
) -> list[TurnResult]:
    simulator = f"{{kind: simulated, {PRICES}, simulated: {{{fields}}}}}"
    roles = ", ".join(f"{role}: {simulator}" for role in ("main", "judge", "fast"))
    knobs = [f"budget.{scope}.{name}={value}" for name, value in limits.items()]

    async def run() -> list[TurnResult]:
        chosen = app.settings(preset, [f"endpoints={{{roles}}}", ON_OUTAGE, *knobs, *overrides])
        with tempfile.TemporaryDirectory() as name:
            async with app.open(chosen, folder=Path(name)) as session:
                turns = [await session.run_turn(TurnInput("talk", None, text)) for text in texts]
                session.engine.budgeter.ledger.check()
                return turns

    return asyncio.run(run())


def _used(rows: Sequence[Any]) -> dict[str, float]:
    return {
        "max_calls": sum(row["outcome"] != "refused" for row in rows),
        "max_requests": sum(row["requests"] for row in rows),
        "max_tokens": sum(row["input_tokens"] + row["output_tokens"] for row in rows),
        "max_usd": sum(row["usd"] or 0.0 for row in rows),
    }


def _hold(limits: dict[str, Any], rows: Sequence[Any]) -> None:
    used = _used(rows)
    for name, limit in limits.items():
        if name != "max_seconds":
            assert used[name] <= limit + 1e-12, (name, used[name], limit)


@settings(suppress_health_check=list(HealthCheck))
@given(
    LIMITS,
    st.sampled_from(PRESETS),
    st.sampled_from(
        [
            "null_rate: 0.1",
            "malformed_json_rate: 0.4",
            "error_rate_500: 0.3, timeout_rate: 0.1, timeout_seconds: 5",
            "error_rate_429: 0.5, retry_after_seconds: 2",
        ]
    ),
    st.sampled_from(["search.rollouts=4", "processor.llm=always", "search.soft_top_n=3"]),
)
def test_no_turn_passes_its_limit(
    limits: dict[str, Any], preset: str, fields: str, knob: str
) -> None:
    """Under any limits and failures each turn ends, within all of them, and says something."""
    for turn in _answered(limits, preset=preset, fields=fields, overrides=[knob]):
        _hold(limits, turn.rows)
        if "max_seconds" in limits:
            assert turn.record["path_seconds"]["turn"] <= limits["max_seconds"] + 1e-6
        assert turn.record["reply"]
        outcomes = turn.record["outcomes"]
        assert turn.record["asked"] == sum(outcomes.values()) == len(turn.rows)


@pytest.mark.slow
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@example({"max_calls": 4, "max_seconds": 0.0, "max_usd": 0.0}, "balanced", 0)
@example({"max_calls": 4, "max_seconds": 0.0, "max_usd": 0.0}, "balanced", 93)
@given(LIMITS, st.sampled_from(PRESETS), st.integers(0, 10_000))
def test_a_turn_with_quota_for_one_call_ends_in_a_reply(
    limits: dict[str, Any], preset: str, seed: int
) -> None:
    """The first draft's call, tokens, price and time are held back from everything else."""
    is_classic = preset.startswith("classic")
    least = QUOTA_FOR_A_REPLY if is_classic else QUOTA_FOR_A_FUSED_REPLY
    enough = {name: max(value, least[name]) for name, value in limits.items()}
    for turn in _answered(enough, preset=preset, overrides=[f"seed={seed}"]):
        assert not turn.record["is_fallback"], turn.record["degraded"]


@pytest.mark.parametrize("name", sorted(QUOTA_FOR_A_REPLY))
def test_no_quota_at_all_is_a_fallback(name: str) -> None:
    """A limit of zero sends nothing, raises nothing, and ends in a line that is marked."""
    for turn in _answered({name: 0}):
        assert turn.record["is_fallback"]
        assert turn.record["reply"]
        assert turn.record["requests"] == 0
        assert turn.record["outcomes"]["refused"] == turn.record["asked"]


@pytest.mark.parametrize("role", ["main", "judge", "fast"])
def test_a_role_has_separate_limits(role: str) -> None:
    """A limit on one role binds its calls only, and the reply still comes."""
    limits = f"budget.turn.roles.{role}.max_calls=1"
    for turn in _answered({}, overrides=[limits]):
        mine = [row for row in turn.rows if row["role"] == role and row["outcome"] != "refused"]
        assert len(mine) == 1
        assert not turn.record["is_fallback"]


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(LIMITS, st.sampled_from(["conversation", "run"]))
def test_a_conversation_and_a_run_have_limits_too(limits: dict[str, Any], scope: str) -> None:
    """All turns together stay within the limits of what is around them."""
    turns = _answered(limits, scope=scope, texts=TEXTS * 2)
    _hold(limits, [row for turn in turns for row in turn.rows])
    seconds = sum(turn.record["path_seconds"]["turn"] for turn in turns)
    assert seconds <= limits.get("max_seconds", float("inf")) + 1e-5
    assert all(turn.record["reply"] for turn in turns)


def test_conversations_do_not_share_a_limit_and_a_run_does() -> None:
    """Two conversations have a budget each, under one for both."""

    async def run() -> list[TurnResult]:
        knobs = ["budget.conversation.max_calls=10", "budget.run.max_calls=15"]
        with tempfile.TemporaryDirectory() as name:
            async with app.open(app.settings("classic", knobs), folder=Path(name)) as session:
                return [
                    await session.run_turn(TurnInput(conversation, None, TEXTS[0]))
                    for conversation in ("a", "b", "a")
                ]

    first, second, third = asyncio.run(run())
    counted = [_used(turn.rows)["max_calls"] for turn in (first, second, third)]
    assert counted == [10, 5, 0]
    assert third.record["is_fallback"]


def test_nothing_stays_held_back() -> None:
    """After each turn its leases are gone, and what is used is what its rows used."""

    async def run() -> None:
        knobs = ["budget.conversation.max_calls=200", "budget.turn.max_tokens=40000"]
        with tempfile.TemporaryDirectory() as name:
            async with app.open(app.settings("classic", knobs), folder=Path(name)) as session:
                used = 0
                for text in TEXTS:
                    turn = await session.run_turn(TurnInput("talk", None, text))
                    used += _used(turn.rows)["max_calls"]
                    conversation = session.engine.open_turn(
                        Identity("agent", None, "talk"), 9
                    ).parent
                    (room,) = conversation.scope_limits.common_quotas()
                    assert not any(room.held)
                    assert room.used.calls == used

    asyncio.run(run())


def test_the_search_has_a_separate_limit() -> None:
    """The search winds down within its own budget, and the bookkeeping is not touched."""
    for turn in _answered({"max_calls": 5}, scope="search"):
        search = [row for row in turn.rows if row["node"] == "lats_search"]
        assert len(search) == 5  # the root, one rollout, and the last look
        assert turn.record["outcomes"]["refused"] == 0
        assert {"evolver", "memory_manager"} <= {row["node"] for row in turn.rows}


FUSE = st.sampled_from(
    [
        "{}",
        "{thinking: true}",
        "{bookkeeping: true}",
        "{thinking: true, bookkeeping: true}",
        "{thinking: true, reply: true}",
        "{thinking: true, reply: true, bookkeeping: true}",
        "{wind_down: true}",
        "{thinking: true, wind_down: true}",
        "{bookkeeping: true, wind_down: true}",
        "{thinking: true, reply: true, wind_down: true}",
    ]
)


@pytest.mark.slow
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    FUSE,
    st.integers(0, 12),
    st.sampled_from(["max_calls", "max_requests"]),
    st.sampled_from(["false", "true"]),
    st.sampled_from(["null_rate: 0.1", "malformed_json_rate: 0.5", "error_rate_500: 0.3"]),
    st.integers(0, 10_000),
)
def test_any_fusing_under_any_budget_ends_in_a_reply(  # noqa: PLR0917 - drawn
    fuse: str, quota: int, limit: str, overlap: str, fields: str, seed: int
) -> None:
    """The budget is never passed, and a sane model's first call is enough for a real reply."""
    overrides = (f"fuse={fuse}", f"overlap={overlap}", f"seed={seed}")
    for turn in _answered({limit: quota}, fields=fields, overrides=overrides):
        _hold({limit: quota}, turn.rows)
        assert turn.record["reply"]
        assert turn.record["asked"] == len(turn.rows)
        if fields == "null_rate: 0.1" and quota:
            assert not turn.record["is_fallback"], turn.record["degraded"]
        given_up = [row["what"] for row in turn.record["wound_down"]]
        assert not given_up or "wind_down" in fuse


@pytest.mark.parametrize(
    ("max_calls", "stops"), [(8, "budget"), (5, "budget"), (4, "budget"), (3, "fused_reply")]
)
def test_a_turn_winds_down_and_says_so(max_calls: int, stops: str) -> None:
    """With fewer calls than it needs it fuses, then replies in one call; nothing is refused."""
    overrides = ("fuse.wind_down=true", "search.early_exit.enabled=false")
    for turn in _answered({"max_calls": max_calls}, overrides=overrides):
        what = [row["what"] for row in turn.record["wound_down"]]
        expected = ["fused_thinking", "fused_bookkeeping"]
        assert what == expected + ["fused_reply"] * (stops == "fused_reply")
        assert turn.record["search"]["stop_reason"] == stops
        # A rollout is two calls, so the search may leave one.
        assert max_calls - 1 <= turn.record["asked"] <= max_calls
        assert turn.record["outcomes"]["refused"] == 0
        assert not turn.record["degraded"]


def test_a_conversation_winds_down_as_its_budget_goes() -> None:
    """Each turn takes the form that what is left allows, and the last still replies."""
    turns = _answered(
        {"max_calls": 40}, scope="conversation", texts=TEXTS * 4, overrides=("fuse.wind_down=true",)
    )
    given_up = [len(turn.record["wound_down"]) for turn in turns]
    assert given_up == sorted(given_up)
    assert given_up[0] == 0
    assert given_up[-1] > 0
    used = sum(row["outcome"] != "refused" for turn in turns for row in turn.rows)
    assert used <= 40


def test_classic_gives_nothing_of_its_form_up() -> None:
    """Without the knob a small budget refuses what does not fit, as it always did."""
    for max_calls in range(10):
        for turn in _answered({"max_calls": max_calls}):
            assert turn.record["wound_down"] == []
            assert not any(row["purpose"] == "fuse" for row in turn.rows)


def test_bookkeeping_goes_on_when_the_search_winds_down() -> None:
    """With ten calls the search gives up rollouts, and both bookkeeping calls are served."""
    for turn in _answered({"max_calls": 10}):
        assert turn.record["outcomes"]["refused"] == 0
        assert {"evolver", "memory_manager"} <= {row["node"] for row in turn.rows}
        assert not turn.record["degraded"]


def test_thinking_ends_in_time_for_the_reply() -> None:
    """What runs before the search is cut when only the reply's time is left."""
    limit = ReplyKnobs().held_seconds + 1.5
    for turn in _answered({"max_seconds": limit}):
        ends = [
            row["end_round"]
            for row in turn.rows
            if row["node"] in {"detection", "inner_monologue", "reasoner"}
        ]
        assert ends
        assert not turn.record["is_fallback"]
        assert turn.record["path_seconds"]["reply"] <= limit
        assert any(row["outcome"] in {"failed", "refused"} for row in turn.rows)
