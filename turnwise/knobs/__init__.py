"""Knobs: presets as YAML, the environment, overrides, validation in plain words, and a digest.

Knows no particular settings: every function takes the pydantic model they are for.
"""

from turnwise.knobs.digest import settings_digest
from turnwise.knobs.environment import (
    EnvironmentKnob,
    environment_knobs,
    own_trust,
    settings_from,
)
from turnwise.knobs.nearest import nearest_names
from turnwise.knobs.overrides import Overrides, apply_overrides, parse_overrides
from turnwise.knobs.paths import KnobInfo, knob_paths
from turnwise.knobs.presets import is_preset_file, load_preset, preset_names
from turnwise.knobs.validation import validate
from turnwise.knobs.yaml_form import data_problem

__all__ = [
    "EnvironmentKnob",
    "KnobInfo",
    "Overrides",
    "apply_overrides",
    "data_problem",
    "environment_knobs",
    "is_preset_file",
    "knob_paths",
    "load_preset",
    "nearest_names",
    "own_trust",
    "parse_overrides",
    "preset_names",
    "settings_digest",
    "settings_from",
    "validate",
]
