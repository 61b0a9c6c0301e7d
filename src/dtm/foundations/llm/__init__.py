"""Asking a language model: `generate` over an OpenAI-compatible endpoint, a local model, or rules.

    backend = Endpoint(llm)                          # or Local(llm, folder, digest), Rules(bind(name, settings))
    replies = generate(requests, backend, llm, cache=Cache.of_store(store.root))

Answers are cached by content, checked against a schema, tried again, and kept aside with a reason where that fails.
"""

from dtm.foundations.llm import words  # noqa: F401 - registers them
from dtm.foundations.llm.cache import Cache
from dtm.foundations.llm.endpoint import Endpoint, check_url, read_key
from dtm.foundations.llm.generating import Backend, generate
from dtm.foundations.llm.local import Local
from dtm.foundations.llm.meter import Estimate, Meter, estimate
from dtm.foundations.llm.requests import Completion, Failed, Reply, Request
from dtm.foundations.llm.rules import CannotAnswer, Rules, bind
from dtm.foundations.llm.settings import LLM

__all__ = ["LLM", "Backend", "Cache", "CannotAnswer", "Completion", "Endpoint", "Estimate", "Failed", "Local", "Meter",
           "Reply", "Request", "Rules", "bind", "check_url", "estimate", "generate", "read_key"]  # fmt: skip
