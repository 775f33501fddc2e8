"""What the steps of this stage are told."""

from __future__ import annotations

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
    """How a model is fine-tuned (3.2, B.2); the recipe's ``sft``. They decide the weights."""

    subset: str
    epochs: Count
    batch_size: Count
    """Samples in an optimizer step, all GPUs together."""
    learning_rate: float
    """At its peak."""
    warmup_ratio: float
    weight_decay: float
    betas: tuple[float, float]
    bf16: bool
    block_size: Count
    """Tokens of a sample at most."""
    truncated: float
    """Share of the samples that may be longer and are cut."""
    group_by_length: bool
    seed: int


@dataclass(frozen=True)
class TrainRuntime(Settings):
    """Where and how training runs; the recipe's ``train``. It decides none of the weights' mathematics."""

    nodes: Count
    processes: Count
    """On each node, one for a GPU."""
    strategy: str
    """A file in config/accelerate."""
    per_device: Count
    """Samples at a time on one GPU at most."""
    gradient_checkpointing: bool
    attention: str
    kernels: bool
    save_minutes: float
    """Between two checkpoints."""
    save_steps: Count | None
    """Between two checkpoints; None for by time only."""
    report_to: str
