"""Tasks of steps from the first call to the last: widening, duplicates, caps, why it stopped."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.actions import Generate, JudgeList, Refine
from lats.answers import Draft, Drafts, NoAnswer, Verdict, Verdicts
from lats.result import StopReason
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs


@dataclass
class Letters:
    """Words over an alphabet: a proposer names letters in a drawn order, round and round.

    Args:
        widths: letters at each depth.
        good: the answer.
        judge: `exact`, `noisy`, `flat` or `zero`.
        merges: whether words of equal letters in any order are one state.
    """

    widths: tuple[int, ...] = (12, 3, 3)
    good: str = "hbc"
    judge: str = "exact"
    merges: bool = False
    failing: float = 0.0
    seed: int = 0
    given: dict[str, int] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)

    def _draw(self, *names):
        return random.Random("/".join(map(str, (self.seed, *names))))

    def drafts(self, word, k):
        """Return the next words."""
        letters = [chr(97 + place) for place in range(self.widths[len(word)])]
        self._draw("order", word).shuffle(letters)
        start = self.given.get(word, 0)
        self.given[word] = start + min(k, len(letters))
        chosen = [letters[at % len(letters)] for at in range(start, self.given[word])]
        return Drafts(tuple([self.draft(word + letter) for letter in chosen]))

    def draft(self, word):
        """Return the draft of a word."""
        key = "".join(sorted(word)) if self.merges else ""
        return Draft(reply=f"word {word}", is_step=len(word) < len(self.widths), key=key)

    def score(self, word):
        """Return the judge's score."""
        exact = float(self.good.startswith(word))
        if self.judge == "noisy" and len(word) < len(self.widths):
            noise = self._draw("noise", word, self.read.count(word)).gauss(0, 0.3)
            return min(max(0.2 + 0.6 * exact + noise, 0.0), 1.0)
        return {"flat": 0.5, "zero": 0.0}.get(self.judge, exact)

    def answer(self, search, action):
        """Return the answer to one action."""
        if self._draw("lot", action.action_id).random() < self.failing:
            return NoAnswer(detail="down")
        nodes = search.tree.nodes
        if not isinstance(action, JudgeList):
            word = "" if isinstance(action, Generate) else _word(nodes[action.node_ids[0]])
            return self.drafts(word, action.k)
        words = {node_id: _word(nodes[node_id]) for node_id in action.node_ids}
        self.read += words.values()
        return Verdicts({node_id: Verdict(score=self.score(at)) for node_id, at in words.items()})


def _word(node):
    return node.draft.reply.removeprefix("word ")


def _words(search):
    return [_word(node) for node in search.tree.candidates]


def _play(game, cap, *, is_resuming=False, shuffle=None, **knobs):
    """Return a search that is done, and its rounds."""
    given = {"policy": "posterior_uct", "generate_k": 4, "refine_k": 4} | knobs
    search = PosteriorSearch(SearchKnobs(max_calls=cap, **given))
    rounds = []
    while actions := search.ask():
        rounds.append(actions)
        answers = [(action.action_id, game.answer(search, action)) for action in actions]
        if shuffle is not None:
            shuffle.shuffle(answers)
        for action_id, answer in answers:
            search.tell(action_id, answer)
        if is_resuming:
            search = PosteriorSearch.from_state(search.state_dict())
    return search, rounds


def test_a_start_with_many_first_steps_is_widened_until_the_right_one_is_found():
    """12 first steps, 4 a request, one of which leads on; with and without a declared verifier."""
    solved = {
        stop_score: sum(
            _play(Letters(seed=seed), 40, stop_score=stop_score)[0].result().best.draft.reply
            == "word hbc"
            for seed in range(20)
        )
        for stop_score in (1.0, None)
    }
    assert solved == {1.0: 20, None: 20}


def test_auto_begins_a_task_of_steps_with_one_generation():
    """Where the depth is known, or the start is a step; else as for whole answers."""
    knobs = {"policy": "auto", "max_calls": 16}
    by_depth = PosteriorSearch(SearchKnobs(max_depth=3, **knobs)).ask()
    by_start = PosteriorSearch(SearchKnobs(**knobs), start=Draft(reply="start", is_step=True)).ask()
    assert [len(by_depth), len(by_start)] == [1, 1]


def test_states_that_an_exact_judge_found_impossible_are_not_gone_on_from_while_others_are_open():
    """Not even where the start has brought nothing but these."""
    _, rounds = _play(Letters(good="zzz"), 6, stop_score=1)
    assert not any(isinstance(action, Refine) for actions in rounds for action in actions)
    search, rounds = _play(Letters(), 60, stop_score=1)
    nodes = search.tree.nodes
    expanded = [
        nodes[a.node_ids[0]] for actions in rounds for a in actions if isinstance(a, Refine)
    ]
    assert expanded
    assert all(node.mean_score == 1 for node in expanded)


def test_an_exact_judge_reads_no_state_twice_on_purpose():
    """One pass a step; leaders are read again as anchors of new ones only."""
    search, rounds = _play(Letters(good="zzz"), 200, stop_score=1, leaders=1)
    seen = set()
    for actions in rounds:
        read = {
            each for action in actions if isinstance(action, JudgeList) for each in action.node_ids
        }
        assert not read or read - seen
        seen |= read
    assert search.result().stop_reason is StopReason.EXHAUSTED


def test_more_first_steps_and_next_steps_may_travel_together():
    """Several leaves a round: the start is one of them, as a generation."""
    _, rounds = _play(Letters(judge="noisy"), 60, parallel_leaves=3)
    kinds = [{type(action) for action in actions} for actions in rounds]
    assert {Generate, Refine} in kinds
    for actions in rounds:
        assert len({action.action_id for action in actions}) == len(actions)


@pytest.mark.parametrize("judge", ["noisy", "flat", "zero", "exact"])
def test_it_is_exhausted_when_every_state_is_complete_and_not_before(judge):
    """All 12 + 36 + 108 states are there, whatever the judge thinks of them."""
    search, _ = _play(Letters(judge=judge, good="zzz"), 2000, max_passes=1)
    assert search.result().stop_reason is StopReason.EXHAUSTED
    assert len(search.tree) == 12 + 36 + 108
    search, _ = _play(Letters(judge=judge, good="zzz"), 60)
    assert search.result().stop_reason is StopReason.CAP


@given(
    st.integers(0, 40),
    st.integers(0, 50),
    st.sampled_from([("exact", 0.0), ("noisy", 0.0), ("noisy", 0.3), ("flat", 0.0), ("zero", 0.3)]),
    st.sampled_from([None, 3]),
    st.integers(1, 3),
)
def test_a_search_of_steps_keeps_its_cap_and_is_the_same_again(
    cap, seed, game_of, max_depth, parallel
):
    """Told in another order and saved after each round, too."""
    knobs = {"max_depth": max_depth, "parallel_leaves": parallel}
    judge, failing = game_of

    def game():
        return Letters(judge=judge, merges=seed % 2 == 1, failing=failing, seed=seed)

    search, rounds = _play(game(), cap, **knobs)
    assert sum(map(len, rounds)) <= cap
    again, _ = _play(game(), cap, **knobs)
    shuffled, _ = _play(game(), cap, is_resuming=True, shuffle=random.Random(seed), **knobs)
    assert search.state_dict() == again.state_dict() == shuffled.state_dict()


def test_states_of_equal_key_are_one_anywhere_in_the_tree_and_are_not_judged_again():
    """Without keys the same letters recur below other parents."""
    game = Letters(widths=(3, 3, 3), judge="noisy", good="", merges=True)
    search, _ = _play(game, 500, max_passes=1, leaders=1)
    words = ["".join(sorted(word)) for word in _words(search)]
    assert len(words) == len(set(words)) == 3 + 6 + 10
    assert search.result().stop_reason is StopReason.EXHAUSTED
    search, _ = _play(Letters(widths=(3, 3, 3), judge="noisy", good=""), 500, max_passes=1)
    assert len(search.tree) == 3 + 9 + 27


def _told(search, *drafts):
    """Answer the one proposal under way."""
    (action,) = search.ask()
    search.tell(action.action_id, Drafts(drafts))
    return action


def _scored(search, **scores):
    for action in search.ask():
        nodes = search.tree.nodes
        found = {each: scores[nodes[each].draft.reply] for each in action.node_ids}
        search.tell(action.action_id, Verdicts({k: Verdict(score=v) for k, v in found.items()}))


def _search(**knobs):
    given = {"policy": "posterior_uct", "max_calls": 40, "tree_exploration": 0, "max_passes": 1}
    return PosteriorSearch(SearchKnobs(**given | knobs), start=_step("start"))


def _step(reply, key=""):
    return Draft(reply=reply, is_step=True, key=key or reply)


def test_a_state_with_nothing_but_duplicates_is_asked_once_more_and_keeps_its_own_value():
    """Its way goes on elsewhere: that is no evidence against it."""
    search = _search(generate_k=2, refine_k=2)
    _told(search, _step("a"), _step("b"))
    _scored(search, a=0.9, b=0.5)
    _told(search, _step("ab", "both"), _step("aa"))
    _scored(search, a=0.9, b=0.5, ab=0.1, aa=0.1)
    a, b = (node for node in search.tree.candidates if node.depth == 1)
    before = b.best_value
    while not b.expansions:
        action = _told(search, _step("ba", "both"), _step("a"))
        parent = "start" if isinstance(action, Generate) else search.tree.nodes[action.node_ids[0]]
        assert parent in ("start", a, b) or parent.depth == 2
    assert (b.children_ids, b.is_closed, b.best_value) == ([], False, before)
    while not b.is_closed:
        _told(search, _step("ba", "both"), _step("a"))
    assert (b.expansions, b.best_value) == (2, before)


def test_a_step_back_to_the_start_is_a_duplicate():
    """Where the start has a key."""
    search = _search(generate_k=2)
    _told(search, _step("again", "start"), _step("a"))
    assert [node.draft.reply for node in search.tree.candidates] == ["a"]


@pytest.mark.parametrize(("max_depth", "is_kept"), [(None, False), (4, True)])
def test_a_shorter_way_to_a_state_is_new_where_depth_is_limited(max_depth, is_kept):
    """From the longer one an answer may be too far; without a limit nothing is."""
    search = _search(generate_k=2, refine_k=1, max_depth=max_depth)
    _told(search, _step("a"), _step("b"))
    _scored(search, a=0.9, b=0.1)
    _told(search, _step("far", "same"))
    tree = search.tree
    first = next(node for node in tree.candidates if node.draft.reply == "far")
    assert first.depth == 2
    near, far = _step("near", "same"), _step("farther", "same")
    assert tree.has_key(tree.key_of(near), max_depth=2)
    assert not tree.has_key(tree.key_of(near), max_depth=1)
    _scored(search, a=0.9, b=0.1, far=0.0)
    while not any(node.expansions for node in tree.candidates if node.draft.reply == "b"):
        action = search.ask()[0]
        if isinstance(action, JudgeList):
            _scored(search, a=0.9, b=0.1, far=0.0, near=0.1)
        elif isinstance(action, Generate):
            search.tell(action.action_id, Drafts((near,)))
            break
        else:
            search.tell(action.action_id, Drafts((far,)))
    replies = [node.draft.reply for node in tree.candidates]
    assert ("near" in replies) == is_kept
    assert "farther" not in replies


def test_a_key_is_left_out_of_a_state_where_it_is_blank():
    """States of earlier versions stay the same, to the byte."""
    assert "key" not in Draft(reply="a").model_dump()
    assert Draft(reply="a", key="k").model_dump()["key"] == "k"
