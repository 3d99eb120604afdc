"""Sweep files say what they mean, or are refused with the line."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.calls.errors import ConfigError, FormatError
from callwise.tuning.sweep_spec import (
    KnobRange,
    SweepSpec,
    find_sweep,
    flat_knobs,
    read_sweep,
    sweep_digest,
    with_knobs,
)

WHOLE = """\
preset: balanced
set:
  memory: {history_turns: 4}
  endpoints.main.kind: simulated
sampler: tpe
knobs:
  search.policy: [listwise, auto]
ranges:
  search.max_calls: {low: 2, high: 12, step: 2}
  search.min_gain: {low: 0.001, high: 0.1, log: true}
  search.refine: [true, false]
settings:
  - {name: as it is, preset: classic, set: {seed: 1}}
trials: 20
batch: 5
seed: 3
objectives:
  - {figure: usd, goal: min}
max_settings: 50
skip_impossible: true
"""


def _written(folder: Path, text: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_entry_is_read(tmp_path: Path) -> None:
    """Ranges and lists keep the types that they were written in."""
    spec = read_sweep(_written(tmp_path, WHOLE))
    assert flat_knobs(spec.fixed) == {
        "memory.history_turns": 4,
        "endpoints.main.kind": "simulated",
    }
    assert list(spec.space) == [
        "search.policy",
        "search.max_calls",
        "search.min_gain",
        "search.refine",
    ]
    calls, gain = spec.ranges["search.max_calls"], spec.ranges["search.min_gain"]
    assert isinstance(calls, KnobRange)
    assert isinstance(gain, KnobRange)
    assert calls.is_whole
    assert not gain.is_whole
    assert spec.ranges["search.refine"] == [True, False]
    assert spec.settings[0].fixed == {"seed": 1}
    assert [each.figure for each in spec.objectives] == ["usd"]
    assert (spec.trials, spec.batch, spec.seed, spec.max_settings) == (20, 5, 3, 50)
    assert spec.skip_impossible


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("knbos: {a: [1]}\n", r":1: unknown entry 'knbos'; did you mean knobs"),
        ("preset: x\n\nsampler: girds\n", r":3: sampler: .*'grid', 'random', 'nsga2' or 'tpe'"),
        ("knobs:\n  a: 3\n", r":2: knobs\.a: input should be a valid list"),
        ("knobs:\n  a: [1]\n  b: []\n", r":3: knobs\.b: list should have at least 1 item"),
        ("sampler: tpe\nranges:\n  a: {low: 1}\n", r":3: ranges\.a needs 'high'"),
        (
            "sampler: tpe\nranges:\n  a: {low: 1, high: 2, setp: 1}\n",
            r":3: unknown entry 'ranges\.a\.setp'; did you mean step",
        ),
        ("sampler: tpe\nranges:\n  a: {low: x, high: 2}\n", r":3: ranges\.a\.low: "),
        ("sampler: tpe\nranges:\n  a: {low: true, high: 2}\n", r":3: ranges\.a\.low: "),
        ("settings:\n- {name: a}\n- {nam: b}\n", r":3: settings\.1 needs 'name'"),
        ("knobs: {a: [1]}\ntrials: 0\n", r":2: trials: .*greater than or equal to 1"),
        ("knobs: {a: [1]}\nbatch: 1\n", r":2: batch: .*greater than or equal to 2"),
        ("objectives: [{figure: calls, goal: min}]\n", r":1: objectives\.0\.figure: "),
        ("knobs: {a: [1], a: [2]}\n", r":1: 'a' is given twice"),
        ("knobs: [\n", r":2: "),
        ("- a\n", r":1: expected a sweep"),
        ("", r":1: expected a sweep"),
        ("knobs: !!python/object:os.system {}\n", r":1: could not determine a constructor"),
    ],
)
def test_what_is_no_sweep_is_an_error_with_its_line(
    tmp_path: Path, text: str, expected: str
) -> None:
    """The error names the entry, and what was probably meant."""
    with pytest.raises(FormatError, match=expected):
        read_sweep(_written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("preset: balanced\n", "needs `knobs` or `settings`"),
        ("ranges: {a: {low: 1, high: 2}}\n", "a grid takes lists: write a under `knobs`"),
        ("sampler: random\nsettings: [{name: x}]\n", "nothing to draw from"),
        ("sampler: tpe\nknobs: {a: [1]}\nranges: {a: [2]}\n", "a is under `knobs` and under"),
        ("set: {g: {a: 1}}\nknobs: {g.a: [1]}\n", r"g\.a is swept, and `set` fixes it at 1"),
        ("sampler: tpe\nranges: {a: {low: 3, high: 2}}\n", r"ranges\.a: low is 3, above high"),
        ("sampler: tpe\nranges: {a: {low: 0, high: 2, log: true}}\n", "log needs low above 0"),
        (
            "sampler: tpe\nranges: {a: {low: 1, high: 2, log: true, step: 1}}\n",
            "log and step do not go together",
        ),
        (
            "knobs: {a: [1]}\nobjectives: [{figure: usd, goal: min}, {figure: usd, goal: max}]\n",
            "each figure is given once",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    """Entries that contradict each other say what to write instead."""
    with pytest.raises(ConfigError, match=expected) as error:
        read_sweep(_written(tmp_path, text))
    assert "sweep.yaml: " in str(error.value)


def test_a_file_that_cannot_be_opened_is_a_clear_error(tmp_path: Path) -> None:
    """It is absent, or no text."""
    with pytest.raises(ConfigError, match="cannot read the sweep"):
        read_sweep(tmp_path / "absent.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="expected UTF-8"):
        read_sweep(tmp_path / "bytes.yaml")


@settings(deadline=None, derandomize=True)
@given(st.text(max_size=60))
def test_no_text_does_more_than_be_refused(tmp_path_factory: pytest.TempPathFactory, text: str):
    """Any text is a sweep, or an error of ours."""
    folder = tmp_path_factory.mktemp("any")
    path = folder / "sweep.yaml"
    path.write_bytes(text.encode("utf-8", "replace"))
    with pytest.raises((ConfigError, FormatError)):
        read_sweep(path)


def test_sweeps_are_found_by_name_or_path(tmp_path: Path) -> None:
    """An unknown name gets the nearest one as a hint."""
    path = tmp_path / "search_size.yaml"
    path.write_text("knobs: {a: [1]}\n")
    assert find_sweep("search_size", tmp_path) == path
    assert find_sweep(str(path), Path("nowhere")) == path
    with pytest.raises(ConfigError, match=r"unknown sweep 'search_sise'; did you mean search_size"):
        find_sweep("search_sise", tmp_path)
    with pytest.raises(ConfigError, match="there is no sweep file"):
        find_sweep("./absent.yaml", tmp_path)


def test_lists_from_a_command_line_are_laid_over_a_sweep() -> None:
    """Values are YAML, and a knob that the sweep has already is replaced."""
    spec = SweepSpec.model_validate(
        {"sampler": "tpe", "knobs": {"a": [1]}, "ranges": {"b": {"low": 1, "high": 2}}}
    )
    over = with_knobs(spec, ["b=3,4", "c=[x],[y, z]", "d=null,0.5,true, word "])
    assert over.space == {
        "a": [1],
        "b": [3, 4],
        "c": [["x"], ["y", "z"]],
        "d": [None, 0.5, True, "word"],
    }
    assert with_knobs(SweepSpec(), ["a=1"]).knobs == {"a": [1]}
    assert with_knobs(spec, ["a=3", "e=1", "a=4,5"]).knobs == {"a": [3, 4, 5], "e": [1]}


@pytest.mark.parametrize("text", ["a", "=1", "a=", "a= ", "a=1]", "a=[", "a=1,,2", ""])
def test_a_list_that_is_none_is_refused(text: str) -> None:
    """It has no name or no values, or is not YAML."""
    with pytest.raises(ConfigError, match=r"expected knob=value|not YAML"):
        with_knobs(SweepSpec(), [text])


def test_different_sweeps_have_different_digests() -> None:
    """Equal sweeps have equal digests; any difference shows."""
    spec = SweepSpec(knobs={"a": [1, 2]})
    assert sweep_digest(spec) == sweep_digest(SweepSpec.model_validate({"knobs": {"a": [1, 2]}}))
    others = [SweepSpec(knobs={"a": [2, 1]}), SweepSpec(knobs={"a": [1, 2]}, seed=1)]
    assert len({sweep_digest(each) for each in [spec, *others]}) == 3
