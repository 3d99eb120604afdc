"""What a search will ask, from its knobs alone, whatever its policy."""

from lats.classic_plan import plan_classic
from lats.dry_run import plan_posterior
from lats.knobs import SearchKnobs
from lats.search_plan import PlannedCalls, PlannedRound, Scenario, SearchPlan

__all__ = ["PlannedCalls", "PlannedRound", "Scenario", "SearchPlan", "plan_search"]


def plan_search(knobs: SearchKnobs, scenario: Scenario = Scenario.DEFAULT) -> SearchPlan:
    """Return the exact calls of a search in a scenario.

    In `worst` the calls and the rounds are upper bounds over everything that models and
    failures can do. Under `max_calls` a failure can move calls from one kind to another,
    so there only the totals bound.

    Args:
        knobs: all settings, a stage preset already applied.
        scenario: what the models are assumed to do.
    """
    if knobs.policy == "classic_uct":
        return plan_classic(knobs, scenario)
    return plan_posterior(knobs, scenario)
