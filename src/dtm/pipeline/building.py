"""How the steps of this process are done: each function fills `claim.output` and returns its facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dtm.foundations.chat import Renderer, Unusable
from dtm.foundations.errors import DataError
from dtm.foundations.files import canonical, read_json, text_digest, write_json
from dtm.foundations.registry import Bound, registry
from dtm.foundations.store import Claim, Digests
from dtm.foundations.types import TOKENS, Examples, RowWriter
from dtm.pipeline.contamination import reasons
from dtm.pipeline.growing import place
from dtm.pipeline.kept import Kept
from dtm.pipeline.sharing import Sharing, write_assignment

Progress = Callable[..., None]
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "tokenizer.model",
                   "special_tokens_map.json", "vocab.json", "merges.txt", "added_tokens.json")  # fmt: skip
BATCH = 1000
SHOWN = 500  # characters of a dropped row


def own_template(folder: Path) -> str | None:
    """The chat template in a model's folder, without importing transformers."""
    file = folder / "chat_template.jinja"
    if file.exists():
        return file.read_text(encoding="utf-8")
    config = folder / "tokenizer_config.json"
    template = read_json(config).get("chat_template") if config.exists() else None
    if isinstance(template, list):  # named variants
        template = next((one["template"] for one in template if one.get("name") == "default"), None)
    return template


def tokenizer_digest(folder: Path, digests: Digests) -> str:
    """One digest of the files that decide how text becomes tokens."""
    files = {name: digests.of(folder / name) for name in TOKENIZER_FILES if (folder / name).exists()}
    return text_digest(canonical(files))


def load(
    sources: Sequence[Any], seed: int, claim: Claim, progress: Progress, removed: Set[str] = frozenset()
) -> dict[str, Any]:
    """Read all sources into examples.arrow, but for the ids `removed`; unusable rows go to dropped.jsonl."""
    import dtm.data

    claim.empty()
    examples, card = dtm.data.load(sources, seed, claim.output / "dropped.jsonl", progress,
                                    places=claim.output / "places.arrow", removed=removed)  # fmt: skip
    examples.save(claim.output / "examples.arrow")
    write_json(claim.output / "card.json", card)
    return {"read": card["read"], "kept": card["kept"]}


def render(
    loaded: Path, base: Path, settings: dict[str, Any], seed: int, claim: Claim, progress: Progress,
    contaminated: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Tokens and loss masks for every row but `contaminated` ones; the dev share, drawn by family, apart.

    Rows are written as they are rendered: in memory are those of a batch on disk.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from transformers import AutoTokenizer

    claim.empty()
    overlapping = reasons(contaminated) if contaminated else {}
    renderer = Renderer(
        AutoTokenizer.from_pretrained(base), max_length=settings["max_length"], too_long=settings["too_long"]
    )
    examples = Examples.open(loaded / "examples.arrow")
    schema = pa.schema([*examples.table.schema, *TOKENS])
    files = {name: claim.output / f"{name}.arrow" for name in ("train", "dev")}
    dropped: list[_Dropped] = []
    with RowWriter(files["train"], schema) as train, RowWriter(files["dev"], schema) as dev:
        for start in range(0, len(examples), BATCH):
            part = _rendered(examples.table.slice(start, BATCH), renderer, overlapping, dropped)
            for_dev = pa.array(_for_dev(part["family"], settings["dev"], seed))
            dev.add(part.filter(for_dev))
            train.add(part.filter(pc.invert(for_dev)))
            progress(min(start + BATCH, len(examples)), len(examples))
    if not train.rows and not dev.rows:
        raise DataError(
            f"not one of {len(examples)} rows could be rendered", where="data",
            mend=f"The reasons: {'; '.join(sorted({one.reason for one in dropped})[:3])}",
        )  # fmt: skip
    if not train.rows:  # so few that all were drawn
        Examples.open(files["dev"]).save(files["train"])
        Examples(schema.empty_table()).save(files["dev"])
    _write_dropped(dropped, loaded / "places.arrow", claim.output / "dropped.jsonl")
    trained, sources = _by_source(Examples.open(files["train"]))
    facts: dict[str, Any] = {
        "train": trained,
        "dev": _by_source(Examples.open(files["dev"]))[0],
        "dropped": len(dropped),
    }
    write_json(claim.output / "card.json", {**facts, "sources": sources})
    return {**facts, "rows": trained["rows"], "tokens": trained["trained_tokens"]}


@dataclass(frozen=True)
class _Dropped:
    """A row that cannot be trained on: the beginning of its text, and why."""

    id: str
    source: str
    text: str
    reason: str


def _rendered(table: Any, renderer: Renderer, overlapping: Mapping[str, str], dropped: list[_Dropped]) -> Any:
    """The rows of a table that can be rendered, with the columns TOKENS; others go to `dropped`."""
    import pyarrow as pa

    kept: list[int] = []
    ids: list[list[int]] = []
    masks: list[list[bool]] = []
    for index, row in enumerate(table.to_pylist()):
        try:
            if row["id"] in overlapping:
                raise Unusable(overlapping[row["id"]])
            rendered = renderer(row["messages"])
        except Unusable as reason:
            dropped.append(
                _Dropped(row["id"], row["source"], canonical(row["messages"])[:SHOWN], str(reason))
            )
            continue
        kept.append(index)
        ids.append(rendered.input_ids)
        masks.append(rendered.assistant_mask)
    whole = Examples(table).take(kept).table
    for column, values in zip(TOKENS, (ids, masks), strict=True):
        whole = whole.append_column(column, pa.array(values, column.type))
    return whole


def _write_dropped(dropped: Sequence[_Dropped], places: Path, target: Path) -> None:
    from dtm.data import read_places

    stood = read_places(places, [row.id for row in dropped])
    with open(target, "w", encoding="utf-8") as file:
        for row in dropped:
            name, line = stood[row.id]
            record = {"file": name, "line": line, "reason": row.reason, "source": row.source, "row": row.text}
            file.write(canonical(record) + "\n")


@dataclass(frozen=True)
class Placing:
    """How rows come to their portions: by the method alone, or those that another run knows as it had them."""

    bound: Bound
    k: int
    seed: int
    kept: Kept | None
    new: str
    where: Callable[[str], object]
    sharing: Sharing = field(default_factory=Sharing)

    def __call__(self, examples: Examples, signals: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The rows of each portion, a `Split`, and facts of portions that were kept."""
        if self.kept is None:
            return self.sharing.split(self.bound, examples, self.k, self.seed, signals), {}
        return place(
            self.kept, self.bound, examples, self.k, self.seed, signals, self.new, self.sharing, self.where
        )


def disperse(
    placing: Placing, examples: Examples, signals: dict[str, Any], sampled: Any, claim: Claim
) -> dict[str, Any]:
    """portion-<i>.arrow for each portion, assignment.csv and card.json; `signals` are arrays by name.

    `sampled` is what `quality.sample` gave, for the quality of a split whose method needs no embedding.
    """
    from dtm.disperse.sharing import card

    claim.empty()
    k, seed, embedding = placing.k, placing.seed, signals.get("embedding")
    split, kept = placing(examples, signals)
    write_json(claim.output / "card.json", card(examples, split, embedding=embedding, seed=seed))
    write_assignment(claim.output / "assignment.csv", examples, split, kept.get("lineage", list(range(k))))
    lengths, trained = examples.token_counts()
    each = []
    for index in range(k):
        rows = split.rows(index)
        examples.save(claim.output / f"portion-{index}.arrow", rows)
        counts = {"tokens": int(lengths[rows].sum()), "trained_tokens": int(trained[rows].sum())}
        each.append({"rows": len(rows), **counts})
    _write_quality(claim.output, examples, split, embedding, sampled, seed)
    return {"portions": k, "each": each, **kept}


def _write_quality(
    output: Path, examples: Examples, split: Any, embedding: Any, sampled: Any, seed: int
) -> None:
    """quality.json: what the split is like; near_duplicates.csv: those that its portions share."""
    from dtm.disperse.sharing import quality

    found, crossing = quality(examples, split, embedding=embedding, sampled=sampled, seed=seed)
    write_json(output / "quality.json", found)
    ids = examples.table.column("id")
    with open(output / "near_duplicates.csv", "w", encoding="utf-8") as file:
        file.write("group,portion,id\n")
        for group, portion, row in crossing:
            file.write(f"{group},{portion},{ids[row].as_py()}\n")


def cluster(examples: Examples, count: int, seed: int, embedding_ND: Any, claim: Claim) -> dict[str, Any]:
    """groups.npy: the cluster of each row, int64 [N], by k-means of any sizes; families stay together."""
    import numpy as np

    import dtm.disperse

    claim.empty()
    count = min(count, len(examples.table.column("family").unique()))
    bound = registry("disperse").bind("kmeans", {"balanced": False, "restarts": 1})
    groups_N = dtm.disperse.assign(bound, examples, count, seed, {"embedding": embedding_ND})
    np.save(claim.output / "groups.npy", groups_N)
    return {"rows": len(examples), "clusters": count}


def resume_merge(claim: Claim) -> None:
    """Keep what a killed merge wrote. Without its journal it stood before its first block or behind its last."""
    from dtm.merge.writer import JOURNAL

    if not (claim.output / JOURNAL).exists():
        claim.empty()


def inspected(merging: Any) -> bool:
    """Whether the updates' geometry is measured while they are merged."""
    return merging.section.export == "model" and len(merging.models) > 1


def merge(
    checked: Any, merging: Any, weights: list[float], seed: int, claim: Claim, progress: Progress
) -> dict[str, Any]:
    """The merged model's folder; `merging` is a `weighing.Merging`."""
    from dtm.merge import merge_models

    licences = sorted({entry["license"] for entry in checked.config.data if entry.get("license")})
    names, section = [model.name for model in merging.models], merging.section
    card = {"base_model": checked.config.base, "models": names, "license": licences}
    facts = merge_models(
        base=merging.base.folder, models=[model.folder for model in merging.models], output=claim.output,
        method=merging.bound, weights=weights, space=section.space, export=section.export, dtype=section.dtype,
        statistics=merging.statistics_files or None, seed=seed, threads=checked.threads, progress=progress,
        card=card, inspect=inspected(merging),
        digest=claim.store.digests.of, device=merging.device(checked.device),
    )  # fmt: skip
    facts.get("inspection", {}).pop(
        "tensors", None
    )  # they stand in inspection.json; results.json holds layers
    return facts


def _for_dev(families: Any, fraction: float, seed: int) -> Any:
    """Which rows are for dev, bool [N]: rows of one family stay together, and it depends on the family alone."""
    import hashlib

    import numpy as np

    bound = int(fraction * 2**64)
    digests = (hashlib.sha256(f"{seed}/{family}".encode()).digest() for family in families.to_pylist())
    return np.array([int.from_bytes(digest[:8], "big") < bound for digest in digests], bool)


def _counts(examples: Examples, group_N: Any, groups: int) -> list[dict[str, int]]:
    """Rows, tokens and trained tokens of each group; `group_N` has that of each row."""
    import numpy as np

    totals = {"rows": np.ones(len(examples), np.int64)}
    totals["tokens"], totals["trained_tokens"] = examples.token_counts()
    summed = {
        name: np.bincount(group_N, weights=count_N, minlength=groups) for name, count_N in totals.items()
    }
    return [{name: int(total[group]) for name, total in summed.items()} for group in range(groups)]


def _by_source(examples: Examples) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """The counts of all rows, and of each source's."""
    import pyarrow.compute as pc

    encoded = pc.dictionary_encode(examples.table["source"].combine_chunks())
    names = encoded.dictionary.to_pylist()
    each = _counts(examples, encoded.indices.to_numpy(), len(names))
    whole = {name: sum(one[name] for one in each) for name in ("rows", "tokens", "trained_tokens")}
    return whole, dict(zip(names, each, strict=True))
