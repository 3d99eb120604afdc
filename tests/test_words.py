"""Words of `words.toml` are in no text or name of the project, beyond the exceptions there."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIST = tomllib.loads((ROOT / "tests" / "words.toml").read_text(encoding="utf-8"))
PRODUCT = ("callwise", "graph", "lats", "nodes")
PLACES = (
    *(f"{package}/**/*.py" for package in PRODUCT),
    *("benchmarks/**/*.py", "configs/**/*.yaml", "docs/*.md", "docs/**/*.py", "examples/*"),
    *("notebooks/*", "ARCHITECTURE.md", "CONTRIBUTING.md", "Makefile", "README.md"),
    *("pyproject.toml", ".ci/*"),
)


def _paths(*patterns: str) -> list[str]:
    found = {path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()}
    return sorted(str(path.relative_to(ROOT)) for path in found)


def _lines(path: str) -> list[str]:
    """Return the lines that people write: of a notebook, those of its cells without outputs."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".ipynb"):
        return [line for cell in json.loads(text)["cells"] for line in cell["source"]]
    return text.splitlines()


def _docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield docstrings and the texts below attributes, with their lines."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text


def _problems(path: str, lines: list[str], words: dict[str, str]) -> Iterator[str]:
    """Yield each word of the list in these lines, with its place and what to write instead."""
    allowed = [each["text"] for each in LIST["allowed"] if path in each.get("files", [path])]
    allowed_text = re.compile("|".join(allowed), re.IGNORECASE)
    pattern = re.compile(
        "|".join(rf"\b(?P<w{n}>{word})\b" for n, word in enumerate(words)), re.IGNORECASE
    )
    instead = list(words.values())
    for number, line in enumerate(lines, 1):
        for match in pattern.finditer(allowed_text.sub(" ", line)):
            index = next(n for n in range(len(words)) if match[f"w{n}"])
            yield f"{path}:{number}: {match[0]!r}: write {instead[index]}"


@pytest.mark.parametrize("path", _paths(*PLACES))
def test_texts_and_names_have_no_word_of_the_list(path: str) -> None:
    """The list names the plain word; a needed exception has its reason there."""
    problems = list(_problems(path, _lines(path), LIST["words"]))
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("path", _paths("tests/**/*.py"))
def test_names_and_docstrings_of_tests_have_no_word_of_the_list(path: str) -> None:
    """Names of test functions are checked word by word."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    names = [
        (node.lineno, node.name.replace("_", " "))
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    problems = [
        f"line {number}: {problem}"
        for number, text in (*names, *_docstrings(tree))
        for problem in _problems(path, [text], LIST["words"])
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("path", _paths(*LIST["more"]["files"]))
def test_the_longer_list_holds_where_it_is_named(path: str) -> None:
    """These files have no word with plain uses either, and no docstring is a headless clause."""
    text = (ROOT / path).read_text(encoding="utf-8")
    problems = list(_problems(path, text.splitlines(), LIST["more_words"]))
    problems += [
        f"{path}:{number}: the docstring begins with {words[0]!r}: write a noun phrase"
        for number, docstring in _docstrings(ast.parse(text))
        if (words := docstring.split()) and words[0] in LIST["more"]["titles"]
    ]
    assert not problems, "\n".join(problems)
