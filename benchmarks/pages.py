"""Pages of results whose parts are measured apart: one section for each part.

Each part that is run replaces its section of a page, with the commit, date and machine that it is
from; the others stay as they are. Figures with a target say whether they reach it.
"""

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Measured, markdown, provenance

__all__ = ["RESULTS", "Page"]

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Page:
    """A page of results.

    Args:
        package: name of the package in this folder that has a module for each part, with a
            function `measure`; also of the page's files.
        title: of the page.
        about: one line for `--help`.
        parts: modules in the order of the page, each with the title of its section.
    """

    package: str
    title: str
    about: str
    parts: Mapping[str, str]

    def run(self, arguments: Sequence[str] | None, results: Path = RESULTS) -> None:
        """Measure parts, print them, and write them to a folder.

        Args:
            arguments: those of the command line; None takes the program's.

        Raises:
            SystemExit: for a part that there is not.
        """
        command = f"python -m benchmarks.{self.package}"
        parser = argparse.ArgumentParser(prog=command, description=self.about)
        parser.add_argument("parts", nargs="*", metavar="PART", help=f"of: {', '.join(self.parts)}")
        parser.add_argument("--look", action="store_true", help="print, and write nothing")
        given = parser.parse_args(arguments)
        names = given.parts or list(self.parts)
        unknown = sorted(set(names) - set(self.parts))
        if unknown:
            parser.error(f"there is no part {unknown[0]!r}; there are: {', '.join(self.parts)}")
        run = provenance()
        for name in names:
            began, busy = time.monotonic(), os.getloadavg()[0]
            print(f"{name} ...", file=sys.stderr, flush=True)
            measured = importlib.import_module(f"benchmarks.{self.package}.{name}").measure()
            facts = {**run, "command": f"{command} {name}"}
            facts["load average before"] = f"{busy:.1f}"
            if precedence := _precedence():
                facts["precedence"] = precedence
            facts["took"] = f"{time.monotonic() - began:.0f} s"
            section = {**facts, "result": measured.as_json()}
            print(self._section(name, section), flush=True)
            if not given.look:
                self._write({**self._written(results), name: section}, results)

    def _written(self, results: Path) -> dict[str, dict[str, Any]]:
        """Return the sections that were written before."""
        path = results / f"{self.package}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def _write(self, sections: Mapping[str, Mapping[str, Any]], results: Path) -> None:
        results.mkdir(exist_ok=True)
        ordered = {name: sections[name] for name in self.parts if name in sections}
        text = json.dumps(ordered, indent=1) + "\n"
        (results / f"{self.package}.json").write_text(text, encoding="utf-8")
        page = f"# {self.title}\n\nWritten by `make bench-{self.package}`.\n"
        page += "".join(f"\n{self._section(name, section)}" for name, section in ordered.items())
        (results / f"{self.package}.md").write_text(page, encoding="utf-8")

    def _section(self, name: str, section: Mapping[str, Any]) -> str:
        """Return the Markdown of one part: facts, table, notes."""
        result = section["result"]
        figures = [Figure(**figure) for figure in result["figures"]]
        facts = " · ".join(f"{key} {value}" for key, value in section.items() if key != "result")
        notes = list(dict.fromkeys(figure.note for figure in figures if figure.note))
        lines = "".join(f"- {note}\n" for note in notes)
        table = markdown([Measured(result["name"], figures, result["skipped"])])
        return f"## {self.parts[name]}\n\n{facts}\n\n{table}" + (f"\n{lines}" if lines else "")


def _precedence() -> str:
    """Return by how much these processes go before others of the machine; empty for not at all."""
    group = Path("/proc/self/autogroup")
    fields = group.read_text(encoding="ascii").split() if group.exists() else []
    nice = fields[-1] if fields else "0"
    return "" if nice == "0" else f"scheduler group nice {nice}"
