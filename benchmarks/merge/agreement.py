"""How far our result and mergekit's are apart, method by method, on the same YAML, in float32.

    python benchmarks/merge/agreement.py --mergekit PATH/TO/mergekit-yaml --folder SCRATCH

Random masks cannot agree, so methods with them are compared where nothing is dropped. Prints and writes
`agreement.json`: the largest difference, relative to the largest merged update, and the share of values that
differ by more than 1e-5 of it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

from models import write_models

HERE = Path(__file__).parent
TWO, FOUR = ["m0", "m1"], ["m0", "m1", "m2", "m3"]
CASES = {
    "linear": ("linear", FOUR, {}, {}),
    "linear, sums": ("linear", FOUR, {}, {"normalize": False}),
    "task_arithmetic": ("task_arithmetic", FOUR, {}, {}),
    "task_arithmetic, lambda": ("task_arithmetic", FOUR, {}, {"lambda": 0.5, "normalize": True}),
    "slerp": ("slerp", ["base", "m0"], {}, {"t": 0.3}),
    "slerp, gradient and filters": ("slerp", ["base", "m0"], {}, {"t": [
        {"filter": "self_attn", "value": [0, 0.5, 0.3, 0.7, 1]}, {"filter": "mlp", "value": [1, 0.5, 0.7, 0.3, 0]},
        {"value": 0.5}]}),
    "nuslerp": ("nuslerp", TWO, {}, {}),
    "multislerp": ("multislerp", FOUR, {}, {}),
    "karcher": ("karcher", FOUR, {}, {}),
    "ties": ("ties", FOUR, {"density": 0.5}, {}),
    "ties, default density": ("ties", FOUR, {}, {}),
    "ties, density a model": ("ties", TWO, {"density": [0.3, 0.6]}, {}),
    "dare_linear, all kept": ("dare_linear", FOUR, {"density": 1.0}, {}),
    "dare_ties, all kept": ("dare_ties", FOUR, {"density": 1.0}, {}),
    "della, all kept": ("della", FOUR, {"density": 1.0, "epsilon": 0.0}, {}),
    "della_linear, all kept": ("della_linear", FOUR, {"density": 1.0, "epsilon": 0.0}, {}),
    "breadcrumbs": ("breadcrumbs", FOUR, {"density": 0.6, "gamma": 0.1}, {}),
    "breadcrumbs_ties": ("breadcrumbs_ties", FOUR, {"density": 0.6, "gamma": 0.1}, {}),
    "sce": ("sce", FOUR, {}, {}),
    "sce, selected": ("sce", FOUR, {}, {"select_topk": 0.4}),
    "model_stock": ("model_stock", FOUR, {}, {}),
}  # fmt: skip
BASELESS = ("linear", "karcher")
WEIGHTS = [0.7, 1.3, 1.0, 0.5]


def merge_file(folder: Path, method: str, models: list[str], own: dict, common: dict) -> str:
    """The YAML that both read."""
    entries = []
    for k, name in enumerate(models):
        parameters = {key: value[k] if isinstance(value, list) else value for key, value in own.items()}
        if method not in ("slerp", "model_stock", "sce", "karcher"):
            parameters["weight"] = WEIGHTS[k]
        entries.append({"model": str(folder / name), "parameters": parameters})
    content = {"merge_method": method, "models": entries, "parameters": common, "dtype": "float32"}
    if method not in BASELESS:
        content["base_model"] = str(folder / "base")
    return json.dumps(content)  # JSON is YAML


def compare(folder: Path, ours: Path, theirs: Path) -> dict[str, float]:
    import torch
    from safetensors.torch import load_file

    def load(where: Path) -> dict[str, torch.Tensor]:
        return {
            name: tensor
            for path in sorted(where.glob("*.safetensors"))
            for name, tensor in load_file(path).items()
        }

    one, other, base = load(ours), load(theirs), load(folder / "base")
    names = sorted(one.keys() & other.keys())
    change = max((other[name] - base[name].float()).abs().max().item() for name in names)
    apart = torch.cat([(one[name] - other[name]).abs().flatten() for name in names]) / change
    return {
        "largest": apart.max().item(),
        "mean": apart.mean().item(),
        "share": (apart > 1e-5).float().mean().item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mergekit", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    folder, found = arguments.folder, {}
    if not (folder / "m3").exists():
        write_models(folder, "30M", dtype="float32")  # no two magnitudes are equal, so no ties to break
    from dtm.merge import merge

    for name, (method, models, own, common) in CASES.items():
        if arguments.only not in name:
            continue
        path, ours, theirs = folder / "merge.yaml", folder / "ours", folder / "theirs"
        path.write_text(merge_file(folder, method, models, own, common))
        for where in (ours, theirs):
            subprocess.run(["rm", "-rf", where], check=True)
        merge(path, ours, threads=1)
        done = subprocess.run([arguments.mergekit, path, theirs], capture_output=True, text=True, check=False)
        found[name] = (
            compare(folder, ours, theirs) if done.returncode == 0 else {"failed": done.stderr[-300:]}
        )
        print(name, json.dumps(found[name]), flush=True)
    if not arguments.only:
        (HERE / "agreement.json").write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
