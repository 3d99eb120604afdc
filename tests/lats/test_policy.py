"""The driver of a search, and the gates of an early exit."""

import pytest

from lats.actions import Generate
from lats.answers import Drafts, Verdict
from lats.policy import RemainingCalls, RepeatedAction, closed_gates, drive
from lats.result import StopReason
from lats.search import PosteriorSearch
from lats.search_knobs import EarlyExitKnobs, SearchKnobs


class StuckSearch:
    """A search that asks the same for ever."""

    def ask(self, remaining=None):
        """Return the one action that it has."""
        return [Generate(1, 0)]

    def tell(self, action_id, answer):
        """Forget it."""


def _answering(model, seen):
    async def answer_round(actions):
        seen.append(len(actions))
        return [model.answer(action) for action in actions]

    return answer_round


async def test_it_answers_whole_rounds_and_returns_the_result(actions_model):
    """All actions of a round together."""
    seen = []
    search = PosteriorSearch(SearchKnobs(policy="listwise", max_calls=6))
    result = await drive(search, _answering(actions_model(), seen))
    assert seen == [1, 5]
    assert result.calls == 6
    assert search.is_done


async def test_it_asks_for_the_remaining_calls_before_each_round(actions_model):
    """And the search winds down by it."""
    remaining_calls, seen = [RemainingCalls(), RemainingCalls(max_calls=0)], []
    search = PosteriorSearch(SearchKnobs(policy="listwise", max_calls=6))
    result = await drive(
        search, _answering(actions_model(), seen), remaining=lambda: remaining_calls[len(seen)]
    )
    assert seen == [1]
    assert result.stop_reason is StopReason.BUDGET


async def test_a_search_that_repeats_itself_is_stopped():
    """It would go on paying for ever."""

    async def answer_round(actions):
        return [Drafts(drafts=())] * len(actions)

    with pytest.raises(RepeatedAction, match="'generate:0' after it was told"):
        await drive(StuckSearch(), answer_round)


@pytest.mark.parametrize("change", [-1, 1])
async def test_more_or_fewer_answers_than_proposals_are_refused(actions_model, change):
    """Lists are not matched by chance."""
    model = actions_model()

    async def answer_round(actions):
        answers = [model.answer(action) for action in actions]
        return (answers + answers)[: len(answers) + change]

    search = PosteriorSearch(SearchKnobs(policy="listwise", max_calls=6))
    with pytest.raises(ValueError, match=r"zip\(\)"):
        await drive(search, answer_round)


async def test_what_the_answering_raises_leaves_a_search_that_goes_on(actions_model):
    """The round is asked again."""

    async def broken(actions):
        raise ConnectionError("gone")

    search = PosteriorSearch(SearchKnobs(policy="listwise", max_calls=6))
    with pytest.raises(ConnectionError):
        await drive(search, broken)
    result = await drive(search, _answering(actions_model(), []))
    assert result.calls == 6


GOOD = {"score": 0.82, "plan_alignment": 0.80, "assistantness": 0.18, "mode_fit": 0.65}


def _verdict(*, score, **attributes):
    given = {name: value for name, value in attributes.items() if value is not None}
    return Verdict(score=score, attributes=given)


GATE_OF = {
    "score": "min_root_score",
    "plan_alignment": "min_plan_alignment",
    "assistantness": "max_assistantness",
    "mode_fit": "min_mode_fit",
}


def test_the_thresholds_themselves_pass():
    """At least and at most include the bound."""
    assert closed_gates(_verdict(**GOOD), EarlyExitKnobs()) == ()


@pytest.mark.parametrize("field", list(GOOD))
def test_a_missing_field_closes_its_gate(field):
    """However good the others are; an absent assistantness is not a low one."""
    assert closed_gates(_verdict(**GOOD | {field: None}), EarlyExitKnobs()) == (GATE_OF[field],)


@pytest.mark.parametrize(
    ("field", "bad"),
    [("score", 0.81), ("plan_alignment", 0.79), ("assistantness", 0.19), ("mode_fit", 0.64)],
)
def test_a_field_short_of_its_threshold_closes_its_gate(field, bad):
    """One gate is enough to go on searching."""
    assert closed_gates(_verdict(**GOOD | {field: bad}), EarlyExitKnobs()) == (GATE_OF[field],)


def test_no_judgement_closes_all_gates():
    """A judge that failed said nothing good."""
    assert len(closed_gates(None, EarlyExitKnobs())) == 4


def test_switched_off_is_closed():
    """With any verdict."""
    assert closed_gates(_verdict(**GOOD), EarlyExitKnobs(enabled=False)) == ("enabled",)
