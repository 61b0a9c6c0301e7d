"""An accelerate config file (FSDP, DeepSpeed, plain DDP), by HF's names, checked before any work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dtm.foundations.dataclass_fields import settings_of
from dtm.foundations.errors import ConfigError, DtmError, MissingInput, several
from dtm.foundations.registry import unknown
from dtm.foundations.yaml import Document, load

KINDS = ("NO", "MULTI_CPU", "MULTI_GPU", "FSDP", "DEEPSPEED")
LEGACY = ("fp16", "dynamo_backend", "downcast_bf16")  # accelerate reads these still
# The launcher's to say: they are neither checked nor part of the key.
PLACES = frozenset({
    "machine_rank", "main_process_ip", "main_process_port", "rdzv_backend", "same_network", "num_machines",
    "num_processes", "use_cpu", "debug", "main_training_function", "compute_environment", "enable_cpu_affinity",
    "tpu_env", "tpu_use_cluster", "tpu_use_sudo", "gpu_ids",
})  # fmt: skip
REFUSED = (
    "megatron_lm_config",
    "mpirun_config",
    "parallelism_config",
    "fp8_config",
    "commands",
    "command_file",
)
GATHER = "stage3_gather_16bit_weights_on_model_save"


def read_accelerate(path: Path, args: Mapping[str, Any], *, where: object = None) -> Document:
    """The file, if training can run under it and leave one whole model folder; all that is wrong at once.

    `args` are SFTConfig's settings. Raises MissingInput where the file or DeepSpeed is missing, ConfigError else.
    """
    if not path.is_file():
        raise MissingInput(f"there is no accelerate config file {str(path)!r}", where=where,
                           mend="Make one with `accelerate config --config_file FILE`")  # fmt: skip
    document = load(path)
    if errors := list(_wrong(document, args)):
        raise several(errors)
    return document


def keyed(values: Mapping[str, Any]) -> dict[str, Any]:
    """What of an accelerate config arithmetic may depend on; a DeepSpeed file's content, not its name."""
    return {
        name: value for name, value in values.items() if name not in PLACES and value not in (None, {}, [])
    }


def _wrong(document: Document, args: Mapping[str, Any]) -> Any:
    values, where = document.values, document.where
    known = [*settings_of("BaseConfig"), *settings_of("ClusterConfig"), *LEGACY]
    yield from (
        unknown("accelerate setting", name, known, where=where(name)) for name in values if name not in known
    )
    kind = str(values.get("distributed_type"))
    if kind not in KINDS:
        yield unknown(
            "distributed_type that sub-models train under", kind, KINDS, where=where("distributed_type")
        )
    if values.get("compute_environment", "LOCAL_MACHINE") != "LOCAL_MACHINE":
        yield ConfigError("only LOCAL_MACHINE is launched", where=where("compute_environment"))
    for name in REFUSED:
        if values.get(name):
            yield ConfigError("sub-models are not trained this way", where=where(name),
                              mend="There is: DDP, FSDP and DeepSpeed")  # fmt: skip
    if values.get("gpu_ids", "all") not in ("all", None):
        yield ConfigError("the launcher pins sub-models to GPUs", where=where("gpu_ids"), mend="Leave it out")
    precision = values.get("mixed_precision")
    if precision == "fp8" or (precision == "fp16" and not args.get("fp16")):
        mend = "Set train.args.fp16: true" if precision == "fp16" else "Use bf16 or fp16"
        yield ConfigError(
            f"training would not follow {precision!r}", where=where("mixed_precision"), mend=mend
        )
    if kind == "FSDP":
        yield from _fsdp(values.get("fsdp_config") or {}, where)
    if kind == "DEEPSPEED":
        yield from _deepspeed(values.get("deepspeed_config") or {}, document)


def _fsdp(config: Mapping[str, Any], where: Callable[[str], object]) -> Any:
    """Sharded weights are consolidated by accelerate, but not those of a state that is only local."""
    if config.get("fsdp_state_dict_type") == "LOCAL_STATE_DICT":
        yield ConfigError(
            "shards of a LOCAL_STATE_DICT cannot be consolidated into one model",
            where=where("fsdp_config.fsdp_state_dict_type"), mend="Use FULL_STATE_DICT or SHARDED_STATE_DICT",
        )  # fmt: skip


def _deepspeed(config: dict[str, Any], document: Document) -> Any:
    """ZeRO-3 leaves shards alone unless it is told to gather them."""
    if find_spec("deepspeed") is None:
        yield MissingInput("this file asks for DeepSpeed, which is not installed",
                           where=document.where("distributed_type"), mend="Run `pip install deepspeed`")  # fmt: skip
    key, mend = "zero3_save_16bit_model", "Set it to true"
    stage, gathers = config.get("zero_stage"), config.get(key)
    if name := config.get("deepspeed_config_file"):
        key = "deepspeed_config_file"
        own = _read_own(document, str(name))
        if isinstance(own, DtmError):
            yield own
            return
        config[key] = own  # its content is what counts; the worker writes it to a file of its own
        zero = own.get("zero_optimization") or {}
        stage, gathers, mend = zero.get("stage"), zero.get(GATHER), f"Set zero_optimization.{GATHER} to true"
    if stage == 3 and gathers is not True:
        yield ConfigError("ZeRO-3 would leave the sub-model in shards", where=document.where(f"deepspeed_config.{key}"),
                          mend=mend)  # fmt: skip


def _read_own(document: Document, name: str) -> dict[str, Any] | DtmError:
    """The DeepSpeed file's content; it is looked for beside the accelerate file."""
    import json

    place = document.where("deepspeed_config.deepspeed_config_file")
    path = (document.path.parent if document.path else Path()) / Path(name).expanduser()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return MissingInput(f"there is no file {name!r}", where=place)
    except ValueError as error:
        return ConfigError(f"{name!r} is not JSON: {error}", where=place)
    return found if isinstance(found, dict) else ConfigError(f"{name!r} holds no mapping", where=place)
