"""Proof that few answers would be wrong: the bound, the beginning, the stop, and the file."""

import errno
import io
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.budget.similar import proof as proof_module
from callwise.budget.similar.proof import JudgedPair, Proof, Proofs, false_rate_bound
from callwise.calls.errors import FormatError


@pytest.mark.parametrize(
    ("wrong", "judged", "bound"),
    # Exact limits of Clopper and Pearson, by scipy.stats.beta.ppf(.95, wrong + 1, judged - wrong).
    [(0, 299, 0.009969), (0, 298, 0.010002), (1, 473, 0.009991), (5, 100, 0.102253), (3, 3, 1.0)],
)
def test_the_bound_is_that_of_clopper_and_pearson(wrong, judged, bound):
    """299 without a miss are the first that prove one per cent."""
    assert false_rate_bound(wrong, judged) == pytest.approx(bound, abs=2e-6)


def test_nothing_judged_proves_nothing():
    """And impossible counts are refused."""
    assert false_rate_bound(0, 0) == 1.0
    with pytest.raises(ValueError, match="got 3 of 2"):
        false_rate_bound(3, 2)


def judged(proof, *answers, start=0):
    """Add one pair for each answer."""
    for place, same in enumerate(answers, start):
        proof.add(f"pair {place}", same)


def test_reuse_begins_after_299_without_a_miss_and_not_before():
    """Not by one."""
    proof = Proof(0.01)
    judged(proof, *[True] * 298)
    assert not proof.is_serving
    judged(proof, True, start=298)
    assert proof.is_serving


def test_a_pair_that_waits_for_its_judge_counts_as_wrong():
    """It proves as much as any other once it is judged."""
    proof = Proof(0.01)
    judged(proof, *[True] * 298, None)
    assert (proof.is_serving, proof.waiting, proof.wrong) == (False, 1, 0)
    proof.add("pair 298", True)
    assert (proof.is_serving, proof.waiting) == (True, 0)


def test_a_pair_is_judged_once():
    """The same two calls asked again are no further evidence."""
    proof = Proof(0.01)
    judged(proof, *[True] * 200)
    judged(proof, *[True] * 200)
    assert proof.judged == 200
    assert proof.needs("pair 200")
    assert not proof.needs("pair 0")


def test_reuse_stops_when_the_bound_passes_and_begins_with_nothing():
    """The next beginning needs 368 without a miss: half the error is allowed."""
    proof = Proof(0.01)
    judged(proof, *[True] * 299, False)
    assert (proof.is_serving, proof.stops, proof.judged) == (False, 1, 0)
    judged(proof, *[True] * 367, start=1000)
    assert not proof.is_serving
    judged(proof, True, start=2000)
    assert proof.is_serving


def test_one_miss_in_a_long_proof_stops_nothing():
    """While the bound allows it."""
    proof = Proof(0.01)
    judged(proof, *[True] * 600, False)
    assert (proof.is_serving, proof.stops) == (True, 0)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from([True, True, True, False, None]))),
    st.sampled_from([0.05, 0.1]),
)
def test_counts_and_decision_are_those_of_the_pairs(added, rate):
    """Whatever is judged, waits and is judged later."""
    proof = Proof(rate)
    proof.add("first", True)
    for pair, same in [*((f"more {n}", True) for n in range(60)), *added]:
        proof.add(str(pair), same)
        states = list(proof._pairs.values())
        assert (proof.wrong, proof.waiting) == (states.count(False), states.count(None))
        assert proof.is_serving == (proof.bound <= rate)


def test_many_wrong_answers_are_counted_without_a_search_for_their_bound(monkeypatch):
    """It takes some 10 ms, and is needed where it is shown."""
    monkeypatch.setattr(proof_module, "false_rate_bound", None)
    judged(Proof(0.01), *[True, False] * 1000)


def test_a_disk_that_is_full_keeps_the_rest_of_a_line(tmp_path, monkeypatch):
    """It is written after what was, once there is space."""
    path = tmp_path / "proofs.jsonl"
    proofs = Proofs(path)
    proof = proofs.of("reason", "x", 0.01)
    space = [7]
    opened = Path.open

    class Full(io.RawIOBase):
        def __init__(self, file):
            self.file = file

        def write(self, data):
            if not space[0]:
                raise OSError(errno.ENOSPC, "no space left")
            taken, space[0] = data[: space[0]], max(space[0] - len(data), 0)
            return self.file.write(taken)

        def close(self):
            self.file.close()

    monkeypatch.setattr(Path, "open", lambda self, *args, **more: Full(opened(self, *args, **more)))
    proofs.add(proof, JudgedPair("reason", "x", "a", 1.0, True))
    assert not proofs.is_kept
    space[0] = 1000
    proofs.add(proof, JudgedPair("reason", "x", "b", 1.0, True))
    assert proofs.is_kept
    monkeypatch.undo()
    assert Proofs(path).of("reason", "x", 0.01).judged == 2


@pytest.mark.parametrize("rate", [0.02, 0.05])
def test_a_purpose_that_is_too_often_wrong_seldom_begins(rate):
    """Looking again after each pair, at twice the allowed rate, one run of 40 begins."""
    begun = 0
    for seed in range(40):
        draws, proof = random.Random(seed), Proof(0.01)
        for place in range(500):
            proof.add(str(place), draws.random() >= rate)
            if proof.is_serving:
                begun += 1
                break
    assert begun <= 1


def pair(number, same=True):
    """Return a judged pair."""
    return JudgedPair("reason", "settings", f"pair {number}", 0.97, same)


def test_proofs_survive_the_process(tmp_path):
    """Also the stop, and the order; other settings begin at nothing."""
    file = tmp_path / "new folder" / "similar.jsonl"
    first = Proofs(file)
    proof = first.of("reason", "settings", 0.01)
    for number in range(299):
        first.add(proof, pair(number))
    first.add(proof, pair(299, None))
    first.add(proof, pair(299, False))
    again = Proofs(file)
    found = again.of("reason", "settings", 0.01)
    assert (found.judged, found.stops, found.bound) == (proof.judged, 1, proof.bound)
    assert again.of("reason", "others", 0.01).judged == 0


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[]",
        b'{"purpose": "reason"}',
        b'{"of":"a","pair":"b","purpose":"c","same":1,"similarity":1}',
    ],
)
def test_a_bad_line_is_named(tmp_path, line):
    """With the file, the line, and the way out."""
    file = tmp_path / "similar.jsonl"
    proofs = Proofs(file)
    proofs.add(proofs.of("reason", "settings", 0.01), pair(1))
    with file.open("ab") as out:
        out.write(line)
    with pytest.raises(FormatError, match=r"similar\.jsonl:2: .*Delete the line"):
        Proofs(file)


def test_a_line_that_was_broken_off_is_cut_off(tmp_path):
    """Its process ended while it wrote; what is judged next is a line again."""
    file = tmp_path / "similar.jsonl"
    for number, written in ((1, 30), (2, 5)):
        proofs = Proofs(file)
        proofs.add(proofs.of("reason", "settings", 0.01), pair(number))
        with file.open("ab") as out:
            out.write(file.read_bytes().splitlines()[0][:written])
    assert Proofs(file).of("reason", "settings", 0.01).judged == 2
    assert len(file.read_bytes().splitlines()) == 2


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    """A folder, say."""
    with pytest.raises(FormatError, match="cannot be read"):
        Proofs(tmp_path)


def test_what_cannot_be_written_is_written_later(tmp_path):
    """Until then nothing proves anything."""
    blocker = tmp_path / "folder"
    blocker.write_text("in the way", encoding="utf-8")
    file = blocker / "similar.jsonl"
    with pytest.raises(FormatError):
        Proofs(file)
    blocker.unlink()
    proofs = Proofs(file)
    blocker.write_text("in the way", encoding="utf-8")
    proof = proofs.of("reason", "settings", 0.01)
    proofs.add(proof, pair(1))
    assert not proofs.is_kept
    blocker.unlink()
    proofs.add(proof, pair(2))
    assert proofs.is_kept
    assert Proofs(file).of("reason", "settings", 0.01).judged == 2
