"""Before any work: what is sampled, how answers are read and paired, and the preference step's settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dtm.foundations.answers
import dtm.train.pairs  # noqa: F401 - registers the rules
from dtm.config import RunFile
from dtm.foundations.errors import ConfigError, DtmError, several
from dtm.foundations.registry import Bound, registry, unknown
from dtm.train import Settings, check_preference


@dataclass(frozen=True)
class Preference:
    """`extract` reads the final answer off a response; one for each source, or one for all under the name ``."""

    rule: Bound
    extract: Mapping[str, Bound]
    settings: Settings

    def extractor(self, source: str) -> Bound:
        return self.extract[source] if source in self.extract else self.extract[""]

    @property
    def key(self) -> dict[str, Any]:
        """What pairs depend on, for their key in the store."""
        return {
            "rule": self.rule.key,
            "answer": {source: bound.key for source, bound in self.extract.items()},
        }


def check_preferring(file: RunFile, sources: list[Any] | None) -> Preference:
    """Bind `sample`, `pair` and `prefer`; raises all that is wrong with any of them."""
    config, errors = file.config, list[DtmError]()

    def attempt(function: Callable[[], Any]) -> Any:
        try:
            return function()
        except DtmError as error:
            errors.append(error)
            return None

    rule = attempt(lambda: registry("pair").bind(
        config.pair.method, config.pair.own, where=lambda name: file.where(f"pair.{name or 'method'}")))  # fmt: skip
    names = sorted({one.source for one in sources}) if sources else None
    extract = attempt(lambda: _extractors(file, names))
    errors += _sources(file, names)
    settings, wrong = check_preference(
        config.prefer.args, config.train.lora, config.train.args.get("max_length", 1024), file.where
    )
    errors += wrong
    if errors:
        raise several(errors)
    return Preference(rule, extract, settings)


def _extractors(file: RunFile, names: list[str] | None) -> dict[str, Bound]:
    """`answer: number`, `answer: {method: regex, pattern: ...}`, or a mapping of sources to such."""
    said = file.config.pair.answer
    if isinstance(said, str) or "method" in said:
        return {"": _extractor(file, "pair.answer", said)}
    found, errors = dict[str, Bound](), list[DtmError]()
    for source, one in said.items():
        key = f"pair.answer.{source}"
        try:
            if names is not None and source not in names:
                raise unknown("source", source, names, where=file.where(key))
            found[source] = _extractor(file, key, one)
        except DtmError as error:
            errors.append(error)
    asked = file.config.sample.sources or names or []
    if missing := sorted(set(asked) - said.keys()):
        errors.append(ConfigError(
            f"no extractor is named for the source {missing[0]!r}", where=file.where("pair.answer"),
            mend="Name one for each source that is sampled, or those that are in sample.sources",
        ))  # fmt: skip
    if errors:
        raise several(errors)
    return found


def _extractor(file: RunFile, key: str, said: Any) -> Bound:
    if isinstance(said, str):
        return registry("answer").bind(said, {}, where=lambda name: file.where(key))
    if not isinstance(said, dict) or not isinstance(said.get("method"), str):
        raise ConfigError(f"{said!r} names no extractor", where=file.where(key),
                          mend="Write its name, or {method: NAME, setting: value}")  # fmt: skip
    own = {name: value for name, value in said.items() if name != "method"}
    return registry("answer").bind(
        said["method"], own, where=lambda name: file.where(f"{key}.{name or 'method'}")
    )


def _sources(file: RunFile, names: list[str] | None) -> list[DtmError]:
    """Sources that are sampled are sources of the data."""
    asked = file.config.sample.sources or []
    return [unknown("source", source, names, where=file.where(f"sample.sources.{number}"))
            for number, source in enumerate(asked) if names is not None and source not in names]  # fmt: skip
