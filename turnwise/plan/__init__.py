"""Call plans: what a turn will ask, before it runs and without a model. Light to import."""

from turnwise.plan.bound import Network, Parallel, PlannedCall, Serial, Step, Wave, with_repairs
from turnwise.plan.rows import plan_rows
from turnwise.plan.turn_plan import ScenarioPlan, TurnPlan

__all__ = [
    "Network",
    "Parallel",
    "PlannedCall",
    "ScenarioPlan",
    "Serial",
    "Step",
    "TurnPlan",
    "Wave",
    "plan_rows",
    "with_repairs",
]
