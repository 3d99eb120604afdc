"""Golden trees: what each search does, to the last figure.

A file contains what differs from the defaults, so that a new knob or field is no difference
in it. To write one again after a change that is meant, delete it and run this test with
CALLWISE_WRITE_GOLDEN=1; then read the difference before you keep it.
"""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from lats.classic_state import ClassicProgress
from lats.classic_uct import ClassicUct
from lats.search import PosteriorSearch
from lats.search_knobs import ClassicKnobs, SearchKnobs
from lats.search_state import SearchProgress
from lats.search_text import render_tree
from lats.search_tree import Candidate

IS_WRITING = os.environ.get("CALLWISE_WRITE_GOLDEN") == "1"
"""Read before the fixtures that clear the environment run."""

CLASSIC = {
    "default_seed0": ({}, {"seed": 0}),
    "default_seed1": ({}, {"seed": 1}),
    "greedy_seed0": ({"exploration": 0.0}, {"seed": 0}),
    "exploring_seed0": ({"exploration": 3.0, "rollouts": 6}, {"seed": 0}),
    "wide_prefetch_seed2": (
        {"expand_k": 4, "soft_top_n": 2, "soft_max_concurrency": 2, "prefetch": True},
        {"seed": 2},
    ),
    "rule_scores_seed3": ({"soft_top_n": 0, "rollouts": 3}, {"seed": 3}),
    "top_up_and_checks_seed4": ({"assistant_check_top_n": 3}, {"seed": 4, "alike": True}),
    "early_exit_seed5": ({}, {"seed": 5, "gates": "after_root"}),
    "cap_seven_seed6": ({"max_calls": 7}, {"seed": 6}),
}

POSTERIOR = {
    "listwise_cap6_seed0": ({"policy": "listwise", "max_calls": 6}, {"seed": 0}),
    "listwise_refine_cap8_seed6": (
        {"policy": "listwise", "max_calls": 8, "refine": True},
        {"seed": 6},
    ),
    "best_of_n_pairwise_cap8_seed1": (
        {"policy": "best_of_n", "judging": "pairwise", "max_calls": 8},
        {"seed": 1, "judge": "perfect"},
    ),
    "halving_cap16_seed2": ({"policy": "halving", "max_calls": 16}, {"seed": 2}),
    "posterior_uct_steps_cap12_seed3": (
        {"policy": "posterior_uct", "max_calls": 12, "max_depth": 3, "generate_k": 3},
        {"seed": 3, "proposer": "steps"},
    ),
    "auto_cap16_flaky_seed4": (
        {"policy": "auto", "max_calls": 16, "rubrics": ["warmth", "wit"]},
        {"seed": 4, "failing": 0.2, "drift": 0.1},
    ),
    "listwise_gain_reflecting_seed5": (
        {
            "policy": "listwise",
            "max_calls": 8,
            "min_gain": 0.03,
            "reflection": {"enabled": True},
        },
        {"seed": 5, "attributes": ["warmth", "wit"]},
    ),
}


def _beyond_defaults(record, defaults):
    """Return what a record has that its defaults have not."""
    return {name: value for name, value in record.items() if defaults.get(name, ...) != value}


def _defaults(kind):
    """Return a dataclass's defaults as JSON has them."""
    found = {}
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            empty = field.default_factory()
            found[field.name] = [] if isinstance(empty, set) else empty
    return json.loads(json.dumps(found))


def _found(search, *, knobs, progress):
    result = search.result()
    state = json.loads(json.dumps(search.state_dict()))
    state["knobs"] = _beyond_defaults(state["knobs"], json.loads(knobs().model_dump_json()))
    state["progress"] = _beyond_defaults(state["progress"], _defaults(progress))
    state.pop("readings", None)  # raw scores, of which the tree has the sums
    node_defaults = _defaults(Candidate)
    state["nodes"] = [_beyond_defaults(node, node_defaults) for node in state["nodes"]]
    return {
        "drawn": render_tree(result).splitlines(),
        "stop_reason": result.stop_reason.value,
        "asked": {kind.value: count for kind, count in result.asked.items()},
        "rounds": result.rounds,
        "best_id": result.best.node_id,
        "state": state,
    }


def _check(file, found):
    if IS_WRITING and not file.exists():
        file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        pytest.skip("wrote the golden tree; read it before you keep it")
    assert found == json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", list(CLASSIC))
def test_a_classic_search_is_its_golden_tree(scripted, drive, context, case):
    """The same answers and the same seed give the same tree, drawn and in figures."""
    knobs, model = CLASSIC[case]
    search = ClassicUct(SearchKnobs.model_validate(knobs), context)
    drive(search, scripted(**model))
    found = _found(search, knobs=ClassicKnobs, progress=ClassicProgress)
    _check(Path(__file__).parent / "golden" / f"{case}.json", found)


@pytest.mark.parametrize("case", list(POSTERIOR))
def test_a_posterior_search_is_its_golden_tree(actions_model, play, case):
    """The same answers and the same seed give the same tree, state and answer."""
    knobs, model = POSTERIOR[case]
    search, _ = play(PosteriorSearch(SearchKnobs.model_validate(knobs)), actions_model(**model))
    found = _found(search, knobs=SearchKnobs, progress=SearchProgress)
    _check(Path(__file__).parent / "golden_posterior" / f"{case}.json", found)
