"""The project's own gate: committed baselines hold, and a planted call turns it red."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from callwise.testing.gate import Baseline

ROOT = Path(__file__).parents[4]
BASELINES = ROOT / "tests" / "baselines"
PRESETS = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))

Gate = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Return the script that CI runs."""
    spec = importlib.util.spec_from_file_location("callwise_own_gate", ROOT / ".ci" / "gate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def gate(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> Gate:
    """Return a function that runs the gate and gives its exit code and what it printed."""

    def run(*arguments: str) -> tuple[int, str]:
        code = script.main(arguments)
        printed = capsys.readouterr()
        sys.stderr.write(printed.err)
        return code, printed.out + printed.err

    return run


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_has_its_baseline(preset: str) -> None:
    """Each is committed, simulated, of all the shipped turns, and in the form that is written."""
    path = BASELINES / f"{preset}.json"
    baseline = Baseline.read(path)
    assert (baseline.preset, baseline.is_simulated) == (preset, True)
    shipped = (ROOT / "configs" / "conversations").glob("*.jsonl")
    lines = sum(len(each.read_text(encoding="utf-8").splitlines()) for each in shipped)
    assert len(baseline.turns) == lines
    assert path.read_text(encoding="utf-8") == baseline.text()


def test_no_baseline_is_left_over() -> None:
    """A preset that is gone leaves no unchecked baseline."""
    assert sorted(path.stem for path in BASELINES.glob("*.json")) == PRESETS


def test_the_gate_is_green(gate: Gate) -> None:
    """The cheapest preset, in one verdict line."""
    code, printed = gate("instant")
    assert (code, printed.count("\n")) == (0, 1)
    assert printed.startswith("instant: ok: 2.0 calls per turn over 52 turns (simulated), as in ")


def test_a_raised_knob_turns_it_red(gate: Gate) -> None:
    """More calls, since a knob: the line names node, count, turn and knob."""
    code, printed = gate("instant", "--set", "processor.llm=always")
    assert code == 1
    assert printed.startswith("instant: failed: 2.0 -> ")
    line = printed.splitlines()[1]
    assert "processor humanize 0 -> 1 (new), turn " in line
    assert 'since knob processor.llm "never" -> "always"' in line


def test_one_planted_call_turns_it_red(gate: Gate, tmp_path: Path) -> None:
    """A baseline with one call less in one turn is a run with one more: node, turn and count."""
    document = json.loads((BASELINES / "instant.json").read_text(encoding="utf-8"))
    turn = document["turns"][7]
    path = next(path for path, count in turn["asked"].items() if count == 1)
    del turn["asked"][path]
    (tmp_path / "instant.json").write_text(json.dumps(document), encoding="utf-8")
    code, printed = gate("instant", "--baselines", str(tmp_path))
    node, _, purpose = path.split("/")
    assert code == 1
    assert (
        f"{node} {purpose} 0 -> 1 (new), turn {turn['turn']} of {turn['conversation']}" in printed
    )
    assert "no knob and no prompt changed" in printed


def test_nothing_to_compare_with_is_no_drift(gate: Gate, tmp_path: Path) -> None:
    """A missing baseline exits with 2 and says how to make it."""
    code, printed = gate("instant", "--baselines", str(tmp_path))
    assert code == 2
    assert "--update" in printed


def test_an_update_writes_the_baselines(gate: Gate, tmp_path: Path) -> None:
    """The committed bytes come out again: the same run, the same file."""
    code, printed = gate("instant", "--update", "--baselines", str(tmp_path))
    assert code == 0
    assert "made" in printed
    written = (tmp_path / "instant.json").read_bytes()
    assert written == (BASELINES / "instant.json").read_bytes()


@pytest.mark.slow
def test_every_preset_passes(gate: Gate) -> None:
    """What CI runs, whole."""
    code, printed = gate()
    assert code == 0, printed
    assert printed.count(": ok: ") == len(PRESETS)
