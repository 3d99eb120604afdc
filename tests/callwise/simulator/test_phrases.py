"""The hidden quality is recoverable from the text alone."""

import statistics

from callwise.simulator import true_quality
from callwise.simulator.faults import SeededStream
from callwise.simulator.phrases import LANGUAGES, SLOTS, bank_of, weighted_phrases
from callwise.simulator.scene import compose, refine, render, sentences_of, vary


def quality_of(draft):
    """Return the quality that a draft was made with."""
    return sum(phrase.weight for phrase in draft if phrase)


def slots_of(language, seed=0):
    """Return the lists of phrases of all kinds of messages, each once."""
    kinds = weighted_phrases(seed).slots[language].values()
    return list({id(slot): slot for slots in kinds for slot in slots}.values())


def drafts(language, count, *, kind="telling", seed=0):
    """Return replies drawn at random."""
    draws = SeededStream(11)
    return [compose(weighted_phrases(seed).slots[language][kind], draws) for _ in range(count)]


def test_every_phrase_is_found_again():
    """Each phrase alone is read as itself, whatever the user's words in it are."""
    phrases = weighted_phrases(0)
    for language in LANGUAGES:
        for slot in slots_of(language):
            for phrase in slot:
                for words in ("a late film", "想去看电影", "No way", "后来呢"):
                    reading = phrases.read(phrase.text.replace("{x}", words))
                    assert reading.phrases[phrase.slot] is phrase


def test_quality_survives_cutting_and_joining():
    """Bubbles, joined by anything and without their full stops, keep the quality."""
    for language in LANGUAGES:
        for draft in drafts(language, 200):
            text = render(weighted_phrases(0).slots[language]["telling"], draft, "看电影 tonight")
            cut = [sentence.rstrip(".。") for sentence in sentences_of(text)]
            for joined in (text, "\n".join(cut), " ".join(cut), "  ".join(cut).upper()):
                assert abs(true_quality(joined) - quality_of(draft)) < 1e-9


def test_random_replies_have_quality_zero_and_spread_one():
    """The unit is the within-prompt SD, for any seed, language and kind of message."""
    for seed, kind in ((0, "telling"), (5, "feeling")):
        for language in LANGUAGES:
            values = [quality_of(draft) for draft in drafts(language, 4000, seed=seed, kind=kind)]
            assert abs(statistics.fmean(values)) < 0.06
            assert 0.94 < statistics.pstdev(values) < 1.06


def test_siblings_correlate_as_set():
    """Candidates of one call share quality by `similarity`."""
    slots, draws = weighted_phrases(0).slots["en"]["telling"], SeededStream(3)
    for similarity in (0.0, 0.3, 0.8):
        left, right = [], []
        for _ in range(4000):
            base = compose(slots, draws)
            for side in (left, right):
                side.append(quality_of(vary(slots, base, similarity=similarity, draws=draws)))
        assert abs(statistics.correlation(left, right) - similarity) < 0.06


def test_refinement_gains_on_average_and_saturates():
    """A child beats an average parent by nearly the target, a great one by less."""
    slots, draws = weighted_phrases(0).slots["zh"]["telling"], SeededStream(5)
    gains = {0: [], 2: []}
    for draft in drafts("zh", 6000):
        level = round(quality_of(draft))
        if level in gains and len(gains[level]) < 400:
            target = quality_of(draft) + 0.5 + 0.6 * draws.normal()
            child = refine(slots, draft, target=target, draws=draws)
            gains[level].append(quality_of(child) - quality_of(draft))
    assert 0.3 < statistics.fmean(gains[0]) < 0.6
    assert statistics.fmean(gains[2]) < statistics.fmean(gains[0])


def test_text_without_known_phrases_has_a_stable_quality():
    """A human's text is drawn from its letters: same letters, same quality, spread one."""
    values = [true_quality(f"my grandmother baked bread number {n}") for n in range(2000)]
    assert abs(statistics.fmean(values)) < 0.1
    assert 0.9 < statistics.pstdev(values) < 1.1
    assert true_quality("Hello, dear Ann!") == true_quality("hello dear  ann")


def test_empty_text_is_bad_and_repeating_a_phrase_gains_nothing():
    """Nothing said is worth less than anything said; saying it twice is worth once."""
    best = max((draft for draft in drafts("en", 200)), key=quality_of)
    text = render(weighted_phrases(0).slots["en"]["telling"], best, None)
    assert true_quality("") < -2
    assert true_quality(f"{text} {text}") == true_quality(text)


def test_another_seed_likes_other_phrases():
    """Qualities of two seeds do not correlate much."""
    slots = weighted_phrases(0).slots["en"]["telling"]
    texts = [render(slots, draft, "x y") for draft in drafts("en", 500)]
    pairs = [(true_quality(text, seed=1), true_quality(text, seed=2)) for text in texts]
    assert abs(statistics.correlation(*zip(*pairs, strict=True))) < 0.4


def test_most_phrases_do_not_sound_like_an_assistant():
    """Some do, so that a check for it finds something; they weigh less."""
    weighted = weighted_phrases(0)
    for language in LANGUAGES:
        phrases = [phrase for slot in slots_of(language) for phrase in slot]
        assistant = [phrase for phrase in phrases if phrase.is_assistant]
        assert 0.03 < len(assistant) / len(phrases) < 0.15
        assert statistics.fmean(phrase.weight for phrase in assistant) < 0
        assert all(weighted.read(phrase.text).assistant_share >= 0.5 for phrase in assistant)


def test_banks_are_large_enough_and_have_no_phrase_twice():
    """At least 12 phrases a list, each one sentence in one place, and none is missing."""
    for language in LANGUAGES:
        bank, lists = bank_of(language), slots_of(language)
        assert all(len(slot) >= 12 for slot in lists)
        texts = [phrase.text for slot in lists for phrase in slot]
        assert len(texts) == len(set(texts))
        assert all(len(sentences_of(text)) == 1 for text in texts)
        assert set(bank.assistant) <= set(texts)
        by_name = (bank.openings, bank.cores, bank.warmths, bank.closes)
        assert len(texts) == sum(len(each) for names in by_name for each in names.values())
        kinds = weighted_phrases(0).slots[language]
        assert all(len(slots) == len(SLOTS) for slots in kinds.values())


def test_every_kind_and_field_has_lines_without_a_topic():
    """So that a message without a topic is answered too."""
    for language in LANGUAGES:
        bank = bank_of(language)
        assert set(bank.message_words) == set(bank.kinds) - {"question", "telling"}
        assert {f"context_{kind}" for kind in bank.kinds} <= set(bank.lines)
        assert all(any("{x}" not in line for line in lines) for lines in bank.lines.values())
        assert all("{x}" not in text for text in bank.assistant)
