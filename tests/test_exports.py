"""Rules for all modules and packages: exports, sizes, names, forbidden calls and imports."""

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("graph", "nodes", "lats", "callwise")
MODULES = tuple(sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py")))
DOORS = tuple(path for path in MODULES if path.name == "__init__.py")

MAX_FILE_LINES = 450
MAX_DOOR_LINES = 45

MACHINE_WORDS = ("/" + "work/", "/" + "root/")
"""Folders of the machine that the project was written on. Cut up, so that this file may be
read as well."""

LOADERS = frozenset({"pickle", "marshal", "shelve", "dill"})
"""Modules that turn untrusted bytes into objects that run."""

DYNAMIC = frozenset({"eval", "exec", "__import__"})


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _texts() -> Iterator[tuple[Path, str]]:
    """Yield every text file of the project that is not generated."""
    for folder in (*PACKAGES, "configs", "examples", "benchmarks", "docs", "tests", ".ci"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".md", ".yaml", ".toml", ".json", ".jsonl"}:
                yield path, path.read_text(encoding="utf-8")
    for name in ("README.md", "ARCHITECTURE.md", "pyproject.toml", "Makefile", "langgraph.json"):
        if (ROOT / name).exists():
            yield ROOT / name, (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("door", DOORS, ids=_name)
def test_exported_names_exist(door: Path) -> None:
    """Every module has `__all__`, without repeats, and each name in it exists."""
    for path in sorted(door.parent.glob("*.py")):
        module = importlib.import_module(_name(path))
        names = module.__all__
        assert len(set(names)) == len(names), path
        for name in names:
            assert hasattr(module, name), (path, name)


def test_modules_are_small_and_have_a_docstring() -> None:
    """Modules have at most 450 lines, `__init__` 45, and each begins with a docstring."""
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= MAX_FILE_LINES, path
        assert re.match(r'r?"""', text), path
    for path in DOORS:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_DOOR_LINES, path


def test_nothing_is_evaluated() -> None:
    """No module evaluates text or loads objects from bytes."""
    may_be_there = re.compile(rf"\b({'|'.join(DYNAMIC | LOADERS)})\b")
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        if may_be_there.search(text) is None:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in DYNAMIC, (path, node.lineno)
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", "")}
                assert not names & LOADERS, (path, node.lineno)


IMPORTS_BENCHMARKS = re.compile(r'^\s*"?\s*(?:from|import)\s+benchmarks\b', re.MULTILINE)
"""In Python, and in the lines of a notebook, which are quoted."""


def test_nothing_imports_benchmarks() -> None:
    """No package, product test, example or notebook imports `benchmarks`."""
    for folder in (*PACKAGES, "tests", "examples", "notebooks"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".ipynb"}:
                found = IMPORTS_BENCHMARKS.search(path.read_text(encoding="utf-8"))
                assert found is None, (path, found)


def test_no_machine_is_named() -> None:
    """No file of the project names a path of the machine that it was written on."""
    for path, text in _texts():
        for word in MACHINE_WORDS:
            assert word not in text, (path, word)


def test_modules_are_named_for_a_concept() -> None:
    """There are no utilities, helpers or managers."""
    vague = re.compile(r"(^|_)(utils?|helpers?|commons?|misc)(_|$)|^managers?$")
    assert not [path for path in MODULES if vague.search(path.stem)]


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_is_typed(name: str) -> None:
    """Each package that the wheel ships has `py.typed`."""
    assert importlib.util.find_spec(name) is not None
    assert (ROOT / name / "py.typed").exists()
