"""Calls that the presets really ask, compared with the plan."""

from pathlib import Path
from typing import Any

import pytest

from callwise.memory import AgentUser
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.sqlite_backend import SqliteBackend
from callwise.memory.stored_records import TurnCommit
from graph.app import app
from nodes.loader import RelationState
from nodes.records import Relationship

FUSED = ("balanced", "instant", "thorough")
"""Presets that fuse calls. What their searches ask is for the search's own tests."""

CLASSIC_SEARCH = "search.policy=classic_uct"

SCENARIOS = ("default", "early_exit", "early_exit_after_first_rollout")


def _overrides(scenario: str, gates_open: tuple[str, ...]) -> tuple[str, ...]:
    """Return what makes a scenario happen: gates that always, or never, open."""
    if scenario == "default":
        return ("search.early_exit.enabled=false",)
    rollouts = 0 if scenario == "early_exit" else 1
    return (*gates_open, f"search.early_exit.min_rollouts={rollouts}")


@pytest.mark.parametrize("preset", ["classic", "classic_parallel", *FUSED])
@pytest.mark.parametrize("processor", ["auto", "always", "never"])
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_turn_asks_what_its_scenario_plans(  # noqa: PLR0917 - fixtures
    answer: Any,
    count_by: Any,
    gates_open: tuple[str, ...],
    preset: str,
    processor: str,
    scenario: str,
) -> None:
    """Calls by node, role and purpose, rounds, and speculative calls are the plan's."""
    knobs = (f"processor.llm={processor}", CLASSIC_SEARCH)
    overrides = (*_overrides(scenario, gates_open), *knobs)
    (turn,) = await answer(*overrides, preset=preset)
    # The plan of the preset itself: gates are not part of a scenario's count.
    planned = app.plan(app.settings(preset, knobs)).as_json()
    expected = planned["scenarios"][scenario]
    assert turn.record["asked"] == expected["asked"]
    assert count_by(turn.rows, "node") == expected["by_node"]
    assert count_by(turn.rows, "role") == expected["by_role"]
    assert count_by(turn.rows, "purpose") == expected["by_purpose"]
    assert turn.record["rounds"] == expected["rounds"]
    assert turn.record["requests"] == expected["requests"]
    assert turn.record["speculative"] == expected["speculative"]


async def test_classic_is_sixteen_calls(answer: Any, count_by: Any, gates_shut: Any) -> None:
    """Main 7, judge 6, fast 3; fourteen rounds to the reply and sixteen in all."""
    (turn,) = await answer(*gates_shut)
    assert count_by(turn.rows, "role") == {"main": 7, "judge": 6, "fast": 3}
    assert turn.record["rounds"] == {"reply": 14, "turn": 16}
    assert turn.record["outcomes"]["served"] == turn.record["asked"] == 16
    assert not turn.record["degraded"]


async def test_classic_parallel_asks_the_same_in_fewer_rounds(
    answer: Any, count_by: Any, gates_shut: Any
) -> None:
    """The same sixteen calls, thirteen rounds to the reply and fourteen in all."""
    (serial,) = await answer(*gates_shut)
    (parallel,) = await answer(*gates_shut, preset="classic_parallel")
    for field in ("role", "node", "purpose"):
        assert count_by(parallel.rows, field) == count_by(serial.rows, field)
    assert parallel.record["rounds"] == {"reply": 13, "turn": 14}
    assert parallel.record["path_seconds"]["turn"] < serial.record["path_seconds"]["turn"]


async def test_an_exit_at_the_root_is_seven_calls_or_eight_with_prefetch(
    answer: Any, gates_open: tuple[str, ...]
) -> None:
    """The prefetched expansion was paid for, and its row says that it was speculative."""
    exits = (*gates_open, "search.early_exit.min_rollouts=0")
    (serial,) = await answer(*exits)
    (parallel,) = await answer(*exits, preset="classic_parallel")
    assert (serial.record["asked"], parallel.record["asked"]) == (7, 8)
    assert [row["purpose"] for row in parallel.rows if row["is_speculative"]] == ["expand"]


@pytest.mark.parametrize(
    ("stage", "asked"), [("intensifying", 12), ("differentiating", 14), ("initiating", 16)]
)
async def test_the_stage_sets_the_search_as_planned(
    stage: str, asked: int, answer: Any, gates_shut: Any, tmp_path: Path
) -> None:
    """Once two people know each other, or drift apart, the plan's staged default applies."""
    relation = RelationState(relationship=Relationship(stage=stage))
    with SqliteBackend(tmp_path / "memory.sqlite") as store:
        await ConversationMemory(store).commit(
            TurnCommit(
                agent_user=AgentUser("agent", None, "talk"),
                conversation_id="talk",
                turn=0,
                user_text="Hi.",
                reply="Hi.",
                expected_version=0,
                relationship=relation.model_dump(mode="json"),
            )
        )
    # Of seed 0 the model repeats itself, and the search is exhausted a rollout early.
    (turn,) = await answer(*gates_shut, "seed=1", folder=tmp_path)
    assert turn.record["turn"] == 1
    assert turn.record["asked"] == asked


async def test_equal_seeds_give_equal_turns(answer: Any, texts: Any) -> None:
    """The same input and seed give the same rows and replies; another seed others."""
    first, again = await answer(texts=texts), await answer(texts=texts)
    assert [(t.record, t.rows) for t in first] == [(t.record, t.rows) for t in again]
    other = await answer("seed=7", texts=texts)
    assert [t.record["reply"] for t in other] != [t.record["reply"] for t in first]
