"""What users meet: one message, and no output that looks whole."""

from __future__ import annotations

import json
import os
import resource
import subprocess

import pytest
import torch

from dtm.foundations.errors import DtmError, MissingInput, ModelError, ResourceError
from dtm.foundations.registry import registry
from dtm.merge import merge_models, plan_merge
from tests.foundations.headers import LIES
from tests.merge.models import read_model, write_model

LINEAR = registry("merge").bind("linear")


def attempt(models, output, base=None, **arguments):
    merge_models(
        base=base, models=models, output=output, method=LINEAR, weights=[1.0] * len(models), **arguments
    )


@pytest.mark.parametrize("kind", sorted(LIES))
def test_headers_that_lie_are_one_error(tmp_path, kind, tensors):
    good = write_model(tmp_path / "good", tensors(0))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/model.safetensors").write_bytes(LIES[kind])
    with pytest.raises(ModelError, match=r"bad/model\.safetensors"):
        attempt([good, tmp_path / "bad"], tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "good"]


def test_a_file_cut_short_after_planning_is_one_error(tmp_path, tensors):
    folders = [write_model(tmp_path / f"m{k}", tensors(k)) for k in range(2)]
    from dtm.merge.merging import execute

    plan = plan_merge(base=None, models=folders, method=LINEAR, weights=[1, 1])
    os.truncate(folders[1] / "model.safetensors", 1000)
    with pytest.raises(ModelError, match="ended in the middle"):
        execute(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.tmp").exists()


@pytest.mark.parametrize(
    "name", ["../m0/model.safetensors", "/etc/passwd", "sub/model.safetensors", "model.bin"]
)
def test_an_index_may_not_point_elsewhere(tmp_path, tensors, name):
    write_model(tmp_path / "m0", tensors(0))
    bad = write_model(tmp_path / "bad", tensors(1), shards=2)
    index = json.loads((bad / "model.safetensors.index.json").read_text())
    index["weight_map"]["lm_head.weight"] = name
    (bad / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="not a safetensors file of its folder"):
        attempt([bad], tmp_path / "out")


def test_an_index_and_its_files_must_agree(tmp_path, tensors):
    bad = write_model(tmp_path / "bad", tensors(1), shards=2)
    path = bad / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    path.write_text(
        json.dumps(
            {**index, "weight_map": {**index["weight_map"], "ghost": "model-00001-of-00002.safetensors"}}
        )
    )
    with pytest.raises(ModelError, match="ghost"):
        attempt([bad], tmp_path / "out")
    (bad / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(MissingInput, match="00002-of-00002"):
        attempt([bad], tmp_path / "out")


def test_pickles_are_refused_with_how_to_convert(tmp_path):
    (tmp_path / "bin").mkdir()
    torch.save({"a": torch.zeros(1)}, tmp_path / "bin/pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickle.*save_pretrained"):
        attempt([tmp_path / "bin"], tmp_path / "out")


def test_everything_wrong_is_said_at_once(tmp_path, tensors):
    first = tensors(0)
    missing = {name: tensor for name, tensor in tensors(1).items() if name != "lm_head.weight"}
    wider = {**tensors(2), "model.norm.weight": torch.zeros(25).bfloat16()}
    folders = [write_model(tmp_path / f"m{k}", one) for k, one in enumerate([first, missing])]
    with pytest.raises(DtmError) as caught:
        attempt([*folders, tmp_path / "nowhere", tmp_path / "neither"], tmp_path / "out")
    assert all(word in str(caught.value) for word in ("nowhere", "neither", "2 things"))
    with pytest.raises(ModelError, match=r"lacks 1 tensors.*lm_head"):
        attempt(folders, tmp_path / "out")
    other = write_model(tmp_path / "wider", {**wider, "model.scalar": torch.zeros(2).bfloat16()})
    with pytest.raises(DtmError) as caught:
        attempt([folders[0], other], tmp_path / "out")
    assert "model.norm.weight" in str(caught.value)
    assert "model.scalar" in str(caught.value)
    extra = write_model(tmp_path / "extra", {**tensors(3), "more": torch.zeros(2)})
    with pytest.raises(ModelError, match=r"has besides 1 tensors.*more"):
        attempt([folders[0], extra], tmp_path / "out")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_numbers_that_are_not_finite_are_named_or_let_through(tmp_path, tensors, value, dtype):
    bad = tensors(1, dtype)
    bad["model.layers.1.mlp.up_proj.weight"][3, 4] = value
    folders = [write_model(tmp_path / f"m{k}", one) for k, one in enumerate([tensors(0, dtype), bad])]
    with pytest.raises(ModelError, match=r"m1/.*up_proj.*allow-nonfinite"):
        attempt(folders, tmp_path / "out", threads=2)
    assert not (tmp_path / "out").exists()
    attempt(folders, tmp_path / "out", allow_nonfinite=True)
    got = read_model(tmp_path / "out")["model.layers.1.mlp.up_proj.weight"]
    assert torch.isfinite(got).sum() == got.numel() - 1
    assert not torch.isfinite(got[3, 4])


def test_a_result_that_overflows_its_type_is_named(tmp_path):
    folder = write_model(tmp_path / "m", {"a.weight": torch.full((4,), 1e6)})
    with pytest.raises(ModelError, match=r"a\.weight.*overflows F16"):
        attempt([folder], tmp_path / "out", dtype="float16")
    attempt([folder], tmp_path / "out", dtype="bfloat16")


def test_a_disk_that_cannot_hold_the_output_is_said_before_work(tmp_path, tensors, monkeypatch):
    folder = write_model(tmp_path / "m", tensors(0))
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 100})())
    with pytest.raises(ResourceError, match="free"):
        attempt([folder], tmp_path / "out")


def test_a_disk_that_fills_leaves_nothing_that_looks_whole(tmp_path, tensors):
    folders = [write_model(tmp_path / f"m{k}", {"a": torch.randn(300_000)}) for k in range(2)]
    (tmp_path / "empty").mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        for output in (tmp_path / "out", tmp_path / "empty"):
            with pytest.raises(ResourceError, match="could not be written"):
                attempt(folders, output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.tmp").exists()
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB of its own; needs the right to mount."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a tmpfs")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_tmpfs_that_is_full_before_work(tmp_path, small_disk):
    folder = write_model(tmp_path / "m", {"a": torch.randn(400_000)})
    (small_disk / "filler").write_bytes(bytes(1_000_000))
    with pytest.raises(ResourceError, match="the output takes"):
        attempt([folder], small_disk / "out")
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


@pytest.mark.parametrize("inside", [False, True])
def test_a_tmpfs_that_fills_up_in_the_middle(tmp_path, small_disk, inside):
    """Somebody else takes the rest of the disk when the first of four files is written."""
    folder = write_model(tmp_path / "m", {f"layers.{n}.w": torch.randn(100_000) for n in range(4)}, shards=4)
    output = small_disk / "out"
    if inside:  # a folder that is there already, as the store's, is emptied and stays
        output.mkdir()

    def fill(done, total):
        if done == 100_000:
            free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize
            (small_disk / "filler").write_bytes(bytes(free - 200_000))

    with pytest.raises(ResourceError, match=r"could not be written \(No space left"):
        attempt([folder], output, progress=fill)
    left = sorted(path.name for path in small_disk.rglob("*"))
    assert left == (["filler", "out"] if inside else ["filler"])


def test_methods_say_what_they_lack(tmp_path, tensors):
    folders = [write_model(tmp_path / f"m{k}", tensors(k)) for k in range(3)]
    lacks = [("ties", 3, "needs a base"), ("slerp", 3, "takes 2 models; here are 3"), ("lora_svd", 2, "not an adapter"),
             ("model_stock", 1, "at least 2 models"), ("fisher", 2, "needs the statistic 'fisher'")]  # fmt: skip
    for name, models, message in lacks:
        with pytest.raises(DtmError, match=message):
            plan_merge(
                base=None, models=folders[:models], method=registry("merge").bind(name), weights=[1] * models
            )
    with pytest.raises(DtmError, match="2 weights are given for 3 models"):
        plan_merge(base=None, models=folders, method=LINEAR, weights=[1, 1])
    with pytest.raises(DtmError, match="no filter matches"):
        plan_merge(base=None, models=folders, method=LINEAR, weights=[[{"filter": "mlp", "value": 1}], 1, 1])
    with pytest.raises(DtmError, match="not a dtype"):
        plan_merge(base=None, models=folders, method=LINEAR, weights=[1, 1, 1], dtype="int8")
