"""Where a run's jobs go: `launch:` checked before any work, and the launcher that it names."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dtm.config import Launch, RunFile
from dtm.foundations.errors import ConfigError, DtmError, MissingInput, several
from dtm.foundations.files import canonical, text_digest
from dtm.foundations.launch import Launcher, LocalLauncher, Share
from dtm.foundations.launch.local import visible_gpus
from dtm.foundations.registry import unknown
from dtm.train import Settings
from dtm.train.accelerate import keyed, read_accelerate

PACKAGES = {"ray": ("ray", "ray"), "slurm": ("submitit", "slurm")}  # kind -> package, extra
SHARDED = ("FSDP", "DEEPSPEED")
PLACES = 8  # where the number of portions is not known before
FOREIGN = {  # kind -> keys that it does not have, and why
    "local": {"address": "workers are on this machine", "cpus": "a worker has processes x threads cores",
              "nodes": "workers are on this machine", "slurm": "it is for kind: slurm"},
    "ray": {"slurm": "it is for kind: slurm"},
    "slurm": {"nodes": "a sub-model that needs several is for kind: ray"},
}  # fmt: skip


@dataclass(frozen=True)
class Placement:
    """A `launch:` section that was checked: `share` is what one sub-model gets, `device` what it computes on."""

    kind: str
    workers: int
    share: Share
    device: str
    address: str = "auto"
    slurm: Mapping[str, Any] | None = None

    @property
    def numerics(self) -> dict[str, Any]:
        """What arithmetic of a training depends on besides its inputs; where it runs does not count."""
        own = self.share.accelerate
        counted = {} if own is None else {"accelerate": text_digest(canonical(keyed(own)))}
        return {
            "threads": self.share.threads,
            "device": self.device,
            "processes": self.share.processes,
            **counted,
        }

    def open(self, log: Path | None) -> Launcher:
        """The launcher; what workers print goes to `log`."""
        if self.kind == "ray":
            from dtm.foundations.launch.on_ray import RayLauncher

            return RayLauncher(self.share, workers=self.workers, address=self.address, log=log)
        if self.kind == "slurm":
            from dtm.foundations.launch.on_slurm import SlurmLauncher

            return SlurmLauncher(self.share, workers=self.workers, address=self.address, log=log,
                                 settings=self.slurm or {})  # fmt: skip
        return LocalLauncher(workers=self.workers, share=self.share, log=log)


def check_launch(file: RunFile, train: Settings) -> Placement:
    """The section as a placement; raises DtmError for keys that its kind lacks and for what cannot be had."""
    launch, where = file.config.launch, file.where
    wrong: list[DtmError] = [
        ConfigError(f"kind: {launch.kind} has no `{key}`: {why}", where=where(f"launch.{key}"), mend="Leave it out")
        for key, why in FOREIGN[launch.kind].items() if getattr(launch, key) != Launch.model_fields[key].default
    ]  # fmt: skip
    wrong += _missing_package(launch, where)
    own: dict[str, Any] | None = None
    if launch.accelerate_config is not None:
        try:
            path = Path(launch.accelerate_config).expanduser()
            own = read_accelerate(
                file.root / path, train.args, where=where("launch.accelerate_config")
            ).values
        except DtmError as error:
            wrong.append(error)
    if wrong:
        raise several(wrong)
    device = _device(launch, where)
    if device == "cpu" and own and own["distributed_type"] in SHARDED:
        raise ConfigError(
            f"accelerate shards on GPUs only: on CPUs {own['distributed_type']} would be plain DDP, in silence",
            where=where("launch.accelerate_config"), mend="Ask for GPUs, or use distributed_type: MULTI_CPU",
        )  # fmt: skip
    share = _share(launch, device, own, where)
    if launch.kind == "local":
        workers = launch.workers or 1
        _check_cores(workers, share, where)
        _check_gpus(workers, share, where)
        return Placement("local", workers, share, device)
    _check_address(launch, where)
    slurm = _slurm(launch, where) if launch.kind == "slurm" else None
    k = file.config.disperse.k
    workers = launch.workers or (k if isinstance(k, int) else PLACES)
    return Placement(launch.kind, workers, share, device, launch.address, slurm)


def same_places(launcher: Launcher, placement: Placement, where: Callable[[str], object]) -> None:
    """Raise ConfigError where workers that are kept give a job another share than this run wants."""
    if launcher.share != placement.share:
        raise ConfigError(
            f"the workers that are kept have {_told(launcher.share)}, and this run wants {_told(placement.share)}",
            where=where("launch.threads"), mend="Say the same under launch",
        )  # fmt: skip


def _told(share: Share) -> str:
    words = [f"{share.threads} threads"]
    words += [f"{share.processes} processes"] if share.processes > 1 else []
    words += [f"{share.gpus} GPUs"] if share.gpus else []
    words += [f"{share.nodes} nodes"] if share.nodes > 1 else []
    return ", ".join(words) + (" and an accelerate config" if share.accelerate is not None else "")


def _missing_package(launch: Launch, where: Callable[[str], object]) -> list[DtmError]:
    package, extra = PACKAGES.get(launch.kind, ("", ""))
    if not package or find_spec(package) is not None:
        return []
    return [MissingInput(f"kind: {launch.kind} needs the package {package}", where=where("launch.kind"),
                         mend=f"Run `pip install 'disperse-then-merge[{extra}]'`")]  # fmt: skip


def _share(launch: Launch, device: str, own: dict[str, Any] | None, where: Callable[[str], object]) -> Share:
    """What one sub-model gets, and gets alike on each of its nodes."""
    said = {
        "processes": launch.processes,
        "nodes": launch.nodes if launch.nodes > 1 else None,
    }
    for ours, theirs in (("processes", "num_processes"), ("nodes", "num_machines")):
        inside = (own or {}).get(theirs)
        if ours == "nodes" and inside == 1:
            continue
        if inside not in (None, -1) and said[ours] not in (None, inside):
            raise ConfigError(f"{said[ours]} {ours} here, and `{theirs}: {inside}` in the accelerate file",
                              where=where(f"launch.{ours}"), mend="Leave one of them out")  # fmt: skip
        said[ours] = said[ours] or (inside if inside != -1 else None)
    processes, nodes = (
        said["processes"] or (launch.gpus if device == "cuda" else None) or 1,
        said["nodes"] or 1,
    )
    if nodes > 1 and launch.kind == "local":
        raise ConfigError(
            f"kind: local has one machine, not {nodes}", where=where("launch.accelerate_config")
        )
    gpus = processes if device == "cuda" else 0
    if launch.gpus not in (None, gpus):
        raise ConfigError(
            f"{launch.gpus} GPUs for {processes} processes on {device}", where=where("launch.gpus"),
            mend="A process has one GPU: leave processes or gpus out" if device == "cuda" else "Set device: cuda",
        )  # fmt: skip
    if processes % nodes:
        raise ConfigError(
            f"{processes} processes do not part evenly over {nodes} nodes", where=where("launch.nodes")
        )
    threads = launch.threads or _threads(launch, processes)
    cpus = launch.cpus or processes * threads
    if cpus < processes * threads or cpus % nodes:
        raise ConfigError(
            f"{cpus} CPUs will not do for {processes} processes x {threads} threads on {nodes} nodes",
            where=where("launch.cpus"), mend=f"Set it to {-(-processes * threads // nodes) * nodes}",
        )  # fmt: skip
    return Share(threads, processes, cpus, gpus, nodes, own)


def _threads(launch: Launch, processes: int) -> int:
    """Threads of a process where none are said: the cores shared out, or those that a sub-model asks for."""
    there = cores() // (launch.workers or 1) if launch.kind == "local" else launch.cpus or 1
    return max(1, there // processes)


def _check_cores(workers: int, share: Share, where: Callable[[str], object]) -> None:
    wanted, there = share.processes * share.threads, cores()
    if workers * wanted > max(there, workers * share.processes):
        each = (
            f"{share.processes} processes x {share.threads} threads"
            if share.processes > 1
            else f"{wanted} threads"
        )
        raise ConfigError(
            f"{workers} workers x {each} are more than this machine's {there} cores, which makes training many "
            "times slower",
            where=where("launch"), mend=f"Set launch.threads to {max(1, there // (workers * share.processes))}",
        )  # fmt: skip


def _check_gpus(workers: int, share: Share, where: Callable[[str], object]) -> None:
    there = len(visible_gpus()) if share.gpus else 0
    if workers * share.gpus > there:
        raise ConfigError(
            f"{workers} workers x {share.gpus} GPUs are more than the {there} of this machine", where=where("launch"),
            mend=f"Set launch.workers to {max(1, there // share.gpus)}, or fewer processes",
        )  # fmt: skip


def cores() -> int:
    """Cores that this process may use, which a container may have fewer of than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _device(launch: Launch, where: Callable[[str], object]) -> str:
    """On other machines what is asked for; here `auto` asks torch, if there seems to be a GPU: it takes seconds."""
    if launch.kind != "local":
        return "cuda" if launch.device == "cuda" or (launch.device == "auto" and launch.gpus) else "cpu"
    if launch.device == "cpu" or (launch.device == "auto" and not Path("/dev/nvidiactl").exists()):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if launch.device == "cuda":
        raise ConfigError(
            "torch sees no CUDA device", where=where("launch.device"), mend="Set launch.device: cpu"
        )
    return "cpu"


def _check_address(launch: Launch, where: Callable[[str], object]) -> None:
    """An address of the right form, at which somebody answers; `auto` and `local` are looked for when needed."""
    address, place = launch.address, where("launch.address")
    if address in ("auto", "local"):
        return
    if launch.kind == "slurm":
        raise unknown("address of Slurm", address, ("auto", "local"), where=place)
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in ("", "ray") or not host or not port:
        raise ConfigError(f"{address!r} is no address of Ray", where=place,
                          mend="There is: auto, local, ray://HOST:PORT, HOST:PORT")  # fmt: skip
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        raise MissingInput(
            f"nobody answers at {address} ({error.strerror or error})", where=place,
            mend="Start the cluster with `ray start --head`, or set address: local",
        ) from None  # fmt: skip


def _slurm(launch: Launch, where: Callable[[str], object]) -> dict[str, Any]:
    from dtm.foundations.launch.on_slurm import known_settings

    known = known_settings()
    if wrong := [unknown("setting of submitit", name, known, where=where(f"launch.slurm.{name}"))
                 for name in launch.slurm or {} if name not in known]:  # fmt: skip
        raise several(list(wrong))
    return dict(launch.slurm or {})
