"""The page on how the search spends its calls shows what the search really does."""

from pathlib import Path

from lats.actions import Generate, JudgeList, Refine
from lats.answers import Draft, Drafts, Verdict, Verdicts
from lats.result import StopReason
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.search_plan import plan_search
from lats.search_text import render_tree

PAGE = Path(__file__).parents[2] / "docs" / "search.md"

FIRST = [
    ("congratulate", "You got it! I knew you would. When do you start?"),
    ("share_own_story", "You got it! I could not eat the day before I opened the shop."),
    ("name_the_fear", "Scared of the work, or of them finding out you're new at it?"),
    ("reassure", "There is nothing to be afraid of. You will do great!"),
]
SECOND = [
    ("congratulate_again", "You got it! I knew you would. When do you start?"),
    ("ask_what_scares", "Ha, of course you are. Which part wakes you up at night?"),
    ("advise", "Make a list of what worries you, then take it one item at a time."),
    ("invite", "Good scared or bad scared? Come by before you start, I'll make tea."),
]
BETTER = [
    ("fear_and_tea", "Scared of the work, or of being the new one? Tell me over tea on Sunday."),
    ("own_fear", "I shook the whole first week. Which part wakes you up at night?"),
    ("plain", "You got it. And yes, it's scary. Which part wakes you up at night?"),
    ("tease", "The job should be scared of you. Tea on Sunday, and you tell me which part."),
]
SCORES = {
    "congratulate": (0.55, 0.50, 0.0),
    "share_own_story": (0.60, 0.50, 0.0),
    "name_the_fear": (0.80, 0.70, 0.72),
    "reassure": (0.35, 0.30, 0.0),
    "ask_what_scares": (0.70, 0.75, 0.70),
    "advise": (0.20, 0.25, 0.0),
    "invite": (0.65, 0.60, 0.0),
    "fear_and_tea": (0.0, 0.0, 0.78),
    "own_fear": (0.0, 0.0, 0.74),
    "plain": (0.0, 0.0, 0.90),
    "tease": (0.0, 0.0, 0.60),
}
WORDS = {
    "reassure": "waves the fear away",
    "advise": "a leaflet, not a friend",
    "name_the_fear": "sees it, a little sharp",
    "ask_what_scares": "warm, asks one thing",
    "plain": "glad, honest, and asks",
    "tease": "hides behind the joke",
}


def _answer(move, tree):
    match move:
        case Generate(attempt=attempt):
            pairs = [FIRST, SECOND][attempt]
        case Refine():
            pairs = BETTER
        case JudgeList(pass_index=look):
            tags = {node_id: tree.nodes[node_id].draft.strategy_tag for node_id in move.node_ids}
            return Verdicts(
                {
                    node_id: Verdict(score=SCORES[tag][look], reason=WORDS.get(tag, ""))
                    for node_id, tag in tags.items()
                }
            )
    return Drafts(drafts=tuple(Draft(reply=reply, strategy_tag=tag) for tag, reply in pairs))


def test_the_drawn_tree_is_the_one_that_these_answers_give():
    """Round by round as the page's table tells it."""
    search = PosteriorSearch(SearchKnobs(policy="listwise", max_calls=6))
    rounds = []
    while moves := search.ask():
        rounds.append([type(move).__name__ for move in moves])
        for move in moves:
            search.tell(move.action_id, _answer(move, search.tree))
    assert rounds == [["Generate"] * 2, ["JudgeList"] * 2, ["Refine"], ["JudgeList"]]
    drawn = render_tree(search.result(), max_chars=40)
    assert f"```text\n{drawn}\n```" in PAGE.read_text(encoding="utf-8"), drawn


def test_the_pages_plan_by_cap_is_the_plan():
    """Every row of its table: generations, passes before the first refinement, rounds."""
    rows = PAGE.read_text(encoding="utf-8").split("## Why this shape")[1].splitlines()
    for cap in range(1, 11):
        plan = plan_search(SearchKnobs(policy="listwise", max_calls=cap))
        cells = next(
            [cell.strip() for cell in row.split("|")]
            for row in rows
            if row.startswith(f"| {cap} |")
        )
        assert plan.calls == cap
        assert cells[5] == str(len(plan.rounds))
        assert cells[2].split()[0] == str(plan.rounds[0][0].count_calls)
        if cap > 1:
            assert cells[3] == str(plan.rounds[1][0].count_calls)
        assert cells[4].startswith("(") == (cap >= 8)
        assert bool(cells[4]) == (cap >= 6)


def test_every_reason_to_stop_stands_on_the_page():
    """But those that only the classic search has."""
    text = PAGE.read_text(encoding="utf-8")
    for reason in set(StopReason) - {StopReason.ROLLOUTS_DONE}:
        assert f"`{reason}`" in text
