"""What the classic search will ask, from its knobs alone.

Written apart from the search itself, on purpose: a test drives the one against the
other over every combination of knobs.
"""

from lats.knobs import ClassicKnobs
from lats.proposal import Kind
from lats.search_plan import PlannedCalls, PlannedRound, Scenario, SearchPlan

__all__ = ["plan_classic"]


def plan_classic(knobs: ClassicKnobs, scenario: Scenario) -> SearchPlan:
    """Return the exact calls of a classic search in a scenario; see `plan_search`."""
    if scenario is Scenario.WORST:
        free = knobs.model_copy(update={"max_calls": None})
        rounds = _Walk(free, scenario).rounds()
        return SearchPlan(rounds if knobs.max_calls is None else _cut(rounds, knobs.max_calls))
    return SearchPlan(_Walk(knobs, scenario).rounds())


def _cut(rounds: tuple[PlannedRound, ...], max_calls: int) -> tuple[PlannedRound, ...]:
    """Return rounds with at most that many calls, as many rounds of them as possible."""
    kept = list(rounds[:max_calls])
    spare = max_calls - len(kept)
    narrow: list[PlannedRound] = []
    for together in kept:
        left, parts = 1 + spare, []
        for part in together:
            count = min(part.count_calls, left)
            if count:
                parts.append(PlannedCalls(part.kind, count, part.is_speculative))
            left -= count
        spare = left
        narrow.append(tuple(parts))
    return tuple(narrow)


class _Walk:
    """One pass through a search that has only its knobs to go by."""

    def __init__(self, knobs: ClassicKnobs, scenario: Scenario) -> None:
        self._knobs = knobs
        self._scenario = scenario
        self._planned: list[PlannedRound] = []
        self._asked_calls = 0

    def rounds(self) -> tuple[PlannedRound, ...]:
        """Return the rounds."""
        knobs = self._knobs
        if self._fits(1):
            self._ask(PlannedCalls(Kind.PLAN_ROOT, 1))
            if self._fits(1):
                self._judge_root_and_roll_out(knobs)
        return tuple(self._planned)

    def _judge_root_and_roll_out(self, knobs: ClassicKnobs) -> None:
        is_prefetched = (
            knobs.prefetch and knobs.rollouts > 0 and self._fits(1 + self._rollout_calls)
        )
        if is_prefetched:
            expansion = PlannedCalls(Kind.EXPAND, 1, is_speculative=True)
            self._ask(PlannedCalls(Kind.JUDGE, 1), expansion)
        else:
            self._ask(PlannedCalls(Kind.JUDGE, 1))
        if self._exits(0):
            return
        done = 0
        while done < knobs.rollouts:
            if not (is_prefetched and done == 0):
                if not self._fits(self._rollout_calls):
                    break
                self._ask(PlannedCalls(Kind.EXPAND, 1))
            self._fill_rollout(done)
            done += 1
            if self._exits(done):
                break
        if done:
            self._close(done)

    @property
    def _rollout_calls(self) -> int:
        """Calls that must fit before a rollout starts: its own, and the last one."""
        return 1 + self._knobs.picks_per_rollout + self._knobs.final_calls

    def _fill_rollout(self, done: int) -> None:
        knobs = self._knobs
        is_alike = self._scenario is Scenario.WORST and knobs.expand_k > 1
        if is_alike and done < knobs.max_top_ups and self._fits(self._rollout_calls):
            self._ask(PlannedCalls(Kind.TOP_UP, 1))
        self._ask_in_turns(Kind.JUDGE, knobs.picks_per_rollout, knobs.soft_max_concurrency)

    def _exits(self, rollouts_done: int) -> bool:
        gates = self._knobs.early_exit
        if not gates.enabled or rollouts_done < gates.min_rollouts:
            return False
        if self._scenario is Scenario.EARLY_EXIT:
            return True
        # Without judges in rollouts the root's judgement is the only one there is.
        return (
            self._scenario is Scenario.EARLY_EXIT_AFTER_FIRST_ROLLOUT
            and rollouts_done > 0
            and self._knobs.soft_top_n > 0
        )

    def _close(self, rollouts_done: int) -> None:
        knobs = self._knobs
        ranked = 1 + rollouts_done * (knobs.picks_per_rollout or knobs.expand_k)
        if self._scenario is Scenario.WORST:
            # With every judge failing, all replies are ranked, topped-up ones included.
            ranked = 1 + (rollouts_done + knobs.max_top_ups) * knobs.expand_k
        checks = min(knobs.assistant_check_top_n, ranked)
        while checks and not self._fits(checks + knobs.final_calls):
            checks -= 1
        self._ask_in_turns(Kind.CHECK_ASSISTANT, checks, knobs.assistant_check_max_concurrency)
        if knobs.rejudge_final and self._fits(1):
            self._ask(PlannedCalls(Kind.FINAL_JUDGE, 1))

    def _fits(self, calls: int) -> bool:
        cap = self._knobs.max_calls
        return cap is None or self._asked_calls + calls <= cap

    def _ask(self, *parts: PlannedCalls) -> None:
        self._planned.append(parts)
        self._asked_calls += sum(part.count_calls for part in parts)

    def _ask_in_turns(self, kind: Kind, calls: int, max_concurrency: int) -> None:
        while calls > 0:
            together = min(calls, max_concurrency)
            self._ask(PlannedCalls(kind, together))
            calls -= together
