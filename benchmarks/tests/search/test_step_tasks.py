"""Tasks of steps made from a seed: their rules, what a proposer and a judge give, their tables."""

from itertools import pairwise

import pytest

from benchmarks.search.peers_treequest import treequest_ab_mcts_a, treequest_mcts
from benchmarks.search.pools import Item, PromptClosed
from benchmarks.search.running import by_prompt
from benchmarks.search.step_table import STEP_CASES, StepCase, solved_shares, step_tables
from benchmarks.search.step_tasks import Countdown, StepTask, TwentyFour, WideStart

WIDE = StepTask("wide", WideStart, max_depth=3)


def _reaches(game, key):
    return game.is_solved(key) or any(_reaches(game, left) for _, left in game.next_keys(key))


@pytest.mark.parametrize("seed", range(5))
def test_of_30_first_moves_one_leads_on(seed):
    """And of the eight below it, two, twice; the exact judge knows."""
    game = WideStart(seed)
    leading = [key for _, key in game.next_keys(game.start) if _reaches(game, key)]
    assert len(game.next_keys(game.start)) == 30
    assert [game.score(key, 9.0) for key in leading] == [1.0]
    below = [key for _, key in game.next_keys(leading[0]) if _reaches(game, key)]
    assert len(below) == 2
    assert sum(game.score(key, 0.0) for _, key in game.next_keys(game.start)) == 1


@pytest.mark.parametrize("seed", range(8))
def test_every_puzzle_of_numbers_can_be_solved(seed):
    """Countdown's target is no number that was given; 24 needs all four."""
    game = Countdown(seed)
    assert 100 <= game.target <= 999
    assert not game.is_solved(game.start)
    assert len(game.numbers) == 6
    assert _reaches(TwentyFour(seed), TwentyFour(seed).start)
    assert TwentyFour(seed).score(TwentyFour(seed).start, 0.0) == 1


def test_steps_of_arithmetic_keep_to_whole_numbers_above_0():
    """Sums, products, differences and quotients without remainder; equal numbers left once."""
    game = TwentyFour(0)
    left = {key for _, key in game.next_keys((2, 2, 8))}
    assert left == {(4, 8), (1, 8), (2, 10), (2, 16), (2, 6), (2, 4)}


def test_a_countdown_state_from_which_two_steps_reach_the_target_scores_best():
    """Its noise never makes it an answer."""
    game = Countdown(0)
    scores = [game.score(key, 5.0) for _, key in game.next_keys(game.start)]
    assert max(scores) < 1
    near = (game.target - 7, 3, 4)
    far = (game.target * 3 + 100, 1, 1)
    assert game.score(near, 0.0) > 0.9 > game.score(far, 0.0)


def test_a_proposer_names_the_next_states_in_turn_and_then_begins_again():
    """In an order that the seed decides; the same for every policy."""
    prompt = WIDE.prompt("000", 0)
    named = [item.text for _ in range(8) for item in prompt.generate(4)]
    assert len(set(named[:30])) == 30
    assert named[30:] == named[:2]
    assert [item.text for item in WIDE.prompt("000", 0).generate(4)] == named[:4]
    assert [item.text for item in WIDE.prompt("000", 1).generate(4)] != named[:4]


def test_answers_are_judged_exactly_and_truth_closes_a_puzzle():
    """Unfinished states have the game's noise, another one in each request."""
    prompt = StepTask("countdown", Countdown, max_depth=None).prompt("003", 0)
    first = prompt.generate(1)
    one, other = (prompt.judge(first)[0].score for _ in range(2))
    assert one != other
    item = first[0]
    while item.is_step:
        item = prompt.expand(item, 1)[0]
    score = prompt.judge([item])[0].score
    assert score == prompt.truth(item)
    with pytest.raises(PromptClosed):
        prompt.generate(1)
    with pytest.raises(ValueError, match="rubric"):
        WIDE.prompt("000", 0).judge([], "warmth")


def test_states_with_equal_numbers_left_have_equal_keys():
    """Whatever the steps that led there."""
    prompt = StepTask("24", TwentyFour, max_depth=3).prompt("000", 0)
    below = [each for item in prompt.generate(99) for each in prompt.expand(item, 99)]
    assert isinstance(below[0], Item)
    assert len({item.key for item in below}) < len({item.text for item in below})


def test_the_first_100_puzzles_are_for_tuning():
    """None is in both halves."""
    assert (WIDE.half("tuning")[0], WIDE.half("tuning")[-1]) == ("000", "099")
    assert (WIDE.half("reporting")[0], len(WIDE.half("reporting"))) == ("100", 200)


@pytest.mark.parametrize("search", [treequest_mcts, treequest_ab_mcts_a])
def test_packed_treequest_pays_two_requests_for_k_children(search):
    """As it is, for each child; neither passes its cap."""
    pytest.importorskip("treequest")
    plain = search(WIDE.prompt("000", 0), 12)
    packed = search(WIDE.prompt("000", 0), 12, k=4)
    assert (plain.completions, plain.requests) == (6, 12)
    assert packed.completions == 2 * packed.requests
    assert packed.requests <= 12


def test_our_searches_reach_the_targets_on_tuning_puzzles():
    """30 first steps: at least 60 % at 50 requests, 95 % at 200. Countdown: 85 % at 48, rising."""
    wide, countdown = (case for case in STEP_CASES if case.targets)
    for case in (wide, countdown):
        ours = StepCase(case.title, case.task, case.k, case.caps, has_peers=False)
        rows = solved_shares(ours, half="tuning", max_puzzles=40, max_workers=1)
        shares = [by_prompt(rows, f"posterior_uct @ {cap}").mean() for cap in case.caps]
        assert all(low <= high for low, high in pairwise(shares))
        for cap, least in case.targets:
            assert by_prompt(rows, f"posterior_uct @ {cap}").mean() >= least
        assert all(row["requests"] <= int(row["setting"].split(" @ ")[1]) for row in rows)


def test_the_tables_name_each_policy_cap_and_target(monkeypatch):
    """One table a case, with intervals and the paired difference."""
    small = StepCase("few steps", WIDE, 4, (6, 12), targets=((12, 1.1),))
    monkeypatch.setattr("benchmarks.search.step_table.STEP_CASES", (small,))
    said = []
    text = step_tables(half="tuning", max_puzzles=4, max_workers=1, progress=said.append)
    assert said == ["few steps"]
    assert text.startswith("### few steps\n\nTarget at 12 requests: 1.10; not met, ")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[0].count("requests") == 2
    assert {"posterior_uct", "auto"} <= {line.split(" | ")[0].strip("| ") for line in rows}
