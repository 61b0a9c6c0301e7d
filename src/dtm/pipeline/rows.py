"""What verbs hand to one another, read out of the store's artifacts: rows, and digests of models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtm.foundations.files import canonical, text_digest
from dtm.foundations.models import is_model_file
from dtm.foundations.store import Artifact
from dtm.foundations.types import Examples


@dataclass(frozen=True)
class Rows:
    """Examples in the store: one Arrow file of rendered rows.

    `part` names them among the run's rows ("all", or a portion's number): seeds of what is done with them are
    derived from it, or from the `lineage` of a kept portion: the number that it had where it was first made.
    """

    name: str
    file: Path
    digest: str
    count: int
    tokens: int
    trained_tokens: int
    part: str = "all"
    lineage: str | None = None

    def open(self) -> Examples:
        return Examples.open(self.file)


def rows_of(name: str, artifact: Artifact, file: str, facts: dict[str, Any], part: str = "all") -> Rows:
    """The rows in one file of an artifact, with the counts that its step stated."""
    digest = artifact.manifest["files"].get(file, artifact.digest)
    counts = (facts["rows"], facts["tokens"], facts["trained_tokens"])
    return Rows(name, artifact.folder / file, digest, *counts, part)


def model_digest(artifact: Artifact) -> str:
    """A digest of what the model is: weights, config, tokenizer - not its card or its loss curve."""
    files = {name: digest for name, digest in artifact.manifest["files"].items()
             if is_model_file(name)}  # fmt: skip
    return text_digest(canonical(files)) if files else artifact.digest
