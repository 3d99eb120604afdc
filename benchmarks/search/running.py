"""One run of one policy on one prompt, and many of them, whatever the policy.

Every proposal is one request. The policy sees judge values only: rules that read the text
have no say unless they are asked for (`has_rules`), and then only where candidates are
replies.
"""

import math
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.answering import Recorded
from benchmarks.search.pools import Half, Pool, PoolPrompt
from lats.actions import ActionId
from lats.classic_uct import ClassicUct
from lats.policies import start_search
from lats.policy import SearchPolicy
from lats.rule_score import ReplyContext
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs

__all__ = ["ROW", "Run", "Runner", "by_prompt", "run_grid", "run_policy"]


class Runner(Protocol):
    """A policy that drives itself, such as a peer's."""

    def __call__(self, prompt: PoolPrompt, *, seed: int) -> "Run":
        """Return what became of one run on a fresh prompt."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """Result of one run.

    Args:
        truth: of the final pick; of a pick by lot where no candidate ever came.
        requests: proposals made, each one request.
        completions: candidates received.
        items: candidates read by judges, once for each time.
        rounds: batches of requests that had to wait for each other.
        misses: requests to go on from a candidate whose continuations were never recorded.
        stop_reason: why it ended.
        expansions: requests to go on from a recorded candidate; what misses are a share of.
        exhausted: candidates and judge samples asked for when the record had no more.
        chance_best: probability that the search gave its pick of being the best of all that it
            had; NaN where it gave none.
        is_best: 1 where no candidate that the search had is truly better, else 0; NaN where it
            gave no probability, and where all its candidates are equally good.
    """

    truth: float
    requests: int
    completions: int
    items: int
    rounds: int
    misses: int
    stop_reason: str
    expansions: int = 0
    exhausted: int = 0
    chance_best: float = math.nan
    is_best: float = math.nan


def run_policy(knobs: SearchKnobs, prompt: PoolPrompt, *, has_rules: bool = False) -> Run:
    """Return what a policy picks of a new prompt.

    Args:
        knobs: of the search; the prompt's seed takes the place of theirs.
        prompt: fresh; closed afterwards.
        has_rules: whether the rule score of replies picks and breaks ties, as in the pipeline.

    Raises:
        RuntimeError: when the policy proposes what was answered already.
    """
    search = _start(
        knobs.model_copy(update={"seed": prompt.seed}), prompt.user_text if has_rules else None
    )
    recorded = Recorded(prompt, search)
    told: set[ActionId] = set()
    while actions := search.ask():
        for action in actions:
            if action.action_id in told:
                raise RuntimeError(f"{knobs.policy} proposed {action.action_id!r} again")
            told.add(action.action_id)
            search.tell(action.action_id, recorded.answer(action))
    found = search.result()
    pick = None if found.best is None else recorded.item_of(found.best.draft)
    truth = prompt.random_truth() if pick is None else prompt.truth(pick)
    chance_best = is_best = math.nan
    if pick is not None and found.confidence is not None:
        chance_best = found.confidence.chance_best
        seen = prompt.truths_seen(recorded.answers())
        if max(seen) - min(seen) > _SAME_TRUTH:
            is_best = float(truth >= max(seen) - _SAME_TRUTH)
    return Run(
        truth=truth,
        requests=len(told),
        completions=recorded.completions,
        items=recorded.items,
        rounds=found.rounds,
        misses=prompt.misses,
        stop_reason="" if found.stop_reason is None else found.stop_reason.value,
        expansions=prompt.expansions,
        exhausted=prompt.exhausted,
        chance_best=chance_best,
        is_best=is_best,
    )


def _no_rule(_reply: str, _siblings: object) -> float:
    return 0.5


def _start(knobs: SearchKnobs, user_text: str | None) -> SearchPolicy:
    """Return a search; without a user's text, one in which rules have no say."""
    if user_text is not None:
        return start_search(knobs, ReplyContext(user_text=user_text))
    if knobs.policy == "classic_uct":
        return ClassicUct(knobs, ReplyContext(user_text=""), scorer=_no_rule)
    return PosteriorSearch(knobs)


_SAME_TRUTH = 1e-9
"""Difference of two truths that is rounding."""

_COUNTS = ("requests", "completions", "items", "rounds", "misses", "expansions", "exhausted")

ROW = np.dtype(
    [("setting", "U96"), ("prompt", "U32"), ("seed", "i8"), ("truth", "f8")]
    + [(name, "i4") for name in _COUNTS]
    + [("chance_best", "f8"), ("is_best", "f8"), ("stop_reason", "U24")]
)
"""One run as a row: which, and all fields of `Run`."""


def _row(setting: str, prompt_id: str, seed: int, run: Run) -> tuple[Any, ...]:
    counts = tuple(getattr(run, name) for name in _COUNTS)
    figures = (run.chance_best, run.is_best)
    return (setting, prompt_id, seed, run.truth, *counts, *figures, run.stop_reason)


def _rows(
    pool: Pool,
    settings: Mapping[str, SearchKnobs | Runner],
    prompt_ids: Sequence[str],
    seeds: Sequence[int],
) -> list[tuple[Any, ...]]:
    """Return the rows of some prompts, by setting, prompt and seed."""
    rows = []
    for name, setting in settings.items():
        for prompt_id in prompt_ids:
            for seed in seeds:
                prompt = pool.prompt(prompt_id, seed)
                if isinstance(setting, SearchKnobs):
                    run = run_policy(setting, prompt)
                else:
                    run = setting(prompt, seed=seed)
                rows.append(_row(name, prompt_id, seed, run))
    return rows


def run_grid(
    pool: Pool,
    settings: Mapping[str, SearchKnobs | Runner],
    *,
    half: Half,
    seeds: int | Sequence[int],
    prompt_ids: Sequence[str] | None = None,
    max_workers: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.void]:
    """Return one row a run: every setting on every prompt under every seed.

    All settings meet the same shuffles. The order of the rows (settings as given, prompts
    by id, seeds as given) does not depend on the number of workers.

    Args:
        pool: the prompts' pool.
        settings: knobs, or a runner that other processes can be given, by its name.
        half: of the prompts.
        seeds: that many from 0, or these.
        prompt_ids: some of that half; None takes all of it.
        max_workers: processes; 1 stays in this one.
        on_progress: called with prompts done and prompts in all.

    Raises:
        ValueError: when a prompt is not of that half, or a name is too long for a row.
    """
    chosen = pool.half(half) if prompt_ids is None else tuple(sorted(prompt_ids))
    strange = sorted(set(chosen) - set(pool.half(half)))
    if strange:
        raise ValueError(f"prompt {strange[0]!r} is not of the {half} half of {pool.name}")
    longest = max(settings, key=len, default="")
    if len(longest) > 96:
        raise ValueError(f"a setting's name has at most 96 characters, got {longest!r}")
    lots = range(seeds) if isinstance(seeds, int) else seeds
    parts = _parts(chosen, 1 if max_workers == 1 else 4 * max_workers)
    found: list[tuple[Any, ...]] = []
    for done, rows in enumerate(_run_parts(pool, settings, parts, list(lots), max_workers), 1):
        found += rows
        if on_progress is not None:
            on_progress(sum(map(len, parts[:done])), len(chosen))
    place = {name: at for at, name in enumerate(settings)}
    # Sorting is stable: within a setting, parts came in the order of their prompts.
    found.sort(key=lambda row: place[row[0]])
    return np.array(found, dtype=ROW)


def _parts(prompt_ids: Sequence[str], count: int) -> list[Sequence[str]]:
    """Return prompts in at most `count` parts of nearly equal size, in order."""
    size = max(-(-len(prompt_ids) // count), 1)
    return [prompt_ids[at : at + size] for at in range(0, len(prompt_ids), size)]


def _run_parts(
    pool: Pool,
    settings: Mapping[str, SearchKnobs | Runner],
    parts: Sequence[Sequence[str]],
    seeds: Sequence[int],
    max_workers: int,
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows of each part, in their order."""
    if max_workers == 1:
        for part in parts:
            yield _rows(pool, settings, part, seeds)
        return
    # A forked process would inherit locks that threads of this one may hold.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers, mp_context=context) as workers:
        waiting = [workers.submit(_rows, pool, settings, part, seeds) for part in parts]
        for one in waiting:
            yield one.result()


def by_prompt(rows: NDArray[np.void], setting: str, field: str = "truth") -> NDArray[np.float64]:
    """Return a field of one setting's runs, (prompts, seeds), in the order of `run_grid`.

    Raises:
        ValueError: when there is no such setting, or its prompts have unequal seeds.
    """
    own = rows[rows["setting"] == setting]
    if not len(own):
        raise ValueError(f"there are no rows of {setting!r}")
    prompts = len(np.unique(own["prompt"]))
    if len(own) % prompts:
        raise ValueError(f"the prompts of {setting!r} were not run under the same seeds")
    values: NDArray[np.float64] = own[field].astype(np.float64).reshape(prompts, -1)
    return values
