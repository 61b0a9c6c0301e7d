"""Every registered method through the streaming engine, against its fp64 reference and its declared properties."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dtm.foundations.registry import registry
from dtm.merge import merge_models
from dtm.merge.memory import merge_tensor
from dtm.merge.planning import treatment_of
from dtm.merge.scalars import settings_at
from tests.merge import references
from tests.merge.models import TYPES, bytes_of, read_model, within_one_rounding, write_model

MERGE = registry("merge")
SHAPES = {"layers.0.one": (1,), "layers.0.sixtyfour": (64,), "layers.1.odd": (1037,), "layers.1.wide.weight": (7, 40),
          "layers.2.tall.weight": (41, 9), "layers.2.square.weight": (24, 24)}  # fmt: skip


@dataclass
class Row:
    """One row of the table: settings to try, and what the method needs."""

    settings: list[dict[str, Any]] = field(default_factory=lambda: [{}])
    models: int = 3
    statistic: str | None = None
    random: bool = False
    tolerance: float = (
        2e-6  # beyond one rounding: fp32 in between, relative to the largest value of the tensor
    )
    reference: str | None = None


TABLE = {
    "linear": Row([{}, {"normalize": False}]),
    "wise_ft": Row([{}, {"alpha": 0.3}]),
    "task_arithmetic": Row([{}, {"scale": 0.3}, {"normalize": True}]),
    "slerp": Row([{}, {"t": 0.2}], models=2),
    "nuslerp": Row([{}, {"from_base": True}], models=2),
    "multislerp": Row([{}, {"from_base": True}]),
    "karcher": Row(),
    "ties": Row([{}, {"density": 0.55, "scale": 0.7}, {"normalize": False, "density": 1.0}, {"density": 0.0}]),
    "dare_linear": Row([{}, {"density": 0.5, "rescale": False}, {"normalize": True, "density": 0.7}], random=True),
    "dare_ties": Row([{"density": 0.125}, {"density": 0.5}], random=True),
    "della": Row([{}, {"density": 0.5, "epsilon": 0.2}], random=True),
    "della_linear": Row(random=True),
    "breadcrumbs": Row([{}, {"density": 0.6, "gamma": 0.2}]),
    "breadcrumbs_ties": Row([{}, {"density": 0.6, "gamma": 0.2}]),
    "sce": Row([{}, {"density": 0.4}]),
    "model_stock": Row(),
    "fisher": Row(statistic="fisher"),
    "regmean": Row([{}, {"damping": 0.5}], statistic="gram", tolerance=1e-4),
    "pcb": Row([{}, {"density": 0.4, "scale": 1.3}]),
    "consensus_ta": Row([{}, {"strictness": 0.8, "agreeing": 1}]),
    "tsv": Row(tolerance=2e-5),
    "iso_c": Row(tolerance=2e-5),
    "iso_cts": Row([{}, {"common": 0.4, "scale": 0.7}, {"common": 1.0}], tolerance=5e-5),
    "knots": Row([{"of": "task_arithmetic"}], tolerance=1e-5),
    "lines": Row([{}, {"alpha": 0.5, "beta": -0.3}]),
    "passthrough": Row(models=1, reference="linear"),
}  # fmt: skip
FACTORS = {name for name in MERGE if MERGE[name].properties.get("form") == "factors"}
WEIGHTS = np.array([0.5, 1.5, 0.8])


def test_the_table_and_the_factor_tests_cover_the_registry():
    assert set(TABLE) | FACTORS == set(MERGE)


def make(seed, dtype=torch.float32, shapes=SHAPES, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (torch.randn(shape, generator=generator) * scale).to(dtype) for name, shape in shapes.items()
    }


def family(count, dtype=torch.float32, shapes=SHAPES):
    """A base and sub-models near it."""
    base = make(0, torch.float32, shapes)
    models = []
    for k in range(count):
        change = make(k + 1, torch.float32, shapes, 0.1)
        models.append({name: (base[name] + change[name]).to(dtype) for name in base})
    return {name: tensor.to(dtype) for name, tensor in base.items()}, models


def statistics_for(row, shapes, folder):
    """One file a model with random Fisher diagonals or Gram matrices, and the same in fp64."""
    if row.statistic is None:
        return None, None
    files, values = [], []
    for k in range(row.models):
        rng, found = np.random.default_rng(k), {}
        for name, shape in shapes.items():
            if row.statistic == "fisher":
                found[name] = rng.random(shape)
            elif len(shape) == 2:
                X = rng.normal(size=(3 * shape[1], shape[1]))
                found[name] = X.T @ X
        path = folder / f"statistics-{k}.safetensors"
        save_file({name: torch.from_numpy(value).float() for name, value in found.items()}, path)
        files.append(path)
        values.append({name: value.astype(np.float32).astype(np.float64) for name, value in found.items()})
    return files, values


def identities(models):
    """What the sub-models are called in the keys of random numbers."""
    bits = {torch.bfloat16: torch.int16}
    raw = [{name: tensor.view(bits.get(tensor.dtype, tensor.dtype)).numpy() for name, tensor in one.items()}
           for one in models]  # fmt: skip
    short = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
    return [references.identity(one, {name: short[tensor.dtype] for name, tensor in model.items()})
            for one, model in zip(raw, models, strict=True)]  # fmt: skip


def reference(name, row, tensor, base, models, settings, statistics, depth, called=()):
    """The fp64 reference of one tensor; what a method cannot treat is the weighted mean."""
    method = MERGE[name]
    base, models = base.double().numpy(), np.stack([model.double().numpy() for model in models])
    weights = WEIGHTS[: row.models]
    more: dict[str, Any] = dict(settings)
    if method.properties.get("matrices") and base.ndim != 2:
        return references.linear(base, models, weights)
    if row.statistic:
        if tensor not in statistics[0]:
            return references.linear(base, models, weights)
        more["statistics"] = np.stack([one[tensor] for one in statistics])
    if row.random:
        draws = [references.splitmix(0, model, tensor, base.size) for model in called]
        more["uniform"] = np.stack(draws).reshape(models.shape)
    if name == "lines":
        more["depth"] = depth
    more.pop("normalize", None) if name == "passthrough" else None
    return getattr(references, row.reference or name)(base, models, weights, **more)


def cases(select=lambda row: True):
    return [pytest.param(name, settings, id=f"{name}-{number}") for name, row in sorted(TABLE.items()) if select(row)
            for number, settings in enumerate(row.settings)]  # fmt: skip


@pytest.mark.parametrize(("name", "settings"), cases())
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_each_tensor_is_the_paper_s(tmp_path, merged, name, settings, dtype):
    row = TABLE[name]
    base, models = family(row.models, TYPES[dtype])
    folders = [write_model(tmp_path / f"m{k}", one) for k, one in enumerate([base, *models])]
    files, statistics = statistics_for(row, SHAPES, tmp_path)

    got = merged(name, settings=settings, base=folders[0], models=folders[1:], weights=WEIGHTS[: row.models].tolist(),
                 statistics=files, dtype="float32")  # fmt: skip

    called = identities(models)
    for tensor in SHAPES:
        depth = int(tensor.split(".")[1]) / 2
        exact = reference(
            name, row, tensor, base[tensor], [m[tensor] for m in models], settings, statistics, depth, called
        )
        exact = torch.from_numpy(np.asarray(exact))
        assert within_one_rounding(got[tensor], exact, slack=row.tolerance * float(exact.abs().max())), tensor


@pytest.mark.parametrize("name", sorted(name for name in TABLE if TABLE[name].models > 1))
def test_equal_models_give_that_model_where_declared(tmp_path, merged, name):
    row, bound = TABLE[name], MERGE.bind(name, TABLE[name].settings[0])
    base, models = family(1)
    folders = [
        write_model(tmp_path / f"m{k}", one) for k, one in enumerate([base, *([models[0]] * row.models)])
    ]
    files, _ = statistics_for(row, SHAPES, tmp_path)
    got = merged(name, settings=bound.settings, base=folders[0], models=folders[1:], weights=[1.0] * row.models,
                 statistics=files)  # fmt: skip
    same = all(torch.allclose(got[tensor], models[0][tensor], rtol=1e-5, atol=1e-5) for tensor in SHAPES)
    assert same or not treatment_of(bound).idempotent


ALONE = sorted(name for name in TABLE if MERGE[name].properties.get("models", (1, None))[0] == 1)


@pytest.mark.parametrize("name", ALONE)
def test_one_model_is_merged_as_the_paper_says(tmp_path, merged, name):
    row, settings = replace(TABLE[name], models=1), TABLE[name].settings[0]
    base, models = family(1)
    folders = [write_model(tmp_path / f"m{k}", one) for k, one in enumerate([base, *models])]
    files, statistics = statistics_for(row, SHAPES, tmp_path)
    got = merged(
        name, settings=settings, base=folders[0], models=folders[1:], weights=[0.5], statistics=files
    )
    called = identities(models)
    for tensor in SHAPES:
        depth = int(tensor.split(".")[1]) / 2
        exact = reference(
            name, row, tensor, base[tensor], [models[0][tensor]], settings, statistics, depth, called
        )
        exact = torch.from_numpy(np.asarray(exact))
        assert within_one_rounding(got[tensor], exact, slack=row.tolerance * float(exact.abs().max())), tensor
    bound = MERGE.bind(name, settings)
    if treatment_of(bound).idempotent:
        assert all(torch.allclose(got[tensor], models[0][tensor], rtol=1e-6, atol=1e-6) for tensor in SHAPES)


TRIMMING = ["ties", "breadcrumbs", "breadcrumbs_ties", "sce", "pcb", "della", "della_linear"]


def test_the_methods_that_trim_by_magnitude():
    trims = {name for name in TABLE if "density" in MERGE[name].settings and "dare" not in name}
    assert trims == set(TRIMMING)


@pytest.mark.parametrize("name", TRIMMING)
@pytest.mark.parametrize("density", [0.2, 1 / 3, 0.5])
def test_equal_magnitudes_are_told_apart_by_index(tmp_path, merged, name, density):
    """All updates are 0.25 or -0.25: exactly the first values of each row or tensor stay, as the reference says."""
    row, settings = TABLE[name], {"density": density}
    base = {tensor: torch.zeros(shape) for tensor, shape in SHAPES.items()}
    models = [
        {tensor: torch.where(change > 0, 0.25, -0.25) for tensor, change in make(k + 1).items()}
        for k in range(3)
    ]
    folders = [write_model(tmp_path / f"m{k}", one) for k, one in enumerate([base, *models])]
    got = merged(name, settings=settings, base=folders[0], models=folders[1:], weights=WEIGHTS.tolist())
    called = identities(models)
    for tensor in SHAPES:
        exact = reference(
            name, row, tensor, base[tensor], [m[tensor] for m in models], settings, None, 0.0, called
        )
        torch.testing.assert_close(
            got[tensor].double(), torch.from_numpy(np.asarray(exact)), rtol=1e-6, atol=1e-7
        )


@pytest.mark.parametrize(
    "name", sorted(n for n in TABLE if treatment_of(MERGE.bind(n, TABLE[n].settings[0])).on_updates)
)
def test_no_update_gives_the_base_to_the_bit(tmp_path, merged, name):
    row = TABLE[name]
    base, _ = family(0, torch.bfloat16)
    folders = [write_model(tmp_path / f"m{k}", base) for k in range(row.models + 1)]
    files, _ = statistics_for(row, SHAPES, tmp_path)
    got = merged(name, settings=row.settings[0], base=folders[0], models=folders[1:], weights=[0.3] * row.models,
                 statistics=files)  # fmt: skip
    assert all(torch.equal(got[tensor], base[tensor]) for tensor in SHAPES)


@pytest.mark.parametrize("name", sorted(name for name in TABLE if MERGE[name].properties.get("symmetric")))
def test_the_order_of_the_models_does_not_matter_where_declared(tmp_path, merged, name):
    row = TABLE[name]
    base, models = family(row.models)
    folders = [write_model(tmp_path / f"m{k}", one) for k, one in enumerate([base, *models])]
    files, _ = statistics_for(row, SHAPES, tmp_path)
    order = list(range(row.models))[::-1]
    weights = WEIGHTS[: row.models]
    one = merged(name, settings=row.settings[0], base=folders[0], models=folders[1:], weights=weights.tolist(),
                 statistics=files)  # fmt: skip
    other = merged(name, settings=row.settings[0], base=folders[0], models=[folders[1 + k] for k in order],
                   weights=weights[order].tolist(), statistics=files and [files[k] for k in order])  # fmt: skip
    for tensor in SHAPES:
        torch.testing.assert_close(one[tensor], other[tensor], rtol=1e-5, atol=3e-5)


@pytest.mark.parametrize(("name", "settings"), cases())
def test_streamed_on_any_threads_is_in_memory(tmp_path, name, settings):
    row, shapes = (
        TABLE[name],
        {"layers.0.w.weight": (190, 800), "layers.1.b": (70_001,), "layers.1.w.weight": (9, 5)},
    )
    if MERGE[name].properties.get("unit") == "tensor":
        shapes["layers.0.w.weight"] = (60, 80)
    base, models = family(row.models, torch.bfloat16, shapes)
    folders = [write_model(tmp_path / f"m{k}", one) for k, one in enumerate([base, *models])]
    files, statistics = statistics_for(row, shapes, tmp_path)
    bound, weights = MERGE.bind(name, settings), WEIGHTS[: row.models].tolist()
    seen = []
    for threads in (1, 2, 8):
        out = tmp_path / f"out{threads}"
        merge_models(base=folders[0], models=folders[1:], output=out, method=bound, weights=weights, threads=threads,
                     statistics=files)  # fmt: skip
        seen.append(bytes_of(out))
    assert seen[0] == seen[1] == seen[2]
    treatment = treatment_of(bound)
    for tensor, got in read_model(out).items():
        if (MERGE[name].properties.get("matrices") and got.ndim != 2) or (
            statistics and tensor not in statistics[0]
        ):
            continue
        depth = float(tensor.split(".")[1])
        expected = merge_tensor(
            treatment, base[tensor].float().numpy(), np.stack([m[tensor].float().numpy() for m in models]),
            np.array(weights), settings_at(treatment, row.models, tensor, depth), name=tensor, depth=depth,
            models=identities(models),
            inner_settings=treatment.inner and settings_at(treatment.inner, row.models, tensor, depth),
            statistics_K=statistics and np.stack([one[tensor] for one in statistics]).astype(np.float32),
        )  # fmt: skip
        if treatment.passes:  # sums of a pass are grouped by block in the one, and not in the other
            torch.testing.assert_close(got.float(), torch.from_numpy(expected), rtol=2.0**-7, atol=1e-6)
        else:
            assert torch.equal(got, torch.from_numpy(expected).bfloat16())
