"""What a user asks of the mixture, checked before any row is written: rows, bias and settings by source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dtm.foundations.errors import ConfigError, DtmError, several
from dtm.foundations.registry import unknown
from dtm.foundations.yaml import assign
from dtm.testbed.sources import SOURCES


@dataclass(frozen=True)
class Plan:
    """Checked settings of a mixture: rows and settings by source, in the order of `SOURCES`."""

    rows: dict[str, int]
    settings: dict[str, Any]
    bias: float

    def asdict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "bias": self.bias,
            "rows": self.rows,
            "sources": {name: asdict(self.settings[name]) for name in self.rows},
        }


def plan_mixture(
    rows: int,
    *,
    bias: float = 1.0,
    shares: Mapping[str, float] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Plan:
    """Check what a user asks for, and give every source its rows.

    `shares` replaces the default table; it is scaled to sum to 1, and a source left out writes nothing.
    `settings` holds changes to a source's defaults by its name. Raises every mistake at once.
    """
    shares = {name: source.share for name, source in SOURCES.items()} if shares is None else shares
    settings = settings or {}
    errors = [*_mistakes_in_shares(rows, shares), *_mistakes_in_settings(settings)]
    if not _is_rate(bias):
        errors.append(ConfigError(f"{bias!r} is not in [0, 1]", where="bias"))
    if errors:
        raise several(errors)
    active = {name: shares[name] for name in SOURCES if shares.get(name, 0) > 0}
    bound = {name: _bind(SOURCES[name].settings, settings.get(name, {})) for name in active}
    return Plan(_apportion(rows, active), bound, float(bias))


def read_settings(pairs: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """`SOURCE.SETTING=VALUE` and `SOURCE.share=VALUE` as the `settings` and `shares` of `plan_mixture`.

    Shares that are not named stay as they are; without any, there are none to change (None).
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        if pair.partition("=")[0].count(".") != 1:
            mend = "Say SOURCE.SETTING=VALUE, such as quiz.right_first=0 or quiz.share=0.2"
            raise ConfigError(f"{pair!r} is no setting of a source", where="-s", mend=mend)
        assign(settings, pair)
    given = {name: changes.pop("share") for name, changes in settings.items() if "share" in changes}
    shares = {name: source.share for name, source in SOURCES.items()} | given
    return settings, shares if given else None


def _apportion(rows: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Whole rows by share: largest remainders first, ties by order; a source left with none gets one."""
    total = sum(shares.values())
    exact = {name: rows * share / total for name, share in shares.items()}
    counts = {name: int(number) for name, number in exact.items()}
    by_remainder = sorted(shares, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: rows - sum(counts.values())]:
        counts[name] += 1
    for name in counts:
        if counts[name] == 0:
            counts[max(counts, key=lambda one: counts[one])] -= 1
            counts[name] = 1
    return counts


def _mistakes_in_shares(rows: int, shares: Mapping[str, float]) -> list[DtmError]:
    errors = [unknown("source", name, SOURCES, where="shares") for name in shares if name not in SOURCES]
    for name, share in shares.items():
        if not (_is_number(share) and 0 <= share < math.inf):
            errors.append(ConfigError(f"{share!r} is not a share of at least 0", where=f"shares.{name}"))
    if errors:
        return errors
    active = sum(share > 0 for share in shares.values())
    if not active:
        return [ConfigError("no source has a share above 0", where="shares")]
    if type(rows) is not int:
        return [ConfigError(f"{rows!r} is not a whole number", where="rows")]
    if rows < active:
        what = f"{rows} rows are too few for {active} sources"
        mend = f"Ask for at least {active} rows, or give fewer sources a share"
        return [ConfigError(what, where="rows", mend=mend)]
    return []


def _mistakes_in_settings(settings: Mapping[str, Mapping[str, Any]]) -> list[DtmError]:
    errors = [unknown("source", name, SOURCES, where="settings") for name in settings if name not in SOURCES]
    for name, changes in settings.items():
        if name in SOURCES:
            errors += _mistakes_in_source(name, changes)
    return errors


def _mistakes_in_source(name: str, changes: Mapping[str, Any]) -> list[DtmError]:
    """What is wrong with a user's settings of one source."""
    known = asdict(SOURCES[name].settings)
    errors: list[DtmError] = []
    for key, value in changes.items():
        where = f"settings.{name}.{key}"
        if key not in known:
            errors.append(unknown(f"setting of source {name!r}", key, known, where=where))
        elif isinstance(known[key], float) and not _is_rate(value):
            errors.append(ConfigError(f"{value!r} is not a rate in [0, 1]", where=where))
        elif isinstance(known[key], int) and not (type(value) is int and 1 <= value <= 8):
            errors.append(ConfigError(f"{value!r} is not a whole number from 1 to 8", where=where))
    if not errors:
        try:
            _bind(SOURCES[name].settings, changes)
        except DtmError as error:  # settings that do not go together
            errors.append(error)
    return errors


def _is_rate(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bind(defaults: Any, changes: Mapping[str, Any]) -> Any:
    """The defaults with the changes, rates as floats so that 1 and 1.0 are the same settings."""
    values = asdict(defaults)
    values.update({key: type(values[key])(value) for key, value in changes.items()})
    return type(defaults)(**values)
