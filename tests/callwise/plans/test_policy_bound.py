"""The most calls that a policy makes of a planned one."""

import pytest

from callwise.calls.call import Purpose, Role
from callwise.calls.policies import CascadePolicy, EnsemblePolicy
from callwise.plans.bound import PlannedCall, flatten, rounds
from callwise.plans.policy_bound import with_policies
from graph.settings import PipelineSettings
from graph.turn_scenarios import plan_turn

CALL = PlannedCall("node", Role.FAST, Purpose.DETECT)
SMALL = ("small", "main")


@pytest.mark.parametrize(
    ("knobs", "calls", "chain"),
    [
        (CascadePolicy(models=SMALL), 2, 2),
        (CascadePolicy(models=SMALL, by="agreement", samples=4), 5, 2),
        (CascadePolicy(models=SMALL, by="judge"), 3, 3),
        (EnsemblePolicy(models=("a", "b", "c")), 3, 1),
        (EnsemblePolicy(models=("a", "b"), by="agreement", otherwise="main"), 3, 2),
    ],
)
def test_every_call_of_a_policy_is_planned(knobs, calls, chain):
    """With the chain in which they wait for each other."""
    plan = flatten(with_policies(CALL, {"default": knobs}))
    assert len(plan.tasks) == calls
    assert rounds(plan, reply_part="").turn == chain
    assert with_policies(CALL, {"judge": knobs}) is CALL


def test_a_turn_s_plan_has_the_calls_of_its_policies():
    """Those of the search too."""
    plain = PipelineSettings.model_validate({})
    cascaded = PipelineSettings.model_validate(
        {
            "models": {"small": {}},
            "policies": {"default": {"kind": "cascade", "models": ["small", "main"]}},
        }
    )
    few, many = (
        len(flatten(plan_turn(settings).scenarios[0].steps).tasks) for settings in (plain, cascaded)
    )
    assert many == 2 * few
