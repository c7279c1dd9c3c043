"""What an ask's body may hold: forgiven as the reference server forgives, refused as it refuses, never a 500."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay import gojson
from tests.contract1 import BAD_BODY, FORGIVEN, NOT_JSON
from tests.wire_agent import echo
from tests.wire_server import User, Web

NAMES = ("content", "conversation_id", "parent_id", "message_id")


@pytest.mark.parametrize(("body", "heard"), [row[1:] for row in FORGIVEN], ids=[row[0] for row in FORGIVEN])
def test_what_the_reference_server_forgives_is_forgiven(web: Web, asker: User, body: bytes, heard: str) -> None:
    """Attack 61 and fault 21: huge numbers, lone surrogates, NUL, broken UTF-8."""
    with web.agent(echo) as agent:
        found = web.post(asker.token, body, Content_Type="text/plain; charset=utf-7")
        assert found.status_code == 200
        assert found.json()["content"] == heard
        assert agent.was_asked().content == heard


@pytest.mark.parametrize("body", NOT_JSON, ids=lambda body: repr(body[:40]))
def test_what_is_no_json_is_refused(web: Web, asker: User, body: bytes) -> None:
    """Attack 61, fault 22 and of 63 forms, multipart and gzip: 400 before any agent is looked for."""
    found = web.post(asker.token, body)
    assert (found.status_code, found.content) == (400, BAD_BODY)


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ";", "é"])
def test_the_content_type_does_not_matter(web: Web, asker: User, kind: str) -> None:
    with web.agent(echo):
        body = b'{"content":"Hi"}'
        headers = {b"authorization": asker.token.encode(), b"content-type": kind.encode()}
        found = web.http.post("/api/ask", content=body, headers=list(headers.items()))
        assert found.json()["content"] == "Hi"


def test_a_wrong_type_in_any_field_is_refused(web: Web, asker: User) -> None:
    """Attack 62: each wrong type in each field, in plain and foreign spelling."""
    wrong = ["1", "-1.5", "true", "[]", '["x"]', "{}", '{"content":"x"}', "9" * 400, "1e400"]
    for name in (*NAMES, *(name.title() for name in NAMES)):
        for value in wrong:
            found = web.post(asker.token, f'{{"{name}":{value}}}'.encode())
            assert (found.status_code, found.content) == (400, BAD_BODY), (name, value)


@pytest.mark.parametrize(
    "text",
    [
        "{{7*7}} {% debug %} ${jndi:ldap://x} $(id) `id` %s %(x)s <%= 7*7 %> #{7*7}",  # attack 39
        "'; DROP TABLE accounts_user; --",
        "\u202eabc\u202c \u200b\u200d\ufeff \u0000\u0001\u001b[31m\x7f\x85 \u2028\u2029",  # attack 71
        "שלום مرحبا é e\u0301 👩‍👩‍👧 🏴󠁧󠁢󠁥󠁮󠁧󠁿 \U0010ffff",  # fault 23
        "</script><img src=x onerror=alert(1)>",  # attack 38
        "\r\nX-Injected: yes\r\n\r\n",
    ],
)
def test_text_of_every_kind_comes_back_as_it_was_sent(web: Web, asker: User, text: str) -> None:
    """Attacks 38, 39 and 71, fault 23: nothing is interpreted, stripped or changed on the way."""
    with web.agent(echo) as agent:
        found = web.ask(asker.token, text)
        assert agent.was_asked().content == text
    assert found.json()["content"] == text
    assert "x-injected" not in found.headers
    assert not set(b"<>&") & set(found.content)


def test_a_large_answer_and_a_large_question_pass_whole(web: Web, asker: User) -> None:
    text = "é<" * 200_000
    with web.agent(echo):
        found = web.post(asker.token, json.dumps({"content": text}, ensure_ascii=False).encode())
    assert found.json()["content"] == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*NAMES, "Content", "x"]), inner),
    max_leaves=8,
)
CHARACTERS = st.characters(codec="utf-8")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(JSON | st.text(string.printable), st.binary(max_size=12), st.integers(0, 60))
def test_no_body_at_all_is_more_than_refused(document: object, rubbish: bytes, at: int) -> None:
    """Faults 21 and 22: whatever comes, fields or NotJSON, and every text can be sent on."""
    raw = json.dumps(document).encode()
    raw = raw[:at] + rubbish + raw[at:]
    try:
        found = gojson.fields(raw, frozenset(NAMES))
    except gojson.NotJSON:
        return
    assert set(found) <= set(NAMES)
    for value in found.values():
        if gojson.is_text(value):
            gojson.encode(value)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), st.text(CHARACTERS)))
def test_plain_fields_come_out_as_they_went_in(values: dict[str, str]) -> None:
    assert gojson.fields(json.dumps(values).encode(), frozenset(NAMES)) == values
    assert json.loads(gojson.encode(values)) == values
