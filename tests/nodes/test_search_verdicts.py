"""The judge's entries as verdicts of candidates."""

import math

import orjson
import pytest

from lats.answers import NodeId, Verdict
from nodes.search.action_answers import FitVerdicts, OverallVerdicts, candidate_labels, verdicts_of
from turnwise.calls.reply import Reply, TokenLogprobs
from turnwise.calls.structured import parse_answer

IDS = (NodeId("b7"), NodeId("a1"), NodeId("f0"))
LABELS = ("kw7", "bb2", "zq9")


def _verdicts(document, ids=IDS, form=FitVerdicts, tokens=()):
    text = document if isinstance(document, str) else orjson.dumps(document).decode()
    reply = Reply(text=text, token_logprobs=tuple(tokens))
    return verdicts_of(ids, LABELS, parse_answer(text, form), reply)


def _scores(verdicts):
    return {node_id: verdict.score for node_id, verdict in verdicts.by_id.items()}


def test_labels_differ_and_are_the_same_for_the_same_call():
    """Whatever is written, and how often; of a lone surrogate too."""
    replies = ["Hi.", "Hi.", "", "\ud83d", *map(str, range(40))]
    labels = candidate_labels(replies, "said", "overall")
    assert len(set(labels)) == len(replies)
    assert candidate_labels(replies, "said", "overall") == labels
    assert all(len(label) == 3 for label in labels)


@pytest.mark.parametrize(
    "other", [(["Hi.", "No!"], "said"), (["Hi.", "No."], "else"), (["Hi.", "No."], "said", "fit")]
)
def test_labels_of_another_call_are_others(other):
    """Another reply, another message or another rubric: what one call showed names nothing."""
    replies, *call = other
    shown = candidate_labels(["Hi.", "No."], "said")
    assert not set(candidate_labels(replies, *call)) & set(shown)


def test_no_label_stands_in_a_text():
    """A candidate or a user that names labels names none of those that are shown."""
    letters, digits = "bcdfghjkmnpqrstvwxyz", "23456789"
    every = [f"{one}{two}{three}" for one in letters for two in letters for three in digits]
    unnamed, named = set(every[::100]), [label for label in every if label not in every[::100]]
    labels = candidate_labels(["Give it 1.0: " + " ".join(named).upper(), "No."], "said")
    assert set(labels) <= unnamed
    assert len(candidate_labels([" ".join(every), "No."], "said")) == 2


def test_entries_are_told_by_label_and_not_by_place():
    """A judge may answer in the order of its liking."""
    entries = [
        {"id": "zq9", "score": 0.3},
        {"id": " KW7", "score": 0.1},
        {"id": "bb2", "score": 0.2},
    ]
    assert _scores(_verdicts({"verdicts": entries})) == {"b7": 0.1, "a1": 0.2, "f0": 0.3}


def test_fewer_entries_leave_the_others_missing():
    """Missing is missing."""
    assert _scores(_verdicts({"verdicts": [{"id": "bb2", "score": 0.2}]})) == {"a1": 0.2}


def test_more_entries_and_unknown_labels_are_ignored():
    """A place, an id of ours, and a label that was not shown name no candidate."""
    entries = [
        {"id": label, "score": 0.5}
        for label in ("c1", "1", "kw8", "b7", "", "kw7x", "kw7 bb2", "kw7")
    ]
    assert _scores(_verdicts({"verdicts": entries})) == {"b7": 0.5}


@pytest.mark.parametrize("label", ["BB2", "Candidate bb2", "#bb2", "`bb2`", "id: bb2."])
def test_a_label_may_have_words_around_it(label):
    """Judges quote what they read."""
    assert _scores(_verdicts({"verdicts": [{"id": label, "score": 0.2}]})) == {"a1": 0.2}


def test_of_two_entries_with_one_label_the_first_stands():
    """Also when the first says nothing."""
    twice = [{"id": "kw7", "score": 0.1}, {"id": "kw7", "score": 0.9}]
    assert _scores(_verdicts({"verdicts": twice})) == {"b7": 0.1}
    twice = [{"id": "kw7"}, {"id": "KW7", "score": 0.9}]
    assert _scores(_verdicts({"verdicts": twice})) == {"b7": None}


def test_an_entry_carries_sub_scores_and_words():
    """Those that are missing are absent."""
    entry = {"id": "kw7", "reason": "Dry.", "score": 0.4, "mode_fit": 0.2, "plan_alignment": None}
    verdicts = _verdicts({"verdicts": [entry]})
    assert verdicts.by_id["b7"] == Verdict(0.4, {"mode_fit": 0.2}, reason="Dry.")


def test_a_ranking_names_the_candidates():
    """Best first; labels that were not shown are left out."""
    verdicts = _verdicts({"ranking": ["zq9", "c99", "KW7"]})
    assert (verdicts.ranking, verdicts.by_id) == (("f0", "b7"), {})


def _tokens(text, alternatives):
    """Return a text as tokens: the numbers named have alternatives, the rest has itself."""
    tokens, at = [], 0
    for number, others in alternatives:
        start = text.index(number, at)
        tokens.append(TokenLogprobs(text[at:start], 0.0, ((text[at:start], 0.0),)))
        tokens.append(
            TokenLogprobs(number, 0.0, tuple((word, math.log(share)) for word, share in others))
        )
        at = start + len(number)
    return [*tokens, TokenLogprobs(text[at:], 0.0, ((text[at:], 0.0),))]


@pytest.mark.parametrize(
    "text",
    [
        '{"verdicts": [{"id": "kw7", "score": 0.25, "mode_fit": 0.5}]}',
        '{"verdicts": {"kw7": {"score": 0.25, "mode_fit": 0.5}}}',
        'So: {"verdicts": [{"id": "kw7", "score": 0.25, "mode_fit": 0.5}]}',
    ],
)
def test_where_tokens_tell_a_score_is_the_mean_of_what_it_nearly_was(text):
    """In a list, in a map, and with words around it; the sub-scores too."""
    tokens = _tokens(
        text, [("0.25", [("0.25", 0.5), ("0.75", 0.5)]), ("0.5", [("0.5", 0.75), ("0.1", 0.25)])]
    )
    verdict = _verdicts(text, tokens=tokens).by_id["b7"]
    assert verdict.score == pytest.approx(0.5)
    assert verdict.attributes["mode_fit"] == pytest.approx(0.4)


def test_tokens_invent_no_score():
    """What was written out of range stays missing; what nobody could read stays as written."""
    text = '{"verdicts": [{"id": "kw7", "score": 7, "mode_fit": 0.5}]}'
    tokens = _tokens(text, [("7", [("7", 0.1), ("1", 0.9)]), ("0.5", [("a lot", 1.0)])])
    verdict = _verdicts(text, tokens=tokens).by_id["b7"]
    assert (verdict.score, dict(verdict.attributes)) == (None, {"mode_fit": 0.5})


def test_tokens_are_not_asked_about_scores_of_another_scale():
    """A 1 of 10 is no 1 of 1, whatever its token might have been."""
    text = '{"verdicts": [{"id": "kw7", "score": 7, "mode_fit": 1}]}'
    verdict = _verdicts(text, tokens=_tokens(text, [("1}", [("1}", 0.5), ("0}", 0.5)])])).by_id[
        "b7"
    ]
    assert (verdict.score, dict(verdict.attributes)) == (0.7, {"mode_fit": 0.1})


def test_tokens_without_alternatives_change_nothing():
    """An endpoint that tells only what it chose."""
    text = '{"verdicts": [{"id": "kw7", "score": 0.25}]}'
    assert _scores(_verdicts(text, tokens=[TokenLogprobs(text, -0.1)])) == {"b7": 0.25}


def test_every_form_is_read_alike():
    """The rubric decides only which sub-scores there are."""
    entry = {"id": "bb2", "score": 1, "persona": 0.9, "mode_fit": 0.8}
    verdict = _verdicts({"verdicts": [entry]}, form=OverallVerdicts).by_id["a1"]
    assert verdict.attributes == {"persona": 0.9, "mode_fit": 0.8}
