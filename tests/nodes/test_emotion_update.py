"""Updates of the mood."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.emotion_update import MAX_STEP, update_mood
from nodes.records import Detection, Monologue, Mood, Relationship, Signal

signed = st.floats(-1.0, 1.0)
unit = st.floats(0.0, 1.0)
moods = st.builds(Mood, pleasure=signed, arousal=signed, dominance=signed, busyness=unit)
detections = st.builds(
    Detection,
    sentiment=signed,
    arousal=signed,
    hostility=unit,
    signals=st.lists(st.sampled_from(Signal), max_size=3).map(tuple),
)
relationships = st.builds(Relationship, closeness=unit, liking=unit, power=signed)
monologues = st.builds(Monologue, feeling=st.sampled_from(["", "angry", "有点开心", "calm"]))
NOTHING = Detection()
DIMENSIONS = ("pleasure", "arousal", "dominance", "busyness")


def _after(mood: Mood, detection: Detection = NOTHING, feeling: str = "") -> Mood:
    return update_mood(mood, detection, Monologue(feeling=feeling), Relationship())


@given(moods, detections, monologues, relationships)
def test_no_dimension_leaps(
    mood: Mood,
    detection: Detection,
    monologue: Monologue,
    relationship: Relationship,
) -> None:
    """One turn never changes a dimension by more than the cap, and never out of its range."""
    after = update_mood(mood, detection, monologue, relationship)
    for name in DIMENSIONS:
        assert abs(getattr(after, name) - getattr(mood, name)) <= MAX_STEP + 1e-4
    assert Mood.model_validate(after.model_dump()) == after


@given(moods, relationships, unit, unit)
def test_a_happier_user_never_leaves_it_sadder(
    mood: Mood, relationship: Relationship, first: float, second: float
) -> None:
    """Pleasure after the turn rises with the user's sentiment."""
    low, high = sorted((first, second))
    sad, glad = (
        update_mood(mood, Detection(sentiment=value), Monologue(), relationship)
        for value in (low, high)
    )
    assert sad.pleasure <= glad.pleasure


def test_a_mood_decays_to_rest() -> None:
    """Left alone, any mood comes back to that of strangers in peace."""
    mood = Mood(pleasure=-1.0, arousal=1.0, dominance=-1.0, busyness=1.0)
    for _ in range(40):
        mood = _after(mood)
    assert mood.pleasure == pytest.approx(0.0, abs=0.01)
    assert mood.arousal == pytest.approx(0.0, abs=0.01)
    assert mood.dominance == pytest.approx(0.0, abs=0.01)
    assert mood.busyness == pytest.approx(0.2, abs=0.01)


def test_a_stranger_in_peace_stays_as_it_is() -> None:
    """The default mood is a fixed point of nothing happening."""
    assert _after(Mood()) == Mood()


def test_hostility_stirs_and_hurts() -> None:
    """An insult lowers pleasure and dominance and raises arousal."""
    after = _after(Mood(), Detection(hostility=0.9))
    assert after.pleasure < 0.0
    assert after.dominance < 0.0
    assert after.arousal > 0.0


@pytest.mark.parametrize(
    ("feeling", "sign"), [("a bit hurt", -1), ("unhappy", -1), ("很开心", 1), ("granite", 0)]
)
def test_the_monologue_names_a_feeling(feeling: str, sign: int) -> None:
    """A feeling is read in either language; an unknown one pulls nowhere."""
    pleasure = _after(Mood(), feeling=feeling).pleasure
    assert (pleasure > 0) - (pleasure < 0) == sign


def test_urgency_makes_busy() -> None:
    """Busyness rises when the user is in a hurry."""
    assert _after(Mood(), Detection(signals=(Signal.URGENCY,))).busyness > 0.2
