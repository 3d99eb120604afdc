"""Golden trees of the posterior policies: what they do, to the last figure.

To write them anew after a change that is meant, delete the file and run this test
with TURNWISE_WRITE_GOLDEN=1; then read the difference before you keep it.
"""

import json
import os
from pathlib import Path

import pytest

from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs

IS_WRITING = os.environ.get("TURNWISE_WRITE_GOLDEN") == "1"
"""Read before the tests' wall takes settings from outside away."""

FOLDER = Path(__file__).parent / "golden_posterior"

CASES = {
    "listwise_cap6_seed0": ({"policy": "listwise", "max_calls": 6}, {"seed": 0}),
    "best_of_n_pairwise_cap8_seed1": (
        {"policy": "best_of_n", "judging": "pairwise", "max_calls": 8},
        {"seed": 1, "judge": "perfect"},
    ),
    "halving_cap16_seed2": ({"policy": "halving", "max_calls": 16}, {"seed": 2}),
    "posterior_uct_steps_cap12_seed3": (
        {"policy": "posterior_uct", "max_calls": 12, "max_depth": 3, "generate_k": 3},
        {"seed": 3, "proposer": "steps"},
    ),
    "auto_cap10_flaky_seed4": (
        {"policy": "auto", "max_calls": 10, "rubrics": ["warmth", "wit"]},
        {"seed": 4, "failing": 0.2, "drift": 0.1},
    ),
    "listwise_gain_reflecting_seed5": (
        {
            "policy": "listwise",
            "max_calls": 8,
            "min_gain": 0.004,
            "reflection": {"enabled": True},
        },
        {"seed": 5, "attributes": ["warmth", "wit"]},
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_a_search_is_its_golden_tree(moves_model, play, case):
    """The same answers and the same seed give the same tree, state and answer."""
    knobs, model = CASES[case]
    search = PosteriorSearch(SearchKnobs.model_validate(knobs))
    search, _ = play(search, moves_model(**model))
    result = search.result()
    found = {
        "stop_reason": result.stop_reason.value,
        "asked": {kind.value: count for kind, count in result.asked.items()},
        "rounds": result.rounds,
        "best_id": result.best.node_id,
        "state": search.state_dict(),
    }
    file = FOLDER / f"{case}.json"
    if IS_WRITING and not file.exists():
        text = json.dumps(found, indent=1, ensure_ascii=False)
        FOLDER.mkdir(exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
        pytest.skip("wrote the golden tree; read it before you keep it")
    assert found == json.loads(file.read_text(encoding="utf-8"))
