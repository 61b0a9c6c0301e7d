"""Many requests: caching, concurrency, repairs, caps, and what becomes of those that fail."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pydantic import BaseModel, Field

from dtm.foundations.errors import BackendError, MethodError, ResourceError
from dtm.foundations.llm import (
    LLM,
    Cache,
    CannotAnswer,
    Completion,
    Endpoint,
    Failed,
    Meter,
    Request,
    Rules,
    bind,
    estimate,
    generate,
)  # fmt: skip
from dtm.foundations.registry import Method
from tests.foundations.llm.server import Server, fault, says


class Score(BaseModel):
    score: float = Field(ge=1, le=5)


def ask(text="Well?", **more):
    return Request([{"role": "user", "content": text}], **more)


class Scripted:
    """A backend in this process; `answer` is a function of a request."""

    batch, width, held, free, name = 1, 2, True, False, "the script"

    def __init__(self, answer, **more):
        self.answer, self.asked, self.lock = answer, [], threading.Lock()
        self.identity = {"kind": "script", **more}

    def complete(self, requests):
        with self.lock:
            self.asked += requests
        return [self.answer(request) for request in requests]

    def close(self):
        pass


def section(**settings):
    return LLM(**{"model": "m", "base_url": "http://x/v1", "retries": 1, **settings})


def echo(request):
    return Completion(request.messages[-1]["content"].upper(), "stop", 5, 2)


def test_replies_in_the_order_of_the_requests_and_equal_ones_asked_once():
    backend = Scripted(echo)
    replies = generate([ask(text) for text in ("a", "b", "a", "c")], backend, section())
    assert [one.text for one in replies] == ["A", "B", "A", "C"]
    assert len(backend.asked) == 3


def test_requests_run_side_by_side_up_to_the_limit():
    with Server([says("x", after=0.1)]) as server:
        backend = Endpoint(LLM(model="m", base_url=server.url, concurrency=3))
        generate([ask(str(number)) for number in range(9)], backend, backend.llm)
        assert server.most == 3


def test_a_rerun_asks_nothing(tmp_path):
    cache, requests = Cache.of_store(tmp_path), [ask("a"), ask("b"), ask("a", seed=1), ask("{}", schema={})]
    first = generate(requests, Scripted(echo), section(), cache=cache)
    backend, told = Scripted(echo), []
    again = generate(requests, backend, section(), cache=cache, told=told.append)
    assert not backend.asked
    assert [(one.text, one.value) for one in again] == [(one.text, one.value) for one in first]
    assert all(one.cached for one in again)
    assert told[0].words == "all 4 answers are cached"


@pytest.mark.parametrize("other", [
    {"text": "b"}, {"seed": 1}, {"temperature": 0.5}, {"top_p": 0.5}, {"max_tokens": 4}, {"stop": (".",)},
    {"schema": Score}, {"task": "t"}, {"inputs": {"x": 1}},
])  # fmt: skip
def test_a_key_knows_all_that_an_answer_depends_on(other):
    assert ask("a").key({"model": "m"}) != ask(**{"text": "a", **other}).key({"model": "m"})


def test_a_key_knows_the_model_and_its_settings_but_not_the_address(monkeypatch):
    monkeypatch.setenv("KEY_ONE", "1")

    def identity(**more):
        return ask().key(Endpoint(section(**more)).identity)

    first = identity()
    for same in ({"base_url": "http://y/v1"}, {"concurrency": 2}, {"api_key_env": "KEY_ONE"}, {"timeout": 3}):
        assert identity(**same) == first
    for other in ({"model": "n"}, {"revision": "2"}, {"temperature": 0.1}, {"max_tokens": 3}, {"structured": "prompt"},
                  {"extra_body": {"a": 1}}):  # fmt: skip
        assert identity(**other) != first


def test_a_run_that_is_stopped_loses_at_most_what_was_in_flight(tmp_path):
    requests = [ask(str(number)) for number in range(20)]

    def dies(request):
        if request.messages[-1]["content"] == "10":
            raise BackendError("gone")
        return echo(request)

    with pytest.raises(BackendError, match="gone"):
        generate(requests, Scripted(dies), section(), cache=Cache.of_store(tmp_path))
    backend = Scripted(echo)
    assert len(generate(requests, backend, section(), cache=Cache.of_store(tmp_path))) == 20
    assert len(backend.asked) <= 10


def test_json_that_is_cut_off_gets_more_room_and_is_then_kept_aside():
    cut = Completion('{"score": 3', "length", 10, 8)
    backend = Scripted(
        lambda request: cut if request.messages[0]["content"] == "bad" else Completion('{"score": 2}')
    )
    requests = [ask(text, schema=Score) for text in ("bad", "good")]
    bad, good = generate(requests, backend, section(repairs=2, max_tokens=8))
    assert good.value == Score(score=2)
    assert (bad.value, bad.failure, bad.tries) == (None, "the JSON is cut off at max_tokens", 3)
    assert (bad.prompt_tokens, bad.completion_tokens) == (30, 24)
    rooms = [one.max_tokens for one in backend.asked if one.messages[0]["content"] == "bad"]
    assert rooms == [None, 16, 32]


def test_a_wrong_answer_is_told_what_was_wrong():
    answers = iter(['{"score": 9}', "Certainly!", '```json\n{"score": 4}\n```'])
    backend = Scripted(lambda request: Completion(next(answers)))
    (reply,) = generate([ask(schema=Score)], backend, section(repairs=2))
    assert reply.value == Score(score=4)
    assert reply.tries == 3
    assert "score: Input should be less than or equal to 5" in backend.asked[1].messages[-1]["content"]
    assert "there is no JSON" in backend.asked[2].messages[-1]["content"]


def test_what_was_never_an_answer_is_cached_but_a_refusal_is_not(tmp_path):
    def answer(request):
        return (
            Failed("HTTP 400: too long")
            if request.messages[0]["content"] == "long"
            else Completion("no JSON")
        )

    requests = [ask("long"), ask("x", schema=Score)]
    first = generate(requests, Scripted(answer), section(), cache=Cache.of_store(tmp_path))
    backend = Scripted(answer)
    again = generate(requests, backend, section(), cache=Cache.of_store(tmp_path))
    assert [one.failure for one in first] == [one.failure for one in again]
    assert [one.messages[0]["content"] for one in backend.asked] == ["long"]


def test_an_endpoint_that_fails_everything_is_not_asked_to_the_end():
    with Server([says("x"), fault(500)]) as server:
        backend = Endpoint(LLM(model="m", base_url=server.url, retries=0, concurrency=2))
        with pytest.raises(BackendError, match=r"failed \d+ requests in a row: HTTP 500"):
            generate([ask(str(number)) for number in range(50)], backend, backend.llm)
        assert len(server.seen) < 20


def test_a_model_that_never_answers_as_asked_is_not_asked_to_the_end():
    backend = Scripted(lambda request: Completion("no JSON"))
    with pytest.raises(BackendError, match=r"answered none of \d+ requests as asked: there is no JSON"):
        generate([ask(str(number), schema=Score) for number in range(500)], backend, section(repairs=0))
    assert len(backend.asked) <= 52


def test_a_cap_ends_the_run_and_a_higher_one_goes_on(tmp_path):
    requests = [ask("x" * 35, seed=number) for number in range(10)]  # 10 + 6 tokens about, and 20 at most
    cache, backend = Cache.of_store(tmp_path), Scripted(lambda request: Completion("y", "stop", 16, 20))
    capped = section(max_tokens=20, max_tokens_total=200)
    with pytest.raises(ResourceError, match=r"llm.max_tokens_total: the cap of 200 is reached"):
        generate(requests, backend, capped, cache=cache, meter=Meter(capped))
    asked = len(backend.asked)
    assert 4 <= asked <= 5
    assert len(generate(requests, backend, section(max_tokens=20), cache=cache)) == 10
    assert len(backend.asked) == 10


def test_prompts_beyond_the_cap_are_never_sent():
    backend, capped = Scripted(echo), section(max_cost=0.01, price={"prompt": 1000, "completion": 0})
    with pytest.raises(ResourceError, match=r"llm.max_cost.*these prompts alone"):
        generate([ask("x" * 3500)], backend, capped)
    assert not backend.asked


def test_the_cap_counts_all_that_a_run_asks():
    capped = section(max_tokens=20, max_tokens_total=60)
    meter = Meter(capped)
    generate([ask("a")], Scripted(lambda request: Completion("y", "stop", 30, 20)), capped, meter=meter)
    assert (meter.tokens, meter.requests) == (50, 1)
    with pytest.raises(ResourceError, match="after 1 requests and 50 tokens"):
        generate([ask("b")], Scripted(echo), capped, meter=meter)


def test_an_estimate_is_of_what_is_missing():
    llm = section(max_tokens=100, price={"prompt": 2.0, "completion": 10.0})
    found = estimate([ask("x" * 350), ask("y" * 350, max_tokens=50)], llm, cached=3)
    assert (found.requests, found.prompt_tokens, found.completion_tokens) == (2, 212, 150)
    assert found.cost == pytest.approx((212 * 2 + 150 * 10) / 1e6)
    assert (
        found.words
        == "2 requests (3 more are cached), about 212 tokens in, at most 150 out, at most 0.00 to pay"
    )


def test_progress_reaches_the_total(tmp_path):
    cache, seen = Cache.of_store(tmp_path), []
    generate([ask("0")], Scripted(echo), section(), cache=cache)
    generate([ask(str(number)) for number in range(5)], Scripted(echo), section(), cache=cache,
             progress=lambda done, total: seen.append((done, total)))  # fmt: skip
    assert seen == [(done, 5) for done in range(2, 6)]


def test_a_schema_is_told_in_words_where_nothing_holds_the_model_to_it():
    backend = Scripted(lambda request: Completion('{"score": 2}'))
    backend.held = False
    generate([ask("Judge.", schema=Score)], backend, section())
    assert backend.asked[0].messages[-1]["content"].startswith("Judge.\n\nAnswer with JSON alone")


def rule(function):
    return Rules(Method("rules", "planted", function).bind({}))


def test_rules_answer_the_same_requests_and_say_what_they_cannot():
    def planted(request: Request) -> Any:
        if request.task != "judge":
            raise CannotAnswer(f"no rule for {request.task}")
        return {"score": request.inputs["n"]}

    requests = [ask(task="judge", inputs={"n": n}, schema=Score) for n in (2, 7)] + [ask(task="write")]
    good, bad, strange = generate(requests, rule(planted), section(kind="rules", max_tokens_total=1))
    assert good.value == Score(score=2)
    assert "less than or equal to 5" in bad.failure
    assert strange.failure == "no rule for write"


def test_rules_by_name():
    with pytest.raises(MethodError, match="Did you mean 'words'"):
        bind("wrds", {})
    request = ask(task="difficulty", inputs={"instruction": "one two", "response": " ".join("x" * 40)})
    (reply,) = generate([request], Rules(bind("words", {})), section(kind="rules"))
    assert reply.text == '{"instruction":1.1905,"response":3.0}'
