"""The reply pipeline's plan, from its knobs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.budget.limits import Limits
from callwise.calls.call import Role
from callwise.calls.endpoint_settings import EndpointSettings, PriceSettings
from callwise.calls.retry import RetryPolicy
from graph.app import app
from graph.knob_groups import FuseKnobs, MemoryKnobs, ProcessorKnobs, RepairKnobs
from graph.settings import BudgetKnobs, PipelineSettings
from graph.turn_scenarios import plan_turn
from lats.search_knobs import EarlyExitKnobs, SearchKnobs

PARALLEL = SearchKnobs(prefetch=True, soft_max_concurrency=4)


def _scenarios(**knobs: Any) -> dict[str, Any]:
    return plan_turn(PipelineSettings(**knobs)).as_json()["scenarios"]


def _asked(**knobs: Any) -> dict[str, int]:
    return {name: scenario["asked"] for name, scenario in _scenarios(**knobs).items()}


def test_classic_is_the_specs_sixteen() -> None:
    """Sixteen calls: seven of main, six of judge, three of fast, all in line."""
    default = _scenarios()["default"]
    assert default["asked"] == 16
    assert default["by_role"] == {"main": 7, "judge": 6, "fast": 3}
    assert default["by_node"] == {
        "detection": 1,
        "inner_monologue": 1,
        "reasoner": 1,
        "lats_search": 11,
        "evolver": 1,
        "memory_manager": 1,
    }
    assert default["by_purpose"] == {
        "detect": 1,
        "monologue": 1,
        "reason": 1,
        "plan": 1,
        "expand": 4,
        "judge": 6,
        "evolve": 1,
        "remember": 1,
    }
    assert default["rounds"] == {"reply": 14, "turn": 16}
    assert default["seconds"] == {"reply": 14.0, "turn": 16.0}
    assert default["requests"] == 16


def test_the_scenarios_of_classic() -> None:
    """Seven calls on an exit at the root, ten after a rollout; stages search less."""
    asked = _asked()
    worst = asked.pop("worst")
    assert asked == {
        "default": 16,
        "early_exit": 7,
        "early_exit_after_first_rollout": 10,
        "default_intensifying": 12,
        "default_differentiating": 14,
    }
    # A top-up and the processor on top, and each call repaired once.
    assert worst == 2 * (16 + 1 + 1)


def test_a_processor_that_always_asks_is_one_more() -> None:
    """Seventeen calls, one more round to the reply; never asking limits the worst too."""
    always = _scenarios(processor=ProcessorKnobs(llm="always"))
    assert always["default"]["asked"] == 17
    assert always["default"]["by_node"]["processor"] == 1
    assert always["default"]["rounds"] == {"reply": 15, "turn": 17}
    assert _asked(processor=ProcessorKnobs(llm="never"))["worst"] == 2 * (16 + 1)


def test_classic_parallel_asks_as_much_in_fewer_rounds() -> None:
    """Prefetch saves a round before the reply, and overlap one after it."""
    scenarios = _scenarios(overlap=True, search=PARALLEL)
    assert scenarios["default"]["asked"] == 16
    assert scenarios["default"]["rounds"] == {"reply": 13, "turn": 14}
    assert (scenarios["early_exit"]["asked"], scenarios["early_exit"]["speculative"]) == (8, 1)


@pytest.mark.parametrize(("overlap", "reply_rounds"), [(False, 15), (True, 14)])
def test_dense_memory_embeds_twice(overlap: bool, reply_rounds: int) -> None:
    """One embedding for the query, in parallel with detection if overlapped, and one at the end."""
    dense = _scenarios(overlap=overlap, memory=MemoryKnobs(dense=True))["default"]
    assert dense["by_role"]["embed"] == 2
    assert dense["by_node"]["memory_retriever"] == dense["by_node"]["memory_writer"] == 1
    assert dense["rounds"]["reply"] == reply_rounds
    assert _scenarios(memory=MemoryKnobs(dense=True, retrieve_k=0))["default"]["asked"] == 17


def test_a_knob_that_was_set_is_the_same_in_every_stage() -> None:
    """No stage changes what the user fixed, in the worst case neither."""
    asked = _asked(search=SearchKnobs(rollouts=1, expand_k=1), repair=RepairKnobs(max_repairs=0))
    assert set(asked) == {"default", "early_exit", "early_exit_after_first_rollout", "worst"}
    assert (asked["default"], asked["worst"]) == (10, 11)


def test_worst_counts_the_stage_that_costs_most() -> None:
    """Knobs that were not set may be raised by a stage, and the bound knows."""
    search = _unset(SearchKnobs(rollouts=1))
    assert _asked(search=search, repair=RepairKnobs(max_repairs=0))["worst"] == 5 + 11 + 1 + 1


def _unset(knobs: SearchKnobs) -> SearchKnobs:
    """Return knobs as a preset's default has them: none counts as set by the user."""
    return SearchKnobs.model_construct(_fields_set=set(), **dict(knobs))


def test_usd_needs_a_price_for_every_role() -> None:
    """With price lists for all roles the cost is known, with fewer it is not."""
    priced = EndpointSettings(
        kind="simulated",
        prices=PriceSettings(input_usd_per_million=1.0, output_usd_per_million=2.0),
    )
    default = _scenarios(endpoints=dict.fromkeys((Role.MAIN, Role.JUDGE, Role.FAST), priced))
    tokens = default["default"]["tokens"]
    assert default["default"]["usd"] == pytest.approx(
        (tokens["input"] + 2 * tokens["output"]) / 1e6
    )
    assert _scenarios(endpoints={Role.MAIN: priced})["default"]["usd"] is None


def test_retries_bound_the_requests() -> None:
    """Every call may need as many attempts as its most patient failure allows."""
    retry = RetryPolicy(rate_limited_attempts=2, server_failed_attempts=4)
    assert _scenarios(retry=retry)["default"]["max_requests"] == 16 * 4


INSTANT = FuseKnobs(thinking=True, bookkeeping=True, reply=True)


@pytest.mark.parametrize(
    ("fuse", "asked", "roles"),
    [
        (FuseKnobs(thinking=True), 14, {"main": 6, "judge": 6, "fast": 2}),
        (FuseKnobs(bookkeeping=True), 15, {"main": 7, "judge": 6, "fast": 2}),
        (FuseKnobs(thinking=True, bookkeeping=True), 13, {"main": 6, "judge": 6, "fast": 1}),
        (FuseKnobs(thinking=True, reply=True), 3, {"main": 1, "fast": 2}),
        (INSTANT, 2, {"main": 1, "fast": 1}),
    ],
)
def test_fused_calls_are_planned(fuse: FuseKnobs, asked: int, roles: dict[str, int]) -> None:
    """Each group is one call; a reply among the thoughts leaves the search nothing to ask."""
    default = _scenarios(fuse=fuse)["default"]
    assert default["asked"] == asked
    assert {role: count for role, count in default["by_role"].items() if count} == roles
    assert default["by_purpose"]["fuse"] == int(fuse.thinking) + int(fuse.bookkeeping)
    assert ("lats_search" in default["by_node"]) is not fuse.reply


def test_an_instant_turn_is_two_rounds_whatever_the_gates_say() -> None:
    """There is no search to end early, nor one that a stage could set."""
    scenarios = _scenarios(fuse=INSTANT)
    assert set(scenarios) == {"default", "early_exit", "early_exit_after_first_rollout", "worst"}
    for name in ("default", "early_exit", "early_exit_after_first_rollout"):
        assert scenarios[name]["asked"] == 2
        assert scenarios[name]["rounds"] == {"reply": 1, "turn": 2}


def test_the_worst_has_fused_calls_and_the_separate_ones() -> None:
    """Each fused call fails, repairs included, and what it spoke for is asked apart."""
    one = RepairKnobs(max_repairs=1)
    never = ProcessorKnobs(llm="never")
    apart = _asked(repair=one, processor=never)["worst"]
    assert _asked(repair=one, processor=never, fuse=INSTANT)["worst"] == apart + 2 * 2


def test_fused_calls_have_different_sizes() -> None:
    """The call that replies reads and writes less; each is less than the calls it is for."""
    apart = _scenarios()["default"]["tokens_by_purpose"]
    sizes = [
        _scenarios(fuse=fuse)["default"]["tokens_by_purpose"]["fuse"]
        for fuse in (
            FuseKnobs(bookkeeping=True),
            FuseKnobs(thinking=True),
            FuseKnobs(thinking=True, reply=True),
        )
    ]
    assert len({size["input"] for size in sizes}) == 3
    thinking = sum(apart[name]["input"] for name in ("detect", "monologue", "reason"))
    assert sizes[2]["input"] < sizes[1]["input"] < thinking
    assert sizes[0]["input"] < sum(apart[name]["input"] for name in ("evolve", "remember"))


@pytest.mark.parametrize(("max_calls", "by_node"), [(9, 3), (8, 1), (3, 1)])
def test_a_turn_that_is_short_from_the_start_is_planned_wound_down(
    max_calls: int, by_node: int
) -> None:
    """The form that its budget leaves; the worst is a bound on every form."""
    budget = BudgetKnobs(turn=Limits(max_calls=max_calls))
    scenarios = _scenarios(fuse=FuseKnobs(wind_down=True), budget=budget)
    thinking = ("detection", "inner_monologue", "reasoner")
    default = scenarios["default"]
    assert sum(default["by_node"].get(name, 0) for name in thinking) == by_node
    assert ("lats_search" in default["by_node"]) == (max_calls > 3)
    assert scenarios["worst"]["by_purpose"]["fuse"] == 4
    unlimited = _scenarios(fuse=FuseKnobs(wind_down=True))["worst"]
    assert "fuse" not in {name for name, count in unlimited["by_purpose"].items() if count}


FUSE = st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()).map(
    lambda knobs: FuseKnobs(
        thinking=knobs[0], bookkeeping=knobs[1], reply=knobs[0] and knobs[2], wind_down=knobs[3]
    )
)

KNOBS = st.builds(
    PipelineSettings,
    fuse=FUSE,
    budget=st.builds(BudgetKnobs, turn=st.builds(Limits, max_calls=st.none() | st.integers(0, 12))),
    overlap=st.booleans(),
    search=st.builds(
        SearchKnobs,
        rollouts=st.integers(0, 5),
        expand_k=st.integers(1, 4),
        soft_top_n=st.integers(0, 4),
        soft_max_concurrency=st.integers(1, 3),
        early_exit=st.builds(EarlyExitKnobs, enabled=st.booleans(), min_rollouts=st.integers(0, 3)),
        prefetch=st.booleans(),
        rejudge_final=st.booleans(),
        assistant_check_top_n=st.integers(0, 6),
        max_calls=st.none() | st.integers(0, 25),
        stage_presets=st.sampled_from(["auto", "off"]),
    ),
    processor=st.builds(ProcessorKnobs, llm=st.sampled_from(["auto", "always", "never"])),
    memory=st.builds(MemoryKnobs, dense=st.booleans()),
    repair=st.builds(RepairKnobs, max_repairs=st.integers(0, 2)),
)


@given(KNOBS, st.booleans())
def test_worst_is_a_bound_on_every_scenario(knobs: PipelineSettings, is_set: bool) -> None:
    """No scenario asks more calls, in all or of a role, node or purpose, or waits more rounds.

    The worst is a bound on each of them by itself, so its parts may add up to more than its calls.
    """
    if not is_set:
        knobs = knobs.model_copy(update={"search": _unset(knobs.search)})
    scenarios = plan_turn(knobs).as_json()["scenarios"]
    worst = scenarios["worst"]
    for name, scenario in scenarios.items():
        assert scenario["asked"] <= worst["asked"]
        for parts in ("by_role", "by_node", "by_purpose"):
            added = sum(scenario[parts].values())
            assert scenario["asked"] == added or (name == "worst" and scenario["asked"] < added)
            for part, count in scenario[parts].items():
                assert count <= worst[parts][part]
        assert scenario["rounds"]["turn"] <= worst["rounds"]["turn"]
        assert scenario["rounds"]["reply"] <= scenario["rounds"]["turn"] <= scenario["asked"]


def test_repairs_of_a_search_with_a_cap_come_out_of_its_cap() -> None:
    """So the worst case of a search of 6 calls is 6 calls, however often it must ask again."""
    worst = plan_turn(app.settings("balanced")).as_json()["scenarios"]["worst"]
    assert worst["by_node"]["lats_search"] == 6
