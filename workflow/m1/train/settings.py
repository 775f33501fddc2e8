"""Settings of the steps of this stage."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from m1.core.chat import chat_template
from m1.core.errors import UserError
from m1.core.files import digest, recorded_identity, sha256_file
from m1.core.fingerprint import fingerprint
from m1.core.places import locate
from m1.core.settings import Count, Range, Settings


@dataclass(frozen=True)
class FetchSettings(Settings):
    """The source of a model: a local folder, or the hub."""

    path: str | None = None
    hub: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class LoraSettings(Settings):
    """An adapter that is trained instead of all weights: two matrices of rank ``r`` for each linear layer.

    Their product is scaled by ``alpha / r``. ``dropout`` is the share of an adapter's inputs that a step leaves out.
    ``targets`` are names of layers, or their ends; None for all layers but the output head. The base is frozen, with
    weights in ``base_dtype``; the adapter's weights are in float32.
    """

    r: Annotated[int, Range("from 1 to 1,024", least=1, most=1024)]
    alpha: Count
    dropout: Annotated[float, Range("from 0 to 0.9", least=0, most=0.9)]
    targets: tuple[str, ...] | None
    base_dtype: Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class SftSettings(Settings):
    """Settings that decide the weights of a fine-tuned model (3.2, B.2): the recipe's ``sft``.

    Without ``lora``, all weights are trained, as in the paper. ``batch_size`` is the number of samples of an optimizer
    step, on all GPUs together. ``learning_rate`` is the peak. A sample may have ``block_size`` tokens; up to the share
    ``truncated`` of the samples may be longer, and are cut.
    """

    subset: str
    epochs: Count
    batch_size: Count
    learning_rate: float
    warmup_ratio: float
    weight_decay: float
    betas: tuple[float, float]
    bf16: bool
    block_size: Count
    truncated: float
    group_by_length: bool
    seed: int
    lora: LoraSettings | None = None

    def decided(self) -> dict[str, Any]:
        """The values that decide the weights.

        Without an adapter, the key ``lora`` is left out, so models trained before that key existed are still found.
        """
        return {key: value for key, value in asdict(self).items() if key != "lora" or value is not None}

    def to_json(self) -> str:
        """The settings as one JSON object with sorted keys: the value of one param."""
        return json.dumps(self.decided(), sort_keys=True)


@dataclass(frozen=True)
class TrainRuntime(Settings):
    """Settings of the machine and speed of a training: the recipe's ``train``. It does not change what is computed.

    Each node has ``processes``, one for each GPU, and each runs at most ``per_device`` samples at a time. ``strategy``
    is a file in config/accelerate. Checkpoints are ``save_minutes`` apart and, if not None, every ``save_steps``. The
    job has ``gpus`` on each node; with 0, it takes what it finds.
    """

    nodes: Count
    processes: Count
    strategy: str
    per_device: Count
    gradient_checkpointing: bool
    attention: str
    kernels: bool
    save_minutes: float
    save_steps: Count | None
    report_to: str
    gpus: int = 0

    def fsdp_options(self) -> dict[str, Any]:
        """The strategy's ``fsdp_config``, by which processes share out the weights; empty for a single process.

        Raises:
            UserError: there is no such strategy.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return {}
        path = locate(f"config/accelerate/{self.strategy}.yaml")
        if not path.is_file():
            there = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
            raise UserError(f"train.strategy: no file {path}; there are {there}")
        return yaml.safe_load(path.read_text(encoding="utf-8")).get("fsdp_config") or {}


def deciding_values(identity: str, base: Path, template: Path | None, subset: Path, settings: SftSettings) -> list[Any]:
    """The JSON values that decide the weights of a training, besides its code; ``identity`` is that of the base."""
    return [identity, chat_template(template or base), sha256_file(subset), settings.decided()]


def training_folder(folder: Path, name: str, decided: Sequence[object]) -> Path:
    """The folder of one training below ``folder``, so that only a training with the same base, samples and settings
    (:func:`deciding_values`) continues from its checkpoints."""
    return folder / "train" / name / digest(list(decided))[:12]


def kept_folder(store: Path, name: str, decided: Sequence[object]) -> Path:
    """The place of a finished training's model in the store; the fingerprint of the training's code decides, too."""
    return training_folder(store, name, [*decided, fingerprint("m1.train.sft")])


def is_kept(kept: Path) -> bool:
    """Whether the store has a finished model; its files are checked when it is taken."""
    return (kept / "config.json").is_file() and bool(recorded_identity(kept))
