"""An endpoint of OpenAI's interface - vLLM, Ollama, llama.cpp, `transformers serve`, OpenAI - over plain HTTP.

The client is urllib3: its pool is safe for threads, it depends on nothing, and all environments have it. Its own
retries are off, since what is tried again depends on the answer. Redirects are not followed: the key would go along.
"""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from dtm.foundations.errors import BackendError, ConfigError
from dtm.foundations.llm.requests import Completion, Failed, Request
from dtm.foundations.llm.settings import LLM
from dtm.foundations.llm.structured import json_schema, strict

PATH = "/chat/completions"
CONNECT = 10.0  # seconds to reach the endpoint; `timeout` is for its answer
TRY_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
OF_THE_REQUEST = frozenset({400, 413, 422})  # what is wrong with one request may be right in others
NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,39}")
LONGEST_WAIT = 900.0  # seconds that an endpoint may ask for; beyond, the run ends and says so


class Endpoint:
    """Answers one request at a time, from as many threads as `width`.

    The key is read from the environment and kept in no attribute that is ever shown; texts of the endpoint are
    shown without it.
    """

    batch, free = 1, False

    def __init__(self, llm: LLM, *, first_wait: float = 0.5, longest_backoff: float = 60.0) -> None:
        self.llm, self.width = llm, llm.concurrency
        self.url = check_url(llm.base_url) + PATH
        self.name = f"{llm.model} at {llm.base_url}"
        self.held = llm.structured != "prompt"
        self._key = read_key(llm.api_key_env)
        self._first_wait, self._longest_backoff = first_wait, longest_backoff
        self._pool = _pool(self.url, self.width)
        self._not_before, self._lock, self._closed = 0.0, threading.Lock(), threading.Event()

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r})"

    @property
    def identity(self) -> dict[str, Any]:
        """What an answer depends on besides the request. The address is not of it: see docs/llm.md."""
        llm = self.llm
        return {"kind": llm.kind, "model": llm.model, "revision": llm.revision, "temperature": llm.temperature,
                "top_p": llm.top_p, "max_tokens": llm.max_tokens, "structured": llm.structured,
                "extra_body": llm.extra_body}  # fmt: skip

    def complete(self, requests: Sequence[Request]) -> list[Completion | Failed]:
        """Raises BackendError where no request could be answered: no connection, a wrong key, a wrong model."""
        return [self._one(request) for request in requests]

    def close(self) -> None:
        """Wake whoever waits, and drop the connections."""
        self._closed.set()
        self._pool.clear()

    def _one(self, request: Request) -> Completion | Failed:
        body = json.dumps(self.body(request)).encode()
        trouble, connected = "", True
        for attempt in range(self.llm.retries + 1):
            self._wait(self._not_before - time.monotonic())
            if self._closed.is_set():
                break
            answer = self._post(body)
            if not isinstance(answer, _Trouble):
                return answer
            trouble, connected = answer.reason, answer.connected
            backoff = min(self._first_wait * 2**attempt, self._longest_backoff) * random.uniform(0.5, 1)
            if answer.wait is not None and answer.wait > LONGEST_WAIT:
                raise self._error(f"{trouble}, and asks to come back in {answer.wait:,.0f} seconds",
                                  "Run again then: what was answered is kept")  # fmt: skip
            if answer.wait is not None:  # it said so to one thread and means all of them
                with self._lock:
                    self._not_before = max(self._not_before, time.monotonic() + answer.wait)
            if attempt < self.llm.retries:
                self._wait(backoff)
        tries = f"after {self.llm.retries + 1} tries"
        if not connected:
            raise self._error(f"{trouble}, {tries}", "Is it running, and is llm.base_url right? "
                              "What was answered is kept: run again to go on")  # fmt: skip
        return Failed(f"{trouble}, {tries}", transport=True)

    def body(self, request: Request) -> dict[str, Any]:
        """The JSON that is sent."""
        llm = self.llm
        room = "max_completion_tokens" if urlsplit(self.url).hostname == "api.openai.com" else "max_tokens"
        temperature = llm.temperature if request.temperature is None else request.temperature
        top_p = llm.top_p if request.top_p is None else request.top_p
        body: dict[str, Any] = {
            "model": llm.model, "messages": [dict(one) for one in request.messages],
            room: request.max_tokens or llm.max_tokens,
        }  # fmt: skip
        optional = {"temperature": temperature, "top_p": None if top_p == 1 else top_p, "seed": request.seed,
                    "stop": list(request.stop) or None}  # fmt: skip
        body |= {name: value for name, value in optional.items() if value is not None}
        if request.schema is not None and llm.structured == "json_object":
            body["response_format"] = {"type": "json_object"}
        elif request.schema is not None and llm.structured == "json_schema":
            schema = json_schema(request.schema)
            name = "".join(one if one.isalnum() else "_" for one in schema.get("title", "answer"))
            form = {"name": name, "schema": schema, "strict": strict(schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        return {**body, **llm.extra_body}

    def _post(self, body: bytes) -> Completion | Failed | _Trouble:
        import urllib3

        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        limits = urllib3.Timeout(connect=min(CONNECT, self.llm.timeout), read=self.llm.timeout)
        try:
            response = self._pool.request(
                "POST", self.url, body=body, headers=headers, timeout=limits, retries=False, redirect=False
            )
        except urllib3.exceptions.ReadTimeoutError:
            return _Trouble(f"no answer within {self.llm.timeout:g} seconds")
        except urllib3.exceptions.HTTPError as error:
            broke = isinstance(error, urllib3.exceptions.ProtocolError)
            how = "the connection broke" if broke else f"cannot be reached ({type(error).__name__})"
            return _Trouble(how, connected=False)
        if response.status == 200:
            return self._read(response.data)
        told = f"HTTP {response.status}: {self._told(response.data)}"
        if response.status in TRY_AGAIN and not _final(response.data):
            return _Trouble(told, wait=_retry_after(response.headers))
        if response.status in OF_THE_REQUEST:
            return Failed(told)
        raise self._error(f"refuses with {told}", _mend(response.status, self.llm))

    def _read(self, data: bytes) -> Completion | Failed | _Trouble:
        try:
            content = json.loads(data)
            choice = content["choices"][0]
            message, usage = choice["message"], content.get("usage") or {}
            text, refusal = message.get("content") or "", message.get("refusal")
            finish = choice.get("finish_reason") or "stop"
            used = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
        except (ValueError, LookupError, TypeError, AttributeError):
            return _Trouble(f"an answer that is no chat completion: {self._told(data)}")
        if refusal:
            return Failed(f"refused: {self._clean(str(refusal))}")
        return Completion(str(text), str(finish), *used)

    def _told(self, data: bytes) -> str:
        """The endpoint's own words, in short and without the key."""
        try:
            content = json.loads(data)
            error = content.get("error", content.get("detail", content))
            text = str(error.get("message", error) if isinstance(error, Mapping) else error)
        except (ValueError, AttributeError):
            text = data.decode("utf-8", "replace")
        return self._clean(" ".join(text.split())) or "no reason given"

    def _clean(self, text: str) -> str:
        """Without the key, cut only then: a cut could leave half of it."""
        text = text.replace(self._key, "***") if self._key else text
        return text if len(text) <= 300 else text[:297] + "..."

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self._closed.wait(seconds)

    def _error(self, what: str, mend: str) -> BackendError:
        return BackendError(f"the endpoint {self.llm.base_url} {what}", where="llm", mend=mend)


class _Trouble:
    """Why a request is to be tried again; `connected`: the endpoint is there; `wait`: what it asked for, seconds."""

    def __init__(self, reason: str, *, connected: bool = True, wait: float | None = None) -> None:
        self.reason, self.connected, self.wait = reason, connected, wait


def check_url(url: str | None, *, where: object = "llm.base_url") -> str:
    """The address without a slash behind it. Raises ConfigError for what is none, or holds a secret."""
    mend = "It looks like http://localhost:8000/v1"
    if not url:
        raise ConfigError("an endpoint needs its address", where=where, mend=mend)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("this is no http address", where=where, mend=mend)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError("an address holds no user, password or query: it is written into results", where=where,
                          mend="Put the key into the environment, and its name into llm.api_key_env")  # fmt: skip
    return url.rstrip("/").removesuffix(PATH)


def read_key(name: str | None, *, where: object = "llm.api_key_env") -> str:
    """The key in that environment variable, or "" where none is named. Raises ConfigError where it is not set."""
    if name is None:
        return ""
    key = os.environ.get(name, "").strip()
    if not key:
        shown = (
            name if NAME.fullmatch(name) else "a variable of that name"
        )  # a key put here by mistake is not shown
        raise ConfigError(f"{shown} is not set in the environment", where=where,
                          mend="It names the variable that holds the key; the key stands in no file")  # fmt: skip
    return key


def _pool(url: str, width: int) -> Any:
    """A pool of connections, through the proxy that the environment names for the address."""
    from urllib.request import getproxies, proxy_bypass

    import urllib3

    parts = urlsplit(url)
    proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
    make = urllib3.PoolManager if proxy is None else lambda **more: urllib3.ProxyManager(proxy, **more)
    return make(num_pools=1, maxsize=width, block=False)


def _retry_after(headers: Any) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except (TypeError, ValueError):
            return None


def _final(data: bytes) -> bool:
    """Whether a 429 means that nothing is left to spend, which no waiting mends."""
    return b"insufficient_quota" in data


def _mend(status: int, llm: LLM) -> str:
    if status in (401, 403):
        return (f"Check the key in {llm.api_key_env}" if llm.api_key_env
                else "It wants a key: name the environment variable that holds it in llm.api_key_env")  # fmt: skip
    if status == 404:
        return "Check llm.model, and that llm.base_url ends as the server wants it (most want /v1)"
    if 300 <= status < 400:
        return "It redirects, which is not followed: give the address itself"
    return "Check llm.base_url"
