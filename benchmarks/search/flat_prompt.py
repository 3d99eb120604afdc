"""A prompt whose recorded candidates have no parents."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.pools import Item, PoolPrompt, lots

__all__ = ["FlatPrompt"]


class FlatPrompt(PoolPrompt):
    """A prompt whose candidates have no parents.

    Args:
        prompt_id: its name.
        seed: of the shuffle.
        texts: of all recorded candidates.
        truths: of the same.
        user_text: what a user said last, or None.
    """

    def __init__(
        self,
        prompt_id: str,
        seed: int,
        *,
        texts: Sequence[str],
        truths: NDArray[np.float64],
        user_text: str | None = None,
    ) -> None:
        super().__init__(prompt_id, seed=seed, user_text=user_text)
        self._texts = texts
        self._truths = truths
        self._order: list[int] = (
            lots(prompt_id, seed, "candidates").permutation(len(texts)).tolist()
        )
        self._handed_out: dict[str, int] = {}

    def generate(self, k: int) -> list[Item]:
        """Return the next candidates of the shuffle, at most `k`."""
        self.check_open(k)
        start = len(self._handed_out)
        places = self._order[start : start + k]
        self.exhausted += k - len(places)
        items = []
        for place in places:
            item = Item(f"{place}", self._texts[place])
            self._handed_out[item.item_id] = place
            items.append(item)
        return items

    def place_of(self, item: Item) -> int:
        """Return which recorded candidate an item is.

        Raises:
            ValueError: when it was not handed out.
        """
        place = self._handed_out.get(item.item_id)
        if place is None:
            raise ValueError(f"item {item.item_id!r} was not handed out by this prompt")
        return place

    def _truth_of(self, item: Item) -> float:
        return float(self._truths[self.place_of(item)])

    def random_truth(self) -> float:
        """Return the mean truth of all recorded candidates."""
        return float(self._truths.mean())

    def oracle_truth(self) -> float:
        """Return the truth of the best recorded candidate."""
        return float(self._truths.max())
