"""Which tensors a merge writes, and which tensor of each sub-model goes into each: names and shapes decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dtm.foundations.errors import DtmError, ModelError, several
from dtm.merge.adapter import Adapter
from dtm.merge.checkpoint import Checkpoint, Stored
from dtm.merge.inputs import Inputs, Submodel
from dtm.merge.precision import MERGED
from dtm.merge.sources import Source

HEAD = "lm_head.weight"
EMBEDDINGS = (
    "embed_tokens.weight",
    "wte.weight",
    "word_embeddings.weight",
    "embed_in.weight",
    "tok_embeddings.weight",
)
FLOATS = ("F64", "F8_E4M3", "F8_E5M2", "F8_E8M0", "C64")  # that we do not compute with


@dataclass(frozen=True)
class Wanted:
    """One tensor to write: where it stands in the base and in each sub-model that goes into it."""

    name: str
    base: str | None
    sources: tuple[tuple[int, str], ...]  # (number of the sub-model, its name there)
    slice: int = 0


def embedding_name(checkpoint: Checkpoint) -> str | None:
    """The input embedding's tensor, by the names that architectures give it."""
    found = [name for name in checkpoint.tensors if name.endswith(EMBEDDINGS)]
    return found[0] if len(found) == 1 else None


def wanted_tensors(inputs: Inputs) -> tuple[list[Wanted], bool]:
    """One Wanted a tensor, and whether the output's embeddings are to be untied.

    A model with tied embeddings stores no output embedding. Where others store their own, or an adapter changes
    only one of the two, the tied model's is read from its input embedding and the output is written untied.
    """
    reference, everyone = inputs.reference, range(len(inputs.models))
    names = list(reference.tensors)
    embedding = embedding_name(reference)
    head = HEAD in reference.tensors
    untie = not head and embedding is not None and any(_parts_the_tie(m, embedding) for m in inputs.models)
    if untie:
        names.append(HEAD)

    def stands_as(name: str, checkpoint: Checkpoint | None) -> str:
        if name == HEAD and checkpoint is not None and HEAD not in checkpoint.tensors and checkpoint.tied:
            return embedding_name(checkpoint) or name
        return name

    wanted = []
    for name in names:
        base = stands_as(name, inputs.base) if inputs.base else None
        sources = tuple((k, stands_as(name, inputs.models[k].checkpoint)) for k in everyone)
        wanted.append(Wanted(name, base, sources))
    return wanted, untie


def _parts_the_tie(model: Submodel, embedding: str) -> bool:
    if model.checkpoint is not None and HEAD in model.checkpoint.tensors:
        return True
    if model.adapter is None or model.adapter.config.get("ensure_weight_tying"):
        return False
    return bool({HEAD, embedding} & model.adapter.names)


def resolve_adapter(adapter: Adapter, names: Sequence[str]) -> Adapter:
    """The adapter with its tensors under the base's names; a prefix that one of them lacks is bridged.

    Raises ModelError for tensors of the adapter that the base does not have.
    """
    known, errors = set(names), []

    def place(name: str) -> str:
        if name in known:
            return name
        near = [one for one in names if one.endswith("." + name) or name.endswith("." + one)]
        if len(near) != 1:
            errors.append(name)
        return near[0] if len(near) == 1 else name

    resolved = replace(
        adapter,
        factors={place(name): value for name, value in adapter.factors.items()},
        biases={place(name): value for name, value in adapter.biases.items()},
        saved={place(name): value for name, value in adapter.saved.items()},
    )
    if errors:
        raise ModelError(
            f"adapts {len(errors)} tensors that the base does not have, such as {sorted(errors)[0]!r}",
            where=adapter.folder, mend="Give the base that it was trained on",
        )  # fmt: skip
    return resolved


def check_names(inputs: Inputs, wanted: Sequence[Wanted]) -> None:
    """Every tensor of every dense model must be consumed, and every wanted one must be there."""
    errors: list[DtmError] = []
    for k, model in enumerate(inputs.models):
        if model.checkpoint is None:
            continue
        used = {name for one in wanted for number, name in one.sources if number == k}
        there = set(model.checkpoint.tensors)
        if model.checkpoint.tied and not any(one.name == HEAD for one in wanted):
            there.discard(HEAD)  # a copy of the input embedding that the config calls tied
        for kind, names in (("lacks", used - there), ("has besides", there - used)):
            if names:
                sample = ", ".join(repr(name) for name in sorted(names)[:3])
                errors.append(ModelError(f"{kind} {len(names)} tensors that {inputs.reference.folder.name} "
                                         f"{'has' if kind == 'lacks' else 'has not'}: {sample}",
                                         where=model.folder))  # fmt: skip
    if errors:
        raise several(errors)


def source_of(model: Submodel, adapter: Adapter | None, name: str, target: str) -> Source:
    """The sub-model's source for the tensor that it calls `name` and its adapter `target`."""
    stored = model.checkpoint.tensors.get(name) if model.checkpoint else None
    if adapter is None:
        return Source(stored)
    return Source(adapter.saved.get(target, stored), adapter.factors.get(target), adapter.biases.get(target))


def check_tensor(
    name: str, reference: Stored, base: Stored | None, sources: Sequence[Source], folders: Sequence[str]
) -> list[DtmError]:
    """Shapes and types of one tensor in all models."""
    errors: list[DtmError] = []
    shape, merged = reference.shape, reference.dtype in MERGED
    for source, folder in zip(sources, folders, strict=True):
        stored = source.stored
        if stored and stored.shape != shape and source.remap is None:
            errors.append(ModelError(f"tensor {name!r} is {list(stored.shape)}, and {list(shape)} in "
                                     f"{reference.path.parent.name}", where=folder))  # fmt: skip
        if stored and (stored.dtype in MERGED) != merged:
            errors.append(ModelError(f"tensor {name!r} is {stored.dtype}, and {reference.dtype} in "
                                     f"{reference.path.parent.name}", where=folder))  # fmt: skip
        if source.factors and not source.factors.fits(shape):
            A, B = list(source.factors.A.shape), list(source.factors.B.shape)
            errors.append(ModelError(f"its factors {A} and {B} do not fit {name!r}, which is {list(shape)}",
                                     where=folder, mend="Give the base that it was trained on"))  # fmt: skip
        elif source.factors and source.factors.magnitude and (
            source.factors.embedding or source.factors.transposed(shape) or len(shape) != 2
        ):  # fmt: skip
            errors.append(ModelError(f"uses DoRA on {name!r}, which is no plain linear layer: we cannot merge that "
                                     "exactly", where=folder))  # fmt: skip
        if source.bias and source.bias[0].shape != shape:
            errors.append(ModelError(f"its bias for {name!r} is {list(source.bias[0].shape)}, not {list(shape)}",
                                     where=folder))  # fmt: skip
        errors.extend(
            ModelError(f"tensor {one.name!r} is {one.dtype}: quantised or unusual floats are not merged",
                       where=folder, mend="Convert the model to float32, float16 or bfloat16")
            for one in source.inputs if one.dtype in FLOATS
        )  # fmt: skip
    return errors
