"""The twelve dimensions of style."""

from hypothesis import given
from hypothesis import strategies as st

from nodes.records import Detection, Mode, Mood, Relationship, Stage, StyleVector
from nodes.style import _WEIGHTS, _features, choose_style

signed = st.floats(-1.0, 1.0)
unit = st.floats(0.0, 1.0)
relationships = st.builds(
    Relationship,
    closeness=unit,
    trust=unit,
    liking=unit,
    respect=unit,
    warmth=unit,
    power=signed,
    stage=st.sampled_from(Stage),
)
moods = st.builds(Mood, pleasure=signed, arousal=signed, dominance=signed, busyness=unit)
modes = st.sampled_from(Mode)
detections = st.builds(Detection, sentiment=signed, hostility=unit, vagueness=unit)


@given(relationships, moods, modes, detections)
def test_any_state_has_a_style(
    relationship: Relationship, mood: Mood, mode: Mode, detection: Detection
) -> None:
    """Every dimension lies in [0, 1] for any state."""
    style = choose_style(relationship, mood, mode, detection)
    assert StyleVector.model_validate(style.model_dump()) == style


def test_the_table_names_every_dimension_and_only_known_features() -> None:
    """A misspelt feature would weigh nothing and say nothing, so none is misspelt."""
    known = set(_features(Relationship(), Mood(), Mode.NORMAL, Detection()))
    known |= {mode.value for mode in Mode}
    assert set(_WEIGHTS) == set(StyleVector.model_fields)
    for weights in _WEIGHTS.values():
        assert set(weights) <= known


def test_strangers_talk_as_the_base_says() -> None:
    """Two strangers in a neutral mood have exactly the base of each dimension."""
    style = choose_style(Relationship(), Mood(), Mode.NORMAL, Detection())
    assert style.model_dump() == {name: weights["base"] for name, weights in _WEIGHTS.items()}


def test_closeness_loosens_and_distance_stiffens() -> None:
    """Lovers are less formal and warmer than strangers, partners who part more and colder."""
    plain = choose_style(Relationship(), Mood(), Mode.NORMAL, Detection())
    near = choose_style(
        Relationship(closeness=0.9, warmth=0.9, stage=Stage.BONDING),
        Mood(),
        Mode.NORMAL,
        Detection(),
    )
    apart = choose_style(Relationship(stage=Stage.TERMINATING), Mood(), Mode.NORMAL, Detection())
    assert near.formality < plain.formality < apart.formality
    assert near.warmth > plain.warmth > apart.warmth


def test_modes_leave_their_mark() -> None:
    """A brief turn is short, a playful one funny, a supportive one patient."""
    styles = {mode: choose_style(Relationship(), Mood(), mode, Detection()) for mode in Mode}
    assert styles[Mode.BRIEF].verbosity < styles[Mode.NORMAL].verbosity
    assert styles[Mode.PLAYFUL].humor > styles[Mode.NORMAL].humor
    assert styles[Mode.SUPPORTIVE].patience > styles[Mode.NORMAL].patience
    assert styles[Mode.GUARDED].warmth < styles[Mode.NORMAL].warmth
    assert styles[Mode.CURIOUS].curiosity > styles[Mode.NORMAL].curiosity
