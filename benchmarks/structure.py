"""Figures of the source's structure: sizes, importers, names, circles, words, files per change.

    python -m benchmarks.structure [--list NAME] [--root DIR]

`--root` measures another checkout. `--list` prints the places behind one figure: `modules`,
`classes`, `files`, `circles`, `words`, or a change by its name.
Data files (YAML, HTML) are not counted as source. A module's importers are other product modules;
an import of a package's public name counts for the module that defines it.
"""

import argparse
import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["Source", "figures"]

PACKAGES = ("graph", "nodes", "lats", "callwise")
PLUG_INS = re.compile(r"^(nodes/[a-z_]+|.*/(formats|strategies|layers)/[a-z_]+)\.py$")
"""Places where one file per thing is meant: a node, a conversation format, a strategy, a layer."""
SMALL_LINES = 100
WORD_LIST = Path(__file__).parents[1] / "tests" / "words.toml"
"""The words that the project does not use, with the exceptions; also read by its tests."""

CHANGES = {
    "counted quantity": r"\bcached_tokens\b",
    "prompt field": r"\bpersona_facts\b|\brelationship\b",
    "LLM node": r"\bevolver\b|\bEvolver\w*\b|\bEVOLVE\w*\b",
    "outcome": r"\bCOALESCED\b|[\"']coalesced[\"']",
    "search knob": r"\bstop_score\b",
}
"""A name for each kind of change; the files that contain it are those to touch."""


@dataclass(frozen=True)
class Source:
    """The product's modules under one root."""

    root: Path

    @cached_property
    def texts(self) -> dict[str, str]:
        """Text by path, relative to the root."""
        return {
            str(path.relative_to(self.root)): path.read_text(encoding="utf-8")
            for package in PACKAGES
            for path in sorted((self.root / package).rglob("*.py"))
        }

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """Syntax tree by module name."""
        return {_module(path): ast.parse(text) for path, text in self.texts.items()}

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """Product modules that each module imports, at run time."""
        return {name: set(self._imported(name)) - {name} for name in self.trees}

    def _imported(self, name: str) -> Iterator[str]:
        for node in _at_run_time(self.trees[name]):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if alias.name in self.trees)
            elif isinstance(node, ast.ImportFrom) and node.module in self.trees:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    yield inner if inner in self.trees else self._home(node.module, alias.name)

    def _home(self, module: str, name: str, depth: int = 0) -> str:
        """Return the module that defines a name which `module` may only pass on."""
        if depth < len(PACKAGES):
            for node in ast.walk(self.trees[module]):
                if isinstance(node, ast.ImportFrom) and node.module in self.trees:
                    for alias in node.names:
                        if (alias.asname or alias.name) == name:
                            return self._home(node.module, alias.name, depth + 1)
        return module

    @cached_property
    def importers(self) -> dict[str, set[str]]:
        """Modules that import each module; a package's `__init__` does not count."""
        found: dict[str, set[str]] = {name: set() for name in self.trees}
        packages = {_module(path) for path in self.texts if path.endswith("__init__.py")}
        for name, targets in self.imports.items():
            if name not in packages:
                for target in targets:
                    found[target].add(name)
        return found

    def small_modules(self) -> list[str]:
        """Return modules with one importer and under 100 lines, plug-in points aside."""
        return [
            path
            for path, text in self.texts.items()
            if not path.endswith(("__init__.py", "__main__.py"))
            and not PLUG_INS.match(path)
            and text.count("\n") < SMALL_LINES
            and len(self.importers[_module(path)]) == 1
        ]

    def double_classes(self) -> list[str]:
        """Return class names that two modules define, with the modules."""
        homes = defaultdict(list)
        for module, tree in self.trees.items():
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    homes[node.name].append(module)
        return [f"{name}: {', '.join(at)}" for name, at in sorted(homes.items()) if len(at) > 1]

    def double_files(self) -> list[str]:
        """Return file names that occur twice, `__init__`, `__main__` and plug-ins aside."""
        homes = defaultdict(list)
        for path in self.texts:
            if Path(path).stem not in {"__init__", "__main__"} and "/formats/" not in path:
                homes[Path(path).stem].append(path)
        return [f"{name}: {', '.join(at)}" for name, at in sorted(homes.items()) if len(at) > 1]

    def circles(self) -> list[str]:
        """Return groups of modules that import each other while they load."""
        return [", ".join(sorted(group)) for group in _components(self.imports) if len(group) > 1]

    def words(self) -> list[str]:
        """Return the places of words that the project replaces, in names and texts."""
        listed = tomllib.loads(WORD_LIST.read_text(encoding="utf-8"))
        words = re.compile(rf"\b({'|'.join(listed['words'])})\b", re.IGNORECASE)
        allowed = re.compile("|".join(each["text"] for each in listed["allowed"]), re.IGNORECASE)
        return [
            f"{path}:{number}: {found.group()}"
            for path, text in self.texts.items()
            for number, line in enumerate(text.splitlines(), 1)
            for found in words.finditer(allowed.sub(" ", line))
        ]

    def touched(self, change: str) -> list[str]:
        """Return the files that contain the name of a change."""
        pattern = re.compile(CHANGES[change])
        return [path for path, text in self.texts.items() if pattern.search(text)]


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield nodes that run when the module is loaded: no function bodies, no TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _at_run_time(node)


def _components(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return strongly connected components (Tarjan 1972)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for target in sorted(graph[name]):
            if target not in order:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], order[target])
        if low[name] == order[name]:
            group = set(stack[stack.index(name) :])
            del stack[stack.index(name) :]
            found.append(group)

    sys.setrecursionlimit(10_000)
    for name in sorted(graph):
        if name not in order:
            visit(name)
    return found


def figures(source: Source) -> dict[str, str]:
    """Return each figure by its name, as text."""
    lines = sum(text.count("\n") for text in source.texts.values())
    return {
        "product lines / files": f"{lines:,} / {len(source.texts)}",
        "modules with one importer and under 100 lines": str(len(source.small_modules())),
        "class names with two meanings": str(len(source.double_classes())),
        "file names used twice": str(len(source.double_files())),
        "import circles": str(len(source.circles())),
        "words of the list": f"{len(source.words()):,}",
        **{f"files with a {change}": str(len(source.touched(change))) for change in CHANGES},
    }


def main() -> None:
    """Print the figures, or the places behind one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument(
        "--list", choices=["modules", "classes", "files", "circles", "words", *CHANGES]
    )
    given = parser.parse_args()
    source = Source(given.root)
    listed = {
        "modules": source.small_modules,
        "classes": source.double_classes,
        "files": source.double_files,
        "circles": source.circles,
        "words": source.words,
    }
    if given.list:
        print(
            "\n".join(listed[given.list]() if given.list in listed else source.touched(given.list))
        )
        return
    for name, figure in figures(source).items():
        print(f"{name:<50} {figure}")


if __name__ == "__main__":
    main()
