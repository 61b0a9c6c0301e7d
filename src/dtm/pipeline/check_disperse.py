"""Before any work: what a dispersing method asks of k, of the embedder and of the clusters."""

from __future__ import annotations

from dtm.config import RunFile
from dtm.disperse import needed
from dtm.disperse.gradient import powers_near
from dtm.foundations.errors import ConfigError, DtmError
from dtm.foundations.registry import Bound
from dtm.foundations.signals import check_embedder, with_model


def check_disperse(file: RunFile, bound: Bound | None) -> list[DtmError]:
    """All that is wrong with a bound method's surroundings; nothing where the method itself could not be bound."""
    if bound is None:
        return []
    section, where, errors = file.config.disperse, file.where, list[DtmError]()
    needs, k = needed(bound), section.k
    if "embedding" in needs or "cluster_gradient" in needs:
        try:
            embedder = check_embedder(section.embedder, where=where("disperse.embedder"))
            with_model(embedder, file.root, where=where("disperse.embedder.model"))
        except DtmError as error:
            errors.append(error)
    halving = bound.method.properties.get("portions") == "a power of 2" and not section.keep  # kept ones stay
    if halving and k & (k - 1):
        errors.append(ConfigError(
            f"{bound.method.name!r} halves along axes, and {k} is no power of 2", where=where("disperse.k"),
            mend=powers_near(k),
        ))  # fmt: skip
    if "cluster_gradient" in needs and section.gradients.clusters < k:
        errors.append(ConfigError(
            f"{section.gradients.clusters} clusters cannot fill {k} portions",
            where=where("disperse.gradients.clusters"), mend=f"Set it to {8 * k} or so",
        ))  # fmt: skip
    return errors
