"""What the steps of this stage are told."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from m1.core.chat import chat_template
from m1.core.files import digest, recorded_identity, sha256_file
from m1.core.fingerprint import fingerprint
from m1.core.settings import Count, Range, Settings


@dataclass(frozen=True)
class FetchSettings(Settings):
    """Where a model is: a folder, or a model on the hub."""

    path: str | None = None
    hub: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class LoraSettings(Settings):
    """An adapter that is trained in place of all weights: two matrices of rank ``r`` beside each linear layer.

    Their product counts ``alpha / r`` times. ``dropout`` is the share of an adapter's inputs that a step leaves out.
    ``targets`` are the layers' names, or the ends of them; None for all but the output head. The base, which stays as
    it is, has weights in ``base_dtype``; those of the adapter are in float32.
    """

    r: Annotated[int, Range("from 1 to 1,024", least=1, most=1024)]
    alpha: Count
    dropout: Annotated[float, Range("from 0 to 0.9", least=0, most=0.9)]
    targets: tuple[str, ...] | None
    base_dtype: Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class SftSettings(Settings):
    """How a model is fine-tuned (3.2, B.2); the recipe's ``sft``. They decide the weights.

    Without ``lora`` all weights are trained, as the paper does. A batch is that of an optimizer step, on all GPUs
    together. The learning rate is that at its peak. A sample has at most ``block_size`` tokens; the share ``truncated``
    of the samples may be longer, and is cut.
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
        """The values that decide the weights. Without an adapter the key ``lora`` is left out, so that what was trained
        before there was such a key keeps its place in the store."""
        return {key: value for key, value in asdict(self).items() if key != "lora" or value is not None}

    def to_json(self) -> str:
        """The same as one JSON object, keys sorted: the value of one param."""
        return json.dumps(self.decided(), sort_keys=True)


@dataclass(frozen=True)
class TrainRuntime(Settings):
    """Where and how training runs; the recipe's ``train``. It decides none of the weights' mathematics.

    Each node has ``processes``, one for a GPU, which runs at most ``per_device`` samples at a time. The strategy is a
    file in config/accelerate. Checkpoints are ``save_minutes`` apart, or ``save_steps``, if not None. The job is given
    ``gpus`` on each node (none: what is there is taken).
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


def deciding(identity: str, base: Path, template: Path | None, subset: Path, settings: SftSettings) -> list[Any]:
    """The JSON values that decide the weights of a training, but for its code: the base's ``identity``, the chat
    template (of ``template``, where one is borrowed), the samples and the settings."""
    return [identity, chat_template(template or base), sha256_file(subset), settings.decided()]


def training_folder(folder: Path, name: str, decided: Sequence[object]) -> Path:
    """The folder of one training below that of all: only what has the same base, samples and settings
    (:func:`deciding`) goes on from its checkpoints."""
    return folder / "train" / name / digest(list(decided))[:12]


def kept_folder(store: Path, name: str, decided: Sequence[object]) -> Path:
    """Where the store has the model of a training, once it is finished; the code of the training decides, too."""
    return training_folder(store, name, [*decided, fingerprint("m1.train.sft")])


def is_kept(kept: Path) -> bool:
    """Whether a finished model is there. Whether it is undamaged is seen when it is taken."""
    return (kept / "config.json").is_file() and bool(recorded_identity(kept))
