"""Promises of single lines of the posterior search, each of which once had no test."""

from lats.actions import ActionKind, Generate, JudgeList
from lats.answers import Draft, Drafts, Verdict, Verdicts
from lats.gain import BestNextCall, best_next_call
from lats.search import PosteriorSearch
from lats.search_knobs import EarlyExitKnobs, SearchKnobs
from lats.search_state import SearchState
from lats.strategies.posterior_uct import select_leaves

GOOD = {"plan_alignment": 1.0, "assistantness": 0.0, "mode_fit": 1.0}


def _told(search, *, texts=lambda action, place: f"{action.action_id} {place}", say, is_step=False):
    """Drive a search to its end and return its rounds."""
    rounds = []
    while actions := search.ask():
        rounds.append(actions)
        for action in actions:
            if isinstance(action, JudgeList):
                answer = Verdicts({node_id: say(action, node_id) for node_id in action.node_ids})
            else:
                made = (Draft(reply=texts(action, at), is_step=is_step) for at in range(action.k))
                answer = Drafts(drafts=tuple(made))
            search.tell(action.action_id, answer)
    return rounds


def _fair(_move, node_id):
    return Verdict(score=0.3 + int(node_id[:4], 16) / 2**18)


def test_attributes_of_one_rubric_are_kept_when_the_next_one_answers():
    """Gates and critique see all sub-scores, not only those of the last rubric."""
    knobs = SearchKnobs(policy="listwise", max_calls=4, rubrics=("one", "two"))
    search = PosteriorSearch(knobs)
    _told(search, say=lambda action, _id: Verdict(score=0.5, attributes={action.rubric: 0.5}))
    assert all(node.verdict.attributes.keys() == {"one", "two"} for node in search.tree.candidates)


def test_gates_do_not_open_on_what_was_proposed_and_not_judged():
    """A refinement is paid for, so it is judged before the search may stop."""
    gates = EarlyExitKnobs(min_rollouts=1)
    search = PosteriorSearch(
        SearchKnobs(policy="listwise", max_calls=6, refine=True, early_exit=gates)
    )
    _told(search, say=lambda *_: Verdict(score=1.0, attributes=GOOD))
    assert search.result().asked == {
        ActionKind.GENERATE: 2,
        ActionKind.JUDGE_LIST: 3,
        ActionKind.REFINE: 1,
    }


def test_agreement_spends_half_on_candidates_and_reads_all_of_them_in_each_call():
    """Neither `max_candidates` nor `max_items` binds where answers are checked."""
    search = PosteriorSearch(SearchKnobs(policy="listwise", max_calls=11, judging="agreement"))
    rounds = _told(search, say=lambda action, _id: Verdict(checks={f"{action.pass_index}": True}))
    assert [type(action) for action in rounds[0]] == [Generate] * 5
    assert {len(action.node_ids) for action in rounds[1]} == {20}


def test_candidates_that_differ_in_an_operator_are_both_kept():
    """Formulas are not replies: a sign is not a mark."""
    search = PosteriorSearch(SearchKnobs(policy="best_of_n", max_calls=2))
    _told(search, texts=lambda _move, place: f"3 {'+-*/'[place]} 4", say=_fair)
    assert len(search.tree) == 4


def test_a_verifier_is_asked_once_about_new_steps():
    """Its second look would say the same."""
    for stop_score, passes in ((1.0, 1), (None, 3)):
        knobs = SearchKnobs(policy="posterior_uct", max_calls=8, max_depth=3, stop_score=stop_score)
        rounds = _told(PosteriorSearch(knobs), say=_fair, is_step=True)
        assert len(rounds[1]) == passes


def _steps(max_depth):
    """Return a state with a good shallow step, and a fair one with a fair step below it."""
    state = SearchState(SearchKnobs(policy="posterior_uct", max_depth=max_depth), Draft(reply=""))
    tree = state.tree
    state.progress.has_steps = True
    good, fair = (
        tree.add(tree.top, Draft(reply=text, is_step=True), prior_mean=None)
        for text in ("good", "fair")
    )
    deep = tree.add(fair, Draft(reply="deep", is_step=True), prior_mean=None)
    for node, value in ((good, 0.9), (fair, 0.5), (deep, 0.5)):
        node.judge_passes = node.score_count = node.visits = 1
        node.own_value = node.best_value = node.score_sum = value
    return state


def test_a_leaf_from_which_no_answer_can_be_reached_in_time_is_passed_over():
    """Two calls a step: with two left only the deeper one leads to an answer."""
    for calls, chosen in ((2, "deep"), (4, "good")):
        leaves = select_leaves(_steps(3), 1, calls=calls)
        assert [leaf.draft.reply for leaf in leaves] == [chosen]


def test_what_refining_has_gained_so_far_speaks_for_refining_again():
    """And refinements that were worse than first drafts speak against it."""
    found = {}
    for mean in (0.3, 0.8):
        state = SearchState(SearchKnobs(policy="listwise"), Draft(reply=""))
        nodes = []
        for text in ("one", "two"):
            node = state.tree.add(state.tree.top, Draft(reply=text), prior_mean=None)
            node.score_sum, node.score_count = 2.0, 4
            nodes.append(node)
        state.noise.mean_sum, state.noise.mean_count = 1.0, 2
        state.noise.refined_sum, state.noise.refined_count = 8 * mean, 8
        possible = {BestNextCall.READ, BestNextCall.REFINE}
        found[mean] = best_next_call(state, nodes, possible, min_gain=0.01)
    assert found[0.8] is BestNextCall.REFINE
    assert found[0.3] is not BestNextCall.REFINE
