"""README.md of a model that was trained on pairs: where they came from, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ALARM = (
    "The chosen answers became less likely than they were: it avoids the rejected ones at the cost of both."
)


def card(job: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Front matter for the hub, the yield of the pairs, log probabilities before and after, and the settings."""
    import yaml

    found = facts["preference"]
    front = {"base_model": job["base_name"], "library_name": "peft" if job["lora"] else "transformers",
             "tags": ["dpo", "dtm"]}  # fmt: skip
    head = yaml.safe_dump(front, sort_keys=True).rstrip()
    lines = ["---", head, "---", "", f"# {job['name']}", "",
             f"Trained by disperse-then-merge (`dtm`) on {found['pairs']:,} preference pairs for {facts['steps']:,} "
             f"steps of DPO, from a model tuned from `{job['base_name']}`, which is the reference.", ""]  # fmt: skip
    if job.get("swapped"):
        lines += [f"A control: the labels of {len(job['swapped']):,} pairs were exchanged.", ""]
    told = {name: value for name, value in (job.get("yield") or {}).items() if isinstance(value, int)}
    if told:
        lines += ["| pairs | |", "|---|---|",
                  *(f"| {name.replace('_', ' ')} | {value:,} |" for name, value in told.items()), ""]  # fmt: skip
    lines += ["| log probability, nats an answer | before | after |", "|---|---|---|",
              *(f"| {side} | {found[f'{side}_before']:.3f} | {found[f'{side}_after']:.3f} |"
                for side in ("chosen", "rejected")), "",
              f"{100 * found['accuracy']:.1f} % of the chosen answers gained on the rejected ones."]  # fmt: skip
    if found["fell"]:
        lines += ["", ALARM]
    settings = yaml.safe_dump({"prefer": {"args": dict(job["args"])}}, sort_keys=True).rstrip()
    return "\n".join([*lines, "", "```yaml", settings, "```", ""])
