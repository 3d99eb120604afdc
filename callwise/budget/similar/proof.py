"""Proof that answers may be used again: an upper bound of the rate of false hits, and its file.

A pair is an earlier call and a later similar one that was asked all the same. It is judged: the
earlier answer would have been right for the later call, or wrong. Answers are used again only
while the upper end of the one-sided 95 % interval of the rate of wrong ones (Clopper and Pearson
1934) is at most the rate that the settings allow. A pair that waits for its judge counts as wrong.

A proof is of one purpose, one model and one set of settings; with others it begins at nothing. It
is of the latest 1,000 pairs. When the bound passes the allowed rate, reuse stops, what was judged
before proves nothing any more, and each further beginning needs half the error that the one before
was allowed: a purpose that is too often wrong cannot try until it is lucky.

The file has one JSON object per line and is only added to, by one write per pair, so several
processes may share it; each reads it once.
"""

import logging
import math
import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from callwise.calls.errors import FormatError

__all__ = ["CONFIDENCE", "WINDOW", "JudgedPair", "Proof", "Proofs", "false_rate_bound"]

_LOGGER = logging.getLogger(__name__)

CONFIDENCE = 0.95
"""Confidence of the one-sided bound before the first stop."""

WINDOW = 1_000
"""Latest pairs that a proof is of."""


def false_rate_bound(wrong: int, judged: int, confidence: float = CONFIDENCE) -> float:
    """Return the upper end of the one-sided interval of a rate; 1 where nothing was judged.

    It is the rate at which `wrong` or fewer of `judged` have a chance of 1 - `confidence`.

    Source: Clopper and Pearson 1934, The use of confidence or fiducial limits.

    Raises:
        ValueError: when more are wrong than were judged, or one of them is negative.
    """
    if not 0 <= wrong <= judged:
        raise ValueError(f"wrong is in [0, judged]; got {wrong} of {judged}")
    if wrong == judged:
        return 1.0
    error = 1.0 - confidence
    if wrong == 0:
        return float(-math.expm1(math.log(error) / judged))
    low, high = wrong / judged, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        if _chance_of_at_most(wrong, judged, middle) > error:
            low = middle
        else:
            high = middle
    return high


def _is_bound_at_most(rate: float, wrong: int, judged: int, confidence: float) -> bool:
    """Return whether `false_rate_bound` is at most a rate, without finding it."""
    if wrong >= rate * judged:  # the bound is above the share itself
        return False
    return _chance_of_at_most(wrong, judged, rate) <= 1.0 - confidence


def _chance_of_at_most(wrong: int, judged: int, rate: float) -> float:
    """Return the chance of `wrong` or fewer of a binomial distribution; `rate` is inside (0, 1)."""
    if rate >= 1.0:
        return 0.0
    whole = math.lgamma(judged + 1)
    return math.fsum(
        math.exp(
            whole
            - math.lgamma(count + 1)
            - math.lgamma(judged - count + 1)
            + count * math.log(rate)
            + (judged - count) * math.log1p(-rate)
        )
        for count in range(wrong + 1)
    )


class JudgedPair(NamedTuple):
    """A pair, as a line of the file.

    Args:
        purpose: of both calls.
        of: digest of the settings and models that it is a proof for.
        pair: the first digits of both keys.
        similarity: of the two, in [0, 1].
        same: whether the earlier answer was right; None while that is not judged.
    """

    purpose: str
    of: str
    pair: str
    similarity: float
    same: bool | None


class Proof:
    """Judged pairs of one purpose under one set of settings.

    Args:
        max_false_rate: most wrong answers that are allowed, in (0, 1).

    Attributes:
        is_serving: whether answers may be used again.
        wrong: pairs whose earlier answer was wrong.
        waiting: pairs that wait for their judge.
        stops: times that the bound has passed the allowed rate after a beginning.
    """

    def __init__(self, max_false_rate: float) -> None:
        self._max_false_rate = max_false_rate
        self._pairs: OrderedDict[str, bool | None] = OrderedDict()
        self._has_begun = False
        self._bound: float | None = 1.0
        self.is_serving = False
        self.wrong = 0
        self.waiting = 0
        self.stops = 0

    @property
    def judged(self) -> int:
        """Pairs that were judged."""
        return len(self._pairs) - self.waiting

    @property
    def bound(self) -> float:
        """Upper bound of the rate of wrong ones, those that wait too; 1 where there is no pair."""
        bound = self._bound
        if bound is None:
            not_right = self.wrong + self.waiting
            bound = false_rate_bound(not_right, len(self._pairs), self._confidence)
            self._bound = bound
        return bound

    @property
    def _confidence(self) -> float:
        return float(1.0 - (1.0 - CONFIDENCE) / 2**self.stops)

    def needs(self, pair: str) -> bool:
        """Return whether a pair was not judged yet: asked again it would prove no more."""
        return self._pairs.get(pair) is None

    def add(self, pair: str, same: bool | None) -> None:
        """Add a pair, or what its judge has decided."""
        if self._pairs.get(pair) is not None:
            return
        if pair in self._pairs:
            self.waiting -= 1
        self._pairs[pair] = same
        self._count(same, 1)
        if len(self._pairs) > WINDOW:
            self._count(self._pairs.popitem(last=False)[1], -1)
        allowed, confidence = self._max_false_rate, self._confidence
        if self._has_begun and not _is_bound_at_most(allowed, self.wrong, self.judged, confidence):
            self._pairs.clear()
            self.wrong = self.waiting = 0
            self._has_begun = False
            self.stops += 1
        size = len(self._pairs)
        self._bound = None if size else 1.0
        not_right = self.wrong + self.waiting
        self.is_serving = _is_bound_at_most(allowed, not_right, size, confidence)
        self._has_begun = self._has_begun or self.is_serving

    def _count(self, same: bool | None, change: int) -> None:
        if same is None:
            self.waiting += change
        elif not same:
            self.wrong += change


class Proofs:
    """The proofs of a budgeter, in a file where one is given.

    Args:
        file: read now, and added to; None keeps them in memory.

    Raises:
        FormatError: when the file has a line that is no judged pair; names it.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._read: dict[tuple[str, str], list[JudgedPair]] = {}
        self._proofs: dict[tuple[str, str], Proof] = {}
        self._unwritten = b""
        for each in () if file is None else _lines(file):
            self._read.setdefault((each.purpose, each.of), []).append(each)

    @property
    def is_kept(self) -> bool:
        """Whether all that was judged is in the file, where there is one."""
        return not self._unwritten

    def of(self, purpose: str, of: str, max_false_rate: float) -> Proof:
        """Return the proof of a purpose under the settings with a digest."""
        proof = self._proofs.get((purpose, of))
        if proof is None:
            proof = self._proofs[purpose, of] = Proof(max_false_rate)
            for each in self._read.pop((purpose, of), ()):
                proof.add(each.pair, each.same)
        return proof

    def add(self, proof: Proof, judged: JudgedPair) -> None:
        """Add a pair to its proof and to the file; a failure to write is logged, and not raised."""
        proof.add(judged.pair, judged.same)
        if self._file is None:
            return
        self._unwritten += orjson.dumps(judged._asdict(), option=orjson.OPT_APPEND_NEWLINE)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("ab", buffering=0) as file:
                while self._unwritten:  # a disk that fills up takes a part of it
                    self._unwritten = self._unwritten[file.write(self._unwritten) :]
        except OSError as error:
            _LOGGER.warning("cannot write %s: %r; no similar answer is used", self._file, error)


def _lines(file: Path) -> list[JudgedPair]:
    """Return the pairs of a file; none where there is no file yet.

    Raises:
        FormatError: when one cannot be read.
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FormatError(file, None, f"cannot be read: {error}") from error
    end = data.rfind(b"\n") + 1
    torn = data[end : end + len(_BEGINNING)]
    is_torn = torn != b"" and _BEGINNING.startswith(torn)
    pairs = []
    for number, line in enumerate(data[: end if is_torn else None].splitlines(), start=1):
        try:
            pairs.append(_judged_pair(orjson.loads(line)))
        except ValueError as error:
            raise FormatError(
                file,
                number,
                f"this is no judged pair of similar calls ({error}). Delete the line, or the file: "
                "then reuse is proved from the beginning",
            ) from error
    if is_torn:  # its process ended while it wrote; the next line begins there
        try:
            os.truncate(file, end)
        except OSError as error:
            raise FormatError(file, None, f"its last line cannot be cut off: {error}") from error
    return pairs


_BEGINNING = b'{"purpose":"'

_KINDS: Mapping[str, tuple[type, ...]] = {
    "purpose": (str,),
    "of": (str,),
    "pair": (str,),
    "similarity": (int, float),
    "same": (bool, type(None)),
}


def _judged_pair(document: Any) -> JudgedPair:
    if not isinstance(document, dict) or document.keys() != _KINDS.keys():
        raise ValueError(f"its fields are not {', '.join(_KINDS)}")
    for name, kinds in _KINDS.items():
        if not isinstance(document[name], kinds):
            raise ValueError(f"{name} cannot be {document[name]!r:.40}")  # noqa: TRY004 - the file
    return JudgedPair(**document)
