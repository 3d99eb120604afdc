"""Execute the notebooks in a temporary folder, and keep their outputs or compare them.

    python notebooks/run.py                      execute all, and write them with their outputs
    python notebooks/run.py 03_tradeoff          one of them
    python notebooks/run.py --check              execute all afresh; fail where something differs
    python notebooks/run.py --record             make the recording that they are played from

What is written has nothing of the machine or the hour: no paths, times or random ids, so that
the same code gives the same bytes. Real endpoints are left out of it: the kernels are started
without any CALLWISE_ variable. Runs of the notebooks are made in the temporary folder.
"""

import argparse
import ast
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MAX_CELLS = 14
MAX_BYTES = 1_000_000
MAX_SECONDS = 120.0
"""For all notebooks together."""
CELL_SECONDS = 240
VEGA_LITE = "application/vnd.vegalite.v5+json"
DIGITS = 9
"""Of the numbers in a figure: machines add up in other orders, and differ in the last ones."""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
TALKS, CASSETTE = "small_talks.jsonl", "small_talks.cassette.jsonl.gz"
RECORDED_WITH = ("--preset", "balanced", "--set", "search.max_calls=11")

Notebook = dict[str, Any]


def read(path: Path) -> Notebook:
    """Return a notebook as JSON."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def source_of(cell: Mapping[str, Any]) -> str:
    """Return a cell's text."""
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def rounded(value: Any) -> Any:
    """Return JSON with its fractions cut to `DIGITS` significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, list):
        return [rounded(item) for item in value]
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    return value


def tidy(notebook: Notebook) -> Notebook:
    """Return a notebook without what differs from run to run."""
    for number, cell in enumerate(notebook["cells"], start=1):
        cell["id"] = f"cell-{number:02d}"
        cell["metadata"] = {}
        for output in cell.get("outputs", ()):
            output.pop("transient", None)
            if "metadata" in output:
                output["metadata"] = {}
            data = output.get("data", {})
            if VEGA_LITE in data:
                data[VEGA_LITE] = rounded(data[VEGA_LITE])
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook["metadata"] = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return notebook


def text_of(notebook: Notebook) -> str:
    """Return a notebook as its file holds it."""
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def execute(path: Path) -> tuple[Notebook, float]:
    """Return a notebook executed in its own folder, tidied, and the seconds that it took.

    Raises:
        nbclient.exceptions.CellExecutionError: when a cell raises.
        nbclient.exceptions.CellTimeoutError: when one takes too long.
    """
    import nbformat
    from nbclient import NotebookClient

    began = time.perf_counter()
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
    )
    # What a kernel logs as it starts is no finding; what a cell raises comes another way.
    client.execute(stderr=subprocess.DEVNULL)
    return tidy(json.loads(nbformat.writes(notebook))), time.perf_counter() - began


def clean_environment(folder: Path) -> None:
    """Take out what would make a run another one: endpoints, keys, own start-up files."""
    for name in [name for name in os.environ if name.startswith(("CALLWISE_", "OPENAI_"))]:
        del os.environ[name]
    for name in ("CI", "BUILD_NUMBER"):
        os.environ.pop(name, None)  # pytest words its summary otherwise where it sees them
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        os.environ[name] = str(folder / name.lower())
    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1"}
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore"}


def broken_rules(notebook: Notebook, size: int) -> Iterator[str]:
    """Yield problems of a notebook, as text.

    Args:
        notebook: executed.
        size: of its file, in bytes.
    """
    cells = notebook["cells"]
    if len(cells) > MAX_CELLS:
        yield f"has {len(cells)} cells; at most {MAX_CELLS} are read to the end"
    if size > MAX_BYTES:
        yield f"has {size:,} bytes; at most {MAX_BYTES:,} fit a code host's viewer"
    codes = [cell for cell in cells if cell["cell_type"] == "code"]
    for number, cell in enumerate(codes, start=1):
        tree = compile(
            source_of(cell), f"<cell {number}>", "exec",
            ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        )  # fmt: skip
        if any(isinstance(node, FUNCTIONS) for node in ast.walk(tree)):
            yield f"code cell {number} defines a function; put it into the library"
        if cell["execution_count"] != number:
            yield f"code cell {number} was not executed in order"
        if any(output["output_type"] == "error" for output in cell["outputs"]):
            yield f"code cell {number} raised"
    if not any("image/png" in out.get("data", {}) for cell in codes for out in cell["outputs"]):
        yield "has no figure"


def machine_traces(text: str) -> Iterator[str]:
    """Yield what a notebook's text says of the machine that it ran on."""
    for trace in (
        str(HERE),
        str(Path.home()),
        tempfile.gettempdir(),
        "site-packages",
        "vegaEmbed",
    ):
        if len(trace) > 1 and f"{trace}/" in text:
            yield f"holds {trace!r}"


def shown(cell: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a cell put out, without its pictures: those hang on the machine's fonts."""
    found = []
    for output in cell.get("outputs", ()):
        if "text" in output:
            found.append((output["name"], "".join(output["text"])))
        for kind, value in sorted(output.get("data", {}).items()):
            if not kind.startswith("image/"):
                is_text = isinstance(value, list) and all(isinstance(line, str) for line in value)
                found.append(
                    (kind, "".join(value) if is_text else json.dumps(value, sort_keys=True))
                )
    return found


def differences(committed: Notebook, fresh: Notebook) -> Iterator[str]:
    """Yield where a fresh run says something else than what is committed."""
    for number, (old, new) in enumerate(
        zip(committed["cells"], fresh["cells"], strict=True), start=1
    ):
        was, now = shown(old), shown(new)
        if [kind for kind, _ in was] != [kind for kind, _ in now]:
            yield f"cell {number} puts out other kinds than the committed one"
            continue
        for (kind, before), (_, after) in zip(was, now, strict=True):
            if before != after:
                yield f"cell {number}, {kind}: {first_difference(before, after)}"


def first_difference(before: str, after: str) -> str:
    """Return the first place at which two texts differ, as text."""
    place = next(
        (at for at, (a, b) in enumerate(zip(before, after, strict=False)) if a != b),
        min(len(before), len(after)),
    )
    start = max(0, place - 40)
    return f"...{before[start : place + 60]!r} is now ...{after[start : place + 60]!r}"


def copied(folder: Path) -> Path:
    """Return a copy of the notebooks alone: all else they take from the package."""
    copy = folder / "notebooks"
    copy.mkdir()
    for path in HERE.glob("*.ipynb"):
        shutil.copy(path, copy)
    return copy


def run(names: Sequence[str], *, is_check: bool) -> list[str]:
    """Execute notebooks, and return what is wrong with them.

    Args:
        names: without their ending; empty is all.
        is_check: compare with what is committed instead of writing.
    """
    problems: list[str] = []
    paths = sorted(path for path in HERE.glob("*.ipynb") if not names or path.stem in names)
    strangers = sorted(set(names) - {path.stem for path in paths})
    problems += [f"{name}: there is no such notebook" for name in strangers]
    whole_seconds = 0.0
    with tempfile.TemporaryDirectory(prefix="callwise-notebooks-") as name:
        clean_environment(Path(name))
        folder = copied(Path(name))
        for path in paths:
            try:
                fresh, seconds = execute(folder / path.name)
            except Exception as error:  # noqa: BLE001 - whatever a cell raises is the finding
                problems.append(f"{path.name}: {error}")
                continue
            whole_seconds += seconds
            text = text_of(fresh)
            found = [*broken_rules(fresh, len(text.encode())), *machine_traces(text)]
            if is_check:
                found += differences(read(path), fresh)
            else:
                path.write_text(text, encoding="utf-8")
            problems += [f"{path.name}: {problem}" for problem in found]
            sys.stdout.write(f"{path.name}: {seconds:.1f} s, {len(text) / 1e3:.0f} KB\n")
            sys.stdout.flush()
    if whole_seconds > MAX_SECONDS and not is_check:  # a check may share its machine
        problems.append(f"all together take {whole_seconds:.0f} s; at most {MAX_SECONDS:.0f}")
    return problems


def record() -> None:
    """Record the shipped conversations and write the gate's baseline, on the simulated model."""
    command = [sys.executable, "-m", "callwise"]
    with tempfile.TemporaryDirectory(prefix="callwise-notebooks-") as name:
        clean_environment(Path(name))
        plain = Path(name) / "recording.jsonl"
        subprocess.run(
            [*command, "replay", str(HERE / "data" / TALKS), *RECORDED_WITH,
             "--record", str(plain), "--out", str(Path(name) / "run")],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        packed = gzip.compress(plain.read_bytes(), compresslevel=9, mtime=0)
        (HERE / "data" / CASSETTE).write_bytes(packed)
        subprocess.run(
            [*command, "check", str(Path(name) / "run"), "--update",
             "--baseline", str(HERE / "gate" / "baselines" / "small_talks.json")],
            check=True,
        )  # fmt: skip
    sys.stdout.write(f"data/{CASSETTE}: {len(packed) / 1e3:.0f} KB\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 when nothing is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="notebooks without their ending; all by default")
    parser.add_argument("--check", action="store_true", help="write nothing; compare")
    parser.add_argument(
        "--record", action="store_true", help="first record the conversations again"
    )
    options = parser.parse_args(arguments)
    if options.record and options.check:
        parser.error("--record writes, --check does not")
    if options.record:
        record()
    problems = run(options.names, is_check=options.check)
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    if problems and options.check:
        sys.stderr.write("If this is meant: python notebooks/run.py, and commit the notebooks.\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
