"""Keys come back in many forms, and are taken out in all of them."""

import base64
import html
import json
import re
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.calls.redaction import KEY, redact, redact_document, redact_whole

SECRET = "zq-Proj/4+wx_7Yk9.LmN2pQ8rT"


def wrapped(text, width, end):
    """Return a text cut into lines."""
    return end.join(text[at : at + width] for at in range(0, len(text), width))


ECHOES = {
    "whole": SECRET,
    "URL-encoded": quote(SECRET, safe=""),
    "URL-encoded twice": quote(quote(SECRET, safe=""), safe=""),
    "URL-encoded, lower case": re.sub("%..", lambda code: code[0].lower(), quote(SECRET, safe="")),
    "every byte URL-encoded": "".join(f"%{ord(char):02x}" for char in SECRET),
    "JSON with slashes escaped": SECRET.replace("/", "\\/"),
    "JSON, every character escaped": "".join(f"\\u{ord(char):04X}" for char in SECRET),
    "JSON in JSON": json.dumps(json.dumps(SECRET.replace("/", "\\/")))[3:-3],
    "HTML": "".join(f"&#{ord(char)};" for char in SECRET),
    "HTML, hexadecimal": "".join(f"&#x{ord(char):x};" for char in SECRET),
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "base64 of user and key": base64.b64encode(f"user:{SECRET}".encode()).decode(),
    "base64 of a header": base64.b64encode(f"Bearer {SECRET}\n".encode()).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(f"ab{SECRET}".encode()).decode(),
    "base64 in lines": wrapped(base64.b64encode(SECRET.encode()).decode(), 8, "\n"),
    "hexadecimal": SECRET.encode().hex(),
    "hexadecimal, capitals": SECRET.encode().hex().upper(),
    "in lines": wrapped(SECRET, 7, "\n"),
    "in lines of Windows": wrapped(SECRET, 7, "\r\n    "),
    "in escaped lines": wrapped(SECRET, 7, "\\n"),
    "in quoted pieces": wrapped(SECRET, 7, '" + "'),
    "letter by letter": " ".join(SECRET),
}
PARTS = {
    "first and last": f"{SECRET[:4]}****{SECRET[-4:]}",
    "first and last, many stars": f"{SECRET[:8]}{'*' * 30}{SECRET[-4:]}",
    "first and last, dots": f"{SECRET[:3]}...{SECRET[-4:]}",
    "first and last, an ellipsis": f"{SECRET[:6]}…{SECRET[-3:]}",
    "first": f"{SECRET[:5]}***",
    "last": f"****{SECRET[-4:]}",
    "last, bullets": f"•••••{SECRET[-5:]}",
    "crossed out": f"{SECRET[:4]}XXXXXX{SECRET[-4:]}",
    "redacted": f"{SECRET[:6]}[REDACTED]{SECRET[-4:]}",
    "beginning": SECRET[:10],
    "end": SECRET[-9:],
    "middle": SECRET[6:16],
}


def leaks(text):
    """Return whether four characters of the key, in a row, are left of an echo."""
    return any(SECRET[at : at + 4] in text for at in range(len(SECRET) - 3))


@pytest.mark.parametrize("echo", [*ECHOES.values(), *PARTS.values()], ids=[*ECHOES, *PARTS])
def test_an_echo_is_taken_out_of_an_error(echo):
    """The words around it stay."""
    found = redact(f"wrong key ({echo}): check it", SECRET)
    assert found.startswith("wrong key (")
    assert found.endswith("): check it")
    assert KEY in found
    assert echo not in found
    assert not leaks(found)


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_a_whole_key_is_taken_out_of_an_answer(echo):
    """Wherever in the document; the rest is as it came."""
    document = {"choices": [{"text": f"a {echo} b", "index": 0}], "usage": {"total": 3}}
    found = redact_document(document, [SECRET])
    assert KEY in found["choices"][0]["text"]
    assert echo not in found["choices"][0]["text"]
    assert found["usage"] == {"total": 3}
    as_sent = json.dumps(document)
    assert redact_document(document, [SECRET], source=as_sent) in (found, document)


@pytest.mark.parametrize("form", [SECRET.encode().hex().upper(), wrapped(SECRET, 10, "\n")])
def test_a_key_in_capital_hexadecimal_or_cut_is_found_by_the_source_too(form):
    """What is looked for in the source decides whether the document is looked through."""
    document = {"choices": [{"text": f"a {form} b"}]}
    found = redact_document(document, [SECRET], source=json.dumps(document))
    assert found == {"choices": [{"text": f"a {KEY} b"}]}


@given(st.text())
def test_an_answer_without_a_key_is_as_it_came(text):
    """No ordinary text resembles the key."""
    assert redact_whole(text, [SECRET]) == text


@given(st.text(), st.text())
def test_no_text_around_it_hides_a_key(before, after):
    """Whatever precedes and follows."""
    assert SECRET not in redact(before + SECRET + after, SECRET)


@pytest.mark.parametrize(
    "text",
    [
        "Bearer abcdefgh",
        "sk-abcdefgh12",
        "sk-***",
        "AKIAABCDEFGHIJKLMNOP",
        "ghp_abcdefgh1234",
        "https://me:hidden@host/",
        "https://h/v1?api_key=hidden&x=1",
        "Basic dXNlcjpoaWRkZW4taGlkZGVu",
    ],
)
def test_text_that_resembles_a_key_is_removed_too(text):
    """Of whichever owner."""
    found = redact(text)
    assert KEY in found or found == "sk-***"
    assert "hidden" not in found


def test_ordinary_words_stay():
    """A short key is no key, and stars alone are no echo."""
    text = "the test failed at a task: *** see https://host/v1?model=m ... and http://host:80/"
    assert redact(text, "test", None, SECRET) == text


@pytest.mark.parametrize(
    "text",
    [
        "\\" * 20_000,
        "z" * 20_000,
        "z\n" * 10_000,
        "%25" * 7_000,
        "*" * 20_000,
        "z*" * 10_000,
        ("zq-" + " " * 50) * 400,
        "&#" + "0" * 20_000,
        'z"' * 10_000,
        SECRET[:-1] * 700,
    ],
)
def test_no_text_takes_long(text):
    """Work is linear in the text's length; CPU seconds, since a busy machine waits."""
    began = time.process_time()
    redact(text, SECRET)
    redact_whole(text, [SECRET])
    assert time.process_time() - began < 5.0


def test_html_is_read_as_html():
    """The table's form is the one that libraries write."""
    assert html.unescape(ECHOES["HTML"]) == SECRET
