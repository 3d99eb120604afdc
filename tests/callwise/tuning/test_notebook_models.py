"""`tune(route=...)` and `tune(cascade=...)`: the tables, the curve and the preset of a notebook."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import callwise as cw
from callwise.calls.errors import ConfigError
from callwise.calls.policies import CascadePolicy, RoutePolicy
from callwise.tuning.notebook_models import TunedModels

SMALL = {"kind": "simulated", "model": "small"}
SMALL = SMALL | {"prices": {"input_usd_per_million": 1, "output_usd_per_million": 3}}
MODELS: dict[str, Any] = {"small": SMALL}
LARGE = {"input_usd_per_million": 10, "output_usd_per_million": 30}
KNOBS = {"endpoints": {"main": {"kind": "simulated", "prices": LARGE}}}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of six conversations of four turns each."""
    folder = tmp_path_factory.mktemp("models") / "run"
    talks = [
        {"conversation_id": f"c{at}", "turn": day, "user_text": f"Job {at} is lost, day {day}."}
        for at in range(6)
        for day in range(4)
    ]
    cw.replay(talks, folder, preset="instant", knobs=KNOBS)
    return folder


@pytest.fixture
def run(recorded: Path, tmp_path: Path) -> Path:
    """Return a copy of that run."""
    shutil.copytree(recorded, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.slow
def test_a_routing_table_is_tuned_and_written(run: Path, tmp_path: Path) -> None:
    """With its curve in figures, and a preset that its policy takes."""
    found = cw.tune(run, tmp_path / "sweep", route=MODELS, max_buy_calls=500, margin_share=0.9)
    assert isinstance(found, TunedModels)
    assert found.preset == tmp_path / "sweep" / "recommended.yaml"
    policies = yaml.safe_load(found.preset.read_text(encoding="utf-8"))["policies"]
    assert RoutePolicy.model_validate(next(iter(policies.values()))).models == ("small", "main")
    frame = found.curve_frame
    ends = frame.set_index("table").loc[["weakest alone", "strongest alone"]]
    assert ends["cost"].is_monotonic_increasing
    assert (frame["quality_low"] <= frame["quality"]).all()
    assert str(found.preset) in repr(cw.show(found))
    assert "Quality against cost" in repr(found)
    assert found.tradeoff.points


@pytest.mark.slow
def test_a_cascade_is_tuned_and_written(run: Path, tmp_path: Path) -> None:
    """From a file of models, with its calibration in the preset."""
    file = tmp_path / "models.yaml"
    file.write_text(json.dumps({"models": MODELS}), encoding="utf-8")
    found = cw.tune(
        run, tmp_path / "sweep", cascade=file, by="agreement", max_buy_calls=900, margin_share=0.9
    )
    assert isinstance(found, TunedModels)
    assert found.preset is not None
    (policy,) = yaml.safe_load(found.preset.read_text(encoding="utf-8"))["policies"].values()
    assert CascadePolicy.model_validate(policy).calibration[0].labels == 24
    assert list(found.curves) == ["fuse: small, then main"]
    assert "good enough" in repr(found)
    drawn = found.tradeoff
    assert [point.setting for point in drawn.points] == ["agreement >= 0", "large alone"]
    cheap, dear = drawn.points
    assert cheap.cost.mean < dear.cost.mean
    assert cheap.quality.low < cheap.quality.mean < cheap.quality.high
    assert drawn.basis.turns == 24
    assert cw.show(drawn).record == drawn


def test_nothing_is_bought_or_recommended_without_being_asked_to(run: Path, tmp_path: Path) -> None:
    """The result has how many calls are missing."""
    before = (run / "cassette.jsonl").read_bytes()
    found = cw.tune(run, tmp_path / "sweep", cascade=MODELS)
    assert isinstance(found, TunedModels)
    assert found.preset is None
    assert "calls are not recorded (max_buy_calls)" in found.recommendation
    assert (run / "cassette.jsonl").read_bytes() == before
    assert found.curve_frame.empty


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"route": {}, "cascade": {}}, "`route` and `cascade` are tuned one at a time"),
        ({"route": {}, "knobs": {"seed": [1]}}, "`knobs` and `route` are tuned one at a time"),
        ({"route": {}}, "there is one model only"),
        ({"cascade": {"small": SMALL | {"prices": None}}}, "the prices of small are not known"),
        ({"route": MODELS, "quality": "none"}, "`route` compares quality"),
        ({"cascade": ["small"]}, "`cascade` is a dict of models by name"),
        ({"cascade": {"small.v2": SMALL}}, "name the model 'small.v2' without a dot"),
        ({"cascade": MODELS, "by": "guess"}, "by='guess': expected one of logprobs"),
        ({"route": MODELS, "by": "judge"}, "by='judge' needs `cascade`"),
        ({"knobs": {"seed": [1]}, "by": "judge"}, "by='judge' needs `cascade`"),
        ({"cascade": MODELS, "cost": "rounds_reply"}, "cost is 'rounds_reply'"),
        ({"route": MODELS, "loggers": [print]}, "`loggers` are of settings"),
    ],
)
def test_requests_that_cannot_work_are_refused(
    run: Path, given: dict[str, Any], problem: str
) -> None:
    """Before anything is bought."""
    with pytest.raises(ConfigError, match=problem):
        cw.tune(run, **given)
