"""Words of `words.toml` are in no text or name of the project, beyond the exceptions there."""

import ast
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
LIST = tomllib.loads((ROOT / "tests" / "words.toml").read_text(encoding="utf-8"))
STATEMENTS = (ast.stmt, ast.Module, ast.excepthandler, ast.match_case)
PRODUCT = ("callwise", "graph", "lats", "nodes")
PRODUCT_FILES = tuple(f"{package}/**/*.py" for package in PRODUCT)
PLACES = (
    *PRODUCT_FILES,
    *("benchmarks/**/*.py", "configs/**/*.yaml", "docs/*.md", "docs/**/*.py", "examples/*"),
    *("notebooks/*", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile"),
    *("README.md", "pyproject.toml", ".ci/*"),
)


def _paths(*patterns: str) -> list[str]:
    found = {path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()}
    return sorted(str(path.relative_to(ROOT)) for path in found)


def _lines(path: str) -> list[tuple[int, str]]:
    """Return the numbered lines that people write: of a notebook, those of its cells."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".ipynb"):
        lines = [line for cell in json.loads(text)["cells"] for line in cell["source"]]
    else:
        lines = text.splitlines()
    return list(enumerate(lines, 1))


@dataclass(frozen=True)
class Names:
    """Texts and names of a module, each with its line."""

    texts: tuple[tuple[int, str], ...]
    functions_and_classes: tuple[tuple[int, str], ...]
    titles: tuple[tuple[int, str], ...]
    """Docstrings of the module and of its classes."""


@cache
def _names(path: str) -> Names:
    """Return the texts and names of a module; expressions are not walked."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    texts, names, titles = [], [], [(1, ast.get_docstring(tree) or "")]
    waiting: list[Any] = [tree]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                texts.append((node.lineno, text))
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.append((node.lineno, node.name))
                if isinstance(node, ast.ClassDef):
                    titles.append((node.lineno, ast.get_docstring(node) or ""))
        for block in ("body", "handlers", "orelse", "finalbody", "cases"):
            waiting += getattr(node, block, ()) if isinstance(node, STATEMENTS) else ()
    return Names(*(tuple(sorted(each)) for each in (texts, names, titles)))


def _is_meant(path: str, files: Sequence[str]) -> bool:
    """Return whether a path is one of some files, or in one of the folders, which end with `/`."""
    return any(path == each or (each.endswith("/") and path.startswith(each)) for each in files)


def _problems(path: str, texts: Iterable[tuple[int, str]], words: dict[str, str]) -> Iterator[str]:
    """Yield each word of the list in numbered texts, with what to write instead."""
    allowed = [
        each["text"] for each in LIST["allowed"] if _is_meant(path, each.get("files", [path]))
    ]
    allowed_text = re.compile("|".join(allowed), re.IGNORECASE)
    any_word = re.compile(rf"\b(?:{'|'.join(words)})\b", re.IGNORECASE)
    for number, text in texts:
        if any_word.search(text) is None:
            continue
        rest = allowed_text.sub(" ", text)
        for word, instead in words.items():
            match = re.search(rf"\b({word})\b", rest, re.IGNORECASE)
            if match is not None:
                yield f"{path}:{number}: {match[0]!r}: write {instead}"


def _named_texts(path: str) -> Iterator[tuple[int, str]]:
    """Yield docstrings and the names of functions and classes as words, with their lines."""
    names = _names(path)
    yield from names.texts
    for line, name in names.functions_and_classes:
        yield line, name.replace("_", " ")


def test_texts_and_names_have_no_word_of_the_list() -> None:
    """The list names the plain word; a needed exception has its reason there."""
    problems = [
        problem
        for path in _paths(*PLACES)
        for problem in _problems(path, _lines(path), LIST["words"])
    ]
    assert not problems, "\n".join(problems)


def test_names_and_docstrings_of_tests_have_no_word_of_the_list() -> None:
    """Names of test functions are checked word by word."""
    problems = [
        problem
        for path in _paths("tests/**/*.py")
        for problem in _problems(path, _named_texts(path), LIST["words"])
    ]
    assert not problems, "\n".join(problems)


def test_product_and_pages_have_no_word_of_the_longer_list() -> None:
    """Its words have plain uses as well, which texts elsewhere may need."""
    problems = [
        problem
        for path in _paths(*PRODUCT_FILES, "*.md", "docs/*.md")
        for problem in _problems(path, _lines(path), LIST["more_words"])
    ]
    assert not problems, "\n".join(problems)


DOUBLED = re.compile(r"(?<![\w.`'\"-])(?!is is\b)([A-Za-z]{2,}) \1(?![\w.`-])")
"""A word twice in a row; in "what there is is known" it is right."""


def test_no_word_is_there_twice_in_a_row() -> None:
    """As after a word was replaced by one that was there."""
    problems = [
        f"{path}:{number}: {match[0]!r}"
        for path in _paths(*PRODUCT_FILES, "*.md", "docs/*.md", "tests/**/*.py")
        for number, text in _lines(path)
        if (match := DOUBLED.search(text))
    ]
    assert not problems, "\n".join(problems)


def _titles(path: str) -> Sequence[tuple[int, str]]:
    """Return the docstrings that must not begin with a headless clause: of tests, few."""
    names = _names(path)
    return names.titles if path.startswith("tests/") else names.texts


def test_no_docstring_is_a_headless_clause() -> None:
    """A module or a class is named by a noun phrase; a function's docstring has a main verb."""
    folders = ("benchmarks", "docs", "tests")
    problems = [
        f"{path}:{number}: the docstring begins with {words[0]!r}: write a noun phrase"
        for path in _paths(*PRODUCT_FILES, *(f"{folder}/**/*.py" for folder in folders))
        for number, docstring in _titles(path)
        if (words := docstring.split()) and words[0] in LIST["titles"]["words"]
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("allowed", LIST["allowed"], ids=lambda allowed: allowed["reason"])
def test_every_exception_is_needed(allowed: dict[str, Any]) -> None:
    """It has a reason, and its text occurs in its files."""
    assert allowed["reason"]
    paths = [] if "files" in allowed else _paths(*PLACES)
    for path in allowed.get("files", []):
        found = _paths(f"{path}**/*.py", f"{path}**/*.yaml") if path[-1] == "/" else _paths(path)
        assert found, path
        paths += found
    texts = ((ROOT / path).read_text(encoding="utf-8") for path in paths)
    assert any(re.search(allowed["text"], text, re.IGNORECASE) for text in texts)
