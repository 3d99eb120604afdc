"""Game of 24: GPT-4's tree of partial solutions to 100 puzzles, with its votes.

Data: `tot_game24_tree` (its README names the source). A puzzle is four numbers; a step
takes two of them away and puts one back; after three steps one number is left, and that
is an answer. Truth is 1 for an answer of 24 reached by right arithmetic, and 0 for every
other pick, unfinished ones included.

**What a vote is worth.** GPT-4 said of each state `sure`, `likely` or `impossible`, three
times. The source adds these up as 20, 1 and .001. A score must lie in [0, 1], so they are
divided by 20: 1, .05 and .00005. That keeps the source's order of any two sums (even
spacing would put three `likely` above one `sure`), and it is what votes turned out to mean:
on the tuning half the share of states that can still be solved is .97 after a `sure`, .18
after a `likely` and .15 after an `impossible` at the first step; .98, .003 and .001 at the
second.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.search.game24_tree import RecordedTree, Row
from benchmarks.search.pools import OVERALL, Item, Pool, PoolPrompt, lots, read_columns
from lats.answers import Verdict

__all__ = ["MAX_DEPTH", "VOTE_SCORES", "Game24", "Game24Prompt", "State", "load_game24"]

MAX_DEPTH = 3
"""Steps from a puzzle to an answer."""

MAX_STEPS = 32
"""Next steps that one request asks for: the source's prompt asks for all there are."""

N_VOTES = 3

VOTE_SCORES: Mapping[str, float] = {"sure": 1.0, "likely": 0.05, "impossible": 0.00005}
"""Worth of a vote, in [0, 1]: the source's 20, 1 and .001, divided by 20."""

_COST = (
    "A request hands out as many recorded next steps of one state as it asks for, or reads "
    "one recorded vote of each state in it; completions and items read are counted apart. "
    "Votes were drawn three to an API request; here each counts as one request, "
    "unless it is packed with votes for other states. Only the states that the source's "
    "beam kept have recorded steps. Another one has those of an equal state (the same numbers "
    "left) of another puzzle of the same half, since the source's prompt shows these numbers "
    "and nothing else; each puzzle is lent a record once. Where there is none, going on is "
    "charged, brings nothing and is a miss. A vote that was not parsed was paid, and is "
    "missing. The puzzle itself, as the root of the classic search, costs its request and "
    "has no votes."
)


@dataclass(frozen=True, slots=True)
class State:
    """One recorded state.

    Args:
        state_id: of the record.
        text: the steps from the puzzle to it, one a line.
        depth: steps from the puzzle. 0 for the puzzle.
        is_step: whether it is no answer yet.
        is_solved: TRUTH: whether it is an answer, and right.
        votes: scores in [0, 1]; NaN where one was not parsed. Empty where none was asked for.
        children: ids of the recorded next states.
        is_recorded: whether next steps were asked for.
    """

    state_id: str
    text: str
    depth: int
    is_step: bool
    is_solved: bool
    votes: tuple[float, ...]
    children: tuple[str, ...]
    is_recorded: bool


class Game24Prompt(PoolPrompt):
    """One puzzle.

    Args:
        prompt_id: of the puzzle.
        seed: of the shuffle.
        states: by id.
        root_id: the puzzle's own state.
    """

    def __init__(
        self, prompt_id: str, seed: int, *, states: Mapping[str, State], root_id: str
    ) -> None:
        root = states[root_id]
        super().__init__(prompt_id, seed=seed, start=Item(root_id, root.text, is_step=True))
        self._states = states
        self._root = root
        self._waiting: dict[str, list[str]] = {}
        self._votes: dict[str, list[float]] = {}

    def _state(self, item: Item) -> State:
        state = self._states.get(item.item_id)
        if state is None:
            raise ValueError(f"item {item.item_id!r} is no state of puzzle {self.prompt_id}")
        return state

    def _children(self, state: State, k: int) -> list[Item]:
        """Return the next recorded steps of a state, at most `k`."""
        self.check_open(k)
        waiting = self._waiting.get(state.state_id)
        if waiting is None:
            draw = lots(self.prompt_id, self.seed, "steps", state.state_id)
            order = draw.permutation(len(state.children))[::-1]
            waiting = self._waiting[state.state_id] = [state.children[at] for at in order]
        found = [self._states[waiting.pop()] for _ in range(min(k, len(waiting)))]
        self.exhausted += k - len(found)
        return [
            Item(child.state_id, child.text, parent=state.state_id, is_step=child.is_step)
            for child in found
        ]

    def generate(self, k: int) -> list[Item]:
        """Return the next recorded first steps, at most `k`."""
        return self._children(self._root, k)

    def expand(self, item: Item, k: int) -> list[Item]:
        """Return the next recorded steps of a state, at most `k`; none after three steps."""
        state = self._state(item)
        self.expansions += 1
        if state.depth < MAX_DEPTH and not state.is_recorded:
            self.misses += 1
        return self._children(state, k)

    def judge(self, items: Sequence[Item], rubric: str = OVERALL) -> list[Verdict | None]:
        """Return the next recorded vote of each state."""
        self.check_open()
        if rubric != OVERALL:
            raise ValueError(f"no rubric {rubric!r} was recorded; there is: {OVERALL}")
        return [self._vote(self._state(item)) for item in items]

    def _vote(self, state: State) -> Verdict | None:
        votes = self._votes.get(state.state_id)
        if votes is None:
            draw = lots(self.prompt_id, self.seed, "votes", state.state_id)
            votes = self._votes[state.state_id] = draw.permutation(state.votes).tolist()
        if not votes:
            self.exhausted += 1
            return None
        score = votes.pop()
        return None if math.isnan(score) else Verdict(score=score)

    def _truth_of(self, item: Item) -> float:
        return float(self._state(item).is_solved)

    def random_truth(self) -> float:
        """Return the chance that steps by lot end in a right answer.

        A walk that comes to a state without recorded steps has no answer: 0.
        """
        return self._chance(self._root)

    def _chance(self, state: State) -> float:
        if state.depth == MAX_DEPTH or not state.children:
            return float(state.is_solved)
        below = [self._chance(self._states[child]) for child in state.children]
        return sum(below) / len(below)

    def oracle_truth(self) -> float:
        """Return 1 where a right answer was recorded, else 0."""
        return float(any(state.is_solved for state in self._states.values()))


class Game24(Pool):
    """All puzzles.

    Args:
        states: by puzzle, then by id; up to three steps deep.
        roots: each puzzle's own state.
    """

    def __init__(self, states: Mapping[str, Mapping[str, State]], roots: Mapping[str, str]) -> None:
        super().__init__(
            name="Game of 24",
            description=f"{len(states)} puzzles, GPT-4's steps and votes (Tree of Thoughts); "
            "solved or not by exact arithmetic.",
            cost_model=_COST,
            prompt_ids=sorted(states),
            task_knobs=dict.fromkeys(("generate_k", "refine_k", "max_items"), MAX_STEPS)
            | {"max_depth": MAX_DEPTH, "expand_k": 16},
        )
        self._states, self._roots = states, roots

    def prompt(self, prompt_id: str, seed: int) -> Game24Prompt:
        """Return a puzzle untouched."""
        states = self._states[prompt_id]
        return Game24Prompt(prompt_id, seed, states=states, root_id=self._roots[prompt_id])


def load_game24(*, is_borrowing: bool = True) -> Game24:
    """Return the pool.

    Args:
        is_borrowing: whether a state without recorded steps may have those of an equal state
            of another puzzle.

    Raises:
        PoolAbsent: when the record is not there.
    """
    table = read_columns("tot_game24_tree", "nodes.parquet")
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    tree = RecordedTree([row for row in rows if row["depth"] <= MAX_DEPTH])
    if is_borrowing:
        tree.borrow()
    states: dict[str, dict[str, State]] = {}
    for row in tree.rows.values():
        states.setdefault(str(row["puzzle"]), {})[row["id"]] = _state(row, tree)
    return Game24(states, {str(row["puzzle"]): row["id"] for row in rows if row["depth"] == 0})


def _state(row: Row, tree: RecordedTree) -> State:
    line = tree.line(row["id"])
    is_answer = row["depth"] == MAX_DEPTH and len((row["left"] or "").split()) == 1
    return State(
        state_id=row["id"],
        text="\n".join(step["text"] for step in line[1:]) or row["text"],
        depth=row["depth"],
        is_step=not is_answer,
        is_solved=is_answer and all(step["solvable"] == 1 for step in line),
        votes=_votes(row),
        children=tuple(tree.children[row["id"]]),
        is_recorded=bool(row["expanded"]),
    )


def _votes(row: Row) -> tuple[float, ...]:
    """Return a state's votes in no order; NaN for each that was not parsed.

    Twins that the source's cache valued at 0 were never voted on, nor was the puzzle itself.
    """
    if row["depth"] == 0 or row["dup"]:
        return ()
    votes = [score for name, score in VOTE_SCORES.items() for _ in range(int(row[name] or 0))]
    return tuple(votes + [math.nan] * (N_VOTES - len(votes)))
