"""Answers to proposals from the record, and their counts."""

from benchmarks.search.answering import Recorded
from benchmarks.search.running import run_policy
from benchmarks.tests.search.conftest import make_topical
from lats.actions import Generate, JudgeList
from lats.answers import Verdicts
from lats.classic_uct import ASSISTANT_CHECK
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs


def test_the_classic_shape_costs_eleven_requests_where_the_pool_is_deep_enough():
    """Root, its judge, four rollouts of two, and the re-judge; no top-up for missing tags."""
    pool = make_topical(replies=12)
    run = run_policy(SearchKnobs(), pool.prompt("tc00", 0))
    assert (run.requests, run.completions, run.items, run.rounds) == (11, 9, 6, 11)


def test_a_dry_pool_ends_the_classic_search_early(topical):
    """With six replies the last expansion is paid and brings nothing."""
    run = run_policy(SearchKnobs(), topical.prompt("tc00", 0))
    assert (run.requests, run.completions, run.exhausted) == (10, 6, 3)


def test_the_classic_root_of_a_tree_is_the_task_itself(game24):
    """It costs a request and a judge request, and is no answer."""
    run = run_policy(SearchKnobs(rollouts=0), game24.prompt("900", 0))
    assert (run.requests, run.completions, run.items, run.truth) == (2, 1, 1, 0.0)


def test_a_packed_look_counts_one_request_and_all_its_items(topical):
    """Three requests: two generations and one look at six replies."""
    run = run_policy(SearchKnobs(policy="best_of_n", max_calls=3), topical.prompt("tc00", 0))
    assert (run.requests, run.completions, run.items, run.rounds) == (3, 6, 6, 2)


def test_a_draft_leads_back_to_its_item(topical):
    """The search's entry of a candidate identifies the recorded one."""
    prompt = topical.prompt("tc00", 0)
    recorded = Recorded(prompt, PosteriorSearch(SearchKnobs(policy="listwise")))
    (draft,) = recorded.answer(Generate(1, 0, prompt="plan")).drafts
    assert recorded.item_of(draft).text == draft.reply
    assert recorded.completions == 1


def test_no_record_says_what_sounds_like_an_assistant(topical):
    """The check is counted, and its answer is missing."""
    prompt = topical.prompt("tc00", 0)
    search = PosteriorSearch(SearchKnobs(policy="listwise"))
    recorded = Recorded(prompt, search)
    for action in search.ask():
        search.tell(action.action_id, recorded.answer(Generate(1, 0)))
    node = next(search.tree.candidates)
    said = recorded.answer(JudgeList((node.node_id,), 0, ASSISTANT_CHECK))
    assert (said, recorded.items) == (Verdicts({}), 1)
