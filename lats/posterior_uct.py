"""`posterior_uct`: a tree search whose nodes hold posteriors, for answers and for steps."""

from lats.moves import Generate, Move
from lats.result import StopReason
from lats.search_state import SearchState
from lats.strategy import Left
from lats.tree_search import tree_round

__all__ = ["POSTERIOR_UCT", "PosteriorUct"]


class PosteriorUct:
    """Generate once, judge, then select, expand and judge, round by round."""

    def next_round(self, state: SearchState, left: Left) -> list[Move] | StopReason:
        """Return the moves of the next round, or why to stop."""
        texts = tuple(each.text for each in state.progress.guidelines)
        if len(state.forest):
            return tree_round(state, left, texts)
        if not left.proposer_calls:
            return StopReason.CAP
        k = 1 if left.calls == 1 else state.knobs.generate_k
        return [Generate(k, state.progress.generations, texts)]


POSTERIOR_UCT = PosteriorUct()
