"""Topical-Chat: six replies to each of 60 dialogues, rated by people, judged by GPT-3.5.

Data: `topicalchat_reply_pool` (its README names the sources). Truth is the mean overall
rating of three people, 1 to 5. Of the six replies people wrote two; the pool of machine
replies leaves those out.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.flat_prompt import FlatPrompt
from benchmarks.search.pools import OVERALL, Item, Pool, lots, read_columns, rows_in_order
from lats.answers import Verdict

__all__ = [
    "ATTRIBUTES",
    "STYLE",
    "JudgeName",
    "TopicalChat",
    "TopicalPrompt",
    "load_topical_chat",
    "within_correlation",
]

Samples = NDArray[np.float64]

N_SAMPLES = 20
STYLE = "analyze_rate_auto_cot"
"""Prompt style of every judge but the weak one: it analyses, then rates."""

ATTRIBUTES: Mapping[str, str] = {
    "coherence": "coh",
    "engagingness": "eng",
    "groundedness": "gro",
    "naturalness": "nat",
}
"""Attributes that were judged, and what the record calls them."""

JudgeName = Literal["engagingness", "rubric", "rotating", "weak"]
"""`engagingness` rates one attribute; `rubric` all four in one pass, the score being their
mean; `rotating` one of the four in each pass, by rotation; `weak` is the recorded column that
agrees least with people on the tuning half."""

_COST = (
    "A request hands out as many recorded replies as it asks for, or judges all replies that "
    "it reads, one recorded sample each; completions and items read are counted apart. A "
    "sample was recorded with one reply in the prompt, so order and contrast between "
    "neighbours are not in these data. Replies have no parents: refining brings the next "
    "recorded replies, a refinement gain of 0. The record ends at {count} replies, and at 20 "
    "samples of each in a column; an unparsed sample was paid, and is missing."
)


class TopicalPrompt(FlatPrompt):
    """One dialogue. A cursor for each reply and column: no sample is read twice.

    Args:
        prompt_id: of the dialogue.
        seed: of the shuffle.
        texts: the replies.
        truths: their human ratings, 1 to 5.
        user_text: the dialogue's last line.
        columns: judge samples in [0, 1] by column, (replies, samples); NaN where unparsed.
        rubrics: by rubric, the columns that its request reads, by attribute.
        rotation: rubrics that `overall` takes by rotation, each reading of a reply the next one.
    """

    def __init__(
        self,
        prompt_id: str,
        seed: int,
        *,
        texts: Sequence[str],
        truths: NDArray[np.float64],
        user_text: str,
        columns: Mapping[str, Samples],
        rubrics: Mapping[str, Mapping[str, str]],
        rotation: tuple[str, ...],
    ) -> None:
        super().__init__(prompt_id, seed, texts=texts, truths=truths, user_text=user_text)
        self._columns = columns
        self._rubrics = rubrics
        self._rotation = rotation
        self._shuffled: dict[str, list[list[float]]] = {}
        self._next: dict[str, list[int]] = {}
        self._looks = [0] * len(texts)

    def judge(self, items: Sequence[Item], rubric: str = OVERALL) -> list[Verdict | None]:
        """Return the next recorded sample of each reply, of each column of the rubric."""
        self.check_open()
        if rubric not in self._rubrics and not (rubric == OVERALL and self._rotation):
            known = ", ".join(sorted({*self._rubrics, *((OVERALL,) if self._rotation else ())}))
            raise ValueError(f"no rubric {rubric!r} was recorded; there are: {known}")
        return [self._verdict(self.place_of(item), rubric) for item in items]

    def _verdict(self, place: int, rubric: str) -> Verdict | None:
        if rubric == OVERALL and self._rotation:
            rubric = self._rotation[self._looks[place] % len(self._rotation)]
            self._looks[place] += 1
        read = self._rubrics[rubric]
        scores = {name: self._sample(column, place) for name, column in read.items()}
        known = {name: score for name, score in scores.items() if not math.isnan(score)}
        if not known:
            return None
        return Verdict(
            score=sum(known.values()) / len(known), attributes=known if len(read) > 1 else {}
        )

    def _sample(self, column: str, place: int) -> float:
        """Return the next sample of a reply in a column; NaN when unparsed or used up."""
        shuffled = self._shuffled.get(column)
        if shuffled is None:
            samples = self._columns[column]
            draw = lots(self.prompt_id, self.seed, "samples", column)
            shuffled = draw.permuted(samples, axis=1).tolist()
            self._shuffled[column] = shuffled
            self._next[column] = [0] * len(shuffled)
        cursor = self._next[column][place]
        if cursor == N_SAMPLES:
            self.exhausted += 1
            return math.nan
        self._next[column][place] = cursor + 1
        return shuffled[place][cursor]


class TopicalChat(Pool):
    """All dialogues, under one judge.

    Args:
        judge: which one answers `overall`.
        is_machine_only: whether the two human-written replies are left out.
        prompt_ids: of the dialogues, sorted.
        texts: replies by dialogue.
        truths: human ratings, (dialogues, replies).
        user_texts: each dialogue's last line.
        columns: judge samples in [0, 1] by column, (dialogues, replies, samples).
    """

    def __init__(
        self,
        judge: JudgeName,
        *,
        is_machine_only: bool,
        prompt_ids: Sequence[str],
        texts: Sequence[Sequence[str]],
        truths: NDArray[np.float64],
        user_texts: Sequence[str],
        columns: Mapping[str, Samples],
    ) -> None:
        replies = "machine replies" if is_machine_only else "all replies"
        singles = {name: {name: f"{code}_{STYLE}"} for name, code in ATTRIBUTES.items()}
        self._rubrics: dict[str, dict[str, str]] = dict(singles)
        said = f"by {judge}, prompt style {STYLE}"
        match judge:
            case "engagingness":
                self._rubrics[OVERALL] = singles["engagingness"]
            case "rubric":
                self._rubrics[OVERALL] = {name: each[name] for name, each in singles.items()}
                said = f"by {', '.join(ATTRIBUTES)} in one pass, prompt style {STYLE}"
            case "rotating":
                said = f"by {', '.join(ATTRIBUTES)} in turn, prompt style {STYLE}"
            case "weak":
                tuning = len(prompt_ids) // 2
                by_column = {
                    name: within_correlation(samples[:tuning], truths[:tuning])
                    for name, samples in columns.items()
                }
                weakest = min(by_column, key=lambda name: (by_column[name], name))
                self._rubrics[OVERALL] = {"weak": weakest}
                said = f"by its weakest column on the tuning half, {weakest}"
            case _:
                raise ValueError(f"expected a judge of {get_args(JudgeName)}, got {judge!r}")
        super().__init__(
            name=f"Topical-Chat, {replies}, {judge}",
            description=f"{len(prompt_ids)} dialogues, {truths.shape[1]} {replies}, "
            f"rated 1 to 5 by people; judged by GPT-3.5 {said}.",
            cost_model=_COST.format(count=truths.shape[1]),
            prompt_ids=prompt_ids,
            rubrics=tuple(ATTRIBUTES) if judge == "rotating" else (OVERALL,),
        )
        self._rotation = tuple(ATTRIBUTES) if judge == "rotating" else ()
        used = {column for read in self._rubrics.values() for column in read.values()}
        self._columns = {name: columns[name] for name in sorted(used)}
        self._texts, self._truths, self._user_texts = texts, truths, user_texts

    def prompt(self, prompt_id: str, seed: int) -> TopicalPrompt:
        """Return a dialogue untouched."""
        place = self._place[prompt_id]
        return TopicalPrompt(
            prompt_id,
            seed,
            texts=self._texts[place],
            truths=self._truths[place],
            user_text=self._user_texts[place],
            columns={name: samples[place] for name, samples in self._columns.items()},
            rubrics=self._rubrics,
            rotation=self._rotation,
        )


def within_correlation(samples: Samples, truths: NDArray[np.float64]) -> float:
    """Return how one judge sample correlates with the truth within a prompt, mean over samples.

    Args:
        samples: (prompts, replies, samples); NaN where missing.
        truths: (prompts, replies).
    """
    known = ~np.isnan(samples)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    score = np.where(known, samples, 0.0)
    truth = np.where(known, truths[:, :, None], 0.0)
    score = np.where(known, score - score.sum(axis=1, keepdims=True) / count, 0.0)
    truth = np.where(known, truth - truth.sum(axis=1, keepdims=True) / count, 0.0)
    along = (0, 1)
    both = np.sqrt((score**2).sum(axis=along) * (truth**2).sum(axis=along))
    return float(np.mean((score * truth).sum(axis=along) / both))


def _as_samples(raw: Sequence[Sequence[float | None] | None], *, is_share: bool) -> Samples:
    """Return a column's samples in [0, 1], (rows, samples); NaN where nothing was parsed."""
    padded = [(list(row or ()) + [None] * N_SAMPLES)[:N_SAMPLES] for row in raw]
    samples = np.array(padded, dtype=np.float64)
    return samples if is_share else (samples - 1) / 2


def load_topical_chat(
    judge: JudgeName = "engagingness", *, is_machine_only: bool = False
) -> TopicalChat:
    """Return the pool under one judge.

    Args:
        judge: which recorded judge answers `overall`.
        is_machine_only: whether the two human-written replies are left out.

    Raises:
        PoolAbsent: when the record is not there.
    """
    table = read_columns("topicalchat_reply_pool", "pool.parquet")
    ordered, prompt_ids = rows_in_order(table)
    if is_machine_only:
        ordered = [row for row in ordered if not table["human_written"][row]]
    shape = (len(prompt_ids), len(ordered) // len(prompt_ids))
    columns: dict[str, Samples] = {}
    for name in (each for each in table if each.startswith("judge_")):
        raw = [table[name][row] for row in ordered]
        samples = _as_samples(raw, is_share=name.startswith("judge_gro_"))
        columns[name.removeprefix("judge_")] = samples.reshape(*shape, N_SAMPLES)
    replies = [table["response"][row] for row in ordered]
    first_rows = ordered[:: shape[1]]
    return TopicalChat(
        judge,
        is_machine_only=is_machine_only,
        prompt_ids=prompt_ids,
        texts=[replies[at : at + shape[1]] for at in range(0, len(replies), shape[1])],
        truths=np.array([table["human_overall"][row] for row in ordered]).reshape(shape),
        user_texts=[table["dialogue"][row].splitlines()[-1].strip() for row in first_rows],
        columns=columns,
    )
