"""Golden trees: what the classic search does, to the last figure.

To write them anew after a change that is meant, delete the file and run this test
with TURNWISE_WRITE_GOLDEN=1; then read the difference before you keep it.
"""

import json
import os
from pathlib import Path

import pytest

from lats.classic_uct import ClassicUct
from lats.render import render_tree
from lats.search_knobs import SearchKnobs

FOLDER = Path(__file__).parent / "golden"

CASES = {
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


@pytest.mark.parametrize("case", list(CASES))
def test_a_search_is_its_golden_tree(scripted, drive, context, case):
    """The same answers and the same seed give the same tree, drawn and in figures."""
    knobs, model = CASES[case]
    search = ClassicUct(SearchKnobs.model_validate(knobs), context)
    drive(search, scripted(**model))
    result = search.result()
    found = {
        "drawn": render_tree(result).splitlines(),
        "stop_reason": result.stop_reason.value,
        "asked": {kind.value: count for kind, count in result.asked.items()},
        "best_id": result.best.node_id,
        "state": search.state_dict(),
    }
    file = FOLDER / f"{case}.json"
    if os.environ.get("TURNWISE_WRITE_GOLDEN") == "1" and not file.exists():
        text = json.dumps(found, indent=1, ensure_ascii=False)
        file.write_text(text + "\n", encoding="utf-8")
        pytest.skip("wrote the golden tree; read it before you keep it")
    assert found == json.loads(file.read_text(encoding="utf-8"))
