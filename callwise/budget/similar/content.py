"""Content of a text, as far as two texts must agree in it to have one answer.

Similar vectors do not mean equal answers: "Is it safe?" and "Is it not safe?" are closer than most
paraphrases. So negations, numbers, names, units, opposites and the order of who does what must
agree before an answer is used again. No list of those is ever complete, and in a long prompt one
other word changes a vector hardly at all. Choice: every word must agree, in its order, but those
that are listed as harmless (`words.yaml`): fillers, articles, beginnings such as "could you tell
me", spellings, and words that mean the same. A word that is on no list refuses. Articles, capitals
within a sentence, quotes and raised figures count too: "in the red" and "in red", "Bath" and
"bath", 《活着》 and 活着, 10² and 102 are not the same.
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

CONTENT_VERSION = 2
"""Changes when texts get another form; what was proved with another version is no proof."""

MIN_WORDS = 3
"""Fewest words of content with which two texts may be one."""

DROPPED_WEIGHT = 0.2
"""Weight of a word that is left out, in the lexical similarity; others have 1."""

_SENTENCE = re.compile(r'[^。！？!?\n"“”]+(?:[。！？!?]+|$|(?=[\n"“”]))')
_CJK = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_LETTER = rf"[^\W\d_{_CJK}]"
_TOKEN = re.compile(
    rf"(?:(?<!\w)\.)?\d+(?:[.,:/]\d+)*!?|[{_CJK}]+|{_LETTER}+(?:['’]{_LETTER}+)*|[^\s]"
)
_FULL_STOP = re.compile(r"\.(?=\s|$)")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_RANGE = re.compile(r"(?<=\d)\s*[–—]\s*(?=\d)")
_RAISED = {"<super>": "^", "<sub>": "_", "<fraction>": " "}
_MARKS = frozenset(",;:、，；：…—–")
_CLAUSE = "|"
_AUXILIARIES = frozenset(
    ("do", "does", "did", "be", "was", "can", "could", "will", "would", "should", "has", "have")
)
_IS_AFTER = frozenset(
    ("it", "that", "what", "where", "who", "how", "there", "he", "she", "here", "when")
)
_BE = frozenset(("is", "are", "am"))
_SHOUTED_LETTERS = 6
"""Fewest letters with which a sentence of capitals alone is shouted, and no list of initials."""

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
        asks: beginnings, and words before which they are kept.
        chinese: multi-character words, by their first character, the longest first.
    """

    fillers: Sequence[Words]
    openers: Sequence[Words]
    polite: Sequence[Words]
    particles: frozenset[str]
    final_particles: frozenset[str]
    asks: Sequence[tuple[Words, Sequence[Words]]]
    question_words: frozenset[str]
    question_parts: Words
    requests: Sequence[Words]
    polite_requests: Sequence[Words]
    requested: frozenset[str]
    how_to: Sequence[Words]
    not_after_how_to: frozenset[str]
    same: Mapping[str, Sequence[tuple[Words, Words]]]
    numbers: Mapping[str, str]
    how: frozenset[str]
    pronouns: frozenset[str]
    folded: frozenset[str]
    initials: frozenset[str]
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
    for name in ("fillers", "polite", "requested", "question_parts", "particles", "whole"):
        whole |= set(given[name])
    whole |= {word for ask in given["asks"] for listed in ask.values() for word in listed}
    chinese: dict[str, list[str]] = {}
    for word in sorted(whole, key=lambda word: (-len(word), word)):
        if len(word) > 1 and "一" <= word[0] <= "鿿":
            chinese.setdefault(word[0], []).append(word)
    return _Lexicon(
        fillers=_sequences(given["fillers"]),
        openers=_sequences(given["openers"]),
        polite=_sequences(given["polite"]),
        particles=frozenset(given["particles"]),
        final_particles=frozenset(given["final_particles"]),
        asks=[
            (words, _sequences(ask["not_before"]))
            for ask in given["asks"]
            for words in _sequences(ask["beginnings"])
        ],
        question_words=frozenset(given["question_words"]),
        question_parts=tuple(given["question_parts"]),
        requests=_sequences(given["requests"]),
        polite_requests=_sequences(given["polite_requests"]),
        requested=frozenset(given["requested"]),
        how_to=_sequences(given["how_to"]),
        not_after_how_to=frozenset(given["not_after_how_to"]),
        same=same,
        numbers=given["numbers"],
        how=frozenset(given["how"]),
        pronouns=frozenset(given["pronouns"]),
        folded=frozenset({*given["folded"], *given["openers"], *given["fillers"]}),
        initials=frozenset(given["initials"]),
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
    for sentence in _sentences(_folded(text)):
        words, is_question = _canonical(sentence, lexicon, weights)
        if words:
            form += [*words, "?" if is_question else "."]
    size = sum(word[0].isalnum() for word in form)
    return Content(tuple(form) if size >= MIN_WORDS else (), weights)


def _folded(text: str) -> str:
    """Return a text in one width; raised and lowered figures and fractions stay apart from others.

    "10²" is not "102", "5½" not "51/2", and "5–7" a range, no list.
    """
    marked = []
    before = ""
    for sign in text:
        kind = unicodedata.decomposition(sign).partition(" ")[0] if sign > "\x7f" else ""
        if kind in _RAISED and kind != before:
            marked.append(_RAISED[kind])
        marked.append(sign)
        before = kind
    return _RANGE.sub("-", unicodedata.normalize("NFKC", "".join(marked)))


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
    has_please = words.count("please") > 0
    kept = _without_ends(words, lexicon)
    is_question = "?" in sentence or words.count("吗") > 0 or _asks(kept, lexicon)
    asked = _without_request(kept, lexicon, has_please=has_please)
    if has_please and asked is not kept:
        is_question = _asks(asked, lexicon)
    kept = _how_to(asked, lexicon)
    kept = _without_particles(_replaced(kept, lexicon), lexicon)
    kept = _trimmed(kept)
    weights.update(kept)
    for word in (Counter(_replaced(words, lexicon)) - Counter(kept)).elements():
        weights[word] += DROPPED_WEIGHT  # type: ignore[assignment]
    return kept, is_question


def _tokens(sentence: str, lexicon: _Lexicon) -> list[str]:
    """Return words, numbers and signs; marks between clauses as `|`."""
    tokens: list[str] = []
    is_shouted = sentence.isupper() and sum(map(str.isalpha, sentence)) >= _SHOUTED_LETTERS
    for part in _TOKEN.findall(sentence):
        if part in "。！？!?" or (part == "." and tokens):
            continue
        if part in _MARKS:
            tokens.append(_CLAUSE)
        elif "一" <= part[0] <= "鿿" or "㐀" <= part[0] <= "䶿" or "豈" <= part[0] <= "﫿":
            tokens += _chinese_words(part, lexicon)
        elif part[0].isdigit() or part[0] == ".":
            is_grouped = _THOUSANDS.fullmatch(part)
            tokens.append(part.replace(",", "") if is_grouped else part)
        else:
            tokens.append(_in_case(part, lexicon, is_first=not tokens, is_shouted=is_shouted))
    return tokens


def _in_case(word: str, lexicon: _Lexicon, *, is_first: bool, is_shouted: bool) -> str:
    """Return a word in small letters, but where capitals may make it another one."""
    lower = word.casefold()
    if lower.replace("’", "'").partition("'")[0] in lexicon.folded:
        return lower
    if is_shouted:
        return word if lower in lexicon.initials else lower
    return lower if is_first and not word[1:].isupper() else word


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
        if not stem:  # no mark, or a quote
            words += ["can", "not"] if part == "cannot" else ["be" if part in _BE else mark or part]
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
    """Return words without fillers at both ends, and beginnings that only introduce a question.

    A filler is apart from the rest by a mark, so that "say hello" and 你好看 keep theirs. Nothing
    is left of a sentence of fillers.
    """
    begin, end = 0, len(words)
    while begin < end:
        if words[begin] == _CLAUSE:
            begin += 1
        elif words[end - 1] == _CLAUSE:
            end -= 1
        elif size := _opening(words, begin, end, lexicon):
            begin += size
        elif size := _closing(words, begin, end, lexicon):
            end -= size
        else:
            break
    return list(words[begin:end])


def _opening(words: Sequence[str], begin: int, end: int, lexicon: _Lexicon) -> int:
    """Return how many words at the beginning only introduce the rest."""
    for filler in lexicon.fillers:
        after = begin + len(filler)
        if _starts(words, filler, begin) and (after >= end or words[after] == _CLAUSE):
            return len(filler)
    for opener in lexicon.openers:
        if _starts(words, opener, begin):
            return len(opener)
    for polite in lexicon.polite:
        after = begin + len(polite)
        if _starts(words, polite, begin) and after < end and words[after] in lexicon.requested:
            return len(polite)
    return _asking(words, begin, end, lexicon)


def _asking(words: Sequence[str], begin: int, end: int, lexicon: _Lexicon) -> int:
    """Return how many words introduce a question that is whole without them."""
    for asked, not_before in lexicon.asks:
        if not _starts(words, asked, begin):
            continue
        after = begin + len(asked)
        while after < end and words[after] == _CLAUSE:
            after += 1
        is_kept = any(_starts(words, each, after) for each in not_before)
        if after < end and not is_kept and _is_question_word(words[after:end], lexicon):
            return after - begin
    return 0


def _closing(words: Sequence[str], begin: int, end: int, lexicon: _Lexicon) -> int:
    """Return how many words at the end are a filler after a mark."""
    for filler in lexicon.fillers:
        place = end - len(filler)
        if place > begin and words[place - 1] == _CLAUSE and _starts(words, filler, place):
            return len(filler)
    return 0


def _is_question_word(words: Sequence[str], lexicon: _Lexicon) -> bool:
    first = words[0]
    if first.isascii():
        return first in lexicon.question_words
    text = "".join(words)
    return any(part in text for part in lexicon.question_parts)


def _asks(words: Sequence[str], lexicon: _Lexicon) -> bool:
    return bool(words) and (words[0] in _AUXILIARIES or _is_question_word(words, lexicon))


def _without_request(words: list[str], lexicon: _Lexicon, *, has_please: bool) -> list[str]:
    for request in (*lexicon.requests, *lexicon.polite_requests):
        if _starts(words, request) and len(words) > len(request):
            rest = words[len(request) :]
            if has_please or (request in lexicon.requests and rest[0] in lexicon.requested):
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
            if words[place] in lexicon.how and place and words[place - 1] in lexicon.pronouns:
                continue
            if _starts(words, phrase, place):
                replaced += first
                place += len(phrase)
                break
        else:
            replaced.append(lexicon.numbers.get(words[place], words[place]))
            place += 1
    return replaced


def _without_particles(words: Sequence[str], lexicon: _Lexicon) -> list[str]:
    """Return words without particles, and without the `do` that only makes a question."""
    if not words:
        return []
    is_asked = _is_question_word(words, lexicon)
    kept: list[str] = []
    has_auxiliary = not is_asked
    for word, following in zip(words, [*words[1:], _CLAUSE], strict=True):
        if word in lexicon.particles or (word == "呢" and is_asked):
            continue
        if word in lexicon.final_particles and following == _CLAUSE:
            continue
        if word in _AUXILIARIES:
            if word == "do" and not has_auxiliary and following != "not":
                has_auxiliary = True
                continue
            has_auxiliary = True
        kept.append(word)
    return kept


def _trimmed(words: Sequence[str]) -> list[str]:
    """Return words without marks at both ends, and one mark for several."""
    kept = [
        word
        for before, word in zip(["|", *words], words, strict=False)
        if word != _CLAUSE or before != _CLAUSE
    ]
    return kept[:-1] if kept and kept[-1] == _CLAUSE else kept


def _starts(words: Sequence[str], beginning: Words, place: int = 0) -> bool:
    return tuple(words[place : place + len(beginning)]) == beginning
