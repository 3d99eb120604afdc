"""The most calls that a policy makes of a planned one."""

from dataclasses import replace

import pytest

from callwise.calls.call import Purpose, Role
from callwise.calls.client import Prices
from callwise.calls.policies import CascadePolicy, EnsemblePolicy
from callwise.plans.bound import PlannedCall, flatten, rounds
from callwise.plans.plan_counts import count_plan
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


def test_a_planned_call_is_that_of_the_model_that_is_asked():
    """Its limits and counts stay those of its role; a check is the judge's."""
    knobs = CascadePolicy(models=("fast", "large"), by="judge", judge="wise")
    call = replace(CALL, role=Role.MAIN, input_tokens=1_000_000, output_tokens=0)
    plan = flatten(with_policies(call, {"default": knobs}))
    asked = [(task.call.role, task.call.model, task.call.served_by) for task in plan.tasks]
    assert asked == [
        (Role.MAIN, "fast", Role.FAST),
        (Role.JUDGE, "wise", Role.JUDGE),
        (Role.MAIN, "large", Role.MAIN),
    ]
    prices = {"fast": Prices(1, 0), "wise": Prices(100, 0), "large": Prices(10, 0)}
    counts = count_plan(plan, prices, {Purpose.CHECK: ("fast",)})
    assert counts.usd == pytest.approx(111, rel=0.01)
    assert counts.by_model == {"fast": 1, "wise": 1, "large": 1}
    del prices["wise"]
    assert count_plan(plan, prices, {}).unpriced_roles == ("wise",)


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
