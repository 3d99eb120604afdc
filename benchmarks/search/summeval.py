"""SummEval: twelve summaries of each of 100 articles, rated by experts, judged by LLMs.

Data: `summeval_summary_pool` (its README names the sources). Truth is the mean of three
experts over coherence, consistency, fluency and relevance, 1 to 5. A recorded judge is one
model with one prompt, and rated each summary once in each of the four aspects.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.flat_prompt import FlatPrompt
from benchmarks.search.pools import OVERALL, Item, Pool, lots, read_columns, rows_in_order
from lats.answers import Verdict

__all__ = ["ASPECTS", "JUDGES", "JudgeSetting", "SummEval", "SummEvalPrompt", "load_summeval"]

Ratings = NDArray[np.float64]

ASPECTS = ("coherence", "consistency", "fluency", "relevance")
"""Aspects in the order of the record."""

_GPT35 = tuple(
    f"gpt-3.5-turbo-0301_{name}" for name in ("rts", "mcq", "altrts", "altmcq", "stareval")
)
_LLAMA = tuple(f"llama-2-{size}-chat-hf_rts" for size in ("7b", "13b", "70b"))

JudgeSetting = Literal["gpt35", "llama", "all"]
"""`gpt35` is GPT-3.5 with five prompts; `llama` a weak judge, Llama-2 of three sizes; `all`
these eight and GPT-4."""

JUDGES: Mapping[JudgeSetting, tuple[str, ...]] = MappingProxyType(
    {"gpt35": _GPT35, "llama": _LLAMA, "all": (*_GPT35, *_LLAMA, "gpt-4-0314_rts")}
)
"""Recorded judges of each setting."""


_SAID: Mapping[JudgeSetting, str] = MappingProxyType(
    {
        "gpt35": "GPT-3.5 with five prompts",
        "llama": "Llama-2 of three sizes",
        "all": "GPT-3.5 with five prompts, Llama-2 of three sizes, and GPT-4",
    }
)

_COST = (
    "A request hands out as many recorded summaries as it asks for, or is one recorded judge, "
    "which rates all summaries that it reads; completions and items read are counted apart. "
    "A rating was recorded with one summary in the prompt, so order and contrast between "
    "neighbours are not in these data. Each request takes the first judge of the shuffle that "
    "has read fewest of its summaries. Summaries have no parents: refining brings the next "
    "recorded summaries, a refinement gain of 0. The record ends at {count} summaries, and at "
    "{judges} judges, each of which reads a summary once."
)


class SummEvalPrompt(FlatPrompt):
    """One article. A judge request is one recorded judge, in the order of a seeded shuffle.

    Args:
        prompt_id: of the article.
        seed: of the shuffle.
        texts: the summaries.
        truths: their expert ratings, 1 to 5.
        ratings: of the recorded judges in [0, 1], (judges, summaries, aspects); NaN where one
            is missing.
    """

    def __init__(
        self,
        prompt_id: str,
        seed: int,
        *,
        texts: Sequence[str],
        truths: NDArray[np.float64],
        ratings: Ratings,
    ) -> None:
        super().__init__(prompt_id, seed, texts=texts, truths=truths)
        self._ratings = ratings
        order = lots(prompt_id, seed, "judges").permutation(len(ratings))
        self._readers: dict[int, set[int]] = {judge: set() for judge in order.tolist()}

    def judge(self, items: Sequence[Item], rubric: str = OVERALL) -> list[Verdict | None]:
        """Return one recorded judge's ratings: the first of the shuffle that read fewest of these.

        A summary that this judge has read already gets None: no rating is handed out twice.
        """
        self.check_open()
        if rubric != OVERALL:
            raise ValueError(f"no rubric {rubric!r} was recorded; there is: {OVERALL}")
        places = [self.place_of(item) for item in items]
        read_by = self._readers
        judge = min(read_by, key=lambda each: len(read_by[each].intersection(places)))
        found = [
            None if place in read_by[judge] else self._verdict(judge, place) for place in places
        ]
        self.exhausted += sum(place in read_by[judge] for place in places)
        read_by[judge].update(places)
        return found

    def _verdict(self, judge: int, place: int) -> Verdict | None:
        ratings = zip(ASPECTS, self._ratings[judge, place].tolist(), strict=True)
        known = {name: rating for name, rating in ratings if not math.isnan(rating)}
        if not known:
            return None
        return Verdict(score=sum(known.values()) / len(known), attributes=known)


class SummEval(Pool):
    """All articles, under one setting of the judge. Odd ones by sorted id are for tuning.

    Args:
        setting: which recorded judges answer.
        prompt_ids: of the articles, sorted.
        texts: summaries by article.
        truths: expert ratings, (articles, summaries).
        ratings: of the setting's judges in [0, 1], (articles, judges, summaries, aspects).
    """

    def __init__(
        self,
        setting: JudgeSetting,
        *,
        prompt_ids: Sequence[str],
        texts: Sequence[Sequence[str]],
        truths: NDArray[np.float64],
        ratings: Ratings,
    ) -> None:
        count = truths.shape[1]
        super().__init__(
            name=f"SummEval, {setting}",
            description=f"{len(prompt_ids)} articles, {count} summaries, rated 1 to 5 by "
            f"experts; judged by {_SAID[setting]}.",
            cost_model=_COST.format(count=count, judges=ratings.shape[1]),
            prompt_ids=prompt_ids,
            is_interleaved=True,
        )
        self._texts, self._truths, self._ratings = texts, truths, ratings

    def prompt(self, prompt_id: str, seed: int) -> SummEvalPrompt:
        """Return an article untouched."""
        place = self._place[prompt_id]
        return SummEvalPrompt(
            prompt_id,
            seed,
            texts=self._texts[place],
            truths=self._truths[place],
            ratings=self._ratings[place],
        )


def load_summeval(setting: JudgeSetting = "gpt35") -> SummEval:
    """Return the pool under one setting of the judge.

    Args:
        setting: which recorded judges answer.

    Raises:
        PoolAbsent: when the record is not there.
        ValueError: when there is no such setting.
    """
    if setting not in JUDGES:
        raise ValueError(f"expected a setting of {get_args(JudgeSetting)}, got {setting!r}")
    judges = JUDGES[setting]
    expert = [f"human_expert_{aspect}" for aspect in ASPECTS]
    columns = ["prompt_id", "cand_id", "summary", *expert, *(f"judge_{judge}" for judge in judges)]
    table = read_columns("summeval_summary_pool", "pool.parquet", columns=columns)
    ordered, prompt_ids = rows_in_order(table)
    width = len(ordered) // len(prompt_ids)
    texts = [table["summary"][row] for row in ordered]
    human = np.array([[table[name][row] for name in expert] for row in ordered])
    said = np.array(
        [[table[f"judge_{judge}"][row] for judge in judges] for row in ordered], dtype=np.float64
    ).reshape(len(prompt_ids), width, len(judges), len(ASPECTS))
    return SummEval(
        setting,
        prompt_ids=prompt_ids,
        texts=[texts[at : at + width] for at in range(0, len(texts), width)],
        truths=human.mean(axis=(1, 2)).reshape(len(prompt_ids), width),
        ratings=(said.transpose(0, 2, 1, 3) - 1) / 4,
    )
