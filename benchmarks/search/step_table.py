"""Tasks of steps: the share of puzzles solved by requests, by ours and by treequest.

Every puzzle is met once by each policy, all with the same order of proposals and the same noise of
the judge, so differences are paired. Our own searches get their defaults, a cap, and what a user
knows of the task: that an exact judge or verifier is asked (`stop_score=1`), the number of steps
where it is fixed, and how many states a request names. treequest gets the same requests: as it
is, a node takes two, one to propose it and one to read it; packed, one request proposes as many
children as ours do, and one reads them all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from benchmarks.figures import Figure
from benchmarks.search.intervals import mean_interval, paired_difference
from benchmarks.search.peers_treequest import is_installed, treequest_ab_mcts_a, treequest_mcts
from benchmarks.search.pools import Half, PoolPrompt
from benchmarks.search.running import Run, Runner, by_prompt, run_grid
from benchmarks.search.step_tasks import (
    NOISE_SD,
    WIDE_NOISE_SD,
    Countdown,
    StepTask,
    TwentyFour,
    WideStart,
)
from lats.search_knobs import EarlyExitKnobs, SearchKnobs

__all__ = ["STEP_CASES", "StepCase", "solved_shares", "step_claims", "step_table", "step_tables"]

OURS = ("posterior_uct", "auto")


@dataclass(frozen=True)
class StepCase:
    """One table.

    Args:
        title: of the table.
        task: its puzzles.
        k: states that a request names.
        caps: requests, rising.
        targets: least share solved that `posterior_uct` should reach, each after its cap.
        has_peers: whether treequest is run as well.
    """

    title: str
    task: StepTask
    k: int
    caps: tuple[int, ...]
    targets: tuple[tuple[int, float], ...] = ()
    has_peers: bool = True


_EXACT = MappingProxyType({"stop_score": 1.0})

STEP_CASES: tuple[StepCase, ...] = (
    StepCase(
        "30 first steps, 4 per request, exact judge",
        StepTask("wide start", WideStart, max_depth=3, knobs=_EXACT),
        4,
        (12, 24, 50, 200),
        ((50, 0.6), (200, 0.95)),
    ),
    StepCase(
        "30 first steps, 4 per request, exact judge that is not declared as one",
        StepTask("wide start, undeclared", WideStart, max_depth=3),
        4,
        (12, 24, 50, 200),
        has_peers=False,
    ),
    StepCase(
        f"30 first steps, 4 per request, noise of {WIDE_NOISE_SD:g} in every score",
        StepTask("wide start, noisy", partial(WideStart, noise_sd=WIDE_NOISE_SD), max_depth=3),
        4,
        (12, 24, 50, 200),
        has_peers=False,
    ),
    StepCase(
        f"Countdown, 8 per request, noise of {NOISE_SD:g} in scores of unfinished states",
        StepTask("countdown", Countdown, max_depth=None, knobs=_EXACT),
        8,
        (12, 24, 48, 96),
        ((48, 0.85),),
    ),
    StepCase(
        f"Countdown, 4 per request, noise of {NOISE_SD:g} in scores of unfinished states",
        StepTask("countdown, 4", Countdown, max_depth=None, knobs=_EXACT),
        4,
        (12, 24, 48, 96),
        has_peers=False,
    ),
    StepCase(
        "24 of four numbers, 4 per request, exact judge",
        StepTask("twenty-four", TwentyFour, max_depth=3, knobs=_EXACT),
        4,
        (6, 12, 24, 48),
    ),
)


def _peer(prompt: PoolPrompt, *, seed: int, search: Callable[..., Run], cap: int, k: int) -> Run:
    del seed  # the prompt has it
    return search(prompt, cap, k=k)


def _settings(case: StepCase) -> dict[str, SearchKnobs | Runner]:
    """Return what is run, by policy and cap."""
    found: dict[str, SearchKnobs | Runner] = {}
    for cap in case.caps:
        for policy in OURS:
            given: dict[str, Any] = {
                "policy": policy,
                "max_calls": cap,
                "early_exit": EarlyExitKnobs(enabled=False),
                "generate_k": case.k,
                "refine_k": case.k,
                **case.task.task_knobs,
            }
            found[_name(policy, cap)] = SearchKnobs(**given)
        if case.has_peers and is_installed():
            peers = {
                "treequest StandardMCTS": treequest_mcts,
                "treequest AB-MCTS-A": treequest_ab_mcts_a,
            }
            for label, search in peers.items():
                for words, k in (("", 1), (", packed", case.k)):
                    name = _name(label + words, cap)
                    found[name] = partial(_peer, search=search, cap=cap, k=k)
    return found


def _name(policy: str, cap: int) -> str:
    return f"{policy} @ {cap}"


def solved_shares(
    case: StepCase,
    *,
    half: Half = "reporting",
    max_puzzles: int | None = None,
    max_workers: int = 2,
) -> NDArray[Any]:
    """Return one row a run; see `run_grid`. A setting is named `policy @ cap`.

    Args:
        case: of `STEP_CASES`.
        half: puzzles 0 to 99 are for tuning, 100 to 299 for reporting.
        max_puzzles: of that half, from the first; None takes all.
        max_workers: processes.
    """
    chosen = case.task.half(half)[:max_puzzles]
    settings = _settings(case)
    return run_grid(
        case.task, settings, half=half, seeds=1, prompt_ids=chosen, max_workers=max_workers
    )


def step_tables(
    *,
    half: Half = "reporting",
    max_puzzles: int | None = 100,
    max_workers: int = 2,
    progress: Callable[[str], None] = lambda _line: None,
) -> str:
    """Return the tables of all cases as Markdown.

    Each cell is the share solved with its 95 % interval, the mean requests in brackets. The last
    column is ours less this policy's at the highest cap, paired over puzzles.

    Args:
        half: puzzles 0 to 99 are for tuning, 100 to 299 for reporting.
        max_puzzles: of that half, from the first, at least 2; None takes all.
        max_workers: processes.
        progress: called with what is under way.
    """
    parts = []
    for case in STEP_CASES:
        progress(case.title)
        rows = solved_shares(case, half=half, max_puzzles=max_puzzles, max_workers=max_workers)
        parts.append(step_table(case, rows))
    return "\n".join(parts)


def step_table(case: StepCase, rows: NDArray[Any]) -> str:
    """Return the table of one case as Markdown, of the rows of `solved_shares`."""
    policies = list(dict.fromkeys(name.rpartition(" @ ")[0] for name in rows["setting"]))
    lines = [
        ["", *[f"{cap} requests" for cap in case.caps], f"{OURS[0]} less this at {case.caps[-1]}"],
        ["---"] * (len(case.caps) + 2),
    ]
    first = by_prompt(rows, _name(OURS[0], case.caps[-1]))
    for policy in policies:
        cells = [policy]
        for cap in case.caps:
            solved = mean_interval(by_prompt(rows, _name(policy, cap)))
            requests = by_prompt(rows, _name(policy, cap), "requests").mean()
            cells.append(
                f"{solved.mean:.2f} ({solved.low:.2f} to {solved.high:.2f}) [{requests:.0f}]"
            )
        if policy == OURS[0]:
            cells.append("")
        else:
            other = by_prompt(rows, _name(policy, case.caps[-1]))
            paired = paired_difference(first, other)
            cells.append(f"{paired.mean:+.2f} ({paired.low:+.2f} to {paired.high:+.2f})")
        lines.append(cells)
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    return f"### {case.title}\n\n{_targets(case, rows)}{table}\n"


def step_claims(case: StepCase, rows: NDArray[Any]) -> list[Figure]:
    """Return the shares of one case that have a target, of the rows of `solved_shares`."""
    found = []
    for cap, least in case.targets:
        solved = mean_interval(by_prompt(rows, _name(OURS[0], cap)))
        what = f"`{OURS[0]}`, share solved with {cap} requests: {case.title}"
        shown = f"{solved.mean:.2f} ({solved.low:.2f} to {solved.high:.2f})"
        found.append(Figure(what, shown, f">= {least:.2f}", solved.mean >= least))
    return found


def _targets(case: StepCase, rows: NDArray[Any]) -> str:
    """Return a sentence on each target and whether it is met."""
    said = []
    for cap, least in case.targets:
        share = float(by_prompt(rows, _name(OURS[0], cap)).mean())
        word = "met" if share >= least else "not met"
        said.append(f"Target at {cap} requests: {least:.2f}; {word}, {share:.2f}.")
    return " ".join(said) + "\n\n" if said else ""
