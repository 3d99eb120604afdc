"""One run of any policy, and many of them in one table."""

import pytest

from benchmarks.search.running import ROW, Run, by_prompt, run_grid, run_policy
from benchmarks.tests.search.conftest import make_game24, make_humaneval, make_topical
from lats.search_knobs import SearchKnobs

POLICIES = ("classic_uct", "best_of_n", "listwise", "halving", "posterior_uct", "auto")


class Fixed:
    """A runner that picks the first candidate and remembers its seeds."""

    def __call__(self, prompt, *, seed):
        """Return a run of one request."""
        assert seed == prompt.seed
        return Run(prompt.truth(prompt.generate(1)[0]), 1, 1, 0, 1, 0, "cap")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("make", [make_topical, make_humaneval, make_game24])
@pytest.mark.parametrize("cap", [1, 2, 6, 11, 16])
def test_every_policy_runs_on_every_pool_within_its_cap(policy, make, cap):
    """Whatever it meets, it ends, keeps the cap, and says why it stopped."""
    pool = make()
    knobs = SearchKnobs(policy=policy, max_calls=cap, **pool.task_knobs)
    run = run_policy(knobs, pool.prompt(pool.prompt_ids[0], 1))
    assert 1 <= run.requests <= cap
    assert run.rounds <= run.requests
    assert run.misses <= run.expansions
    assert run.stop_reason


def test_a_tree_search_finds_the_answer():
    """Votes that are right lead to the right answer."""
    game24 = make_game24(last_vote=None)
    knobs = SearchKnobs(policy="posterior_uct", max_calls=12, **game24.task_knobs)
    assert run_policy(knobs, game24.prompt("900", 0)).truth == 1.0


def test_rules_have_a_say_only_when_they_are_asked_for():
    """With equal scores, the rule breaks the tie; without it, the shuffle does."""
    pool = make_topical(replies=2)
    pool._columns["eng_analyze_rate_auto_cot"][:] = 0.5
    pool._texts[0] = ["As an AI language model, I am here to help.", "Oh, I would love that!"]
    pool._truths[0] = [1.0, 5.0]
    knobs = SearchKnobs(policy="listwise", max_calls=2)
    ruled = {run_policy(knobs, pool.prompt("tc00", s), has_rules=True).truth for s in range(8)}
    blind = {run_policy(knobs, pool.prompt("tc00", seed)).truth for seed in range(8)}
    assert ruled == {5.0}
    assert blind == {1.0, 5.0}


def test_a_run_repeats_itself(humaneval):
    """The same knobs, prompt and seed give the same run."""
    knobs = SearchKnobs(policy="auto", max_calls=8, judging="agreement")
    assert run_policy(knobs, humaneval.prompt("000", 5)) == run_policy(
        knobs, humaneval.prompt("000", 5)
    )


SETTINGS = {"second": SearchKnobs(policy="listwise", max_calls=4), "first": Fixed()}


def test_a_grid_is_one_row_a_run_in_the_order_asked(topical):
    """Settings as given, prompts by id, seeds as given; progress ends at all prompts."""
    seen = []
    rows = run_grid(
        topical,
        SETTINGS,
        half="tuning",
        seeds=[7, 3],
        max_workers=1,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert rows.dtype == ROW
    assert rows[["setting", "prompt", "seed"]].tolist() == [
        (name, prompt_id, seed)
        for name in ("second", "first")
        for prompt_id in ("tc00", "tc01")
        for seed in (7, 3)
    ]
    assert seen[-1] == (2, 2)
    assert by_prompt(rows, "first", "requests").tolist() == [[1, 1], [1, 1]]


@pytest.mark.slow
def test_workers_change_nothing(topical):
    """Two processes give the rows of one."""
    one = run_grid(topical, SETTINGS, half="tuning", seeds=3, max_workers=1)
    two = run_grid(topical, SETTINGS, half="tuning", seeds=3, max_workers=2)
    assert repr(one.tolist()) == repr(two.tolist())  # a NaN equals none


def test_a_prompt_of_the_other_half_is_refused(topical):
    """Tuning cannot touch what is reported on."""
    with pytest.raises(ValueError, match="'tc03'"):
        run_grid(topical, SETTINGS, half="tuning", seeds=1, prompt_ids=["tc03"], max_workers=1)


def test_a_name_that_would_be_cut_is_refused(topical):
    """Two settings must not become one by their length."""
    with pytest.raises(ValueError, match="96"):
        run_grid(topical, {"x" * 97: Fixed()}, half="tuning", seeds=1, max_workers=1)


def test_an_unknown_setting_has_no_rows(topical):
    """Asking a table for what was not run is an error."""
    rows = run_grid(topical, SETTINGS, half="tuning", seeds=1, max_workers=1)
    with pytest.raises(ValueError, match="'third'"):
        by_prompt(rows, "third")
