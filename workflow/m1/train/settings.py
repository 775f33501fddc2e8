"""What the steps of this stage are told."""

from dataclasses import dataclass

from m1.core.settings import Count, Settings


@dataclass(frozen=True)
class FetchSettings(Settings):
    """Where a model is: a folder, or a model on the hub."""

    path: str | None = None
    hub: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class SftSettings(Settings):
    """How a model is fine-tuned (3.2, B.2); the recipe's ``sft``. They decide the weights.

    A batch is that of an optimizer step, on all GPUs together. The learning rate is that at its peak. A sample has at
    most ``block_size`` tokens; the share ``truncated`` of the samples may be longer, and is cut.
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
