"""Whatever the knobs: no turn asks more than the plan's worst, and its default is exact."""

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from callwise.calls import Call, Purpose
from callwise.recordings.app_protocol import TurnInput, TurnResult
from graph.app import app
from lats.strategies import STRATEGIES
from tests.graph.conftest import Change, ChangingClient

PLAIN = "null_rate: 0, missing_score_rate: 0, strategy_repeat_rate: 0"

FUSE = st.sampled_from(
    [
        {},
        {"thinking": "true"},
        {"bookkeeping": "true"},
        {"thinking": "true", "bookkeeping": "true"},
        {"thinking": "true", "reply": "true"},
        {"thinking": "true", "reply": "true", "bookkeeping": "true"},
    ]
)

KNOBS = st.fixed_dictionaries(
    {
        "fuse": FUSE,
        "fuse.wind_down": st.sampled_from(["true", "false"]),
        "overlap": st.sampled_from(["true", "false"]),
        "processor.llm": st.sampled_from(["auto", "always", "never"]),
        "memory.dense": st.sampled_from(["true", "false"]),
        "repair.max_repairs": st.integers(0, 2),
        "search.rollouts": st.integers(0, 4),
        "search.expand_k": st.integers(1, 4),
        "search.soft_top_n": st.integers(0, 4),
        "search.soft_max_concurrency": st.integers(1, 3),
        "search.prefetch": st.sampled_from(["true", "false"]),
        "search.rejudge_final": st.sampled_from(["true", "false"]),
        "search.assistant_check_top_n": st.integers(0, 5),
        "search.max_calls": st.sampled_from(["null", "3", "6", "11"]),
        "search.early_exit.enabled": st.sampled_from(["true", "false"]),
        "search.stage_presets": st.sampled_from(["auto", "off"]),
        "pack.judge.is_trial": st.sampled_from(["true", "false"]),
        "pack.judge.size": st.integers(2, 4),
        "seed": st.integers(0, 1000),
    }
)


def _answered(overrides: list[str], fields: str) -> list[TurnResult]:
    simulator = f"{{kind: simulated, simulated: {{{fields}}}}}"
    embed = "{kind: simulated, model: simulated-embed}"
    endpoints = f"endpoints={{main: {simulator}, embed: {embed}}}"

    async def run() -> list[TurnResult]:
        with tempfile.TemporaryDirectory() as name:
            knobs = app.settings("classic", [*overrides, endpoints])
            async with app.open(knobs, folder=Path(name)) as session:
                texts = ("I lost my job today, and nobody knows yet.", "What would you do?")
                return [await session.run_turn(TurnInput("talk", None, text)) for text in texts]

    return asyncio.run(run())


def _scenarios(overrides: list[str]) -> dict[str, Any]:
    return app.plan(app.settings("classic", overrides)).as_json()["scenarios"]


def _overrides(knobs: dict[str, Any]) -> list[str]:
    plain = {name: value for name, value in knobs.items() if name != "fuse"}
    plain |= {f"fuse.{name}": value for name, value in knobs["fuse"].items()}
    return [f"{name}={value}" for name, value in plain.items()]


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(KNOBS)
def test_the_default_is_exact_when_nothing_exits_early(knobs: dict[str, Any]) -> None:
    """Without exits and failures, calls, rounds and roles are those of the default."""
    # The plan counts a turn whose memory reaches further back than what is shown.
    shut = {"search.early_exit.enabled": "false", "memory.history_turns": 0}
    overrides = _overrides({**knobs, **shut})
    planned = _scenarios(overrides)["default"]
    _, turn = _answered(overrides, PLAIN)
    search = turn.record["search"]
    if search["stop_reason"] != "fused_reply":
        # The simulated model sometimes repeats itself, and what is not new is not judged.
        new_replies = search["rollouts_done"] * knobs["search.expand_k"]
        assume(len(search["candidates"]) == 1 + new_replies)
        assume("top_up" not in search["asked"])
    by_node: dict[str, int] = {}
    for row in turn.rows:
        by_node[row["node"]] = by_node.get(row["node"], 0) + 1
    assert by_node == planned["by_node"]
    assert turn.record["rounds"] == planned["rounds"]
    assert turn.record["speculative"] == planned["speculative"]


@pytest.mark.slow
@settings(suppress_health_check=list(HealthCheck))
@given(
    KNOBS,
    st.sampled_from([0.0, 0.2, 0.6, 1.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.none() | st.integers(0, 12),
    st.sampled_from(("classic_uct", *STRATEGIES)),
)
def test_no_turn_asks_more_than_the_worst(
    knobs: dict[str, Any],
    malformed_rate: float,
    repeat_rate: float,
    max_calls: int | None,
    policy: str,
) -> None:
    """Nonsense answers, repairs, like strategies, gates, a budget: calls and rounds are bounded."""
    overrides = [*_overrides(knobs), f"search.policy={policy}"]
    if max_calls is not None:
        overrides.append(f"budget.turn.max_calls={max_calls}")
    worst = _scenarios(overrides)["worst"]
    fields = f"malformed_json_rate: {malformed_rate}, strategy_repeat_rate: {repeat_rate}"
    for turn in _answered(overrides, fields):
        assert turn.record["asked"] <= worst["asked"]
        assert turn.record["rounds"]["turn"] <= worst["rounds"]["turn"]
        assert turn.record["rounds"]["reply"] <= worst["rounds"]["reply"]
        refused = turn.record["outcomes"]["refused"]
        assert turn.record["requests"] == turn.record["attempts"] == turn.record["asked"] - refused
        assert max_calls is None or turn.record["requests"] <= max_calls
        assert turn.record["reply"]


NONSENSE = ("I would rather not say.", "{}", '{"reply": [}', "[1, 2", "null", '{"verdicts": []}')

SPOILING = st.sampled_from(
    ["everything", "some purposes", "now and then", "cut", "cut or repaired"]
)
"""How a model fails: nonsense always, for some purposes, or at random; answers cut in half."""


def _spoiler(how: str, seed: int) -> Change:
    draw = Random(seed)
    spoiled = set(draw.sample(sorted(Purpose), draw.randint(1, len(Purpose))))

    def spoil(call: Call, number: int, text: str) -> str | None:
        drawn = Random(f"{seed}/{number}/{call.purpose}")
        is_spoiled = {
            "everything": True,
            "some purposes": call.purpose in spoiled,
            "now and then": drawn.random() < 0.6,
            "cut": True,
            "cut or repaired": not call.repair or drawn.random() < 0.5,
        }[how]
        if not is_spoiled or call.purpose is Purpose.EMBED:
            return None
        return text[: len(text) // 2] if how.startswith("cut") else drawn.choice(NONSENSE)

    return spoil


RANDOM_KNOBS = st.fixed_dictionaries(
    {"repair.max_repairs": st.integers(0, 2)},
    optional={
        "fuse": FUSE,
        "fuse.wind_down": st.sampled_from(["true", "false"]),
        "overlap": st.sampled_from(["true", "false"]),
        "processor.llm": st.sampled_from(["auto", "always", "never"]),
        "memory.dense": st.just("true"),
        "budget.turn.max_calls": st.integers(0, 24),
        "budget.search.max_calls": st.integers(0, 8),
        "search.policy": st.sampled_from(("classic_uct", *STRATEGIES)),
        "search.judging": st.sampled_from(["listwise", "pointwise", "pairwise"]),
        "search.max_calls": st.sampled_from(["null", "0", "1", "2", "3", "5", "6", "11", "16"]),
        "search.rollouts": st.integers(0, 5),
        "search.expand_k": st.integers(1, 4),
        "search.soft_top_n": st.integers(0, 3),
        "search.generate_k": st.integers(1, 6),
        "search.prefetch": st.sampled_from(["true", "false"]),
        "search.parallel_leaves": st.integers(1, 3),
        "search.assistant_check_top_n": st.integers(0, 3),
        "search.early_exit.enabled": st.sampled_from(["true", "false"]),
        "search.stage_presets": st.sampled_from(["auto", "off"]),
        "search.soft_max_concurrency": st.integers(1, 4),
        "pack.default.is_trial": st.just("true"),
        "pack.default.size": st.integers(2, 16),
    },
)


def _hold(turn: TurnResult, worst: dict[str, Any]) -> None:
    assert turn.record["asked"] == len(turn.rows) <= worst["asked"]
    for field in ("node", "role", "purpose"):
        for name, count in Counter(row[field] for row in turn.rows).items():
            assert count <= worst[f"by_{field}"].get(name, 0), (field, name)
    assert turn.record["rounds"]["turn"] <= worst["rounds"]["turn"]
    assert turn.record["rounds"]["reply"] <= worst["rounds"]["reply"]


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(app.presets()), RANDOM_KNOBS, SPOILING, st.integers(0, 10_000))
def test_whatever_cannot_be_read_stays_within_the_worst(
    answer_through: Any, preset: str, knobs: dict[str, Any], how: str, seed: int
) -> None:
    """Calls in all, and of each node, role and purpose, each bounded by itself."""
    overrides = _overrides({"fuse": {}, **knobs})
    embed = "endpoints.embed={kind: simulated, model: simulated-embed}"
    worst = app.plan(app.settings(preset, overrides)).as_json()["scenarios"]["worst"]
    texts = ("I lost my job today, and nobody knows yet.", "What would you do?")
    turns = asyncio.run(
        answer_through(
            lambda _role, client: ChangingClient(client, _spoiler(how, seed)),
            *overrides,
            embed,
            preset=preset,
            texts=texts,
            is_direct=True,
        )
    )
    for turn in turns:
        _hold(turn, worst)
        assert turn.record["reply"]


@pytest.mark.slow
@pytest.mark.parametrize("max_repairs", [0, 1, 2])
@pytest.mark.parametrize("preset", app.presets())
def test_nonsense_for_everything_is_within_the_worst(
    answer_through: Any, preset: str, max_repairs: int
) -> None:
    """Every preset as it is shipped, at each number of repairs."""
    overrides = (f"repair.max_repairs={max_repairs}",)
    worst = app.plan(app.settings(preset, overrides)).as_json()["scenarios"]["worst"]
    for text in ("no", *NONSENSE):
        (turn,) = asyncio.run(
            answer_through(
                lambda _role, client, text=text: ChangingClient(client, lambda *_: text),
                *overrides,
                preset=preset,
                is_direct=True,
            )
        )
        _hold(turn, worst)
        if text == "no":
            assert all(row["is_unreadable"] for row in turn.rows if row["outcome"] == "served")
