"""Sweeps of models that cannot be compared."""

from pathlib import Path

import pytest

from callwise.calls.errors import ConfigError
from callwise.tuning.routing.route_space import REFERENCE
from callwise.tuning.routing.route_tuning import refuse_idle
from callwise.tuning.samplers import LeftOut
from callwise.tuning.setting import Setting
from callwise.tuning.sweep import FinishedSweep


def test_a_sweep_of_the_recorded_run_alone_is_refused_with_the_reason() -> None:
    """Its replies would be judged, and paid for, with nothing to compare them with."""
    own, other = Setting(REFERENCE, "recorded", {}), Setting("plan: small", "recorded", {})
    left_out = (LeftOut("plan: small", "'small' and 'main' are the same model"),)
    with pytest.raises(ConfigError, match="nothing to compare: 'small' and 'main' are the same"):
        refuse_idle(FinishedSweep(Path("sweep"), (own,), (), left_out))
    refuse_idle(FinishedSweep(Path("sweep"), (own, other), (), ()))
