"""Parts that are shipped with Callwise: presets, conversations, examples, the pipeline; and `RUNS`.

The pipeline's packages have plain names (`graph`, `nodes`, `lats`), which a user's files may
have too. Invariant: the shipped app runs the shipped packages, whatever is in the working
directory and on `sys.path`; an app that the user names finds the user's files first.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from callwise.calls.errors import ConfigError

__all__ = [
    "RUNS",
    "SHIPPED_PACKAGES",
    "configs_folder",
    "conversation_path",
    "example_module",
    "example_notebooks",
    "example_path",
    "load_shipped_packages",
    "prefer_folder",
]

RUNS = Path("callwise-runs")
"""Folder of the runs and sweeps that are given none, below the working directory."""

SHIPPED_PACKAGES = ("lats", "nodes", "graph")
"""Packages of the reply pipeline, each of which imports only those before it."""

_PROGRAMS = ("game_of_24", "simulated_pool")
"""Examples that are imported: a task of the search, and a pool of prompts without a model."""


def load_shipped_packages() -> None:
    """Import the pipeline's packages from where Callwise is installed.

    Raises:
        ConfigError: when this process has imported another module of such a name. Nothing has
            been imported then.
    """
    installed = Path(__file__).resolve().parent.parent
    # Installed in an unusual way, they are left to the import system.
    folders = {name: installed / name for name in SHIPPED_PACKAGES}
    folders = {name: path for name, path in folders.items() if (path / "__init__.py").is_file()}
    imported = {name: _origin(sys.modules[name]) for name in folders if name in sys.modules}
    others = [
        f"{origin} as `{name}`"
        for name, origin in imported.items()
        if origin is not None and not origin.is_relative_to(folders[name])
    ]
    if others:
        raise ConfigError(
            "the reply pipeline's packages are `graph`, `nodes` and `lats`, but this process has "
            f"already imported {' and '.join(others)}. Rename these files, or use the pipeline "
            "in another process (`python -m callwise ...`)"
        )
    for name, folder in folders.items():
        if name not in sys.modules:
            _load(name, folder / "__init__.py", folder)


def _load(name: str, file: Path, folder: Path | None = None) -> ModuleType:
    """Import a file as a module, or with its folder as a package."""
    spec = importlib.util.spec_from_file_location(
        name, file, submodule_search_locations=None if folder is None else [str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ConfigError(f"cannot import {file}. Install callwise again")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _origin(module: ModuleType) -> Path | None:
    """Return the file of a module, or the folder of a package without one."""
    file = getattr(module, "__file__", None)
    places = [file] if file else [*getattr(module, "__path__", ())]
    return Path(places[0]).resolve() if places else None


class _FolderFirst(MetaPathFinder):
    """Finds `graph.py`, `nodes.py` and `lats/` of a user's folder before the shipped packages."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,  # noqa: ARG002 - the protocol's
    ) -> ModuleSpec | None:
        """Return the spec of a module in the user's folder; None for all other names."""
        if path is not None or fullname not in SHIPPED_PACKAGES:
            return None
        spec = PathFinder.find_spec(fullname, [self.folder])
        # A folder of that name without Python files is no module.
        return None if spec is None or spec.loader is None else spec


def prefer_folder(module_name: str) -> None:
    """Prefer the working directory's `graph`, `nodes` and `lats` to the shipped packages.

    `module_name` is the module that the user names.

    Raises:
        ConfigError: when that module is in the working directory, and this process has already
            imported a shipped package of that name.
    """
    folder = str(Path.cwd())
    finder = _FolderFirst(folder)
    if not any(isinstance(each, _FolderFirst) and each.folder == folder for each in sys.meta_path):
        sys.meta_path.insert(0, finder)
    name = module_name.partition(".")[0]
    spec, loaded = finder.find_spec(name), sys.modules.get(name)
    if spec is None or spec.origin is None or loaded is None:
        return
    if (origin := _origin(loaded)) != Path(spec.origin).resolve():
        raise ConfigError(
            f"the app is in {spec.origin}, but this process has already imported {origin} as "
            f"`{name}`. Rename the app's file, or use it in another process"
        )


def configs_folder() -> Path:
    """Return the folder of shipped presets; its `conversations/` has the shipped ones.

    Raises:
        ConfigError: when the installation is damaged.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "classic.yaml").is_file():
            return folder
    raise ConfigError(f"the shipped presets are missing from {package}. Install callwise again")


def conversation_path(name: str) -> Path:
    """Return the path of a shipped conversation.

    Raises:
        ConfigError: when there is none of this name; lists the existing ones.
    """
    folder = configs_folder() / "conversations"
    path = folder / name
    if not path.is_file():
        known = ", ".join(sorted(item.name for item in folder.glob("*.jsonl")))
        raise ConfigError(f"no shipped conversation is named {name!r}. Use one of {known}")
    return path


def _example_folders() -> list[Path]:
    package = Path(__file__).resolve().parent
    root = package.parent
    return [
        package / "examples",
        root / "examples",
        root / "notebooks",
        root / "notebooks" / "data",
    ]


def example_path(name: str = "small_talks.jsonl") -> Path:
    """Return the path of a shipped example or conversation, such as `small_talks.jsonl`.

    Raises:
        ConfigError: when there is none of this name; lists the existing ones.
    """
    folders = [*_example_folders(), configs_folder() / "conversations"]
    shipped = {
        path.name: path
        for folder in folders
        for path in sorted(folder.glob("*"))
        if path.stem in _PROGRAMS or path.suffix in {".jsonl", ".ipynb"}
    }
    if name not in shipped:
        raise ConfigError(
            f"no shipped example is named {name!r}. Use one of {', '.join(sorted(shipped))}, or "
            "the path of your own file without `example_path`"
        )
    return shipped[name]


def example_notebooks() -> list[Path]:
    """Return the paths of the shipped notebooks, in order of their names."""
    found = (path for folder in _example_folders() for path in folder.glob("0*.ipynb"))
    return sorted(found, key=lambda path: path.name)


def example_module(name: str) -> ModuleType:
    """Import a shipped example program; the same module each time.

    Raises:
        ConfigError: when there is none of this name; lists the existing ones.
    """
    if name not in _PROGRAMS:
        raise ConfigError(f"no shipped program is named {name!r}. Use {' or '.join(_PROGRAMS)}")
    load_shipped_packages()
    path, module_name = example_path(f"{name}.py"), f"callwise_example_{name}"
    return sys.modules.get(module_name) or _load(module_name, path)
