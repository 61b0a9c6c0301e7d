"""Where a training reports to besides our own logs: TensorBoard, W&B, trackio, by TRL's `report_to`.

One group a run, one name a sub-model. Workers are kept, so what a tracker keeps open is closed with each training.
What the user's environment says of a tracker counts, but for what would mix sub-models up.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dtm.foundations.errors import ConfigError, DtmError, MissingInput
from dtm.foundations.registry import unknown

PACKAGES = {  # transformers' names -> the modules of which one is needed
    "tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "trackio": ("trackio",),
    "mlflow": ("mlflow",), "comet_ml": ("comet_ml",), "clearml": ("clearml",), "swanlab": ("swanlab",),
    "neptune": ("neptune",), "dvclive": ("dvclive",), "codecarbon": ("codecarbon",), "dagshub": ("dagshub",),
    "azure_ml": ("azureml",), "flyte": ("flytekit",), "kubeflow": (),
}  # fmt: skip
EXTRAS = ("tensorboard", "wandb", "trackio")  # of our own package
ALL, NONE = "all", "none"
PROJECT = "dtm"  # of W&B, where none is said; trackio's is the run's group, since it is told of no groups


def check_report_to(value: Any, place: str) -> list[DtmError]:
    """Whether `report_to` names what there is, and its package is installed; wrong names and packages as errors."""
    if value is None or value in (ALL, NONE, [ALL], [NONE]):
        return []
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return [ConfigError(f"{value!r} is neither a name nor a list of names", where=place)]
    errors: list[DtmError] = []
    for name in names:
        if name not in PACKAGES:
            errors.append(unknown("tracker", name, (*PACKAGES, ALL, NONE), where=place))
        elif PACKAGES[name] and not any(find_spec(module) for module in PACKAGES[name]):
            package = f"'disperse-then-merge[{name}]'" if name in EXTRAS else name
            errors.append(MissingInput(f"report_to: {name} needs the package {PACKAGES[name][0]}", where=place,
                                       mend=f"Run `pip install {package}`"))  # fmt: skip
    return errors


def reports(args: Mapping[str, Any]) -> bool:
    """Whether a training with these settings reports to anything."""
    return args.get("report_to") not in (None, NONE, [], [NONE])


def named(job: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of TRL's that name the job's run; nothing is reported of a probe."""
    if job.get("probe"):
        return {"report_to": NONE}
    if not (said := job.get("reporting")):
        return {}
    return {
        "run_name": f"{said['group']}-{said['name']}",
        "project": job["args"].get("project", said["group"]),
    }


@contextmanager
def reporting(job: Mapping[str, Any]) -> Iterator[None]:
    """The environment that trackers read, for the time of the job; what they have open in the end is closed."""
    said = job.get("reporting")
    if not said or job.get("probe"):
        yield
        return
    before = dict(os.environ)
    os.environ.update(_environment(job["args"], said))
    try:
        yield
    finally:
        _close()
        os.environ.clear()
        os.environ.update(before)


def _environment(args: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, str]:
    folder = Path(said["folder"])
    boards = os.environ.get("TENSORBOARD_LOGGING_DIR") or folder / "tensorboard"
    theirs = {  # the user's own count
        "WANDB_PROJECT": str(args.get("project", PROJECT)),
        "WANDB_RUN_GROUP": said["group"],
        "WANDB_RESUME": "allow",
        "WANDB_DIR": str(folder),  # W&B makes its folder in it
    }
    return {
        **{name: os.environ.get(name, value) for name, value in theirs.items()},
        "TENSORBOARD_LOGGING_DIR": str(Path(boards) / said["name"]),
        "WANDB_RUN_ID": said["id"],  # a training that goes on after a kill goes on in W&B too
    }


def _close() -> None:
    """W&B would take the next training for the same run; trackio's callback closes what comes to its end."""
    for name in ("finish", "teardown"):
        _call("wandb", name)
    if (
        trackio := sys.modules.get("trackio")
    ) is not None and trackio.context_vars.current_run.get() is not None:
        _call("trackio", "finish")


def _call(module: str, name: str) -> None:
    function: Callable[[], Any] | None = getattr(sys.modules.get(module), name, None)
    if function is not None:
        function()
