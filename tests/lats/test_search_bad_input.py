"""Models that misbehave, drivers that err, states that are broken: each has its answer."""

import copy
import json

import pytest
from pydantic import ValidationError

from lats.actions import ActionKind
from lats.answers import MAX_REPLY_CHARS, Draft, Drafts, NoAnswer, Verdict, Verdicts
from lats.policies import resume_search
from lats.result import StateError, StopReason
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.strategies import STRATEGIES

POLICIES = sorted(STRATEGIES)


@pytest.fixture
def run(play, actions_model):
    """Drive a search of a policy with some model, and return it with its rounds."""

    def _run(policy="listwise", *, max_calls=8, knobs=None, **model):
        search = PosteriorSearch(SearchKnobs(policy=policy, max_calls=max_calls, **(knobs or {})))
        return play(search, actions_model(**model))

    return _run


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("judge", ["huge", "negative", "nan", "infinite", "bools", "words"])
def test_a_judge_out_of_range_said_nothing(run, policy, judge):
    """To clip it would invent an opinion; two rounds without a verdict end the search."""
    result = run(policy, judge=judge)[0].result()
    assert all(node.score_count == 0 for node in result.tree.candidates)
    assert result.best in list(result.tree.candidates)
    assert result.confidence is None
    assert result.calls <= 8


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("judging", ["listwise", "pointwise", "pairwise", "agreement"])
@pytest.mark.parametrize("judge", ["ties", "same_words", "by_place", "fewer", "more", "ranks"])
def test_a_judge_of_few_words_still_gets_a_defined_answer(run, policy, judging, judge):
    """Ties, the same words, places instead of candidates, too few and too many verdicts."""
    result = run(policy, judge=judge, knobs={"judging": judging})[0].result()
    assert result.best is not None
    assert result.stop_reason is not None
    assert result.calls <= 8


def test_ties_of_everything_are_drawn_and_none_is_sure(run):
    """No candidate is believed to be better than another."""
    births = set()
    for seed in range(40):
        knobs = {"generate_k": 4, "seed": seed}
        result = run("best_of_n", judge="ties", max_calls=2, knobs=knobs)[0].result()
        births.add(result.best.birth)
    assert births == {1, 2, 3, 4}
    assert result.confidence.chance_best == pytest.approx(1 / 4, abs=0.01)


def test_a_judge_that_goes_by_place_alone_is_evened_out(run):
    """Its order reverses when the reading order does: after a pair of passes all are equal."""
    knobs = {"generate_k": 4, "refine": False, "max_candidates": 4, "max_passes": 2}
    search, _ = run("listwise", judge="by_place", max_calls=3, knobs=knobs)
    scores = [node.mean_score for node in search.tree.candidates if node.score_count == 2]
    assert len(scores) == 4
    assert max(scores) - min(scores) < 1e-9


def test_verdicts_on_others_are_ignored_and_missing_ones_are_missing(run):
    """Ids that were not asked change nothing."""
    more = run("best_of_n", judge="more", max_calls=2)[0]
    plain = run("best_of_n", max_calls=2)[0]
    assert [n.score_count for n in more.tree.candidates] == [1] * 4
    assert more.result().best.node_id == plain.result().best.node_id
    fewer = run("best_of_n", judge="fewer", max_calls=2)[0]
    assert sorted(n.score_count for n in fewer.tree.candidates) == [0, 0, 1, 1]
    assert fewer.result().best.score_count == 1


def test_a_ranking_is_read_where_there_are_no_scores(run, actions_model):
    """The first of it wins; strangers, repeats and a ranking of one are left out."""
    search, _ = run("best_of_n", judge="ranks", max_calls=2)
    model = actions_model()
    every = [node.node_id for node in search.tree.candidates]
    assert search.result().best.node_id == max(every, key=model.quality)
    for ranking, scored in (
        (lambda ids: (ids[1], ids[1], "nobody", ids[0]), 2),
        (lambda ids: (ids[1],), 0),
        (lambda ids: ("nobody", "nowhere"), 0),
    ):
        other = PosteriorSearch(SearchKnobs(policy="best_of_n", max_calls=2))
        other.tell(other.ask()[0].action_id, model.answer(other.ask()[0]))
        (action,) = other.ask()
        other.tell(action.action_id, Verdicts({}, ranking(action.node_ids)))
        assert sum(node.score_count for node in other.tree.candidates) == scored
        if scored:
            assert other.result().best.node_id == action.node_ids[1]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_proposer_that_repeats_itself_is_not_asked_again_and_again(run, policy):
    """One candidate is kept of all its copies."""
    search, rounds = run(policy, proposer="repeats", max_calls=16)
    assert len(search.tree) == 1
    proposing = [r for r in rounds if r[0].label is not ActionKind.JUDGE_LIST]
    assert len(proposing) <= 4
    assert search.result().best is not None


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("proposer", ["none", "blank"])
def test_a_proposer_of_nothing_is_a_failure(run, policy, proposer):
    """No candidate, no answer, two rounds."""
    search, rounds = run(policy, proposer=proposer)
    assert search.result().best is None
    assert search.result().stop_reason is StopReason.FAILED
    assert len(rounds) == 2


def test_a_reply_of_fifty_thousand_characters_is_cut(run):
    """And told from others by what is left."""
    search, _ = run(proposer="long", max_calls=3)
    assert len(search.tree) == 6
    assert all(len(n.draft.reply) <= MAX_REPLY_CHARS for n in search.tree.candidates)


def test_unwritable_characters_enter_no_state(run, actions_model):
    """Lone surrogates of proposers and judges, also while a round is still open."""
    search = PosteriorSearch(SearchKnobs(policy="listwise", max_calls=6, refine=True))
    model = actions_model(proposer="surrogates")
    first, second = search.ask()
    search.tell(first.action_id, model.answer(first))
    json.dumps(search.state_dict(), ensure_ascii=False).encode("utf-8")
    search.tell(second.action_id, NoAnswer(detail="\ud800 down"))
    action, *others = search.ask()
    said = Verdict(score=0.5, answer="4\udfff2", reason="so \ud800so")
    search.tell(action.action_id, Verdicts(dict.fromkeys(action.node_ids, said)))
    for other in others:
        search.tell(other.action_id, NoAnswer(detail="\udfff"))
    json.dumps(search.state_dict(), ensure_ascii=False).encode("utf-8")
    assert next(search.tree.candidates).verdict == Verdict(0.5, answer="42", reason="so so")


def test_a_verdict_keeps_what_can_be_kept():
    """Whole numbers as floats, checks that are true or false, reasons of bounded length."""
    said = Verdict(score=1, attributes={"a": 1, "b": 2}, checks={"c": True, "d": "yes"})
    assert (repr(said.score), said.attributes, said.checks) == ("1.0", {"a": 1.0}, {"c": True})
    assert len(Verdict(reason="x" * 100_000).reason) <= 4000


def test_a_driver_that_errs_is_told_how():
    """Unknown ids, the wrong sort of answer, less than one call."""
    search = PosteriorSearch(SearchKnobs(policy="best_of_n", max_calls=2))
    (action,) = search.ask()
    with pytest.raises(ValueError, match="'generate:7'"):
        search.tell("generate:7", NoAnswer())
    with pytest.raises(TypeError, match="generate:0 is answered by Drafts or NoAnswer, got Verd"):
        search.tell(action.action_id, Verdicts({}))
    with pytest.raises(ValueError, match="at least 1 call, got 0"):
        search.tell(action.action_id, NoAnswer(), calls=0)
    search.tell(action.action_id, Drafts(drafts=(Draft(reply="a"), Draft(reply="b"))))
    (action,) = search.ask()
    with pytest.raises(TypeError, match=r"answered by Verdicts or NoAnswer, got Drafts"):
        search.tell(action.action_id, Drafts(drafts=()))
    with pytest.raises(TypeError, match=r"a float for .*; give a Verdict"):
        search.tell(action.action_id, Verdicts(dict.fromkeys(action.node_ids, 0.5)))
    assert search.ask() == [action]


@pytest.mark.parametrize(
    "knobs",
    [
        {"max_calls": -1},
        {"generate_k": 0},
        {"max_items": 1},
        {"min_gain": float("nan")},
        {"judge_reliability": 1.0},
        {"rubrics": ()},
        {"policy": "nobody"},
        {"surprise": 1},
    ],
)
def test_a_knob_out_of_range_is_refused_by_name(knobs):
    """Before anything is asked."""
    with pytest.raises(ValidationError, match=next(iter(knobs))):
        SearchKnobs.model_validate({"policy": "listwise", **knobs})


@pytest.fixture
def state(actions_model):
    """The state of a search in the middle of its second judge round."""
    search = PosteriorSearch(SearchKnobs(policy="listwise", max_calls=8, refine=True))
    model = actions_model(attributes=("mode_fit",))
    while len(search.tree) < 9:
        for action in search.ask():
            search.tell(action.action_id, model.answer(action))
    actions = search.ask()
    if len(actions) > 1:
        search.tell(actions[0].action_id, model.answer(actions[0]))
    return json.loads(json.dumps(search.state_dict()))


def _told_stranger(state):
    state["progress"]["told"]["judge_list:99"] = {"kind": "no_answer"}


def _open_action(state):
    return state["progress"]["open_round"][0]


BROKEN = {
    "a missing candidate": (lambda s: s["nodes"].pop(3), "out of place|not there"),
    "no start": (lambda s: s["nodes"].clear(), "start"),
    "a cycle": (
        lambda s: s["nodes"][1].update(parent_id=s["nodes"][-1]["node_id"]),
        "no child of an earlier one",
    ),
    "a child that is not there": (
        lambda s: s["nodes"][2]["children_ids"].append("f" * 16),
        "a child is listed that is not there",
    ),
    "another reply": (lambda s: s["nodes"][2]["draft"].update(reply="x"), "does not match its id"),
    "another depth": (lambda s: s["nodes"][2].update(depth=7), "has depth 7"),
    "NaN": (lambda s: s["nodes"][1].update(score_sum=float("nan")), "score_sum.*finite"),
    "infinity": (lambda s: s["noise"].update(spread_sum=float("inf")), "spread_sum.*finite"),
    "a count below 0": (
        lambda s: s["progress"].update(spent_calls=-5),
        "spent_calls.*greater than or equal to 0",
    ),
    "a sum below 0": (
        lambda s: s["noise"].update(noise_sum=-1.0),
        "noise_sum.*greater than or equal to 0",
    ),
    "no reliability": (
        lambda s: s["noise"].update(prior_reliability=1.0),
        "prior_reliability.*less than 1",
    ),
    "a stranger in the open round": (
        lambda s: _open_action(s)["node_ids"].append("f" * 16),
        "candidate f+ is not there",
    ),
    "no candidate in the open round": (
        lambda s: _open_action(s)["node_ids"].clear(),
        "names no candidate",
    ),
    "a stranger in the front": (lambda s: s["progress"]["front"].append("f"), "candidate f "),
    "a action twice": (
        lambda s: s["progress"]["open_round"].append(dict(_open_action(s))),
        "is listed twice",
    ),
    "a action that is closed": (
        lambda s: s["progress"]["closed_ids"].append(f"judge_list:{_open_action(s)['pass_index']}"),
        "is listed twice",
    ),
    "an answer to no action": (_told_stranger, "was told, not asked"),
    "an answer of another kind": (
        lambda s: s["progress"].update(
            told={f"judge_list:{_open_action(s)['pass_index']}": {"kind": "drafts", "drafts": []}}
        ),
        "was told drafts",
    ),
    "an extra field": (lambda s: s["nodes"][0].update(colour="red"), "colour"),
    "an extra field on top": (lambda s: s.update(surprise=1), "surprise"),
    "a field that is gone": (lambda s: s.pop("noise"), "noise"),
    "a word for a number": (lambda s: s["nodes"][1].update(judge_passes="many"), "judge_passes"),
    "an unknown knob": (lambda s: s["knobs"].update(luck=1), "luck"),
    "an unknown reason": (lambda s: s["progress"].update(stop_reason="lunch"), "stop_reason"),
    "fewer calls than were asked": (
        lambda s: s["progress"].update(spent_calls=1),
        "spent_calls is 1, but . actions were asked",
    ),
    "fewer judge calls than were asked": (
        lambda s: s["progress"].update(judge_calls=0),
        "judge_calls is 0, less than were asked",
    ),
    "a count of actions below 0": (
        lambda s: s["progress"]["asked"].update(generate=-3),
        "a count of actions is below 0",
    ),
    "fewer generations than were asked": (
        lambda s: s["progress"].update(generations=0),
        "generations is 0, less than were asked",
    ),
    "a proposal of less than nothing": (
        lambda s: s["progress"]["open_round"].append({"kind": "generate", "k": -2, "attempt": 77}),
        "'generate:77' asks for -2 candidates",
    ),
    "a refinement that was not counted": (
        lambda s: s["progress"]["open_round"].append(
            {"kind": "refine", "k": 2, "attempt": 5, "node_ids": [s["nodes"][1]["node_id"]]}
        ),
        "was refined more often than its expansions",
    ),
    "a huge figure": (lambda s: s["noise"].update(spread_sum=1e308), r"spread_sum is 1e\+308"),
    "a huge price": (
        lambda s: s.update(
            spend={"by_side": {"judge": {"calls": 1, "tokens": 1, "picodollars": 10**400}}}
        ),
        "picodollars is 1000",
    ),
    "a huge count": (
        lambda s: s["nodes"][1].update(visits=10**30),
        "nodes.visits is 1000000",
    ),
    "an unknown kind": (lambda s: _open_action(s).update(kind="guess"), "open_round"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_state_is_refused_with_what_is_broken(state, name):
    """Rather than going on from nonsense."""
    breaks, problem = BROKEN[name]
    PosteriorSearch.from_state(copy.deepcopy(state))
    breaks(state)
    with pytest.raises(StateError, match=problem):
        PosteriorSearch.from_state(state)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 1}, "version 2, got version 1"),
        ({"version": None}, "got version None"),
        ({"policy": "halving"}, "'halving' has knobs of 'listwise'"),
    ],
)
def test_a_state_of_another_version_or_policy_is_refused(state, change, problem):
    """By the registry as by the search itself."""
    for restore in (PosteriorSearch.from_state, resume_search):
        with pytest.raises(StateError, match=problem):
            restore(state | change)


def test_a_state_of_the_classic_search_is_not_read(state):
    """Nor one that is no mapping."""
    state["policy"] = state["knobs"]["policy"] = "classic_uct"
    with pytest.raises(StateError, match="classic_uct"):
        PosteriorSearch.from_state(state)
    with pytest.raises(StateError, match="got list"):
        PosteriorSearch.from_state([])
