"""The driver: whole rounds, and the last guard against a search without end."""

import pytest

from lats.actions import Generate
from lats.answers import Drafts
from lats.policy import RemainingCalls, RepeatedAction, drive
from lats.result import StopReason
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs


class StuckSearch:
    """A search that asks the same for ever."""

    def ask(self, remaining=None):
        """Return the one move that it has."""
        return [Generate(1, 0)]

    def tell(self, action_id, answer):
        """Forget it."""


def _answering(model, seen):
    async def answer_round(moves):
        seen.append(len(moves))
        return [model.answer(move) for move in moves]

    return answer_round


async def test_it_answers_whole_rounds_and_returns_the_result(moves_model):
    """Everything of a round at once."""
    seen = []
    search = PosteriorSearch(SearchKnobs(policy="listwise", max_calls=6))
    result = await drive(search, _answering(moves_model(), seen))
    assert seen == [2, 2, 1, 1]
    assert result.calls == 6
    assert search.is_done


async def test_it_asks_for_the_room_before_each_round(moves_model):
    """And the search winds down by it."""
    rooms, seen = [RemainingCalls(), RemainingCalls(max_calls=0)], []
    search = PosteriorSearch(SearchKnobs(policy="listwise", max_calls=6))
    result = await drive(
        search, _answering(moves_model(), seen), remaining=lambda: rooms[len(seen)]
    )
    assert seen == [2]
    assert result.stop_reason is StopReason.BUDGET


async def test_a_search_that_repeats_itself_is_stopped():
    """It would go on paying for ever."""

    async def answer_round(moves):
        return [Drafts(drafts=())] * len(moves)

    with pytest.raises(RepeatedAction, match="'generate:0' after it was told"):
        await drive(StuckSearch(), answer_round)


@pytest.mark.parametrize("change", [-1, 1])
async def test_more_or_fewer_answers_than_proposals_are_refused(moves_model, change):
    """Lists are not matched by chance."""
    model = moves_model()

    async def answer_round(moves):
        answers = [model.answer(move) for move in moves]
        return (answers + answers)[: len(answers) + change]

    search = PosteriorSearch(SearchKnobs(policy="listwise", max_calls=6))
    with pytest.raises(ValueError, match=r"zip\(\)"):
        await drive(search, answer_round)


async def test_what_the_answering_raises_leaves_a_search_that_goes_on(moves_model):
    """The round is asked again."""

    async def broken(moves):
        raise ConnectionError("gone")

    search = PosteriorSearch(SearchKnobs(policy="listwise", max_calls=6))
    with pytest.raises(ConnectionError):
        await drive(search, broken)
    result = await drive(search, _answering(moves_model(), []))
    assert result.calls == 6
