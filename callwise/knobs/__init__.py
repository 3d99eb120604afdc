"""Knobs: presets as YAML, the environment, overrides, validation in plain words, and a digest.

Independent of particular settings: every function takes the pydantic model they are for.
"""

from callwise.knobs.environment import EnvironmentKnob, environment_knobs, own_trust, settings_from
from callwise.knobs.experiment import ExperimentKnobs, assign
from callwise.knobs.knob_paths import KnobInfo, knob_paths, nearest_names, validate
from callwise.knobs.presets import (
    Overrides,
    apply_overrides,
    data_problem,
    is_preset_file,
    load_preset,
    parse_overrides,
    preset_names,
    settings_digest,
)
from callwise.knobs.variables import VARIABLES, misspelt_variables

__all__ = [
    "VARIABLES",
    "EnvironmentKnob",
    "ExperimentKnobs",
    "KnobInfo",
    "Overrides",
    "apply_overrides",
    "assign",
    "data_problem",
    "environment_knobs",
    "is_preset_file",
    "knob_paths",
    "load_preset",
    "misspelt_variables",
    "nearest_names",
    "own_trust",
    "parse_overrides",
    "preset_names",
    "settings_digest",
    "settings_from",
    "validate",
]
