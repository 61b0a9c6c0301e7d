"""Training jobs for processes of a gang; imported there by name."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def dies_once(job, progress):
    """dtm's training, in which the second process is killed once, when a checkpoint of step 2 is whole."""
    from dtm.train import callbacks, sft

    class Watch(callbacks.Watch):
        def on_save(self, args, state, control, **more):
            super().on_save(args, state, control, **more)
            flag = Path(job["scratch"]).parent / "died"
            if os.environ["RANK"] == "1" and state.global_step == 2 and not flag.exists():
                flag.touch()
                while not (Path(args.output_dir) / "checkpoint-2" / "dtm-digests.json").exists():
                    pass
                os.kill(os.getpid(), signal.SIGKILL)

    callbacks.Watch = Watch
    return sft.train(job, progress)


def one_step_in_shards(job, progress):
    """A step of SGD under FSDP 2 on gloo, saved by dtm's `Saver`.

    accelerate 1.15 shards on GPUs only, and trains plain DDP on CPUs; told that these are GPUs, it shards.
    """
    import torch
    from accelerate import Accelerator, FullyShardedDataParallelPlugin, PartialState
    from accelerate.utils import DistributedType
    from torch.distributed.tensor import DTensor
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from dtm.train.saving import Saver

    PartialState(cpu=True)
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["LlamaDecoderLayer"],
    )
    accelerator = Accelerator(cpu=True, fsdp_plugin=plugin)
    model = AutoModelForCausalLM.from_pretrained(job["base"], dtype=getattr(torch, job["dtype"]))
    if job["lora"]:
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(0)
        model = get_peft_model(model, LoraConfig(**job["lora"]))
    saver = Saver(
        {"lora": job["lora"], "base_name": "owner/base"}, AutoTokenizer.from_pretrained(job["base"]), model
    )
    plain = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.1)
    sharded, optimizer = accelerator.prepare(model, plain)
    ids = torch.tensor([job["rows"][accelerator.process_index]])
    accelerator.backward(sharded(input_ids=ids, labels=ids).loss)
    optimizer.step()
    assert any(isinstance(one, DTensor) for one in sharded.parameters())
    saver.trainer = type(
        "Trainer", (), {"accelerator": accelerator, "model_wrapped": sharded, "model": sharded}
    )
    weights = saver.gathered()
    if accelerator.is_main_process:
        saver.write(Path(job["output"]), weights)
    return {}


def agrees(job, progress):
    """Two steps on gloo; between them the second process alone is asked to stop. What the first one answers is told."""
    import torch.distributed as distributed

    from dtm.foundations.launch import leaving
    from dtm.train.callbacks import _all_asked

    distributed.init_process_group("gloo")
    answers = [_all_asked("cpu")]
    if os.environ["RANK"] == "1":
        leaving.ask()
    answers.append(_all_asked("cpu"))
    progress({"answers": answers})
    leaving.leave(len(answers))
    leaving.check()
