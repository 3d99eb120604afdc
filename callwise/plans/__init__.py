"""Call plans: what a turn will ask, before it runs and without a model. Light to import."""

from callwise.plans.bound import (
    InParallel,
    InSequence,
    Network,
    PlannedCall,
    Step,
    Wave,
    with_repairs,
)
from callwise.plans.makespan import Assumptions, Makespan
from callwise.plans.recorded import recorded_json, recorded_rows
from callwise.plans.turn_plan import ScenarioPlan, TurnPlan, plan_rows

__all__ = [
    "Assumptions",
    "InParallel",
    "InSequence",
    "Makespan",
    "Network",
    "PlannedCall",
    "ScenarioPlan",
    "Step",
    "TurnPlan",
    "Wave",
    "plan_rows",
    "recorded_json",
    "recorded_rows",
    "with_repairs",
]
