"""Whatever the knobs: no turn asks more than the plan's worst, and its default is exact."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any, get_args

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from graph.app import app
from lats.knobs import PolicyName
from turnwise.replay.app import TurnInput, TurnResult

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


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(KNOBS)
def test_the_default_is_exact_when_nothing_exits_early(knobs: dict[str, Any]) -> None:
    """Without exits and failures, calls, rounds and roles are those of the default."""
    # The plan counts a turn whose memory reaches further back than what is shown.
    shut = ["search.early_exit.enabled=false", "memory.history_turns=0"]
    overrides = [*_overrides(knobs), *shut]
    planned = _scenarios(overrides)["default"]
    _, turn = _answered(overrides, PLAIN)
    search = turn.record["search"]
    if search["stop_reason"] != "fused_reply":
        # The simulated model sometimes repeats itself, and what is not new is not judged.
        new_replies = search["rollouts_done"] * knobs["search.expand_k"]
        assume(len(search["tree"]["nodes"]) == 1 + new_replies)
        assume("top_up" not in search["asked"])
    by_node: dict[str, int] = {}
    for row in turn.rows:
        by_node[row["node"]] = by_node.get(row["node"], 0) + 1
    assert by_node == planned["by_node"]
    assert turn.record["rounds"] == planned["rounds"]
    assert turn.record["speculative"] == planned["speculative"]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    KNOBS,
    st.sampled_from([0.0, 0.2, 0.6, 1.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.none() | st.integers(0, 12),
    st.sampled_from(get_args(PolicyName)),
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
