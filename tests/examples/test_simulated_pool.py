"""The simulated pool of prompts: draws, judge and trials."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from callwise.simulator.judge import JUDGE_CALIBRATION
from lats import drive, start_search
from lats.rule_score import ReplyContext

EXAMPLE = Path(__file__).parents[2] / "examples" / "simulated_pool.py"
CAPS = {
    "classic_uct": (5, 11),
    "best_of_n": (2, 6),
    "listwise": (3, 11),
    "halving": (11,),
    "posterior_uct": (8, 20),
    "auto": (1, 6, 11),
}


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """Return the example as a module."""
    spec = importlib.util.spec_from_file_location("simulated_pool", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _untouched(example: ModuleType, prompt: int, **settings: Any) -> Any:
    """Return a prompt of which nothing was asked yet."""
    search = start_search(example.knobs_at("listwise", 6), ReplyContext(user_text=""))
    return example.PromptTrial(example.PoolSettings(**settings), prompt, search)


async def test_the_same_seed_gives_the_same_rows(example: ModuleType) -> None:
    """Rows follow from the settings alone, and another seed is another pool."""
    rows = await example.run_trials(CAPS, prompts=4)
    assert rows == await example.run_trials(CAPS, prompts=4)
    other = example.PoolSettings(seed=1)
    assert rows != await example.run_trials(CAPS, prompts=4, settings=other)


async def test_a_policy_alone_meets_the_same_prompts(example: ModuleType) -> None:
    """What other policies asked, and how many prompts follow, changes nothing of a row."""
    rows = await example.run_trials(CAPS, prompts=4)
    alone = await example.run_trials({"listwise": (11,)}, prompts=3)
    assert alone == [row for row in rows if row.setting == "listwise 11"][:3]


async def test_calls_stay_within_the_cap(example: ModuleType) -> None:
    """No policy asks more calls than its cap, and most caps are spent to the last call."""
    rows = await example.run_trials(CAPS, prompts=12)
    assert len(rows) == 12 * sum(map(len, CAPS.values()))
    for row in rows:
        cap = int(row.setting.split()[1])
        assert 1 <= row.asked <= cap, row.setting
        assert 1 <= row.rounds_reply <= row.asked
    assert {row.asked for row in rows if row.setting == "classic_uct 11"} == {11}


@pytest.mark.parametrize("cap", [0, 21])
async def test_a_cap_without_draws_is_refused(example: ModuleType, cap: int) -> None:
    """A cap for which there are no draws is an error that names the range."""
    with pytest.raises(ValueError, match=f"1 to 20 calls, got {cap}"):
        await example.run_trials({"listwise": (cap,)}, prompts=1)


@pytest.mark.parametrize(("policy", "cap"), [("best_of_n", 3), ("listwise", 3), ("listwise", 6)])
async def test_an_exact_judge_picks_the_best(example: ModuleType, policy: str, cap: int) -> None:
    """With an exact judge the pick is the best candidate that it read."""
    settings = example.PoolSettings(accuracy=1)
    for prompt in range(30):
        search = start_search(example.knobs_at(policy, cap), ReplyContext(user_text=""))
        trial = example.PromptTrial(settings, prompt, search)
        found = await drive(search, trial.answer_round)
        judged = [
            trial.qualities[node.draft.payload["index"]]
            for node in found.tree.candidates
            if node.score_count
        ]
        assert found.best is not None
        assert trial.qualities[found.best.draft.payload["index"]] == max(judged)


@pytest.mark.parametrize(("accuracy", "expected"), [(None, JUDGE_CALIBRATION.truth_r), (0.5, 0.5)])
def test_one_score_correlates_with_the_truth_as_set(
    example: ModuleType, accuracy: float | None, expected: float
) -> None:
    """Scores of separate judge calls correlate with the truth, within a prompt, as stated."""
    truths, scores = [], []
    for prompt in range(400):
        trial = _untouched(example, prompt, accuracy=accuracy, similarity=0.0)
        born = trial.generate(12)
        found = np.array([trial.judge([each])[0] for each in born])
        quality = np.array([trial.qualities[each] for each in born])
        truths.append(quality - quality.mean())
        scores.append(found - found.mean())
    correlation = np.corrcoef(np.concatenate(truths), np.concatenate(scores))[0, 1]
    assert correlation == pytest.approx(expected, abs=0.03)


def test_candidates_of_one_request_are_alike(example: ModuleType) -> None:
    """Qualities from scratch have mean 0 and SD 1, and correlate within a request as set."""
    pairs = []
    for prompt in range(200):
        trial = _untouched(example, prompt, similarity=0.6)
        pairs += [[trial.qualities[each] for each in trial.generate(2)] for _ in range(10)]
    first, second = np.array(pairs).T
    assert np.mean(first) == pytest.approx(0.0, abs=0.08)
    assert np.std(first) == pytest.approx(1.0, abs=0.05)
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(0.6, abs=0.05)


def test_a_good_parent_gains_less(example: ModuleType) -> None:
    """The mean gain falls with the parent's quality, to none at three SD."""
    gains: dict[float, list[float]] = {-1.0: [], 1.0: [], 3.0: []}
    for prompt in range(100):
        trial = _untouched(example, prompt, gain=0.5)
        for parent, quality in enumerate(gains):
            trial.qualities[parent] = quality
            gains[quality] += [trial.qualities[e] - quality for e in trial.refine(parent, 40)]
    means = [float(np.mean(found)) for found in gains.values()]
    assert means == pytest.approx([0.49, 0.30, 0.0], abs=0.04)


def test_early_positions_are_favoured_and_scores_tie(example: ModuleType) -> None:
    """The judge's scores are coarse, so that many tie, and the first of a list gain."""
    first, last, distinct = [], [], set[float]()
    for prompt in range(400):
        trial = _untouched(example, prompt)
        scores = trial.judge(trial.generate(4))
        first.append(scores[0])
        last.append(scores[-1])
        distinct |= set(scores)
    assert len(distinct) < 8
    assert np.mean(first) > np.mean(last) + JUDGE_CALIBRATION.score_sd * 0.25
