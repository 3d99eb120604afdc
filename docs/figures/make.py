"""Draw the example figures of docs/figures.md, from seeded runs of the simulated model.

`python docs/figures/make.py` records made-up conversations, evaluates other settings from
a recording, and writes the pictures into this folder; `--check` fails when one is out of
date; `--page` draws the report page instead, where there is a browser. Everything shown is
simulated.
"""

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from callwise.report import load_run
from callwise.report.search_svg import search_svg
from callwise.report.search_view import read_search
from callwise.simulator.phrases import true_quality
from callwise.tuning import TurnRow, panel_of
from callwise.tuning.analysis import analyse
from callwise.tuning.figures import (
    ChainStep,
    FigureData,
    basis_of,
    calls_by_node_of,
    calls_over_turns_of,
    figure_bytes,
    steps_between,
    timeline_of,
    tradeoff_of_front,
    waterfall_of,
)
from callwise.tuning.replay_evaluator import CounterfactualEvaluator
from callwise.tuning.setting import Setting
from callwise.tuning.statistics.bootstrap import mean_intervals, paired_difference

HERE = Path(__file__).resolve().parent
TALK = HERE.parents[1] / "configs" / "conversations" / "en_moving_city.jsonl"
CALLWISE = Path(sys.executable).with_name("callwise")
CONVERSATIONS, TURNS = 12, 4
CAPS = (3, 4, 6, 8, 10)
PRESETS = ("classic", "classic_parallel", "balanced", "frugal", "instant")
NODES = ("detection", "inner_monologue", "reasoner", "lats_search", "processor", "evolver",
         "memory_manager")  # fmt: skip


def make_conversations(path: Path, count: int) -> Path:
    """Write conversations of a few turns each, drawn from the messages of a shipped one."""
    lines = TALK.read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["user_text"] for line in lines]
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            for turn, text in enumerate(rng.sample(texts, TURNS)):
                whose = {"conversation_id": f"talk-{number:02d}", "user_id": f"user-{number:02d}"}
                file.write(json.dumps({**whose, "turn": turn, "user_text": text}) + "\n")
    return path


def run(talk: Path, folder: Path, preset: str, *overrides: str) -> Path:
    """Return the folder of a recorded run; the simulated model answers."""
    sets = [part for override in overrides for part in ("--set", override)]
    cassette = folder.with_suffix(".cassette.jsonl")
    subprocess.run(  # noqa: S603 - our own command
        [str(CALLWISE), "replay", str(talk), "--preset", preset, *sets,
         "--record", str(cassette), "--out", str(folder)],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def rows_of(folder: Path, *settings: Setting) -> list[TurnRow]:
    """Return settings evaluated on a recording, each reply with its hidden quality."""
    rows = []
    for result in CounterfactualEvaluator(folder).evaluate(settings):
        for row in result.rows:
            quality = true_quality(result.replies[row.reply_id])
            rows.append(replace(row, quality=quality, quality_by="truth:simulated"))
    return rows


def tradeoff(talk: Path, folder: Path) -> FigureData:
    """Return quality against calls: caps of the search, all from one recording of 10."""
    recording = run(talk, folder / "recording", "balanced", f"search.max_calls={max(CAPS)}")
    caps = {f"search cap {cap}": str(cap) for cap in CAPS}
    settings = [Setting(name, "balanced", {"search.max_calls": int(cap)})
                for name, cap in caps.items()]  # fmt: skip
    rows = rows_of(recording, *settings)
    found = analyse(rows)
    return tradeoff_of_front(
        rows,
        found.front,
        recommendation=found.recommendation,
        knob="search.max_calls",
        knob_values=caps,
    )


def calls_by_node(rows: Sequence[TurnRow]) -> FigureData:
    """Return what each preset asks."""
    return calls_by_node_of(rows, nodes=NODES, totals=mean_intervals(panel_of(rows, "asked")))


def waterfall(talk: Path, folder: Path, runs: Mapping[str, Path]) -> FigureData:
    """Return the way from one preset to another, each step run for itself."""
    knobs = [json.loads((runs[name] / "manifest.json").read_bytes())["knobs"]
             for name in ("classic", "balanced")]  # fmt: skip
    changes = [change for change in steps_between(*knobs) if change.knob != "preset"]
    rows = rows_of(runs["classic"], Setting("0", "classic"))
    laid: dict[str, Any] = {}
    for number, change in enumerate(changes, start=1):
        laid[change.knob] = change.new
        setting = Setting(str(number), "classic", dict(laid))
        out = run(talk, folder / f"step-{number}", "classic", *setting.overrides)
        rows += rows_of(out, setting)
    asked = panel_of(rows, "asked")
    means = {name: fmean(row.asked for row in rows if row.setting == name)
             for name in asked.settings}  # fmt: skip
    chain = [ChainStep(change, means[str(number)],
                       saved=paired_difference(asked, str(number - 1), str(number)))
             for number, change in enumerate(changes, start=1)]  # fmt: skip
    end = fmean(row.asked for row in rows_of(runs["balanced"], Setting("end", "balanced")))
    return waterfall_of(("classic", means["0"]), chain, ("balanced", end), basis_of(rows))


def turn_of(folder: Path, number: int) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """Return one turn's record, its ledger rows, and its name."""
    turn = json.loads((folder / "turns.jsonl").read_text(encoding="utf-8").splitlines()[number])
    where = turn["conversation_id"], str(turn["turn"])
    lines = (folder / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    rows = map(json.loads, lines)
    own = [row for row in rows if (row["conversation"], row["turn"]) == where]
    return turn, own, f"turn {turn['turn']} of {turn['conversation_id']}"


def figures(folder: Path) -> dict[str, FigureData | str]:
    """Return every example by the name of its file; a search as SVG already."""
    talk = make_conversations(folder / "talk.jsonl", CONVERSATIONS)
    long_talk = make_conversations(folder / "long_talk.jsonl", 4 * CONVERSATIONS)
    runs = {preset: run(talk, folder / preset, preset) for preset in PRESETS}
    rows = [row for preset in PRESETS for row in rows_of(runs[preset], Setting(preset, preset))]
    turn, _, name = turn_of(runs["balanced"], 5)
    timed, ledger, timed_name = turn_of(runs["classic_parallel"], 5)
    city = load_run(run(TALK, folder / "city", "classic"))
    return {
        "tradeoff": tradeoff(long_talk, folder),
        "calls_by_node": calls_by_node(rows),
        "waterfall": waterfall(talk, folder, runs),
        "tree": search_svg(
            read_search(turn["search"]), title=f"{name}, balanced", is_simulated=True
        ),
        "timeline": timeline_of(
            ledger,
            reply_at=timed["rounds"]["reply"],
            where=f"{timed_name}, classic_parallel",
        ),
        "calls_over_turns": calls_over_turns_of(city.rows, city.turns, "moving-city", nodes=NODES),
    }


def main() -> None:
    """Write the pictures, or hold them against what would be written."""
    if "--page" in sys.argv[1:]:
        from page_picture import draw_page  # noqa: PLC0415 - needs a browser, which few have

        draw_page(HERE / "report_page.png")
        return
    with tempfile.TemporaryDirectory() as folder:
        drawn = {
            f"{name}.svg": found.encode() if isinstance(found, str) else figure_bytes(found, "svg")
            for name, found in figures(Path(folder)).items()
        }
    stale = [name for name, data in drawn.items()
             if not (HERE / name).exists() or (HERE / name).read_bytes() != data]  # fmt: skip
    if "--check" in sys.argv[1:]:
        if stale:
            sys.exit(f"out of date: {', '.join(stale)}; run `python docs/figures/make.py`")
        return
    for name in stale:
        (HERE / name).write_bytes(drawn[name])


if __name__ == "__main__":
    main()
