"""HumanEval: 100 programs and 100 test-writing calls of one model for each of 164 tasks.

Data: `humaneval_codegen16b_pool` (its README names the sources). Both were sampled from
CodeGen-16B, and every program was run against every test beforehand. Truth is whether a
program passes the hidden tests: 0 or 1. Most calls bring no usable test, and two tests in
three are wrong, so this judge is biased: it prefers what shares its mistakes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.flat_prompt import FlatPrompt
from benchmarks.search.pools import OVERALL, Item, Pool, lots, read_columns
from lats.answers import Verdict

__all__ = ["HumanEval", "HumanEvalPrompt", "load_humaneval"]

FOLDER = "humaneval_codegen16b_pool"

_COST = (
    "A request hands out as many recorded programs as it asks for, or is one recorded "
    "test-writing call whose tests run on all programs that it reads; running them costs no "
    "request. A call without a usable test was paid, and is missing for all. Each call is "
    "used once in a run: reading programs one a request uses one call for each. Programs "
    "have no parents: refining brings the next recorded programs, a refinement gain of 0."
)

_USABLE = (
    " Here calls without a usable test are left out, as if the test writer always kept to its "
    "form; that is seven in eight of them. The record then ends at 13 calls a task on "
    "average, and at none for nine tasks."
)


class HumanEvalPrompt(FlatPrompt):
    """One task.

    Args:
        prompt_id: of the task.
        seed: of the shuffle.
        texts: the programs.
        truths: whether each passes the hidden tests.
        calls: asserts of each recorded call, as rows of `passes`.
        passes: whether a program passes an assert, (asserts, programs).
    """

    def __init__(
        self,
        prompt_id: str,
        seed: int,
        *,
        texts: Sequence[str],
        truths: NDArray[np.float64],
        calls: Sequence[Sequence[int]],
        passes: NDArray[np.bool_],
    ) -> None:
        super().__init__(prompt_id, seed, texts=texts, truths=truths)
        self._calls = calls
        self._passes = passes
        order = lots(prompt_id, seed, "calls").permutation(len(calls))
        self._next_calls: list[int] = order[::-1].tolist()

    def judge(self, items: Sequence[Item], rubric: str = OVERALL) -> list[Verdict | None]:
        """Return what the next recorded call gives for each program: tests passed, and which."""
        self.check_open()
        if rubric != OVERALL:
            raise ValueError(f"no rubric {rubric!r} was recorded; there is: {OVERALL}")
        places = [self.place_of(item) for item in items]
        if not self._next_calls:
            self.exhausted += len(items)
            return [None] * len(items)
        call = self._next_calls.pop()
        asserts = self._calls[call]
        if not asserts:
            return [None] * len(items)
        names = [f"{call}:{number}" for number in range(len(asserts))]
        found: list[Verdict | None] = []
        for place in places:
            passed = [bool(self._passes[row, place]) for row in asserts]
            checks = dict(zip(names, passed, strict=True))
            found.append(Verdict(score=sum(passed) / len(passed), checks=checks))
        return found


class HumanEval(Pool):
    """All tasks.

    Args:
        texts: programs by task.
        truths: whether they pass the hidden tests, (tasks, programs).
        calls: by task, the asserts of each call as rows of `passes`.
        passes: by task, whether a program passes an assert, (asserts, programs).
        is_usable_only: whether calls without a usable test are left out.
    """

    def __init__(
        self,
        *,
        texts: Sequence[Sequence[str]],
        truths: NDArray[np.float64],
        calls: Sequence[Sequence[Sequence[int]]],
        passes: Sequence[NDArray[np.bool_]],
        is_usable_only: bool = False,
    ) -> None:
        if is_usable_only:
            calls = [[call for call in task if call] for task in calls]
        super().__init__(
            name="HumanEval, usable judge calls" if is_usable_only else "HumanEval",
            description=f"{len(texts)} tasks, {truths.shape[1]} programs by CodeGen-16B, right "
            "or wrong by hidden tests; judged by tests that the same model wrote.",
            cost_model=_COST + (_USABLE if is_usable_only else ""),
            prompt_ids=[f"{task:03d}" for task in range(len(texts))],
        )
        self._texts, self._truths, self._calls, self._passes = texts, truths, calls, passes

    def prompt(self, prompt_id: str, seed: int) -> HumanEvalPrompt:
        """Return a task untouched."""
        place = self._place[prompt_id]
        return HumanEvalPrompt(
            prompt_id,
            seed,
            texts=self._texts[place],
            truths=self._truths[place],
            calls=self._calls[place],
            passes=self._passes[place],
        )


def load_humaneval(*, is_usable_only: bool = False) -> HumanEval:
    """Return the pool.

    Args:
        is_usable_only: whether calls without a usable test are left out.

    Raises:
        PoolAbsent: when the record is not there.
        ValueError: when a call names an assert that was not run.
    """
    programs = read_columns(
        FOLDER, "candidates.parquet", columns=["task", "cand", "code", "passes_hidden_tests"]
    )
    asserts = read_columns(FOLDER, "asserts.parquet", columns=["task", "text", "pass_by_candidate"])
    calls = read_columns(FOLDER, "judge_calls.parquet", columns=["task", "call", "asserts"])
    tasks, width = max(programs["task"]) + 1, max(programs["cand"]) + 1
    texts = [[""] * width for _ in range(tasks)]
    truths = np.zeros((tasks, width))
    for task, place, code, is_right in zip(*programs.values(), strict=True):
        texts[task][place] = code
        truths[task, place] = is_right
    rows: list[dict[str, int]] = [{} for _ in range(tasks)]
    passed: list[list[str]] = [[] for _ in range(tasks)]
    for task, text, by_program in zip(*asserts.values(), strict=True):
        rows[task][text] = len(passed[task])
        passed[task].append(by_program)
    by_call: list[list[list[int]]] = [[] for _ in range(tasks)]
    for _, task, said in sorted(zip(calls["call"], calls["task"], calls["asserts"], strict=True)):
        unknown = [text for text in said if text not in rows[task]]
        if unknown:
            raise ValueError(f"task {task}: the assert {unknown[0]!r} was never run")
        by_call[task].append([rows[task][text] for text in said])
    return HumanEval(
        texts=texts,
        truths=truths,
        calls=by_call,
        passes=[_bits(rows) for rows in passed],
        is_usable_only=is_usable_only,
    )


def _bits(rows: Sequence[str]) -> NDArray[np.bool_]:
    """Return rows of `0` and `1` as booleans, (rows, characters)."""
    if not rows:
        return np.zeros((0, 0), dtype=np.bool_)
    letters = np.frombuffer("".join(rows).encode(), dtype=np.uint8)
    return np.asarray(letters.reshape(len(rows), -1) == ord("1"))
