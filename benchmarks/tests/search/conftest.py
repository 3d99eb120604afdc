"""Small pools with the shape of the recorded ones, so that most tests need no data."""

import numpy as np
import pytest

from benchmarks.search.game24 import VOTE_SCORES, Game24, State
from benchmarks.search.humaneval import HumanEval
from benchmarks.search.pools import PoolAbsent
from benchmarks.search.summeval import ASPECTS, JUDGES, SummEval
from benchmarks.search.topical_chat import ATTRIBUTES, STYLE, TopicalChat


def make_topical(judge="engagingness", *, prompts=4, replies=6, seed=0):
    """Return a Topical-Chat-like pool: truth 1 to 5, columns that follow it with noise."""
    draw = np.random.default_rng(seed)
    truths = draw.uniform(1, 5, (prompts, replies))
    columns = {}
    for place, code in enumerate(ATTRIBUTES.values()):
        noise = draw.normal(0, 0.1 + 0.2 * place, (prompts, replies, 20))
        columns[f"{code}_{STYLE}"] = np.clip((truths[:, :, None] - 1) / 4 + noise, 0, 1)
    return TopicalChat(
        judge,
        is_machine_only=False,
        prompt_ids=[f"tc{place:02d}" for place in range(prompts)],
        texts=[[f"reply {number} to {at}" for number in range(replies)] for at in range(prompts)],
        truths=truths,
        user_texts=["and you?"] * prompts,
        columns=columns,
    )


def make_summeval(setting="gpt35", *, articles=5, summaries=4, seed=0):
    """Return a SummEval-like pool: truth 1 to 5, every judge's aspects follow it with noise."""
    draw = np.random.default_rng(seed)
    truths = draw.uniform(1, 5, (articles, summaries))
    noise = draw.normal(0, 0.1, (articles, len(JUDGES[setting]), summaries, len(ASPECTS)))
    return SummEval(
        setting,
        prompt_ids=[f"dm-{place:02d}" for place in range(articles)],
        texts=[[f"summary {each} of {at}" for each in range(summaries)] for at in range(articles)],
        truths=truths,
        ratings=np.clip((truths[:, None, :, None] - 1) / 4 + noise, 0, 1),
    )


def make_humaneval(*, is_usable_only=False):
    """Return a HumanEval-like pool: 2 tasks, 12 programs, 3 calls of which one is empty."""
    passes = np.zeros((3, 12), dtype=np.bool_)
    passes[0, :6] = True
    passes[1, :] = True
    passes[2, 6:] = True
    truths = np.zeros((2, 12))
    truths[:, :3] = 1
    return HumanEval(
        texts=[[f"return {number}" for number in range(12)]] * 2,
        truths=truths,
        calls=[[[0, 1], [], [2]]] * 2,
        passes=[passes] * 2,
        is_usable_only=is_usable_only,
    )


def make_game24(*, puzzles=2, last_vote=float("nan")):
    """Return a tree of 3 steps, 3 wide; going on from the last state of a step is a miss.

    A state ends well when it and all above it are the first of their step. Two votes of a
    state say so; the third was not parsed, unless `last_vote` is None, when it agrees.
    """
    states, roots = {}, {}
    for puzzle in range(puzzles):
        name = f"{900 + puzzle}"
        own: dict[str, State] = {}
        _grow(own, name, "", depth=0, is_good=True, last_vote=last_vote)
        states[name], roots[name] = own, name
    return Game24(states, roots)


def _grow(states, state_id, text, *, depth, is_good, last_vote):
    """Add a state and everything below it."""
    is_recorded = depth < 3 and not state_id.endswith(".2")
    children = [f"{state_id}.{place}" for place in range(3)] if is_recorded else []
    vote = VOTE_SCORES["sure" if is_good else "impossible"]
    states[state_id] = State(
        state_id=state_id,
        text=text or "1 2 3 4",
        depth=depth,
        is_step=depth < 3,
        is_solved=depth == 3 and is_good,
        votes=() if depth == 0 else (vote, vote, vote if last_vote is None else last_vote),
        children=tuple(children),
        is_recorded=is_recorded,
    )
    for place, child in enumerate(children):
        step = f"{text}\nstep {place} of {depth}".strip()
        is_next_good = is_good and place == 0
        _grow(states, child, step, depth=depth + 1, is_good=is_next_good, last_vote=last_vote)


@pytest.fixture
def topical():
    """Return a small flat pool."""
    return make_topical()


@pytest.fixture
def humaneval():
    """Return a small pool of checked programs."""
    return make_humaneval()


@pytest.fixture
def game24():
    """Return a small tree."""
    return make_game24()


@pytest.fixture
def recorded():
    """Return what loads a recorded pool, or skips the test where the record is absent."""

    def load(loader, *args, **given):
        try:
            return loader(*args, **given)
        except PoolAbsent as absent:
            pytest.skip(f"no recorded data: {absent}")

    return load
