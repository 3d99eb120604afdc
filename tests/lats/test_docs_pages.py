"""The pages on the searches show what the searches do."""

import ast
import asyncio
import inspect
import re
from pathlib import Path

import pytest

from lats.actions import Generate, JudgeList, Refine, Side, side_of
from lats.answers import Draft, Drafts, Verdict, Verdicts
from lats.classic_uct import ClassicUct
from lats.problem import Problem
from lats.result import StopReason
from lats.rule_score import ReplyContext
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.search_plan import Scenario, plan_search
from lats.search_text import render_tree
from lats.solving import solve

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


def _answer(action, tree):
    match action:
        case Generate(attempt=attempt):
            pairs = [FIRST, SECOND][attempt]
        case Refine():
            pairs = BETTER
        case JudgeList(pass_index=look):
            tags = {node_id: tree.nodes[node_id].draft.strategy_tag for node_id in action.node_ids}
            return Verdicts(
                {
                    node_id: Verdict(score=SCORES[tag][look], reason=WORDS.get(tag, ""))
                    for node_id, tag in tags.items()
                }
            )
    return Drafts(drafts=tuple(Draft(reply=reply, strategy_tag=tag) for tag, reply in pairs))


def test_the_drawn_tree_is_the_one_that_these_answers_give():
    """Round by round as in the table of the page."""
    search = PosteriorSearch(SearchKnobs(policy="listwise", max_calls=6, refine=True))
    rounds = []
    while actions := search.ask():
        rounds.append([type(action).__name__ for action in actions])
        for action in actions:
            search.tell(action.action_id, _answer(action, search.tree))
    assert rounds == [["Generate"] * 2, ["JudgeList"] * 2, ["Refine"], ["JudgeList"]]
    drawn = render_tree(search.result(), max_chars=40)
    assert f"```text\n{drawn}\n```" in PAGE.read_text(encoding="utf-8"), drawn


@pytest.mark.parametrize("refine", [False, True])
def test_the_pages_plan_by_cap_is_the_plan(refine):
    """Every row of both tables: generations, passes before the first refinement, rounds."""
    page = PAGE.read_text(encoding="utf-8").split("## Reasons for this design")[1]
    rows = page.split("With `refine: true`:")[refine].splitlines()
    for cap in range(5 if refine else 1, 11 if refine else 7):
        plan = plan_search(SearchKnobs(policy="listwise", max_calls=cap, refine=refine))
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
        assert cells[4].startswith("(") == (refine and cap >= 8)
        assert bool(cells[4]) == refine


def test_every_reason_to_stop_is_on_the_page():
    """Except those that only the classic search has."""
    text = PAGE.read_text(encoding="utf-8")
    for reason in set(StopReason) - {StopReason.ROLLOUTS_DONE}:
        assert f"`{reason}`" in text


CLASSIC_PAGE = Path(__file__).parents[2] / "docs" / "classic-search.md"

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
CLASSIC_SCORES = [0.58, 0.66, 0.62, 0.60, 0.71, 0.68]


def test_the_drawn_classic_tree_is_the_one_that_these_answers_give():
    """Round by round as in the table of the page."""
    context = ReplyContext(user_text="I got the job and now I am scared of it")
    search = ClassicUct(SearchKnobs(), context)
    drafts, scores = iter(DRAFTS), iter(CLASSIC_SCORES)
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
    assert f"```text\n{drawn}\n```" in CLASSIC_PAGE.read_text(encoding="utf-8")


def test_the_pages_costs_are_the_plans():
    """Every row of its table, with and without prefetch."""
    text = CLASSIC_PAGE.read_text(encoding="utf-8")
    for scenario in Scenario:
        serial = plan_search(SearchKnobs(), scenario)
        ahead = plan_search(SearchKnobs(prefetch=True), scenario)
        row = next(line for line in text.splitlines() if line.startswith(f"| `{scenario}`"))
        assert f"| {serial.calls} | {len(serial.rounds)} | {ahead.calls} calls" in row
        assert row.endswith(f"{len(ahead.rounds)} rounds |")


async def test_the_pages_code_on_judges_and_chances_does_what_it_shows(
    tmp_path, monkeypatch, capsys
):
    """Pooled reports, two judges, and a calibration that is kept in a file."""
    monkeypatch.chdir(tmp_path)
    part = PAGE.read_text(encoding="utf-8").split("## Signs of a judge's bias")[1]
    pooled, judges, chances = re.findall(r"```python\n(.*?)```", part, re.DOTALL)[:3]
    (shown,) = re.findall(
        r"```text\n(.*?)```", part.split("## Confidence against truth")[0], re.DOTALL
    )
    problem = Problem(
        int, lambda state, k, origin: range(4), lambda states, look: [0.5] * len(states)
    )
    knobs = SearchKnobs(policy="listwise", max_calls=6, refine=False)
    known = {"solutions": [await solve(problem, knobs) for _ in range(12)], "RIGHT": {0, 3}}

    exec(pooled, known)  # noqa: S102
    calls = sum(len(each.result.readings) for each in known["solutions"])
    assert f"gave one score to everything in {calls} of {calls} calls" in capsys.readouterr().out
    await asyncio.to_thread(exec, judges, {})
    assert capsys.readouterr().out == shown
    code = compile(chances, "page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    found = eval(code, known | {"problem": problem, "knobs": knobs})  # noqa: S307
    assert inspect.iscoroutine(found)
    await found
    assert "12 labels of 'summaries'" in capsys.readouterr().out
