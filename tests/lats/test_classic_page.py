"""The page on the search shows what the search really does."""

from pathlib import Path

from lats.actions import Side, side_of
from lats.answers import Draft, Drafts, Verdict, Verdicts
from lats.classic_uct import ClassicUct
from lats.rule_score import ReplyContext
from lats.search_knobs import SearchKnobs
from lats.search_plan import Scenario, plan_search
from lats.search_text import render_tree

PAGE = Path(__file__).parents[2] / "docs" / "classic-search.md"

DRAFTS = [
    [("congratulate", "You got it! I knew you would. When do you start?")],
    [
        ("share_own_story", "You got it! I could not eat the day before I opened the shop."),
        ("name_the_fear", "Scared of the work, or of them finding out you're new at it?"),
    ],
    [
        ("ask_what_scares", "Ha, of course you are. Which part wakes you up at night?"),
        ("dare_together", "Good scared or bad scared? Come by before you start, I'll make tea."),
    ],
    [
        (
            "own_story_short",
            "I shook the whole first week. Then a customer asked me where Proust was.",
        ),
        ("promise_to_listen", "Tell me everything on Friday. Bring the scared part too."),
    ],
    [
        (
            "tea_and_tease",
            "Then come by on Sunday. I'll pour tea and you can practise looking fearless.",
        ),
        ("plain_comfort", "It would be odd if you weren't. It goes, mostly by Wednesday."),
    ],
]
SCORES = [0.58, 0.66, 0.62, 0.60, 0.71, 0.68]


def test_the_drawn_tree_is_the_one_that_these_answers_give():
    """Round by round as the page's table tells it."""
    context = ReplyContext(user_text="I got the job and now I am scared of it")
    search = ClassicUct(SearchKnobs(), context)
    drafts, scores = iter(DRAFTS), iter(SCORES)
    while proposals := search.ask():
        (proposal,) = proposals
        if side_of(proposal.label) is Side.JUDGE:
            answer = Verdicts({proposal.node_ids[0]: Verdict(score=next(scores))})
        else:
            answer = Drafts(
                drafts=tuple(Draft(reply=reply, strategy_tag=tag) for tag, reply in next(drafts))
            )
        search.tell(proposal.action_id, answer)
    drawn = render_tree(search.result(), max_chars=40)
    assert f"```text\n{drawn}\n```" in PAGE.read_text(encoding="utf-8")


def test_the_pages_costs_are_the_plans():
    """Every row of its table, with and without prefetch."""
    text = PAGE.read_text(encoding="utf-8")
    for scenario in Scenario:
        serial = plan_search(SearchKnobs(), scenario)
        ahead = plan_search(SearchKnobs(prefetch=True), scenario)
        row = next(line for line in text.splitlines() if line.startswith(f"| `{scenario}`"))
        assert f"| {serial.calls} | {len(serial.rounds)} | {ahead.calls} calls" in row
        assert row.endswith(f"{len(ahead.rounds)} rounds |")
