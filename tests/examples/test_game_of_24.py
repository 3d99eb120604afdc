"""The Game of 24: the example, and the page that goes through it."""

import ast
import importlib.util
import re
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "game_of_24.py"
PAGE = ROOT / "docs" / "own-task.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def example() -> ModuleType:
    """Return the example as a module."""
    spec = importlib.util.spec_from_file_location("game_of_24", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "numbers", [(1, 5, 5, 5), (4, 9, 10, 13), (3, 3, 8, 8), (1, 3, 4, 6), (6, 6, 6, 6)]
)
async def test_it_solves_hard_ones(example: ModuleType, numbers: tuple[int, ...]) -> None:
    """In a handful of calls, with steps that use each number once and end in 24."""
    solution = await example.play(*numbers)
    assert solution.is_answer
    assert solution.stop_reason == "early_exit"
    assert solution.calls <= 3
    left, steps = solution.best
    assert left == (24,)
    assert len(steps) == 3
    at_hand = [Fraction(number) for number in numbers]
    for step in steps:
        words, result = step.split(" = ")
        for used in re.findall(r"(?<![\d/])-?\d+(?:/\d+)?", words):
            at_hand.remove(Fraction(used))
        at_hand.append(Fraction(result))
    assert at_hand == [24]


async def test_it_says_when_there_is_no_answer(example: ModuleType) -> None:
    """Four ones never make 24: the search ends within its cap and claims nothing."""
    solution = await example.play(1, 1, 1, 1)
    assert solution.calls <= 12
    assert solution.mean_score == 0


def test_it_is_short() -> None:
    """Under 40 lines of code, imports and settings included."""
    text = EXAMPLE.read_text(encoding="utf-8")
    words: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            words |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(text.splitlines(), start=1)
    assert sum(bool(line.strip()) and place not in words for place, line in lines) < 40


def test_the_page_shows_the_example() -> None:
    """Unchanged; that it prints what the page shows is tested with the page."""
    assert ("python", EXAMPLE.read_text(encoding="utf-8")) in BLOCK.findall(
        PAGE.read_text(encoding="utf-8")
    )
