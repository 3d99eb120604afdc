"""A sweep's settings are known, named and validated before the first one runs."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.calls.errors import ConfigError
from callwise.shipped import configs_folder
from callwise.tuning.samplers import SweepPlan, plan_settings
from callwise.tuning.setting import Setting
from callwise.tuning.sweep_spec import KnobRange, SweepSpec, read_sweep
from graph.app import app

SHIPPED = sorted((configs_folder() / "sweeps").glob("*.yaml"))


def _allow(_setting: Setting) -> None:
    """Every setting can run."""


def _plan(**fields: object) -> SweepPlan:
    spec = SweepSpec.model_validate(fields)
    return plan_settings(spec, preset="recorded", validate=_allow)


def test_a_grid_is_every_combination_in_the_order_of_the_file() -> None:
    """The last knob changes fastest, and the base is the recording's own preset."""
    plan = _plan(knobs={"b": [2, 1], "a": ["x", "y"]}, set={"g": {"c": 1}})
    assert [setting.name for setting in plan.settings] == [
        "b=2 a=x",
        "b=2 a=y",
        "b=1 a=x",
        "b=1 a=y",
    ]
    assert list(plan.settings[0].knobs.items()) == [("g.c", 1), ("b", 2), ("a", "x")]
    assert {setting.preset for setting in plan.settings} == {"recorded"}
    assert plan.settings[3].knobs == {"g.c": 1, "b": 1, "a": "y"}


def test_named_settings_come_first_and_own_their_overrides() -> None:
    """Their `set` is laid over the sweep's, and their preset replaces it."""
    plan = _plan(
        preset="balanced",
        set={"a": 1},
        settings=[
            {"name": "first", "preset": "classic", "set": {"a": 2, "b": 3}},
            {"name": "base"},
        ],
        knobs={"preset": ["frugal", "instant"]},
    )
    shown = [(s.name, s.preset, s.knobs) for s in plan.settings]
    assert shown == [
        ("first", "classic", {"a": 2, "b": 3}),
        ("base", "balanced", {"a": 1}),
        ("preset=frugal", "frugal", {"a": 1}),
        ("preset=instant", "instant", {"a": 1}),
    ]


def test_settings_that_do_the_same_are_one() -> None:
    """The first keeps its name."""
    plan = _plan(settings=[{"name": "six", "set": {"a": 6}}], knobs={"a": [3, 6, 3]})
    assert [setting.name for setting in plan.settings] == ["six", "a=3"]


def test_one_name_for_two_settings_is_refused() -> None:
    """Rows are kept by name."""
    with pytest.raises(ConfigError, match="two different settings are named 'x'"):
        _plan(settings=[{"name": "x"}, {"name": "x", "set": {"a": 1}}])


def test_a_sweep_that_is_too_large_is_refused_before_it_is_built() -> None:
    """A hundred million settings are counted, not made."""
    with pytest.raises(ConfigError, match="100000000 settings, more than max_settings=1000"):
        _plan(knobs={name: list(range(100)) for name in "abcd"})


def _refuse(setting: Setting) -> None:
    if "typo" in setting.knobs:
        raise ConfigError("unknown knob 'typo'; did you mean type?")
    if setting.knobs.get("a", 0) > setting.knobs.get("b", 9):
        raise ConfigError("a is at most b")


def _refused(**fields: object) -> SweepPlan:
    spec = SweepSpec.model_validate(fields)
    return plan_settings(spec, preset="recorded", validate=_refuse)


def test_an_impossible_combination_is_named_with_the_way_out() -> None:
    """One line a reason, whatever the number of settings that share it."""
    with pytest.raises(ConfigError) as error:
        _refused(knobs={"a": [1, 2, 3], "b": [2]})
    assert str(error.value) == (
        "setting 'a=3 b=2': a is at most b\n"
        "`skip_impossible: true` leaves combinations out that cannot run"
    )
    with pytest.raises(ConfigError, match="setting 'a=3 b=1' and 1 more: a is at most b"):
        _refused(knobs={"a": [3, 4], "b": [1, 5]})


def test_impossible_combinations_may_be_left_out() -> None:
    """They are listed, with the reason."""
    plan = _refused(knobs={"a": [1, 2, 3], "b": [2]}, skip_impossible=True)
    assert [setting.name for setting in plan.settings] == ["a=1 b=2", "a=2 b=2"]
    assert [(each.setting, each.reason) for each in plan.left_out] == [
        ("a=3 b=2", "a is at most b")
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"knobs": {"typo": [1, 2]}},
        {"settings": [{"name": "x", "set": {"typo": 1}}, {"name": "y"}]},
        {"sampler": "nsga2", "knobs": {"a": [1]}, "ranges": {"typo": {"low": 1, "high": 2}}},
        {"sampler": "random", "ranges": {"typo": {"low": 1, "high": 2}}},
    ],
)
def test_a_misspelt_knob_is_found_even_where_combinations_are_skipped(fields: dict) -> None:
    """Nothing has run by then, whatever the sampler."""
    with pytest.raises(ConfigError, match="unknown knob 'typo'; did you mean type"):
        _refused(skip_impossible=True, **fields)


def test_an_adaptive_sweep_plans_its_named_settings_only() -> None:
    """The others are chosen as it goes; their ends are tried before."""
    tried: list[tuple[str, ...]] = []
    spec = SweepSpec.model_validate(
        {
            "sampler": "tpe",
            "settings": [{"name": "base"}],
            "knobs": {"p": ["x", "y"]},
            "ranges": {"a": {"low": 1, "high": 8}},
        }
    )
    plan = plan_settings(spec, preset="p", validate=lambda setting: tried.append(setting.overrides))
    assert [setting.name for setting in plan.settings] == ["base"]
    assert tried == [(), ("p=x",), ("p=y",), ("a=1",), ("a=8",)]


def test_settings_by_lot_are_the_same_for_the_same_seed() -> None:
    """And distinct; a small space gives fewer than asked for."""
    fields = {"sampler": "random", "trials": 12, "ranges": {"a": {"low": 0.0, "high": 1.0}}}
    first = _plan(**fields, seed=5)
    assert first == _plan(**fields, seed=5)
    assert first != _plan(**fields, seed=6)
    assert len({setting.identity for setting in first.settings}) == 12
    small = _plan(sampler="random", trials=40, knobs={"a": [1, 2], "b": [True, False]})
    assert len(small.settings) == 4


NUMBERS = st.integers(1, 50) | st.floats(0.001, 50, allow_nan=False)


@settings(deadline=None, derandomize=True)
@given(st.lists(NUMBERS, min_size=2, max_size=2), st.booleans(), NUMBERS | st.none())
def test_what_is_drawn_lies_in_its_range(ends: list[float], is_log: bool, step: float) -> None:
    """Whole ranges give whole numbers, steps are kept, and both ends belong to it."""
    low, high = sorted(ends)
    values = KnobRange(low=low, high=high, log=is_log, step=None if is_log else step)
    spec = SweepSpec(sampler="random", trials=30, ranges={"a": values})
    for setting in plan_settings(spec, preset="p", validate=_allow).settings:
        drawn = setting.knobs["a"]
        assert low <= drawn <= high
        assert isinstance(drawn, int) == values.is_whole
        if values.step is not None:
            steps = (drawn - low) / values.step
            # Few digits: the nearest number that can be written so.
            assert abs(steps - round(steps)) * values.step <= 0.0006 * max(drawn, 1)


def _of_the_app(setting: Setting) -> None:
    app.settings(setting.preset, setting.overrides)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_sweeps_can_run(path: Path) -> None:
    """Every setting of theirs is one of this pipeline."""
    plan = plan_settings(read_sweep(path), preset="classic", validate=_of_the_app)
    assert not plan.left_out


def test_the_shipped_sweeps_are_those_that_the_docs_name() -> None:
    """Three of them; the one of presets has them all."""
    assert [path.stem for path in SHIPPED] == ["presets", "search_size", "thorough"]
    plan = plan_settings(read_sweep(SHIPPED[0]), preset="classic", validate=_of_the_app)
    assert {setting.preset for setting in plan.settings} == set(app.presets())


def test_an_unknown_knob_of_the_pipeline_names_the_nearest() -> None:
    """The pipeline's own words reach the user."""
    spec = SweepSpec(knobs={"search.max_cals": [3, 4]})
    with pytest.raises(ConfigError, match=r"'search\.max_cals=3' and 1 more: .*search\.max_calls"):
        plan_settings(spec, preset="balanced", validate=_of_the_app)
