"""Policy `route`: of the models that can answer a call and are good enough, the cheapest."""

import asyncio
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from callwise.budget import Budgeter, ManualClock
from callwise.budget.policies.route import NOTHING_LEFT_OUT, BudgetLeft, RouteByTable
from callwise.budget.token_estimate import Estimator
from callwise.calls import Call, ConfigError, Endpoint, Message, Prices, Purpose, Role, Sampling
from callwise.calls.capabilities import Capabilities
from callwise.calls.policies import ComplexityKnobs, RouteEntry, RoutePolicy
from callwise.testing.fakes import ScriptedClient

PRICES = {"small": Prices(0.1, 0.4), "medium": Prices(1, 4), "large": Prices(10, 40)}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def endpoints_of(prices=PRICES, **capabilities):
    """Return three models and what settings say of each."""
    return {
        name: Endpoint(
            name,
            name,
            ScriptedClient([name] * 9),
            prices.get(name),
            capabilities=Capabilities(**capabilities.get(name, {})),
        )
        for name in ("small", "medium", "large")
    }


def call_of(text="how good is it?", **options):
    """Return a judge's call."""
    sampling = options.pop("sampling", Sampling(max_tokens=100))
    messages = (Message("user", text, parts=options.pop("parts", ())),)
    return Call(Role.MAIN, Purpose.JUDGE, messages, sampling=sampling, **options)


def decided(
    *table,
    call=None,
    endpoints=None,
    left=NOTHING_LEFT_OUT,
    **knobs,
):
    """Return the decision of a table; the entry of a name alone is its model."""
    entries = tuple(
        RouteEntry(model=each) if isinstance(each, str) else RouteEntry(**each) for each in table
    )
    policy = RouteByTable(RoutePolicy(table=entries, **knobs))
    return policy.decide(call or call_of(), endpoints or endpoints_of(), Estimator(), left)


def entry(model, **facts):
    """Return an entry."""
    return {"model": model, **facts}


def test_the_cheapest_by_prices_is_asked_whatever_its_place():
    """And each other has its price as the reason why not."""
    found = decided("large", "small", "medium")
    assert found.model == "small"
    assert found.reason.startswith("cheapest that is good enough: ")
    assert "complexity" in found.reason
    assert [each.split(":")[0] for each in found.alternatives] == ["large", "medium"]
    assert all(each.endswith("USD") for each in found.alternatives)


def test_measured_prices_go_before_price_lists_where_each_is_measured():
    """Two prices are compared only if they are of one kind."""
    measured = entry("large", usd_per_call=0.001), entry("small", usd_per_call=0.002)
    assert decided(*measured).model == "large"
    assert decided(*measured, "medium").model == "small"


def test_an_unknown_price_loses_and_is_not_0():
    """Without any price the first that is good enough is asked, and the reason names that."""
    endpoints = endpoints_of({"large": PRICES["large"]})
    found = decided("small", "large", endpoints=endpoints)
    assert found.model == "large"
    assert found.alternatives == ("small: its price is not known",)
    found = decided("medium", "small", endpoints=endpoints_of({}))
    assert found.model == "medium"
    assert "no price is known" in found.reason


def test_a_complex_request_goes_to_a_model_for_it():
    """`max_complexity` leaves a model out; the alternatives name both numbers."""
    table = entry("small", max_complexity=0.5), "large"
    knobs = {"complexity": ComplexityKnobs(task=0, messages=0, form=0, seconds=0, full_tokens=100)}
    assert decided(*table, call=call_of("a" * 100), **knobs).model == "small"
    found = decided(*table, call=call_of("a" * 400), **knobs)
    assert found.model == "large"
    assert found.alternatives == ("small: complexity 1.00 is above 0.5",)


def test_quality_below_the_threshold_or_unknown_is_not_good_enough():
    """Unknown is not good."""
    table = entry("small"), entry("medium", quality=0.6), entry("large", quality=0.8)
    assert decided(*table, min_quality=0.5).model == "medium"
    found = decided(*table, min_quality=0.7)
    assert found.model == "large"
    assert found.alternatives == (
        "small: its quality is not known",
        "medium: quality 0.6 is below 0.7",
    )


def test_a_call_that_costs_too_much_is_not_asked_there():
    """By the estimated tokens and the price list."""
    table = entry("small", max_complexity=0), "medium", "large"
    found = decided(*table, max_usd=0.001)
    assert found.model == "medium"
    assert found.alternatives[-1].startswith("large: 0.0")
    assert "is more than max_usd 0.001" in found.alternatives[-1]


@pytest.mark.parametrize(
    ("call", "lacking"),
    [
        (call_of(tools=(TOOL,)), "tools"),
        (call_of(sampling=Sampling(top_logprobs=2)), "logprobs"),
        (call_of(parts=(IMAGE,)), "image_url"),
    ],
)
def test_a_model_is_not_asked_for_what_it_does_not_take(call, lacking):
    """As its settings say."""
    endpoints = endpoints_of(small={"refused": frozenset({lacking})})
    found = decided("small", "large", call=call, endpoints=endpoints)
    assert found.model == "large"
    assert found.alternatives == (f"small: takes no {lacking}",)
    assert decided("small", "large", endpoints=endpoints).model == "small"


def test_a_prompt_that_a_context_does_not_fit_goes_elsewhere():
    """Prompt and answer together."""
    endpoints = endpoints_of(small={"context_tokens": 500})
    assert decided("small", "large", endpoints=endpoints).model == "small"
    longer = call_of("word " * 450)
    found = decided("small", "large", call=longer, endpoints=endpoints)
    assert found.model == "large"
    assert "are more than its 500" in found.alternatives[0]


def test_little_budget_left_asks_the_cheapest_that_can_answer():
    """Whatever its quality and the request's complexity."""
    table = entry("small", max_complexity=0.1), entry("large", quality=0.9)
    knobs = {"save_below": 0.25, "min_quality": 0.5}
    assert decided(*table, left=BudgetLeft(0.25, "max_calls"), **knobs).model == "large"
    found = decided(*table, left=BudgetLeft(0.2, "max_calls"), **knobs)
    assert found.model == "small"
    assert found.reason.startswith("saving: 20% of max_calls is left, less than save_below 0.25")


def test_the_share_left_is_that_of_the_tightest_limit():
    """Of calls and USD, of the scope that asks and those around it."""
    policy = RoutePolicy(
        table=(RouteEntry(model="small", quality=0.1), RouteEntry(model="large", quality=0.9)),
        save_below=0.5,
        min_quality=0.5,
    )
    endpoints = {Role.MAIN: endpoints_of()["medium"], **endpoints_of()}
    budgeter = Budgeter(endpoints, policies={"judge": policy}, clock=ManualClock())
    with budgeter.scope("turn", "1", limits={"max_calls": 4}):
        for place in range(4):
            asyncio.run(budgeter.ask(call_of(str(place))))
    asked = [row.model for row in budgeter.ledger.rows]
    assert asked == ["large", "large", "large", "small"]


@pytest.mark.parametrize(
    ("table", "knobs", "model"),
    [
        ((entry("small", quality=0.2), entry("large", quality=0.4)), {"min_quality": 0.9}, "large"),
        ((entry("small"), entry("large")), {"min_quality": 0.9}, "small"),
        (
            (entry("small", quality=0.2), entry("large", quality=0.4)),
            {"min_quality": 0.9, "max_usd": 0.001},
            "small",
        ),
        ((entry("small"), entry("large", quality=0.4)), {"max_usd": 0.0}, "large"),
    ],
)
def test_a_table_that_nothing_fits_has_a_last_resort(table, knobs, model):
    """The strongest that does not cost too much, else the strongest; the row names it as that."""
    found = decided(*table, **knobs)
    assert found.model == model
    assert found.reason.startswith("last resort: none fits; ")


def test_a_cost_threshold_without_prices_is_refused_before_anything_runs():
    """It could not bind."""
    policy = RoutePolicy(table=(RouteEntry(model="small", usd_per_call=1),), max_usd=0.1)
    endpoints = {Role.MAIN: endpoints_of()["large"], "small": endpoints_of({})["small"]}
    with pytest.raises(ConfigError, match=r"policies\.judge\.max_usd cannot bind: small has no"):
        Budgeter(endpoints, policies={"judge": policy})


def test_an_estimate_is_that_of_the_dearest_that_may_answer():
    """Leases and plans rest on it; a call that names its model has that model's."""
    policy = RoutePolicy(table=(RouteEntry(model="small"), RouteEntry(model="large")))
    endpoints = {Role.MAIN: endpoints_of()["small"], **endpoints_of()}
    budgeter = Budgeter(endpoints, policies={"judge": policy})
    dearest = Budgeter(endpoints).estimate(call_of(model="large"))
    assert budgeter.estimate(call_of()).picodollars == dearest.picodollars
    assert budgeter.estimate(call_of(model="small")).picodollars < dearest.picodollars


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"quality_low": 0.1, "quality_high": 0.2}, "quality_low <= quality <= quality_high"),
        ({"seconds": 3, "seconds_low": 1, "seconds_high": 2}, "seconds_low <= seconds"),
        ({"quality": 1.1}, "less than or equal to 1"),
        ({"usd_per_call": float("nan")}, "finite"),
    ],
)
def test_facts_that_cannot_be_are_refused(facts, problem):
    """Before a run starts."""
    with pytest.raises(ValidationError, match=problem):
        RouteEntry(model="small", **facts)


def test_a_table_names_at_least_one_model_and_each_once():
    """Else it names no route."""
    with pytest.raises(ValidationError, match="at least 1 item"):
        RoutePolicy(table=())
    with pytest.raises(ValidationError, match="small is in the table twice"):
        RoutePolicy(table=(RouteEntry(model="small"), RouteEntry(model="small")))


qualities = st.none() | st.floats(0, 1)
entries = st.builds(
    lambda quality, most, usd: {"quality": quality, "max_complexity": most, "usd_per_call": usd},
    qualities,
    st.floats(0, 1),
    st.none() | st.floats(0, 1),
)


@given(
    facts=st.lists(entries, min_size=3, max_size=3),
    priced=st.sets(st.sampled_from(sorted(PRICES))),
    least=qualities,
    share=st.floats(0, 1),
    save_below=st.floats(0, 1),
)
def test_a_decision_is_always_made_and_is_the_cheapest_of_those_that_fit(
    facts, priced, least, share, save_below
):
    """For any table: the same one again, and none that fits is known to be cheaper."""
    table = [entry(name, **each) for name, each in zip(PRICES, facts, strict=True)]
    endpoints = endpoints_of({name: PRICES[name] for name in priced})
    options = {"min_quality": least, "save_below": save_below, "endpoints": endpoints}
    found = decided(*table, left=BudgetLeft(share, "max_calls"), **options)
    assert found == decided(*table, left=BudgetLeft(share, "max_calls"), **options)
    assert len(found.alternatives) == len(table) - 1
    is_measured = all(
        each["usd_per_call"] is not None
        for each in table
        if each["model"] in priced or each["usd_per_call"] is not None
    )
    fitting = [
        each
        for each in table
        if share < save_below
        or (
            each["max_complexity"] >= found.complexity.value
            and (least is None or (each["quality"] is not None and each["quality"] >= least))
        )
    ]
    if not fitting:
        assert found.reason.startswith("last resort")
        return
    chosen = next(each for each in table if each["model"] == found.model)
    assert chosen in fitting
    if is_measured:
        costs = [each["usd_per_call"] for each in fitting if each["usd_per_call"] is not None]
        own = chosen["usd_per_call"]
    else:
        order = list(PRICES)
        costs = [order.index(each["model"]) for each in fitting if each["model"] in priced]
        own = order.index(found.model) if found.model in priced else None
    assert (own is None) == (not costs)
    assert own is None or own <= min(costs) + sys.float_info.epsilon
