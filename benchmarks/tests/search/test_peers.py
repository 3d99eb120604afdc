"""Peers: their requests are counted, their cap holds, and they pick as they say."""

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.search.metering import Metered
from benchmarks.search.peers_best_of_n import (
    ADAPTIVE_COST_SD,
    adaptive_best_of_n,
    fair_cap,
    packed_best_of_n,
    plain_best_of_n,
)
from benchmarks.search.peers_treequest import treequest_ab_mcts_a, treequest_mcts
from benchmarks.search.pools import OVERALL, Item, PoolPrompt
from benchmarks.search.settings import PEERS
from lats.answers import Verdict


class NumberedPrompt(PoolPrompt):
    """Candidates whose truth is a number; a judge that reads it, or says nothing."""

    def __init__(
        self, truths: Sequence[float], *, seed: int = 0, is_deaf: bool = False, steps: int = 0
    ) -> None:
        super().__init__("numbered", seed=seed)
        self.truths = list(truths)
        self.is_deaf = is_deaf
        self.steps = steps
        self.asked: list[str] = []
        self.read: list[int] = []
        self._next = 0
        self._depth: dict[str, int] = {}

    def _new(self, k: int, parent: Item | None) -> list[Item]:
        depth = 1 if parent is None else self._depth[parent.item_id] + 1
        places = range(self._next, min(self._next + k, len(self.truths)))
        self._next += len(places)
        items = []
        for place in places:
            self._depth[f"{place}"] = depth
            above = None if parent is None else parent.item_id
            items.append(Item(f"{place}", f"text {place}", above, is_step=depth < self.steps))
        return items

    def generate(self, k: int) -> list[Item]:
        """Return the next numbers."""
        self.asked.append("generate")
        return self._new(k, None)

    def expand(self, item: Item, k: int) -> list[Item]:
        """Return the next numbers as children."""
        self.asked.append("expand")
        return self._new(k, item)

    def judge(self, items: Sequence[Item], rubric: str = OVERALL) -> list[Verdict | None]:
        """Return the numbers, or nothing."""
        self.asked.append("judge")
        self.read.append(len(items))
        if self.is_deaf:
            return [None] * len(items)
        return [Verdict(score=self.truths[int(item.item_id)]) for item in items]

    def _truth_of(self, item: Item) -> float:
        """Return the number."""
        return self.truths[int(item.item_id)]

    def random_truth(self) -> float:
        """Return the mean number."""
        return float(np.mean(self.truths))

    def oracle_truth(self) -> float:
        """Return the highest number."""
        return max(self.truths)


RISING = [place / 100 for place in range(100)]


@pytest.fixture(autouse=True)
def _installed() -> None:
    """Skip where the `bench` extra is not installed."""
    pytest.importorskip("treequest")


@pytest.mark.parametrize("is_deaf", [False, True])
@pytest.mark.parametrize("label", PEERS)
def test_requests_are_what_the_prompt_was_asked_and_stay_under_the_cap(label, is_deaf):
    """One call of the prompt is one request, whatever it brings."""
    for cap in (0, 1, 2, 3, 6, 11, 16):
        prompt = NumberedPrompt(RISING, is_deaf=is_deaf)
        run = PEERS[label](prompt, cap)
        assert run.requests == len(prompt.asked) <= cap
        assert run.items == sum(prompt.read)
        assert run.rounds <= run.requests


@pytest.mark.parametrize("label", PEERS)
def test_a_dry_record_ends_a_peer_within_its_cap(label):
    """Candidates that run out end the search; what was asked was paid."""
    run = PEERS[label](NumberedPrompt([0.2, 0.9]), 16)
    assert run.requests <= 16
    assert run.truth == 0.9


@pytest.mark.parametrize("label", PEERS)
def test_no_candidate_at_all_is_a_pick_by_lot(label):
    """Without a candidate the truth is that of a pick by lot."""
    prompt = NumberedPrompt([0.4, 0.6])
    prompt._next = 2
    assert PEERS[label](prompt, 6).truth == 0.5


def test_the_plain_form_judges_each_of_half_as_many():
    """N is half of the cap, in two rounds, and the best score wins."""
    prompt = NumberedPrompt([0.1, 0.8, 0.3, 0.9])
    run = plain_best_of_n(prompt, 7)
    assert prompt.asked == ["generate"] * 3 + ["judge"] * 3
    assert (run.truth, run.rounds) == (0.8, 2)


def test_the_packed_form_reads_twelve_a_request():
    """At 11 it pays 8 generations of 4 and 3 readings."""
    prompt = NumberedPrompt(RISING)
    run = packed_best_of_n(prompt, 11)
    assert prompt.asked == ["generate"] * 8 + ["judge"] * 3
    assert (run.completions, run.truth, prompt.read) == (32, 0.31, [12, 12, 8])


def test_the_fair_cap_is_where_a_further_draw_just_pays():
    """Above it, the expected excess of a normal draw is less than its cost."""
    scores = [0.2, 0.4, 0.5, 0.7]
    cap = fair_cap(scores, ADAPTIVE_COST_SD)
    mean = np.mean(scores) + np.std(scores, ddof=1) / 2
    draws = np.random.default_rng(0).normal(mean, np.std(scores, ddof=1), 400_000)
    excess = np.maximum(draws - cap, 0).mean() / np.std(scores, ddof=1)
    assert excess == pytest.approx(ADAPTIVE_COST_SD, abs=0.003)


def test_the_adaptive_form_stops_where_scores_do_not_differ():
    """Scores that are all alike promise nothing."""
    run = adaptive_best_of_n(NumberedPrompt([0.5] * 20), 16)
    assert (run.requests, run.stop_reason) == (4, "min_gain")


def test_the_adaptive_form_goes_on_while_a_draw_pays():
    """A first score far above the others ends it sooner than one among many."""
    early = adaptive_best_of_n(NumberedPrompt([0.5, 0.2, 0.2, 0.2, 0.2, 0.2]), 12)
    late = adaptive_best_of_n(NumberedPrompt([0.2, 0.21, 0.2, 0.21, 0.2, 0.5]), 12)
    assert early.requests < late.requests


@pytest.mark.parametrize("peer", [treequest_mcts, treequest_ab_mcts_a])
def test_treequest_pays_two_requests_a_node_and_takes_the_best_score(peer):
    """One generation of one candidate, one judge request that reads it."""
    prompt = NumberedPrompt([0.3, 0.9, 0.1, 0.5, 0.2, 0.4])
    run = peer(prompt, 11)
    assert prompt.read == [1] * 5
    assert (run.requests, run.completions, run.truth) == (10, 5, 0.9)


def test_ab_mcts_a_is_the_same_for_the_same_seed_and_leaves_numpy_alone():
    """Its generator is numpy's global one: seeded from the prompt, and put back."""
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    runs = [NumberedPrompt(RISING, seed=3) for _ in range(2)]
    found = [(treequest_ab_mcts_a(prompt, 16), prompt.asked) for prompt in runs]
    assert found[0] == found[1]
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize("peer", [treequest_mcts, treequest_ab_mcts_a])
def test_treequest_answers_with_an_answer_where_candidates_are_steps(peer):
    """A step with a better score is no answer, and visiting an answer again costs nothing."""
    prompt = NumberedPrompt([0.9, 0.1, 0.9, 0.1, 0.9, 0.1] * 5, steps=2)
    run = peer(prompt, 16)
    assert run.requests == len(prompt.asked) <= 16
    assert run.truth in {0.1, 0.9}


def test_a_peer_that_would_pass_its_cap_is_stopped():
    """The meter is the last guard."""
    meter = Metered(NumberedPrompt(RISING), 1)
    meter.generate(1)
    with pytest.raises(RuntimeError, match="cap of 1"):
        meter.generate(1)


def test_a_missing_score_stands_as_the_usual_one():
    """The mean of those that came, and the middle before there is one."""
    meter = Metered(NumberedPrompt([0.2, 0.4]), 9)
    assert meter.usual_score == 0.5
    meter.judge(meter.generate(2))
    assert meter.usual_score == pytest.approx(0.3)
