"""Knapp's stages with hysteresis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.records import Relationship, Stage
from nodes.stage_manager import _WAYS, HOLD_TURNS, MIN_SWING, bond, next_stage

_STRANGER = Relationship()
_COMING_TOGETHER = (
    Stage.INITIATING,
    Stage.EXPERIMENTING,
    Stage.INTENSIFYING,
    Stage.INTEGRATING,
    Stage.BONDING,
)


def _at(value: float, before: Relationship = _STRANGER) -> Relationship:
    """Return the relationship with all that makes up the bond set to one value."""
    return before.model_copy(
        update={"closeness": value, "trust": value, "liking": value, "warmth": value}
    )


def _walk(start: Stage, bonds: list[float]) -> list[Stage]:
    """Return the stages passed through, each once for each time that it is entered."""
    relationship = Relationship(stage=start)
    stages = [start]
    for value in bonds:
        relationship = next_stage(_at(value, relationship))
        if relationship.stage is not stages[-1]:
            stages.append(relationship.stage)
    return stages


def test_the_table_covers_all_stages() -> None:
    """Each of the ten stages has its ways, and a band between them."""
    assert set(_WAYS) == set(Stage)
    for ways in _WAYS.values():
        assert ways.up_at - ways.down_below >= MIN_SWING - 1e-9


def test_strangers_stay_strangers() -> None:
    """The default relationship is inside the band of the first stage."""
    assert bond(Relationship()) == pytest.approx(0.27)
    assert next_stage(Relationship()).stage is Stage.INITIATING


def test_a_step_waits_until_it_has_held() -> None:
    """A stage is entered at the turn on which the bond has pointed to it long enough."""
    relationship = Relationship()
    for turn in range(1, HOLD_TURNS):
        relationship = next_stage(_at(0.5, relationship))
        assert relationship.stage is Stage.INITIATING
        assert relationship.pending_stage is Stage.EXPERIMENTING
        assert relationship.pending_turns == turn
    relationship = next_stage(_at(0.5, relationship))
    assert relationship.stage is Stage.EXPERIMENTING
    assert (relationship.stage_turns, relationship.pending_stage) == (0, None)


def test_one_turn_out_of_line_starts_the_count_again() -> None:
    """The turns must be in a row."""
    relationship = next_stage(_at(0.5, next_stage(_at(0.5))))
    relationship = next_stage(_at(0.3, relationship))
    assert (relationship.pending_stage, relationship.pending_turns) == (None, 0)


def test_a_hint_hastens_and_never_decides() -> None:
    """A message that sounds like the next stage saves one turn; alone it does nothing."""
    relationship = next_stage(next_stage(_at(0.5)), Stage.EXPERIMENTING)
    assert relationship.stage is Stage.EXPERIMENTING
    relationship = Relationship()
    for _ in range(10):
        relationship = next_stage(relationship, Stage.BONDING)
    assert relationship.stage is Stage.INITIATING


def test_the_whole_way_together_and_apart() -> None:
    """A bond that only grows climbs to bonding; one that only falls ends in terminating."""
    assert tuple(_walk(Stage.INITIATING, [1.0] * 20)) == _COMING_TOGETHER
    assert _walk(Stage.BONDING, [0.0] * 30) == [
        Stage.BONDING,
        Stage.DIFFERENTIATING,
        Stage.CIRCUMSCRIBING,
        Stage.STAGNATING,
        Stage.AVOIDING,
        Stage.TERMINATING,
    ]


@pytest.mark.parametrize("start", list(Stage))
def test_every_stage_can_recover(start: Stage) -> None:
    """From any stage a strong bond leads to bonding."""
    assert _walk(start, [1.0] * 40)[-1] is Stage.BONDING


@given(st.sampled_from(Stage), st.floats(0.0, 1.0), st.lists(st.floats(0.0, 1.0), max_size=60))
def test_noise_never_brings_a_stage_back(start: Stage, low: float, noise: list[float]) -> None:
    """While the bond swings less than the smallest band, no stage is entered twice."""
    bonds = [min(1.0, low + value * (MIN_SWING - 1e-6)) for value in noise for _ in range(3)]
    stages = _walk(start, bonds)
    assert len(stages) == len(set(stages))


@given(st.sampled_from(Stage), st.lists(st.floats(0.0, 1.0), max_size=60))
def test_at_most_one_step_every_few_turns(start: Stage, bonds: list[float]) -> None:
    """Each step is along the table and at least the holding time after the last one."""
    relationship = Relationship(stage=start)
    since = 0
    for value in bonds:
        before = relationship.stage
        relationship = next_stage(_at(value, relationship))
        since += 1
        if relationship.stage is not before:
            assert relationship.stage in {_WAYS[before].up, _WAYS[before].down}
            assert since >= HOLD_TURNS
            since = 0
        assert relationship.stage_turns <= since
