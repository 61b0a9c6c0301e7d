"""What would fail when a language model is first asked: its address, its key, its name."""

from __future__ import annotations

from collections.abc import Iterator

from dtm.config import RunFile
from dtm.foundations.errors import ConfigError, DtmError
from dtm.foundations.llm import LLM, bind, check_url, read_key
from dtm.foundations.models import locate

OF_A_KIND = {  # settings that one kind alone reads
    "openai": {"base_url", "api_key_env", "concurrency", "timeout", "retries", "structured", "extra_body"},
    "hf": {"batch_size"},
}


def check_llm(file: RunFile) -> list[DtmError]:
    """All that is wrong with the section `llm:`; nothing is asked, since all answers may be in the cache."""
    llm = file.config.llm
    return [] if llm is None else list(_faults(file, llm))


def _faults(file: RunFile, llm: LLM) -> Iterator[DtmError]:
    def where(key: str) -> str:
        return file.where(f"llm.{key}" if key else "llm.model")

    others = {key: kind for kind, keys in OF_A_KIND.items() for key in keys if kind != llm.kind}
    for key in sorted(llm.model_fields_set & others.keys()):
        yield ConfigError(f"llm.kind is {llm.kind}, which does not read this", where=where(key),
                          mend=f"Leave it out, or set llm.kind: {others[key]}")  # fmt: skip
    if llm.max_cost is not None and not (llm.price.prompt or llm.price.completion):
        yield ConfigError("a cost needs prices", where=where("max_cost"),
                          mend="Set llm.price: {prompt: ..., completion: ...}, for a million tokens")  # fmt: skip
    try:
        if llm.kind == "openai":
            check_url(llm.base_url, where=where("base_url"))
            read_key(llm.api_key_env, where=where("api_key_env"))
        elif llm.kind == "hf":
            locate(llm.model, file.root, where=where("model"))
        else:
            bind(llm.model, llm.settings, where=lambda name: where(f"settings.{name}" if name else "model"))
    except DtmError as error:
        yield error
