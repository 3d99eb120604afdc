"""Answer forms of the search, and what the search is told."""

import json
import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from callwise.calls.errors import InvalidAnswer
from callwise.calls.reply import Reply, TokenLogprobs
from callwise.calls.schema import schema_format
from callwise.calls.structured import parse_answer
from lats.answers import NodeId, Verdict
from nodes.search.action_answers import (
    MAX_REASON_CHARS,
    AssistantCheck,
    CandidateSet,
    CharacterVerdicts,
    FitVerdicts,
    Judgement,
    ListVerdicts,
    OverallVerdicts,
    RootPlan,
    Variants,
    candidate_labels,
    verdicts_of,
)

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


def test_no_label_is_in_a_text():
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


def test_of_two_entries_with_one_label_the_first_counts():
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
def test_with_log_probabilities_a_score_is_the_mean_of_what_it_nearly_was(text):
    """In a list, in a map, and with words around it; the sub-scores too."""
    tokens = _tokens(
        text, [("0.25", [("0.25", 0.5), ("0.75", 0.5)]), ("0.5", [("0.5", 0.75), ("0.1", 0.25)])]
    )
    verdict = _verdicts(text, tokens=tokens).by_id["b7"]
    assert verdict.score == pytest.approx(0.5)
    assert verdict.attributes["mode_fit"] == pytest.approx(0.4)


def test_tokens_invent_no_score():
    """What was written out of range stays missing; what could not be read stays as written."""
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
    """An endpoint that reports only its choice."""
    text = '{"verdicts": [{"id": "kw7", "score": 0.25}]}'
    assert _scores(_verdicts(text, tokens=[TokenLogprobs(text, -0.1)])) == {"b7": 0.25}


def test_every_form_is_read_alike():
    """The rubric decides only which sub-scores there are."""
    entry = {"id": "bb2", "score": 1, "persona": 0.9, "mode_fit": 0.8}
    verdict = _verdicts({"verdicts": [entry]}, form=OverallVerdicts).by_id["a1"]
    assert verdict.attributes == {"persona": 0.9, "mode_fit": 0.8}


FORMS = [OverallVerdicts, CharacterVerdicts, FitVerdicts]

any_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


def _entry(text: str):
    return parse_answer(f'{{"verdicts": [{text}]}}', FitVerdicts).verdicts[0]


@pytest.mark.parametrize(
    "score",
    [
        *("7", "-1e300", str(10**400), '"high"', "true", "null", "[]"),
        *("NaN", "Infinity", "-Infinity", "1e999"),
    ],
)
def test_a_score_that_is_none_is_missing_and_not_asked_again(score):
    """Far out of range, huge, a word or a list: the other scores of the answer are kept."""
    entry = _entry(f'{{"id": "c1", "score": {score}, "mode_fit": 0.25}}')
    assert (entry.score, entry.mode_fit) == (None, 0.25)


@pytest.mark.parametrize("score", ["0", "1", "0.5", "5e-1"])
def test_a_score_in_range_is_taken_as_it_is(score):
    """The ends included."""
    assert _entry(f'{{"id": "c1", "score": {score}}}').score == float(score)


@pytest.mark.parametrize(
    ("score", "expected"), [("1.01", 1.0), ("-0.1", 0.0), ('"0.7"', 0.7), ('"70%"', 0.7)]
)
def test_a_score_in_other_clothes_is_a_score(score, expected):
    """A text or a slip over the end of the scale."""
    assert _entry(f'{{"id": "c1", "score": {score}, "mode_fit": 0.25}}').score == expected


def test_scores_on_another_scale_are_read_on_it():
    """All of an answer on one."""
    text = '{"verdicts": [{"id": "c1", "score": 7}, {"id": "c2", "score": 1, "mode_fit": 10}]}'
    first, second = parse_answer(text, FitVerdicts).verdicts
    assert (first.score, second.score, second.mode_fit) == (0.7, 0.1, 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"verdicts": null}',
        '{"verdicts": "none"}',
        '{"verdicts": 3}',
        '{"ranking": []}',
        "c1",
    ],
)
def test_another_form_altogether_is_asked_again(text):
    """Neither verdicts nor a ranking, or something else in their place."""
    with pytest.raises(InvalidAnswer):
        parse_answer(text, OverallVerdicts)


def test_an_empty_list_says_nothing_and_is_not_asked_again():
    """A judge that has nothing to say costs one call, not two."""
    assert parse_answer('{"verdicts": []}', FitVerdicts).verdicts == ()


def test_a_map_by_label_is_a_list():
    """Also one of bare numbers."""
    answer = parse_answer('{"verdicts": {"c2": {"score": 0.2}, "c1": 0.9}}', FitVerdicts)
    assert [(entry.id, entry.score) for entry in answer.verdicts] == [("c2", 0.2), ("c1", 0.9)]


def test_an_entry_that_is_no_object_keeps_its_place():
    """So that a path into the text still finds the one after it."""
    first, second = parse_answer('{"verdicts": [0.5, {"id": "c1"}]}', FitVerdicts).verdicts
    assert (first.id, second.id) == ("", "c1")


def test_a_ranking_alone_is_an_answer():
    """Values that are no text name no candidate."""
    answer = parse_answer('{"ranking": ["c2", 1, "c1"]}', CharacterVerdicts)
    assert (answer.ranking, answer.verdicts) == (("c2", "", "c1"), ())


def test_a_reason_is_cut_and_cleaned():
    """50,000 characters of it are no reason; nor is a number."""
    entry = _entry('{"id": "c1", "reason": "%s\\u0000"}' % ("why " * 12_500))
    assert len(entry.reason) <= MAX_REASON_CHARS
    assert "\x00" not in entry.reason
    assert _entry('{"id": "c1", "reason": 5}').reason == ""


@pytest.mark.parametrize("form", FORMS)
def test_the_schema_asks_for_words_first_and_for_no_ranking(form):
    """Scores follow from the reason; what is only tolerated is not asked for."""
    asked = schema_format(form)["json_schema"]
    assert asked["strict"]
    assert list(asked["schema"]["properties"]) == ["verdicts"]
    (entry,) = asked["schema"]["$defs"].values()
    assert list(entry["properties"])[:3] == ["id", "reason", "score"]
    assert list(entry["properties"]) == list(form.entry.model_fields)


@given(raw=any_json, form=st.sampled_from(FORMS))
def test_whatever_comes_is_an_answer_or_refused(raw, form: type[ListVerdicts]):
    """No answer is any other error, and no score leaves its range."""
    try:
        answer = form.model_validate({"verdicts": raw})
    except ValueError:
        return
    for entry in answer.verdicts:
        scores = [value for value in entry.model_dump().values() if isinstance(value, float)]
        assert all(0 <= score <= 1 for score in scores)


def test_a_score_that_is_null_is_missing():
    """Missing is missing."""
    assert parse_answer('{"score": null}', Judgement).score is None
    assert parse_answer('{"score": 0.5, "persona": "?"}', Judgement).persona is None
    assert parse_answer('{"assistantness": null}', AssistantCheck).assistantness is None


@pytest.mark.parametrize(
    ("form", "text"), [(Judgement, '{"reason": "Dry."}'), (AssistantCheck, "{}")]
)
def test_a_judge_that_leaves_its_score_out_is_asked_again(form, text):
    """The schema asks for it, and a judge without a score was paid for nothing."""
    with pytest.raises(InvalidAnswer, match="Field required"):
        parse_answer(text, form)


@pytest.mark.parametrize(
    ("score", "expected"), [("8", 0.8), ("-0.1", 0.0), ('"66%"', 0.66), ('"7/10"', 0.7)]
)
def test_a_score_on_another_scale_is_read(score, expected):
    """Or clamped where it is a slip."""
    assert parse_answer(f'{{"score": {score}}}', Judgement).score == expected


@pytest.mark.parametrize("score", ["250", '"high"', "true", "NaN"])
def test_a_score_that_is_none_is_asked_again(score):
    """It does not fit, and the repair names the range."""
    with pytest.raises(InvalidAnswer, match="score"):
        parse_answer(f'{{"score": {score}}}', Judgement)


def test_a_root_plan_needs_a_reply():
    """A blank one is repaired rather than searched from."""
    with pytest.raises(ValidationError, match="blank"):
        RootPlan(reply="  \n")


def test_bad_variants_and_unknown_fields_do_not_spoil_the_others():
    """One bad candidate is left out, not paid for again."""
    text = '{"candidates": [{"reply": ""}, {"reply": "Hi.", "mood": "good"}, 7], "note": 1}'
    assert [each.reply for each in parse_answer(text, Variants).candidates] == ["Hi."]


@pytest.mark.parametrize("form", [Variants, CandidateSet])
@pytest.mark.parametrize(
    "candidates", [[], [{"reply": " "}], [{"strategy_tag": "x"}], "none", None]
)
def test_an_answer_without_a_usable_candidate_is_none(form, candidates):
    """It is asked again."""
    with pytest.raises(InvalidAnswer, match="candidates"):
        parse_answer(json.dumps({"candidates": candidates}), form)


@pytest.mark.parametrize(
    ("bubbles", "expected"),
    [
        (None, []),
        ("Hi. Tea?", ["Hi. Tea?"]),
        (["Hi.", "Tea?"], ["Hi.", "Tea?"]),
        ([{"text": "Hi.", "delay_seconds": -1}, {"text": "Tea?"}], ["Hi.", "Tea?"]),
        ([7, {"delay": 1}], []),
        (7, []),
    ],
)
def test_bubbles_of_any_form_cost_no_candidate(bubbles, expected):
    """They are read, or left to the rules that cut a reply."""
    document = {"candidates": [{"reply": "Hi. Tea?", "bubbles": bubbles}, {"reply": "Bye."}]}
    first, second = parse_answer(json.dumps(document), Variants).candidates
    assert (first.reply, first.bubbles, second.reply) == ("Hi. Tea?", expected, "Bye.")
