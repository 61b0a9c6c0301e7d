"""How the steps of this process are done: each function fills `claim.output` and returns its facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dtm.foundations.chat import Renderer, Unusable
from dtm.foundations.errors import DataError
from dtm.foundations.files import canonical, read_json, text_digest, write_json
from dtm.foundations.registry import Bound, registry
from dtm.foundations.store import Claim, Digests
from dtm.foundations.types import TOKENS, Examples
from dtm.pipeline.contamination import reasons
from dtm.pipeline.growing import place
from dtm.pipeline.kept import Kept
from dtm.pipeline.sharing import Sharing, write_assignment

Progress = Callable[..., None]
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "tokenizer.model",
                   "special_tokens_map.json", "vocab.json", "merges.txt", "added_tokens.json")  # fmt: skip
BATCH = 1000


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
    """Tokens and loss masks for every row but `contaminated` ones; then the dev share, drawn by family."""
    import pyarrow as pa
    from transformers import AutoTokenizer

    claim.empty()
    overlapping = reasons(contaminated) if contaminated else {}
    renderer = Renderer(
        AutoTokenizer.from_pretrained(base), max_length=settings["max_length"], too_long=settings["too_long"]
    )
    examples = Examples.open(loaded / "examples.arrow")
    kept: list[int] = []
    batches: list[pa.RecordBatch] = []
    ids: list[list[int]] = []
    masks: list[list[bool]] = []

    def flush() -> None:
        if ids:
            batches.append(
                pa.record_batch([pa.array(ids, TOKENS.types[0]), pa.array(masks, TOKENS.types[1])], TOKENS)
            )
            ids.clear()
            masks.clear()

    dropped: list[tuple[dict[str, Any], str]] = []
    for index, row in enumerate(examples.rows(BATCH)):
        try:
            if row["id"] in overlapping:
                raise Unusable(overlapping[row["id"]])
            rendered = renderer(row["messages"])
        except Unusable as reason:
            dropped.append((row, str(reason)))
            continue
        kept.append(index)
        ids.append(rendered.input_ids)
        masks.append(rendered.assistant_mask)
        if len(ids) == BATCH:
            flush()
            progress(index, len(examples))
    flush()
    if not kept:
        raise DataError(
            f"not one of {len(examples)} rows could be rendered", where="data",
            mend=f"The reasons: {'; '.join(sorted({reason for _, reason in dropped})[:3])}",
        )  # fmt: skip
    _write_dropped(dropped, loaded / "places.arrow", claim.output / "dropped.jsonl")
    whole = examples.take(kept).table
    tokens = pa.Table.from_batches(batches)
    for name in TOKENS.names:
        whole = whole.append_column(TOKENS.field(name), tokens.column(name))
    train, dev = _split(Examples(whole), settings["dev"], seed)
    train.save(claim.output / "train.arrow")
    dev.save(claim.output / "dev.arrow")
    facts: dict[str, Any] = {"train": _count(train), "dev": _count(dev), "dropped": len(dropped)}
    write_json(claim.output / "card.json", {**facts, "sources": _by_source(train)})
    return {**facts, "rows": len(train), "tokens": facts["train"]["trained_tokens"]}


def _write_dropped(dropped: Sequence[tuple[dict[str, Any], str]], places: Path, target: Path) -> None:
    from dtm.data import read_places

    stood = read_places(places, [row["id"] for row, _ in dropped])
    with open(target, "w", encoding="utf-8") as file:
        for row, reason in dropped:
            name, line = stood[row["id"]]
            record = {"file": name, "line": line, "reason": reason, "source": row["source"],
                      "row": canonical(row["messages"])[:500]}  # fmt: skip
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
    each, (lengths, trained) = [], examples.token_counts()
    for index in range(k):
        rows = split.rows(index)
        examples.take(rows).save(claim.output / f"portion-{index}.arrow")
        spent = {"tokens": int(lengths[rows].sum()), "trained_tokens": int(trained[rows].sum())}
        each.append({"rows": len(rows), **spent})
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
    count = min(count, len(set(examples.column("family"))))
    bound = registry("disperse").bind("kmeans", {"balanced": False, "restarts": 1})
    groups_N = dtm.disperse.assign(bound, examples, count, seed, {"embedding": embedding_ND})
    np.save(claim.output / "groups.npy", groups_N)
    return {"rows": len(examples), "clusters": count}


def merge(
    checked: Any, merging: Any, weights: list[float], seed: int, claim: Claim, progress: Progress
) -> dict[str, Any]:
    """The merged model's folder; `merging` is a `weighing.Merging`."""
    from dtm.merge import merge_models
    from dtm.merge.writer import JOURNAL

    # Without its journal, a killed merge stood before its first block or behind its last: begin again.
    if not (claim.output / JOURNAL).exists():
        claim.empty()
    licences = sorted({entry["license"] for entry in checked.config.data if entry.get("license")})
    names, section = [model.name for model in merging.models], merging.section
    card = {"base_model": checked.config.base, "models": names, "license": licences}
    facts = merge_models(
        base=merging.base.folder, models=[model.folder for model in merging.models], output=claim.output,
        method=merging.bound, weights=weights, space=section.space, export=section.export, dtype=section.dtype,
        statistics=merging.statistics_files or None, seed=seed, threads=checked.threads, progress=progress,
        card=card, inspect=section.export == "model" and len(names) > 1,
        digest=claim.store.digests.of, device=merging.device(checked.device),
    )  # fmt: skip
    facts.get("inspection", {}).pop(
        "tensors", None
    )  # they stand in inspection.json; results.json holds layers
    return facts


def _split(examples: Examples, fraction: float, seed: int) -> tuple[Examples, Examples]:
    """Train and dev; rows of one family stay together, and a row's side depends on its family alone."""
    import hashlib

    bound = int(fraction * 2**64)
    sides = []
    for family in examples.column("family"):
        digest = hashlib.sha256(f"{seed}/{family}".encode()).digest()
        sides.append(int.from_bytes(digest[:8], "big") < bound)
    train = [index for index, is_dev in enumerate(sides) if not is_dev]
    if not train:
        train, sides = list(range(len(examples))), [False] * len(examples)
    return examples.take(train), examples.take([index for index, is_dev in enumerate(sides) if is_dev])


def _count(examples: Examples) -> dict[str, int]:
    lengths, trained = examples.token_counts()
    return {"rows": len(examples), "tokens": int(lengths.sum()), "trained_tokens": int(trained.sum())}


def _by_source(examples: Examples) -> dict[str, dict[str, int]]:
    lengths, trained = examples.token_counts()
    counts: dict[str, dict[str, int]] = {}
    for source, length, said in zip(examples.column("source"), lengths, trained, strict=True):
        count = counts.setdefault(source, {"rows": 0, "tokens": 0, "trained_tokens": 0})
        count["rows"] += 1
        count["tokens"] += int(length)
        count["trained_tokens"] += int(said)
    return counts
