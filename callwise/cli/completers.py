"""Values that a shell completes: presets, knobs, and folders of runs.

An app that `--app` names is not imported to complete a line that was not entered yet: knobs and
presets are those of the shipped app. Names that a shell might read as more than a name are not
offered.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import typer

from callwise.shipped import RUNS

__all__ = ["complete_knob", "complete_preset", "complete_run"]

_PLAIN = re.compile(r"[\w./+-][\w./+@%-]*")
"""A name that no shell expands."""

_MANIFEST = "manifest.json"
_MAX_ENTRIES = 1000
"""Entries of a folder that are looked at."""


def _is_shipped(context: typer.Context) -> bool:
    from callwise.recordings.app_protocol import SHIPPED_APP

    return context.params.get("app") in {None, SHIPPED_APP}


def _entries(folder: Path) -> Iterator[Path]:
    """Yield the entries of a folder whose names are plain; none where it cannot be read."""
    try:
        found = sorted(folder.iterdir())[:_MAX_ENTRIES]
    except OSError:
        return
    yield from (path for path in found if _PLAIN.fullmatch(path.name))


def _folder_of(incomplete: str) -> tuple[str, Path]:
    """Return the folder part of a path as it was typed, and as a path."""
    typed = incomplete[: incomplete.rfind("/") + 1]
    return typed, Path(typed or ".")


def complete_preset(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the shipped presets, and YAML files."""
    from callwise.recordings.app_protocol import SHIPPED_APP, load_app

    names = load_app(SHIPPED_APP).presets() if _is_shipped(ctx) else []
    typed, folder = _folder_of(incomplete)
    files = [path.name for path in _entries(folder) if path.suffix in {".yaml", ".yml"}]
    found = [(name, "shipped preset") for name in names]
    found += [(typed + name, "file of knobs") for name in files]
    return [each for each in found if each[0].startswith(incomplete)]


def complete_knob(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the knobs' paths, each with a `=` for its value."""
    from callwise.knobs import knob_paths
    from callwise.recordings.app_protocol import SHIPPED_APP, load_app

    if not _is_shipped(ctx) or "=" in incomplete:
        return []
    return [
        (f"{knob.path}=", f"{knob.type} {knob.range}".strip())
        for knob in knob_paths(load_app(SHIPPED_APP).settings_model())
        if knob.path.startswith(incomplete) and _PLAIN.fullmatch(knob.path)
    ]


def complete_run(incomplete: str) -> list[tuple[str, str]]:
    """Return folders of runs: below the folder that is typed, and in the default folder."""
    typed, folder = _folder_of(incomplete)
    found = [typed + path.name for path in _entries(folder) if (path / _MANIFEST).is_file()]
    if not typed:
        found += [path.as_posix() for path in _entries(RUNS) if (path / _MANIFEST).is_file()]
    return [(name, "run") for name in found if name.startswith(incomplete)]
