"""The client against a real server on loopback whose faults are scripted."""

from __future__ import annotations

import socket
import time
from email.utils import formatdate

import pytest
from pydantic import BaseModel, ConfigDict

from dtm.foundations.errors import BackendError, ConfigError
from dtm.foundations.llm import LLM, Completion, Endpoint, Failed, Request, check_url, read_key
from tests.foundations.llm.server import Server, breaks, fault, hangs, raw, says

ASK = Request([{"role": "user", "content": "Well?"}])


class Score(BaseModel):
    model_config = ConfigDict(extra="forbid")
    score: float


def endpoint(server, **settings):
    llm = LLM(model="m", base_url=getattr(server, "url", server), **{"retries": 3, "timeout": 5, **settings})
    return Endpoint(llm, first_wait=0.01)


def one(server, request=ASK, **settings):
    client = endpoint(server, **settings)
    try:
        return client.complete([request])[0]
    finally:
        client.close()


def test_an_answer_with_its_tokens():
    with Server([says("Yes.", prompt=11, completion=2)]) as server:
        assert one(server, temperature=0.5, top_p=0.9, max_tokens=20) == Completion("Yes.", "stop", 11, 2)
        (seen,) = server.seen
    assert seen["path"] == "/v1/chat/completions"
    assert seen["body"] == {"model": "m", "messages": [{"role": "user", "content": "Well?"}], "max_tokens": 20,
                            "temperature": 0.5, "top_p": 0.9}  # fmt: skip


def test_a_request_says_more_than_the_section():
    request = Request(ASK.messages, seed=3, temperature=1.0, max_tokens=5, stop=("\n",))
    with Server([says("x")]) as server:
        one(server, request, temperature=None, extra_body={"min_p": 0.1})
        body = server.seen[0]["body"]
    assert {name: body[name] for name in ("seed", "temperature", "max_tokens", "stop", "min_p")} == {
        "seed": 3, "temperature": 1.0, "max_tokens": 5, "stop": ["\n"], "min_p": 0.1}  # fmt: skip


@pytest.mark.parametrize(("structured", "form"), [("json_schema", "json_schema"), ("json_object", "json_object"),
                                                  ("prompt", None)])  # fmt: skip
def test_the_form_of_structured_answers(structured, form):
    with Server([says("{}")]) as server:
        one(server, Request(ASK.messages, schema=Score), structured=structured)
        body = server.seen[0]["body"]
    assert (body.get("response_format") or {}).get("type") == form
    if form == "json_schema":
        assert body["response_format"]["json_schema"] == {
            "name": "Score", "schema": Score.model_json_schema(), "strict": True}  # fmt: skip


TROUBLE = [fault(500), fault(503), fault(429), raw(b"<html>busy</html>"), raw(b'{"choices": []}'), breaks]


@pytest.mark.parametrize("trouble", TROUBLE, ids=["500", "503", "429", "html", "no choice", "broken"])
def test_trouble_is_tried_again(trouble):
    with Server([trouble, trouble, says("Yes.")]) as server:
        assert one(server).text == "Yes."
        assert len(server.seen) == 3


def test_a_time_out_is_tried_again():
    with Server([hangs(1.0), says("Yes.")]) as server:
        assert one(server, timeout=0.2).text == "Yes."
        assert len(server.seen) == 2


@pytest.mark.parametrize(("trouble", "reason"), [(fault(500, "on fire"), "HTTP 500: on fire, after 4 tries"),
                                                 (raw(b"nonsense"), "nonsense")])  # fmt: skip
def test_what_does_not_mend_is_kept_aside_with_its_reason(trouble, reason):
    with Server([trouble]) as server:
        failed = one(server)
        assert len(server.seen) == 4
    assert isinstance(failed, Failed)
    assert failed.transport
    assert reason in failed.reason


def test_time_outs_to_the_end_are_kept_aside():
    with Server([hangs(0.5)]) as server:
        failed = one(server, timeout=0.1, retries=1)
    assert failed == Failed("no answer within 0.1 seconds, after 2 tries", transport=True)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_waited_for(form):
    wait = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
    with Server([fault(429, retry_after=wait), says("Yes.")]) as server:
        started = time.monotonic()
        assert one(server).text == "Yes."
        assert 0.9 < time.monotonic() - started < 4


def test_a_wait_beyond_all_patience_ends_the_run():
    with (
        Server([fault(429, retry_after="86400")]) as server,
        pytest.raises(BackendError, match="86,400 seconds"),
    ):
        one(server)


def test_nobody_there():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(BackendError, match=r"cannot be reached.*after 3 tries.*Is it running"):
            one(address, retries=2)


@pytest.mark.parametrize(("answer", "word"), [
    (fault(401, "no key"), "wants a key"), (fault(404, "no such model"), "llm.model"),
    (raw(b"", 307, [("Location", "http://elsewhere.invalid/")]), "redirects"),
    (fault(429, "pay", code="insufficient_quota"), "pay"),
])  # fmt: skip
def test_what_no_other_try_mends_ends_the_run_at_once(answer, word):
    with Server([answer]) as server:
        with pytest.raises(BackendError, match=word):
            one(server)
        assert len(server.seen) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_refused_is_kept_aside(status):
    with Server([fault(status, "too long")]) as server:
        assert one(server) == Failed(f"HTTP {status}: too long")
        assert len(server.seen) == 1


def test_the_key_goes_to_the_endpoint_and_nowhere_else(monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-very-secret")

    def echo(handler):
        return f"your key {handler.headers['Authorization']} is wrong {'x' * 400}"

    with Server([fault(403, echo)]) as server:
        client = endpoint(server, api_key_env="MY_KEY")
        with pytest.raises(BackendError) as caught:
            client.complete([ASK])
        assert server.seen[0]["headers"]["Authorization"] == "Bearer sk-very-secret"
    shown = [
        str(caught.value),
        repr(caught.value),
        repr(client),
        str(client.identity),
        client.llm.model_dump_json(),
    ]
    assert "***" in shown[0]
    assert not any("secret" in text for text in shown)


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://x/v1", "http://user:pw@x/v1", "http://x/v1?key=1"]
)
def test_addresses_that_are_none_or_hold_a_secret(url):
    with pytest.raises(ConfigError) as caught:
        check_url(url)
    assert "pw" not in str(caught.value)


def test_addresses_end_alike():
    assert {check_url(f"http://x/v1{end}") for end in ("", "/", "/chat/completions")} == {"http://x/v1"}


def test_a_key_that_is_not_there_or_stands_in_the_file(monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ConfigError, match="MY_KEY is not set"):
        read_key("MY_KEY")
    with pytest.raises(ConfigError) as caught:
        read_key("sk-pasted-by-mistake")
    assert "pasted" not in str(caught.value)
    assert read_key(None) == ""
