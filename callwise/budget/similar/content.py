"""Content of a text, as far as two texts must agree in it to have one answer.

Similar vectors do not mean equal answers: "Is it safe?" and "Is it not safe?" are closer than most
paraphrases. So negations, numbers, names, units, opposites and the order of who does what must
agree before an answer is used again. No list of those is ever complete, and in a long prompt one
other word changes a vector hardly at all. Choice: every word must agree, in its order, but those
that are listed as harmless (`words.yaml`): fillers, articles, beginnings such as "could you tell
me", spellings, and words that mean the same. A word that is on no list refuses.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["CONTENT_VERSION", "Content", "content_of", "lexical_similarity"]

CONTENT_VERSION = 1
"""Changes when texts get another form; what was proved with another version is no proof."""

MIN_WORDS = 3
"""Fewest words of content with which two texts may be one."""

DROPPED_WEIGHT = 0.2
"""Weight of a word that is left out, in the lexical similarity; others have 1."""

_SENTENCE = re.compile(r'[^。！？!?\n"“”]+(?:[。！？!?]+|$|(?=[\n"“”]))')
_CJK = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"\d+(?:[.,:/]\d+)*|[{_CJK}]+|[^\W\d_{_CJK}]+(?:['’][^\W\d_{_CJK}]+)*|[^\s]")
_FULL_STOP = re.compile(r"\.(?=\s|$)")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_MARKS = frozenset(",;:、，；：…—–")
_QUOTES = frozenset("'‘’`«»「」『』《》")
_CLAUSE = "|"
_AUXILIARIES = frozenset(
    ("do", "does", "did", "be", "was", "can", "could", "will", "would", "should", "has", "have")
)
_IS_AFTER = frozenset(
    ("it", "that", "what", "where", "who", "how", "there", "he", "she", "here", "when")
)
_BE = frozenset(("is", "are", "am"))

Words = tuple[str, ...]


class Content(NamedTuple):
    """Content of a text.

    Args:
        form: all that must agree, in its order; empty where there is too little of it.
        weights: words with their weights, for `lexical_similarity`.
    """

    form: Words
    weights: Mapping[str, float]


class _Lexicon(NamedTuple):
    """The words of `words.yaml`, as tokens.

    Args:
        chinese: multi-character words, by their first character, the longest first.
    """

    fillers: Sequence[Words]
    particles: frozenset[str]
    after_article: frozenset[str]
    asks: Sequence[Words]
    question_words: frozenset[str]
    question_parts: Words
    requests: Sequence[Words]
    requested: frozenset[str]
    how_to: Sequence[Words]
    not_after_how_to: frozenset[str]
    same: Mapping[str, Sequence[tuple[Words, Words]]]
    numbers: Mapping[str, str]
    names: frozenset[str]
    chinese: Mapping[str, Sequence[str]]


@lru_cache(maxsize=1)
def _lexicon() -> _Lexicon:
    import yaml  # noqa: PLC0415 - only where calls are compared

    path = Path(__file__).with_name("words.yaml")
    given: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    same: dict[str, list[tuple[Words, Words]]] = {}
    groups: list[list[Words]] = [
        [tuple(map(str, str(each).split())) for each in group] for group in given["same"]
    ]
    for first, *others in groups:
        for other in others:
            same.setdefault(other[0], []).append((other, first))
    for pairs in same.values():
        pairs.sort(key=lambda pair: -len(pair[0]))
    whole = {word for group in groups for words in group for word in words}
    whole |= set(given["fillers"]) | set(given["asks"]) | set(given["question_parts"])
    whole |= set(given["particles"]) | set(given["whole"])
    chinese: dict[str, list[str]] = {}
    for word in sorted(whole, key=lambda word: (-len(word), word)):
        if len(word) > 1 and "一" <= word[0] <= "鿿":
            chinese.setdefault(word[0], []).append(word)
    return _Lexicon(
        fillers=_sequences(given["fillers"]),
        particles=frozenset(given["particles"]),
        after_article=frozenset(given["after_article"]),
        asks=_sequences(given["asks"]),
        question_words=frozenset(given["question_words"]),
        question_parts=tuple(given["question_parts"]),
        requests=_sequences(given["requests"]),
        requested=frozenset(given["requested"]),
        how_to=_sequences(given["how_to"]),
        not_after_how_to=frozenset(given["not_after_how_to"]),
        same=same,
        numbers=given["numbers"],
        names=frozenset(given["names"]),
        chinese=chinese,
    )


def _sequences(texts: Iterable[str]) -> list[Words]:
    """Return texts as words, the longest first."""
    words = [tuple("be" if word in _BE else word for word in text.split()) for text in texts]
    return sorted(words, key=lambda each: (-len(each), -len(each[0]), each))


def content_of(text: str) -> Content:
    """Return the content of a text, of which it is all that is compared."""
    lexicon = _lexicon()
    weights: Counter[str] = Counter()
    form: list[str] = []
    folded = unicodedata.normalize("NFKC", text)
    for sentence in _sentences(folded):
        words, is_question = _canonical(sentence, lexicon, weights)
        if words:
            form += [*words, "?" if is_question else "."]
    size = sum(word[0].isalnum() for word in form)
    return Content(tuple(form) if size >= MIN_WORDS else (), weights)


def lexical_similarity(left: Content, right: Content) -> float:
    """Return the cosine of the words of two contents, in [0, 1].

    It is below 1 for equal content: words that are left out count a little.
    """
    shared = math.fsum(
        weight * right.weights.get(word, 0.0) for word, weight in left.weights.items()
    )
    norms = math.fsum(weight**2 for weight in left.weights.values()) * math.fsum(
        weight**2 for weight in right.weights.values()
    )
    return min(shared / math.sqrt(norms), 1.0) if norms else 0.0


def _sentences(text: str) -> Iterator[str]:
    for match in _SENTENCE.finditer(text):
        whole = match[0]
        begin = 0
        for stop in _FULL_STOP.finditer(whole):
            yield whole[begin : stop.end()]
            begin = stop.end()
        yield whole[begin:]


def _canonical(sentence: str, lexicon: _Lexicon, weights: Counter[str]) -> tuple[list[str], bool]:
    """Return what must agree of a sentence, and whether it asks; count its words."""
    words = _expanded(_tokens(sentence, lexicon))
    kept = _without_ends(words, lexicon)
    is_question = "?" in sentence or words.count("吗") > 0 or _asks(kept, lexicon)
    kept = _without_request(kept, lexicon, has_please=words.count("please") > 0)
    kept = _how_to(kept, lexicon)
    kept = _without_particles(_replaced(kept, lexicon), lexicon)
    kept = _trimmed(kept) or _trimmed(_replaced(words, lexicon))
    weights.update(kept)
    for word in (Counter(_replaced(words, lexicon)) - Counter(kept)).elements():
        weights[word] += DROPPED_WEIGHT  # type: ignore[assignment]
    return kept, is_question


def _tokens(sentence: str, lexicon: _Lexicon) -> list[str]:
    """Return words, numbers and signs; marks between clauses as `|`."""
    tokens: list[str] = []
    for part in _TOKEN.findall(sentence):
        if part in _QUOTES or part in "。！？!?" or (part == "." and tokens):
            continue
        if part in _MARKS:
            tokens.append(_CLAUSE)
        elif "一" <= part[0] <= "鿿" or "㐀" <= part[0] <= "䶿" or "豈" <= part[0] <= "﫿":
            tokens += _chinese_words(part, lexicon)
        elif part[0].isdigit():
            is_grouped = _THOUSANDS.fullmatch(part)
            tokens.append(part.replace(",", "") if is_grouped else part)
        else:
            lower = part.casefold()
            is_name = part[0].isupper() and bool(tokens) and lower in lexicon.names
            tokens.append(part if is_name else lower)
    return tokens


def _chinese_words(run: str, lexicon: _Lexicon) -> Iterator[str]:
    """Yield the longest words of the lexicon, and single characters between them."""
    place = 0
    while place < len(run):
        longest = next(
            (each for each in lexicon.chinese.get(run[place], ()) if run.startswith(each, place)),
            run[place],
        )
        yield longest
        place += len(longest)


def _expanded(tokens: Sequence[str]) -> list[str]:
    """Return words without contractions; forms of the present of `be` are one."""
    words: list[str] = []
    for part in tokens:
        stem, mark, ending = part.replace("’", "'").rpartition("'")
        if not mark:
            words += ["can", "not"] if part == "cannot" else ["be" if part in _BE else part]
        elif ending == "t" and stem.endswith("n"):
            verb = {"ca": "can", "wo": "will", "sha": "shall"}.get(stem[:-1], stem[:-1])
            words += ["be" if verb in _BE else verb, "not"]
        elif ending in {"m", "re"} or (ending == "s" and stem in _IS_AFTER):
            words += [stem, "be"]
        elif ending in {"ll", "ve"}:
            words += [stem, "will" if ending == "ll" else "have"]
        elif (stem, ending) == ("let", "s"):
            words += ["let", "us"]
        else:
            words += [stem, f"'{ending}"]
    return words


def _without_ends(words: Sequence[str], lexicon: _Lexicon) -> list[str]:
    """Return words without fillers at both ends, and beginnings that only introduce a question."""
    kept = _trimmed(words)
    while kept:
        shorter = _trimmed(_without_filler(kept, lexicon.fillers))
        asked = next((each for each in lexicon.asks if _starts(shorter, each)), None)
        if asked is not None:
            rest = _trimmed(shorter[len(asked) :])
            if rest and _is_question_word(rest, lexicon):
                shorter = rest
        if shorter == kept:
            break
        kept = shorter
    return kept


def _without_filler(words: list[str], fillers: Sequence[Words]) -> list[str]:
    for filler in fillers:
        size = len(filler)
        if _starts(words, filler):
            return words[size:]
        if tuple(words[-size:]) == filler:
            return words[:-size]
    return words


def _is_question_word(words: Sequence[str], lexicon: _Lexicon) -> bool:
    first = words[0]
    if first.isascii():
        return first in lexicon.question_words
    text = "".join(words)
    return any(part in text for part in lexicon.question_parts)


def _asks(words: Sequence[str], lexicon: _Lexicon) -> bool:
    return bool(words) and (words[0] in _AUXILIARIES or _is_question_word(words, lexicon))


def _without_request(words: list[str], lexicon: _Lexicon, *, has_please: bool) -> list[str]:
    for request in lexicon.requests:
        if _starts(words, request) and len(words) > len(request):
            rest = words[len(request) :]
            if rest[0] == "please" or has_please or rest[0] in lexicon.requested:
                return rest[1:] if rest[0] == "please" else rest
    return words


def _how_to(words: list[str], lexicon: _Lexicon) -> list[str]:
    for beginning in lexicon.how_to:
        rest = words[len(beginning) :]
        if rest and _starts(words, beginning) and rest[0] not in lexicon.not_after_how_to:
            return ["how-to", *rest]
    return words


def _replaced(words: Sequence[str], lexicon: _Lexicon) -> list[str]:
    """Return words with one word for all that mean the same, and digits for numbers."""
    replaced: list[str] = []
    place = 0
    while place < len(words):
        for phrase, first in lexicon.same.get(words[place], ()):
            if tuple(words[place : place + len(phrase)]) == phrase:
                replaced += first
                place += len(phrase)
                break
        else:
            replaced.append(lexicon.numbers.get(words[place], words[place]))
            place += 1
    return replaced


def _without_particles(words: Sequence[str], lexicon: _Lexicon) -> list[str]:
    return [
        word
        for word, following in zip(words, [*words[1:], ""], strict=False)
        if word not in lexicon.particles
        or (word in {"a", "an", "the"} and following in lexicon.after_article)
    ]


def _trimmed(words: Sequence[str]) -> list[str]:
    """Return words without marks at both ends, and one mark for several."""
    kept = [
        word
        for before, word in zip(["|", *words], words, strict=False)
        if word != _CLAUSE or before != _CLAUSE
    ]
    return kept[:-1] if kept and kept[-1] == _CLAUSE else kept


def _starts(words: Sequence[str], beginning: Words) -> bool:
    return tuple(words[: len(beginning)]) == beginning
