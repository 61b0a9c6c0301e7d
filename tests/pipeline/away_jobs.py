"""A job for the tests of machines without the driver's disk: it copies an input, and dies half-way if it is told to."""

from pathlib import Path


def copy(arguments, progress):
    checkpoint = Path(arguments["scratch"]) / "checkpoint-3"
    progress({"stage": "resuming" if checkpoint.exists() else "training"})
    if arguments.get("fails"):
        raise RuntimeError("half-way")
    text = Path(arguments["base"]).read_text()
    (Path(arguments["output"]) / "model.safetensors").write_text(text)
    return {"rows": 3}
