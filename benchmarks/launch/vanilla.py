"""Plain SFT with TRL, as a script would do it: `python vanilla.py SETTINGS.json`; prints one line of JSON.

Settings: base, data (.jsonl of messages), output, threads, epochs, batch, max_length, learning_rate. Told: seconds
from the start of the process to the end of imports, of imports and loading the model, to the end; steps; tokens.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    import torch
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    told = {"imported": time.perf_counter() - STARTED}

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            told["steps"] = state.global_step

    torch.set_num_threads(settings["threads"])
    rows = load_dataset("json", data_files=settings["data"], split="train")
    rows = rows.map(lambda row: {"prompt": row["messages"][:1], "completion": row["messages"][1:]},
                    remove_columns=["messages"])  # fmt: skip
    start = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(settings["base"], dtype=torch.float32)
    told["loading"] = told["imported"] + time.perf_counter() - start
    config = SFTConfig(
        output_dir=settings["output"], use_cpu=True, bf16=False, report_to="none", save_strategy="no",
        per_device_train_batch_size=settings["batch"], num_train_epochs=settings["epochs"], disable_tqdm=True,
        max_length=settings["max_length"], learning_rate=settings["learning_rate"], gradient_checkpointing=False,
        lr_scheduler_type="cosine", warmup_steps=0.03, logging_steps=10, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = SFTTrainer(
        model=model, args=config, train_dataset=rows, callbacks=[Clock()],
        processing_class=AutoTokenizer.from_pretrained(settings["base"]),
    )  # fmt: skip
    trainer.train()
    trainer.save_model(settings["output"])
    told["end"] = time.perf_counter() - STARTED
    told["tokens"] = int(
        trainer.state.num_input_tokens_seen or trainer.state.log_history[-2].get("num_tokens", 0)
    )
    print(json.dumps(told))


if __name__ == "__main__":
    main()
