"""Changes of a relationship in one turn."""

from hypothesis import given
from hypothesis import strategies as st

from nodes.evolver import MAX_FALLS, MAX_RISES, RelationshipDelta, apply_delta
from nodes.records import Relationship

signed = st.floats(-1.0, 1.0)
unit = st.floats(0.0, 1.0)
NAMES = tuple(MAX_RISES)
relationships = st.builds(
    Relationship, closeness=unit, trust=unit, liking=unit, respect=unit, warmth=unit, power=signed
)
deltas = st.fixed_dictionaries(dict.fromkeys(NAMES, signed))


def _delta(**values: float) -> RelationshipDelta:
    return RelationshipDelta(**{**dict.fromkeys(NAMES, 0.0), **values}, reason="")


@given(relationships, deltas)
def test_a_turn_is_capped_and_stays_in_range(
    relationship: Relationship, values: dict[str, float]
) -> None:
    """No quantity changes by more than its cap, against its delta, or out of its range."""
    after = apply_delta(relationship, _delta(**values))
    assert Relationship.model_validate(after.model_dump()) == after
    for name, delta in values.items():
        step = getattr(after, name) - getattr(relationship, name)
        assert -MAX_FALLS[name] - 1e-5 <= step <= MAX_RISES[name] + 1e-5
        assert step * delta >= -1e-5


@given(relationships, st.sampled_from(NAMES), signed, signed)
def test_a_larger_delta_never_leaves_less(
    relationship: Relationship, name: str, first: float, second: float
) -> None:
    """What is left after a turn rises with the delta."""
    low, high = sorted((first, second))
    after_low = apply_delta(relationship, _delta(**{name: low}))
    after_high = apply_delta(relationship, _delta(**{name: high}))
    assert getattr(after_low, name) <= getattr(after_high, name)


@given(relationships)
def test_nothing_happened_changes_nothing(relationship: Relationship) -> None:
    """A delta of zeros leaves every quantity, up to rounding, and the stage."""
    after = apply_delta(relationship, _delta())
    for name in NAMES:
        assert abs(getattr(after, name) - getattr(relationship, name)) <= 1e-6
    assert after.stage is relationship.stage


def test_trust_is_lost_faster_than_gained() -> None:
    """One bad turn takes more trust than three good ones give."""
    start = Relationship(trust=0.5)
    good = start
    for _ in range(3):
        good = apply_delta(good, _delta(trust=1.0))
    bad = apply_delta(start, _delta(trust=-1.0))
    assert start.trust - bad.trust > good.trust - start.trust


def test_steps_shrink_near_a_bound() -> None:
    """The same delta changes less the nearer its bound is, and nothing at the bound."""
    steps = [
        apply_delta(Relationship(liking=liking), _delta(liking=1.0)).liking - liking
        for liking in (0.5, 0.8, 0.95, 1.0)
    ]
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] == 0.0
