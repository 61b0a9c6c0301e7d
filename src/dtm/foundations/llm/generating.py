"""`generate`: answers to many requests - from the cache, or asked, checked, tried again, and kept as they come."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from dtm.foundations.errors import BackendError
from dtm.foundations.llm.cache import Cache
from dtm.foundations.llm.meter import Estimate, Meter, estimate
from dtm.foundations.llm.requests import Completion, Failed, Reply, Request
from dtm.foundations.llm.settings import LLM
from dtm.foundations.llm.structured import Invalid, asked_for, parse

PATIENCE = 10  # requests in a row that fail by no fault of their own, after which none is worth asking
HOPE = 50  # answers from the first on of which not one can be used, after which none is worth paying for


class Backend(Protocol):
    """Whoever answers. `batch` requests at a time, from `width` threads; `held`: it holds a model to a schema.

    What is `free` is neither cached nor counted, and may fail at as many requests as it likes.
    """

    batch: int
    width: int
    held: bool
    free: bool
    name: str

    @property
    def identity(self) -> Mapping[str, Any]:
        """What its answers depend on besides a request: enters the keys of the cache."""
        ...

    def complete(self, requests: Sequence[Request]) -> list[Completion | Failed]:
        """An answer or a reason for each; raises BackendError where none can be had."""
        ...

    def close(self) -> None: ...


def generate(
    requests: Sequence[Request],
    backend: Backend,
    llm: LLM,
    *,
    cache: Cache | None = None,
    meter: Meter | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    told: Callable[[Estimate], None] = lambda estimate: None,
) -> list[Reply]:
    """A reply to each request, in their order; what cannot be answered has a `failure` and is not dropped.

    `told` hears before the first request what all of them may cost. Equal requests are asked once. Raises
    BackendError where the endpoint answers nothing, ResourceError at a cap of the `meter`: what was answered until then
    is in the cache, and a later call asks the rest alone.
    """
    cache = None if backend.free else cache
    keys = [request.key(backend.identity) for request in requests]
    known = cache.find(keys) if cache else {}
    missing = {key: one for key, one in zip(keys, requests, strict=True) if key not in known}
    meter = meter or Meter(llm)
    needed = estimate(list(missing.values()), llm, cached=len(set(keys)) - len(missing))
    told(needed)
    if missing:
        if not backend.free:
            meter.check(needed)
        known |= _Asking(backend, llm, cache, meter, progress, len(known)).ask(missing)
    replies = [_with_value(request, known[key]) for key, request in zip(keys, requests, strict=True)]
    if len(replies) >= HOPE and not backend.free and not any(reply.ok for reply in replies):
        raise nothing(backend, len(replies), str(replies[-1].failure))
    return replies


@dataclass
class _Asking:
    """Threads that ask, and the calling thread, which keeps what they bring."""

    backend: Backend
    llm: LLM
    cache: Cache | None
    meter: Meter
    progress: Callable[[int, int], None]
    cached: int
    in_a_row: int = 0
    succeeded: bool = False
    answered: int = 0
    last: str = ""
    lock: Any = field(default_factory=threading.Lock)

    def ask(self, missing: Mapping[str, Request]) -> dict[str, Reply]:
        """The replies by key. An error waits for what is in flight, which is kept, and is then raised."""
        found: dict[str, Reply] = {}
        keys, size = list(missing), self.backend.batch
        batches = [keys[start : start + size] for start in range(0, len(keys), size)]
        waiting: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        for batch in batches:
            waiting.put(batch)
        happened: queue.SimpleQueue[Any] = queue.SimpleQueue()
        stop = threading.Event()
        width = min(self.backend.width, len(batches))
        for _ in range(width):
            work = (missing, waiting, happened, stop)
            threading.Thread(target=self._serve, args=work, daemon=True).start()
        failure: BaseException | None = None
        total = self.cached + len(missing)
        try:
            while width:
                event = happened.get()
                if event is None:
                    width -= 1
                elif isinstance(event, BaseException):
                    failure = failure or event
                else:
                    found |= event
                    self.progress(self.cached + len(found), total)
        finally:
            stop.set()
        if failure is not None:
            raise failure
        return found

    def _serve(
        self, missing: Mapping[str, Request], waiting: Any, happened: Any, stop: threading.Event
    ) -> None:
        try:
            while not stop.is_set():
                try:
                    keys = waiting.get_nowait()
                except queue.Empty:
                    return
                replies = dict(zip(keys, self._answer([missing[key] for key in keys]), strict=True))
                if self.cache:
                    self.cache.put_all({key: one for key, one in replies.items() if not one.unheard})
                happened.put(replies)
                if not self.backend.free:
                    self._judge(replies)
        except BaseException as error:  # raised again in the calling thread
            stop.set()
            happened.put(error)
        finally:
            happened.put(None)

    def _answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Ask, and ask again for what does not fit its schema, until the repairs are used up."""
        replies: list[Reply | None] = [None] * len(requests)
        asked = {place: self._worded(request) for place, request in enumerate(requests)}
        for attempt in range(self.llm.repairs + 1):
            rooms = [(0, 0) if self.backend.free else self.meter.reserve(one) for one in asked.values()]
            try:
                said = self.backend.complete(list(asked.values()))
            except BaseException:
                for room in rooms:
                    self.meter.settle(room, 0, 0)
                raise
            again: dict[int, Request] = {}
            for (place, request), room, one in zip(asked.items(), rooms, said, strict=True):
                used = (one.prompt_tokens, one.completion_tokens) if isinstance(one, Completion) else (0, 0)
                self.meter.settle(room, *used)
                replies[place] = reply = _reply(requests[place], one, attempt, replies[place])
                if isinstance(one, Completion) and not reply.ok:
                    again[place] = _repaired(request, one, str(reply.failure), self.llm)
            asked = again
            if not asked:
                break
        return [one for one in replies if one is not None]

    def _worded(self, request: Request) -> Request:
        """With the schema in words, where the backend cannot hold a model to it."""
        if request.schema is None or self.backend.held:
            return request
        *before, last = [dict(message) for message in request.messages]
        last["content"] += "\n\n" + asked_for(request.schema)
        return replace(request, messages=[*before, last])

    def _judge(self, replies: Mapping[str, Reply]) -> None:
        """Raise BackendError where so much failed that going on would only cost."""
        with self.lock:
            for reply in replies.values():
                self.succeeded |= reply.ok
                self.in_a_row = self.in_a_row + 1 if reply.transport else 0
                self.last = reply.failure or self.last
            self.answered += len(replies)
            if self.in_a_row >= PATIENCE:
                raise BackendError(f"{self.backend.name} failed {self.in_a_row} requests in a row: {self.last}",
                                   where="llm", mend="What was answered is kept: run again when it works")  # fmt: skip
            if not self.succeeded and not self.cached and self.answered >= HOPE:
                raise nothing(self.backend, self.answered, self.last)


def nothing(backend: Backend, count: int, reason: str) -> BackendError:
    """The error for a backend none of whose answers can be used."""
    return BackendError(f"{backend.name} answered none of {count} requests as asked: {reason}", where="llm",
                        mend="Check llm.model, llm.structured and llm.max_tokens")  # fmt: skip


def _reply(request: Request, said: Completion | Failed, attempt: int, before: Reply | None) -> Reply:
    """What was said, judged by the request's schema; with the tokens of the tries before."""
    if isinstance(said, Failed):
        used = (before.prompt_tokens, before.completion_tokens) if before else (0, 0)
        return Reply(
            "", None, said.reason, "error", *used, tries=attempt + 1, unheard=True, transport=said.transport
        )
    prompt, completion = said.prompt_tokens, said.completion_tokens
    if before:
        prompt, completion = prompt + before.prompt_tokens, completion + before.completion_tokens
    failure = _fault(request, said.text, said.finish)
    return Reply(said.text, None, failure, said.finish, prompt, completion, attempt + 1)


def _fault(request: Request, text: str, finish: str) -> str | None:
    if not text.strip():
        return "the answer is empty" + (": cut off at max_tokens" if finish == "length" else "")
    if request.schema is None:
        return None
    try:
        parse(request.schema, text, finish)
    except Invalid as reason:
        return str(reason)
    return None


def _repaired(request: Request, said: Completion, reason: str, llm: LLM) -> Request:
    """The request once more: with twice the room for a cut answer, else with what was wrong told."""
    if said.finish == "length":
        return replace(request, max_tokens=2 * (request.max_tokens or llm.max_tokens))
    seed = None if request.seed is None else request.seed + 1
    if not said.text.strip():
        return replace(request, seed=seed)
    correction = f"This cannot be used: {reason}. Answer again, with JSON alone."
    turns = [{"role": "assistant", "content": said.text}, {"role": "user", "content": correction}]
    return replace(request, messages=[*request.messages, *turns], seed=seed)


def _with_value(request: Request, reply: Reply) -> Reply:
    if request.schema is None or not reply.ok:
        return reply
    return replace(reply, value=parse(request.schema, reply.text, reply.finish))
