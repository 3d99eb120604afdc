"""Recorded pools: what a policy may ask of them, and what it may not.

The protocol, the same for every policy:

* `generate` hands out the next recorded candidates of a seeded shuffle, `judge` the next
  recorded sample of each candidate. Nothing is drawn twice. A record that has no more
  reports so; it never invents.
* All shuffles follow from (prompt, seed) alone. What one policy asks, and in which order,
  changes nothing of what another would be given.
* Truth is given once, for the final pick, and closes the prompt.
* Prompts are halved by sorted id: the first half is for tuning, the second for reporting; in
  an interleaved pool every second one, from the first, is for tuning.
"""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np

from lats.answers import Verdict

__all__ = [
    "OVERALL",
    "Half",
    "Item",
    "Pool",
    "PoolAbsent",
    "PoolPrompt",
    "PromptClosed",
    "data_folder",
    "lots",
    "read_columns",
    "rows_in_order",
]

Half = Literal["tuning", "reporting"]
OVERALL = "overall"
"""The rubric that every pool's judge has."""


class PoolAbsent(RuntimeError):
    """The recorded data, or what reads them, are not on this machine; the message names them."""


class PromptClosed(RuntimeError):
    """Something was asked of a prompt whose truth was told already."""


@dataclass(frozen=True, slots=True)
class Item:
    """One recorded candidate.

    Args:
        item_id: opaque; unique within its prompt.
        text: what a model wrote. Untrusted.
        parent: id of the item that it goes on from; None for one from scratch.
        is_step: whether it is only a step towards an answer.
        key: items of equal keys are one; blank where the text decides.
    """

    item_id: str
    text: str
    parent: str | None = None
    is_step: bool = False
    key: str = ""


def lots(prompt_id: str, seed: int, *purpose: str) -> np.random.Generator:
    """Return the generator of one shuffle; another purpose draws independently.

    Args:
        prompt_id: of the prompt.
        seed: of the run; at least 0.
        purpose: what is shuffled, as text.
    """
    name = "/".join((prompt_id, str(seed), *purpose))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big"))


class PoolPrompt(ABC):
    """One prompt with one seeded shuffle, untouched: the only thing that a policy meets.

    Args:
        prompt_id: its name.
        seed: of the shuffle.
        user_text: what a user said last, where candidates are replies; None where they are
            none, so that rules about replies say nothing of them. Untrusted.
        start: what candidates from scratch start from, where the task has such a thing.

    Attributes:
        expansions: times that a recorded candidate was asked to be gone on from.
        misses: how many of those were never recorded. They were charged, and brought nothing.
        exhausted: candidates and judge samples asked for when the record had no more.
    """

    def __init__(
        self,
        prompt_id: str,
        *,
        seed: int = 0,
        user_text: str | None = None,
        start: Item | None = None,
    ) -> None:
        self.prompt_id = prompt_id
        self.seed = seed
        self.user_text = user_text
        self.start = start
        self.expansions = 0
        self.misses = 0
        self.exhausted = 0
        self._is_closed = False

    @abstractmethod
    def generate(self, k: int) -> list[Item]:
        """Return the next candidates from scratch, at most `k`; none when there are no more.

        Args:
            k: at least 1.
        """

    def expand(self, item: Item, k: int) -> list[Item]:
        """Return what goes on from an item, at most `k`.

        Where it is not recorded which candidate came of which, these are the next from scratch: no
        better for the parent.
        """
        del item
        return self.generate(k)

    @abstractmethod
    def judge(self, items: Sequence[Item], rubric: str = OVERALL) -> list[Verdict | None]:
        """Return the next recorded sample of each item; None where it is missing or used up.

        Args:
            items: read in one request.
            rubric: by which the judge judges.

        Raises:
            ValueError: when the judge has no such rubric.
        """

    @abstractmethod
    def _truth_of(self, item: Item) -> float:
        """Return how good an item is, which was handed out."""

    def truth(self, item: Item) -> float:
        """Return how good the final pick is, and close the prompt.

        For the runner alone, once a run.

        Raises:
            PromptClosed: when the truth was told before.
        """
        truth = self._truth_of(item)
        self.close()
        return truth

    def truths_seen(self, items: Iterable[Item]) -> list[float]:
        """Return how good each item is, once the prompt is closed: for the runner alone.

        Raises:
            RuntimeError: when questions may still be asked.
        """
        if not self._is_closed:
            raise RuntimeError(f"prompt {self.prompt_id!r} is open: its truths are not told yet")
        return [self._truth_of(item) for item in items]

    @abstractmethod
    def random_truth(self) -> float:
        """Return the mean truth of a pick by lot."""

    @abstractmethod
    def oracle_truth(self) -> float:
        """Return the truth of the best pick there is."""

    def close(self) -> None:
        """End it: nothing more can be asked.

        Raises:
            PromptClosed: when it was closed before.
        """
        self.check_open()
        self._is_closed = True

    def check_open(self, k: int = 1) -> None:
        """Do nothing while questions may be asked.

        Args:
            k: candidates that are asked for.

        Raises:
            PromptClosed: when the truth was told already.
            ValueError: when less than one candidate is asked for.
        """
        if k < 1:
            raise ValueError(f"a request asks for one candidate or more, got {k}")
        if self._is_closed:
            raise PromptClosed(f"the truth of prompt {self.prompt_id!r} was told already")


class Pool(ABC):
    """A recorded pool: many prompts, one kind of judge.

    Args:
        name: of pool and judge, for a table.
        description: one line.
        cost_model: what a request buys, as text.
        prompt_ids: in sorted order.
        rubrics: that judge passes should take one after another.
        is_interleaved: whether prompts are halved one by one, not in the middle.
        task_knobs: settings of a search that follow from the task, not from taste.
    """

    def __init__(
        self,
        *,
        name: str,
        description: str,
        cost_model: str,
        prompt_ids: Sequence[str],
        is_interleaved: bool = False,
        rubrics: tuple[str, ...] = (OVERALL,),
        task_knobs: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        if list(prompt_ids) != sorted(set(prompt_ids)):
            raise ValueError(f"the prompts of {name!r} are not sorted, or one is there twice")
        self.name = name
        self.description = description
        self.cost_model = cost_model
        self.prompt_ids = tuple(prompt_ids)
        self._place = {prompt_id: place for place, prompt_id in enumerate(self.prompt_ids)}
        self.is_interleaved = is_interleaved
        self.rubrics = rubrics
        self.task_knobs = dict(task_knobs)

    def half(self, half: Half) -> tuple[str, ...]:
        """Return the ids of one half, sorted: the first, `tuning`, or the rest, `reporting`.

        Raises:
            ValueError: when it is neither.
        """
        if half not in get_args(Half):
            raise ValueError(f"expected the half `tuning` or `reporting`, got {half!r}")
        is_tuning = half == "tuning"
        if self.is_interleaved:
            return self.prompt_ids[::2] if is_tuning else self.prompt_ids[1::2]
        middle = len(self.prompt_ids) // 2
        return self.prompt_ids[:middle] if is_tuning else self.prompt_ids[middle:]

    @abstractmethod
    def prompt(self, prompt_id: str, seed: int) -> PoolPrompt:
        """Return a prompt untouched; the same shuffle for the same seed.

        Raises:
            KeyError: when there is no such prompt.
        """

    def score_range(self, half: Half) -> tuple[float, float]:
        """Return the mean truth over a half's prompts of a pick by lot, and of the best pick."""
        prompts = [self.prompt(prompt_id, 0) for prompt_id in self.half(half)]
        random = float(np.mean([prompt.random_truth() for prompt in prompts]))
        return random, float(np.mean([prompt.oracle_truth() for prompt in prompts]))


def data_folder() -> Path:
    """Return the folder of recorded data: `CALLWISE_DATA`, or `../shared/data`."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    return Path(os.environ.get("CALLWISE_DATA", default))


def read_columns(*path: str, columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
    """Return a recorded Parquet table by column.

    Args:
        path: of the file, below the folder of recorded data.
        columns: to read; None reads all.

    Raises:
        PoolAbsent: when the file is not there, or nothing that reads it is installed.
    """
    file = data_folder().joinpath(*path)
    if not file.is_file():
        raise PoolAbsent(f"there is no {file}: set CALLWISE_DATA to the folder of recorded data")
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise PoolAbsent("pyarrow is not installed; it is in the `bench` extra") from error
    found: dict[str, list[Any]] = pq.read_table(file, columns=columns).to_pydict()
    return found


def rows_in_order(table: Mapping[str, Sequence[Any]]) -> tuple[list[int], list[str]]:
    """Return a table's rows by prompt and then by candidate, and its prompts in that order."""
    keys = list(zip(table["prompt_id"], table["cand_id"], strict=True))
    return sorted(range(len(keys)), key=keys.__getitem__), sorted(set(table["prompt_id"]))
