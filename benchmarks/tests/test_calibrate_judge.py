"""The figures of the simulated judge are those of the recorded judges."""

import os
import statistics
from pathlib import Path

import pytest

from callwise.simulator.judge import JUDGE_CALIBRATION

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CALLWISE_DATA", ROOT.parent / "shared" / "data"))


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="no recorded data next to the project")
def test_calibrated_figures_are_those_of_the_data():
    """The script, run again, gives the figures of `JUDGE_CALIBRATION`."""
    pytest.importorskip("pyarrow", reason="needs the bench extra")
    from benchmarks import calibrate_judge

    judges, human, is_human = calibrate_judge.read_pool()
    machine = ~is_human
    shape = (calibrate_judge.PROMPTS, -1)
    by_judge = [
        calibrate_judge.observed(
            samples[machine].reshape(*shape, calibrate_judge.SAMPLES), human[machine].reshape(shape)
        )
        for samples in judges.values()
    ]
    for name in ("truth_r", "repeat_r", "tie_rate", "repeat_equal"):
        median = statistics.median(figures[name] for figures in by_judge)
        assert abs(median - getattr(JUDGE_CALIBRATION, name)) < 0.001
