"""What `launch:` may say, checked before any work; what counts in the key of a training, and what does not."""

from __future__ import annotations

import json
import socket
from importlib import util

import pytest

from dtm.config import read
from dtm.foundations.errors import ConfigError, DtmError, MethodError, MissingInput
from dtm.foundations.launch import LocalLauncher, Share
from dtm.pipeline import launching
from dtm.pipeline.launching import check_launch, same_places
from dtm.train import Settings


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """`launch:` as a placement, on a machine of eight cores and, if said, GPUs."""
    monkeypatch.setattr(launching, "cores", lambda: 8)

    def check(launch, *, k=4, args=None, gpus=None):
        if gpus is not None:
            monkeypatch.setattr(launching, "_device", lambda launch, where: "cuda")
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus))))
        path = tmp_path / "run.yaml"
        path.write_text(json.dumps({"base": "b", "data": ["d"], "output_dir": "o", "disperse": {"k": k},
                                    "launch": launch}))  # fmt: skip
        return check_launch(read(path), Settings(args or {}))

    return check


@pytest.fixture
def accelerate(tmp_path):
    def write(**values):
        (tmp_path / "accelerate.yaml").write_text(json.dumps(values))
        return "accelerate.yaml"

    return write


def test_cores_are_shared_out(checked):
    assert checked({}).share == Share(threads=8, cpus=8)
    assert checked({"workers": 2}).share.threads == 4
    found = checked({"workers": 2, "processes": 2})
    assert (found.share.threads, found.share.processes, found.share.cpus) == (2, 2, 4)


def test_gpus_are_one_a_process_and_shared_out(checked):
    assert checked({"workers": 4}, gpus=4).share.gpus == 1
    found = checked({"workers": 2, "gpus": 2, "threads": 1}, gpus=4).share
    assert (found.gpus, found.processes) == (2, 2)
    with pytest.raises(ConfigError, match="2 workers x 4 GPUs are more than the 4"):
        checked({"workers": 2, "processes": 4, "threads": 1}, gpus=4)


@pytest.mark.parametrize(("launch", "error", "message"), [
    ({"address": "ray://a:1"}, ConfigError, "kind: local has no `address`.*this machine"),
    ({"cpus": 4}, ConfigError, "kind: local has no `cpus`"),
    ({"nodes": 2}, ConfigError, "kind: local has no `nodes`"),
    ({"slurm": {"partition": "x"}}, ConfigError, "kind: local has no `slurm`: it is for kind: slurm"),
    ({"kind": "ray", "slurm": {"partition": "x"}}, ConfigError, "kind: ray has no `slurm`"),
    ({"kind": "slurm", "nodes": 2}, ConfigError, "kind: slurm has no `nodes`"),
    ({"kind": "slurm", "slurm": {"particion": "x"}}, MethodError, "Did you mean 'partition'"),
    ({"kind": "slurm", "address": "ray://a:1"}, MethodError, "address of Slurm"),
    ({"kind": "ray", "address": "nonsense"}, ConfigError, "no address of Ray.*auto, local"),
    ({"kind": "ray", "address": "http://a:80"}, ConfigError, "no address of Ray"),
    ({"workers": 4, "threads": 4}, ConfigError, "4 workers x 4 threads are more than this machine's 8 cores"),
    ({"workers": 2, "processes": 4, "threads": 2}, ConfigError, "4 processes x 2 threads.*Set launch.threads to 1"),
    ({"kind": "ray", "gpus": 4, "processes": 2}, ConfigError, "4 GPUs for 2 processes"),
    ({"kind": "ray", "processes": 3, "nodes": 2}, ConfigError, "3 processes do not part evenly over 2 nodes"),
    ({"kind": "ray", "processes": 2, "threads": 2, "cpus": 2}, ConfigError, "2 CPUs will not do.*Set it to 4"),
    ({"gpus": 1}, ConfigError, "1 GPUs for 1 processes on cpu.*Set device: cuda"),
    ({"accelerate_config": "nowhere.yaml"}, MissingInput, "accelerate config --config_file"),
    ({"workers": 0}, ConfigError, "greater than or equal to 1"),
    ({"knid": "ray"}, ConfigError, "Did you mean `kind`"),
])  # fmt: skip
def test_what_cannot_be_is_told_with_its_line(checked, launch, error, message):
    pytest.importorskip("submitit")
    pytest.importorskip("ray")
    with pytest.raises(DtmError, match=f"(?s){message}") as caught:
        checked({**({} if launch.get("kind") or launch.get("gpus") else {"device": "cpu"}), **launch})
    assert isinstance(caught.value, error)
    assert "run.yaml:1: launch" in str(caught.value)


def test_a_package_that_is_missing_is_told_with_the_command(checked, monkeypatch):
    real = util.find_spec
    monkeypatch.setattr(
        launching, "find_spec", lambda name: None if name in ("ray", "submitit") else real(name)
    )
    for kind in ("ray", "slurm"):
        with pytest.raises(MissingInput, match=rf"pip install 'disperse-then-merge\[{kind}\]'"):
            checked({"kind": kind})


def test_an_address_is_tried_before_any_work(checked):
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert checked({"kind": "ray", "address": f"ray://127.0.0.1:{port}"}).address.endswith(str(port))
    with pytest.raises(MissingInput, match=r"nobody answers at ray://127\.0\.0\.1"):
        checked({"kind": "ray", "address": f"ray://127.0.0.1:{port}"})


def test_elsewhere_places_are_as_many_as_portions_and_gpus_are_what_is_asked_for(checked):
    pytest.importorskip("ray")
    found = checked({"kind": "ray", "gpus": 8, "nodes": 2, "threads": 3}, k=6)
    assert (found.workers, found.device, found.share) == (6, "cuda", Share(3, 8, 24, 8, 2))
    assert checked({"kind": "ray"}, k="auto").workers == launching.PLACES
    assert checked({"kind": "ray", "cpus": 4, "processes": 2}).share.threads == 2


def test_where_it_runs_is_not_in_the_key_and_what_it_computes_with_is(checked, accelerate):
    pytest.importorskip("ray")
    here = checked({"threads": 2, "device": "cpu"}).numerics
    assert here == {"threads": 2, "device": "cpu", "processes": 1}
    for launch in (
        {"workers": 3},
        {"kind": "ray", "cpus": 2},
        {"kind": "ray", "address": "local", "workers": 7},
    ):
        assert checked({"threads": 2, "device": "cpu", **launch}).numerics == here
    others = [
        checked({"threads": 1, "device": "cpu"}).numerics,
        checked({"threads": 2, "device": "cpu", "processes": 2}).numerics,
        checked({"kind": "ray", "gpus": 1, "threads": 2}).numerics,
    ]
    for same in ({"main_process_ip": "10.0.0.1"}, {"machine_rank": 0, "num_machines": 1}, {}):
        file = accelerate(distributed_type="MULTI_CPU", num_processes=2, **same)
        others.append(checked({"threads": 2, "device": "cpu", "accelerate_config": file}).numerics)
    file = accelerate(
        distributed_type="MULTI_CPU", num_processes=2, dynamo_config={"dynamo_backend": "INDUCTOR"}
    )
    others.append(checked({"threads": 2, "device": "cpu", "accelerate_config": file}).numerics)
    assert others[3] == others[4] == others[5]
    assert len({json.dumps(one, sort_keys=True) for one in [here, *others]}) == 6


@pytest.mark.parametrize(("values", "message"), [
    ({"distributed_type": "FSPD"}, "Did you mean 'FSDP'"),
    ({}, "distributed_type"),
    ({"distributed_type": "MULTI_CPU", "num_procesess": 2}, "Did you mean 'num_processes'"),
    ({"distributed_type": "MEGATRON_LM"}, "MULTI_GPU, NO|FSDP"),
    ({"distributed_type": "MULTI_CPU", "mixed_precision": "fp16"}, "Set train.args.fp16: true"),
    ({"distributed_type": "MULTI_GPU", "gpu_ids": "0,1"}, "the launcher pins"),
    ({"distributed_type": "MULTI_GPU", "parallelism_config": {"tp_size": 2}}, "DDP, FSDP and DeepSpeed"),
    ({"distributed_type": "FSDP", "fsdp_config": {"fsdp_state_dict_type": "LOCAL_STATE_DICT"}}, "be consolidated"),
    ({"distributed_type": "MULTI_CPU", "num_processes": 4}, "2 processes here, and `num_processes: 4`"),
    ({"distributed_type": "FSDP"}, "on CPUs FSDP would be plain DDP, in silence"),
])  # fmt: skip
def test_an_accelerate_file_is_checked_before_any_work(checked, accelerate, values, message):
    with pytest.raises(DtmError, match=message):
        checked({"processes": 2, "threads": 1, "device": "cpu", "accelerate_config": accelerate(**values)})


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("gathers", [True, False, None])
def test_zero_3_must_gather_its_shards(checked, accelerate, tmp_path, monkeypatch, inside, gathers):
    """In the accelerate file itself, or in a file of DeepSpeed's own that it names; whose content then counts."""
    monkeypatch.setattr("dtm.train.accelerate.find_spec", lambda name: True)
    if inside:
        own = {"zero_stage": 3, "zero3_save_16bit_model": gathers}
    else:
        zero = {"zero_optimization": {"stage": 3, "stage3_gather_16bit_weights_on_model_save": gathers}}
        (tmp_path / "ds.json").write_text(json.dumps(zero))
        own = {"deepspeed_config_file": "ds.json"}
    file = accelerate(distributed_type="DEEPSPEED", deepspeed_config=own)
    launch = {"processes": 2, "threads": 1, "accelerate_config": file}
    if not gathers:
        key = "zero3_save_16bit_model" if inside else "deepspeed_config_file"
        with pytest.raises(
            ConfigError, match=rf"deepspeed_config.{key}: ZeRO-3 would leave the sub-model in shards"
        ):
            checked(launch, gpus=2)
        return
    found = checked(launch, gpus=2)
    if not inside:
        assert found.share.accelerate["deepspeed_config"]["deepspeed_config_file"] == zero


def test_without_deepspeed_its_file_is_refused(checked, accelerate, monkeypatch):
    monkeypatch.setattr("dtm.train.accelerate.find_spec", lambda name: None)
    with pytest.raises(MissingInput, match="pip install deepspeed"):
        checked({"accelerate_config": accelerate(distributed_type="DEEPSPEED")}, gpus=1)


def test_kept_workers_must_give_jobs_the_same_share(checked):
    launcher = LocalLauncher(workers=1, threads=2)
    same_places(launcher, checked({"threads": 2, "device": "cpu"}), str)
    with pytest.raises(ConfigError, match="have 2 threads, and this run wants 2 threads, 2 processes"):
        same_places(launcher, checked({"threads": 2, "processes": 2, "device": "cpu"}), str)
