"""A search as text."""

from lats.classic_uct import ClassicUct
from lats.draft import Draft
from lats.knobs import SearchKnobs
from lats.proposal import Drafts
from lats.render import render_tree


def test_a_search_that_has_not_begun_is_one_line(context):
    """There is no tree to draw."""
    search = ClassicUct(SearchKnobs(), context)
    assert render_tree(search.result()) == "under way: 0 calls, 0 rounds, 0 replies"


def test_missing_figures_are_dashes_and_replies_are_one_short_line(context):
    """An unjudged reply has no score, rather than 0."""
    search = ClassicUct(SearchKnobs(), context)
    (plan,) = search.ask()
    drafts = Drafts(drafts=(Draft(reply="One line\nand another, rather long"),))
    search.tell(plan.proposal_id, drafts)
    line = render_tree(search.result(), max_chars=12).splitlines()[1]
    assert line.startswith("* no strategy  visits 0  mean --  judge --  rule 0.")
    assert line.endswith("  One line an…")


def test_every_reply_of_a_finished_search_has_its_line(scripted, drive, context):
    """With one star, and the second look at the end."""
    search = ClassicUct(SearchKnobs(), context)
    drive(search, scripted())
    lines = render_tree(search.result()).splitlines()
    assert len(lines) == 1 + 9 + 1
    assert sum("* " in line for line in lines) == 1
    assert lines[-1].startswith("the pick, judged again: 0.")
