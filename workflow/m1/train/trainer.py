"""Train with trl's SFTTrainer so that a step has the same samples on any number of GPUs, and a kill costs only minutes
(3.2, B.2)."""

import json
import math
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader, Sampler
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from m1.core.attention import avoid_cudnn
from m1.core.errors import UserError, first_line
from m1.core.files import sync, write_text
from m1.core.progress import Progress, say
from m1.train import checkpoints, lora
from m1.train.balance import balance
from m1.train.settings import SftSettings, TrainRuntime
from m1.train.text import IGNORED

EMPTY = [IGNORED] * 2
"""Labels of an empty example, which fills up the last batch of an epoch."""
PATIENCE = timedelta(hours=1)
"""How long processes wait for each other. The first one may hash 65 GB of weights while the others wait."""


class BatchSampler(Sampler[list[int]]):
    """Yields the micro-batches of an epoch; the steps are the same for any number of processes.

    A step is a batch of ``per_step`` samples, divided into ``parts`` micro-batches, which accelerate deals to the
    processes in turn. Empty examples (indices from ``len(lengths)`` on), which have no loss, fill up the last batch of
    an epoch. So every number of processes that divides the batch sees the same steps.

    The division of a batch changes no step, because the loss is the sum over the step's tokens divided by their number.
    With ``balanced``, for rows without padding, micro-batches have similar numbers of tokens
    (:func:`m1.train.balance.balance`). Otherwise they have equal numbers of samples of similar length, so that there is
    little padding.

    With ``grouped``, the samples of a batch have similar lengths, too, and batches are in random order. (transformers'
    own ``group_by_length`` sorts 50 batches at a time, so a small set would go from long to short in every epoch.)
    """

    def __init__(
        self, lengths: Sequence[int], per_step: int, seed: int, grouped: bool, parts: int = 1, balanced: bool = False
    ) -> None:
        # The attribute is not called `batch_size`, since accelerate would take that for the size of a micro-batch.
        self.lengths, self.per_step, self.seed, self.grouped = list(lengths), per_step, seed, grouped
        self.parts, self.balanced = parts, balanced
        self.steps = math.ceil(len(self.lengths) / per_step)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps * self.parts

    def batches(self) -> list[list[int]]:
        """The indices of the samples of each step of the epoch."""
        rng, size = random.Random(f"{self.seed} {self.epoch}"), self.per_step
        order = list(range(len(self.lengths)))
        rng.shuffle(order)
        window = 8 * size if self.grouped else size  # samples that are sorted by length before they become batches
        near = [sorted(order[i : i + window], key=self.lengths.__getitem__) for i in range(0, len(order), window)]
        batches = [part[i : i + size] for part in near for i in range(0, len(part), size)]
        last = batches.pop()  # the incomplete one, which is filled up
        rng.shuffle(batches)
        filling = range(len(self.lengths), self.steps * size)
        return [*batches, [*last, *filling]]

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches():
            if self.balanced:
                lengths = [self.lengths[index] if index < len(self.lengths) else len(EMPTY) for index in batch]
                yield from ([batch[place] for place in part] for part in balance(lengths, self.parts))
            else:
                size = self.per_step // self.parts
                yield from (batch[i : i + size] for i in range(0, self.per_step, size))


class Trainer(SFTTrainer):
    """trl's trainer with our micro-batches, and with FSDP2 that rounds neither sums of gradients nor outputs."""

    sampler: BatchSampler

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The sampler's micro-batches; accelerate deals them to the processes in turn."""
        given: Any = {"pin_memory": self.args.dataloader_pin_memory, "collate_fn": self.data_collator}
        loader = DataLoader(cast(Any, self.train_dataset), batch_sampler=self.sampler, **given)
        return self.accelerator.prepare(loader)

    def create_accelerator_and_postprocess(self) -> None:
        """Set FSDP2's precision: compute in bf16, but add up gradients in fp32 and leave outputs as they are.

        accelerate's own policy rounds both to bf16: the sums, and the logits from which losses are computed.
        """
        super().create_accelerator_and_postprocess()
        if self.args.bf16 and self.accelerator.is_fsdp2:
            policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
            self.accelerator.state.fsdp_plugin.mixed_precision_policy = policy


class EpochCallback(TrainerCallback):
    """Tells the sampler which epoch begins.

    The trainer does this, too. But if a resumed training begins in the middle of an epoch, then on several processes
    the trainer's call does not reach the sampler.
    """

    def __init__(self, sampler: BatchSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.sampler.set_epoch(state.global_step // self.sampler.steps)


class CheckpointCallback(TrainerCallback):
    """Saves checkpoints from time to time, and on SIGTERM, which SLURM sends before the time limit.

    All processes agree on the step.
    """

    def __init__(self, minutes: float, steps: int | None) -> None:
        self.minutes, self.steps, self.saved_at = minutes, steps, time.monotonic()
        self.stop_asked = False
        self.stopped_at: int | None = None

    def _ask_to_stop(self, *_: Any) -> None:
        self.stop_asked = True

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.before = signal.signal(signal.SIGTERM, self._ask_to_stop)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        signal.signal(signal.SIGTERM, self.before)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask to save, or to save and stop."""
        late = time.monotonic() - self.saved_at >= 60 * self.minutes
        due = late or (self.steps and state.global_step % self.steps == 0)
        wanted = 2 if self.stop_asked else 1 if due else 0
        if PartialState().num_processes > 1:
            votes = torch.tensor(wanted, device=PartialState().device)
            torch.distributed.all_reduce(votes, torch.distributed.ReduceOp.MAX)
            wanted = int(votes)
        last = state.global_step >= state.max_steps
        if wanted or last:  # the last step is saved, too, so that a kill while the model is written costs no step
            control.should_save = True
            if wanted == 2 and not last:
                control.should_training_stop, self.stopped_at = True, state.global_step

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint as complete when the parts of all processes are on the disk."""
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        sync(checkpoint)
        PartialState().wait_for_everyone()
        if PartialState().is_main_process:
            checkpoints.write_mark(checkpoint)
        PartialState().wait_for_everyone()
        self.saved_at = time.monotonic()


class LossLogger(TrainerCallback):
    """Shows the loss on the progress line, and logs it step by step to a file of JSON lines.

    After a kill, lines beyond the checkpoint from which the training continues are removed.
    """

    def __init__(self, progress: Progress, path: Path) -> None:
        self.progress, self.path = progress, path

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if PartialState().is_main_process:
            kept = [line for line in checkpoints.losses(self.path) if line["step"] <= state.global_step]
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
            self.progress.resume(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if logs and "loss" in logs and PartialState().is_main_process:
            numbers = {key: float(logs[key]) for key in ("loss", "learning_rate", "grad_norm", "epoch") if key in logs}
            with open(self.path, "a", encoding="utf-8") as lines:
                lines.write(json.dumps({"step": state.global_step, **numbers}) + "\n")
            self.progress.advance(state.global_step - self.progress.done, note=f"loss {float(logs['loss']):.3f}")


@dataclass(frozen=True)
class RunInfo:
    """The way a training really ran; it decides speed and memory, not what is computed."""

    strategy: str
    device: str
    processes: int
    per_device: int  # samples that a process runs at a time
    accumulation: int  # micro-batches of a process in a step
    attention: str
    padding_free: bool
    resumed: int  # steps that an earlier run had done
    parameters: int  # of the model
    trained: int  # those of them that are trained

    def __str__(self) -> str:
        share = f"{self.processes} × {self.per_device} × {self.accumulation} samples a step"
        padding = ", padding-free" if self.padding_free else ""
        part = f", LoRA ({self.trained / self.parameters:.2%})" if self.trained < self.parameters else ""
        return f"{self.strategy} on {self.device}, {share}, {self.attention} attention{padding}{part}"


def join(runtime: TrainRuntime, title: str) -> bool:
    """Join the processes that torchrun started; returns whether this is the first one.

    Raises:
        UserError: there is no such strategy.
    """
    if options := runtime.fsdp_options():
        if torch.cuda.is_available():
            choose_fsdp(options, runtime.gradient_checkpointing)
        elif os.environ.get("RANK") == "0":
            instead = "on a CPU, DDP runs in its place: each process holds the whole model"
            say(title, f"{runtime.strategy} needs GPUs; {instead}")
    return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE).is_main_process


def choose_fsdp(options: Mapping[str, Any], checkpointing: bool) -> None:
    """Make accelerate shard the model by the ``fsdp_config`` of a strategy's file.

    accelerate reads these options from environment variables, and so does transformers when it loads a model.
    """
    values = {**options, "fsdp_activation_checkpointing": checkpointing, "accelerate_use_fsdp": True}
    for key, value in values.items():
        os.environ[key.upper()] = str(value).lower() if isinstance(value, bool) else str(value)


def first_process_value(make: Callable[[], str]) -> str:
    """Compute a value in the first process only, and return it in all processes.

    For example, the weights of a base are then hashed once, and not by every GPU's process.
    """
    return broadcast_object_list([make() if PartialState().is_main_process else ""])[0]


def dataset(examples: Sequence[Mapping[str, Sequence[int]]], batch_size: int, filler: int) -> Dataset:
    """The examples as a data set, followed by the empty ones that fill up the last batch.

    An empty example has two tokens ``filler`` and no loss.
    """
    empty = {"input_ids": [filler] * len(EMPTY), "labels": EMPTY}
    rows = [*examples, *[empty] * (-len(examples) % batch_size)]
    return Dataset(pa.table({key: pa.array([row[key] for row in rows], pa.list_(pa.int32())) for key in empty}))


def runs_without_padding(attention: str, on_gpu: bool) -> bool:
    """Whether samples that run at a time go into one row, in place of one padded row each.

    Flash attention keeps the samples of a row apart by itself; PyTorch's own does so by a mask over all pairs of the
    row's tokens. By arithmetic, that costs a GPU less than padding: all pairs of a row of 3,460 tokens are 9 % of what
    a 7B model computes. On a CPU it costs more, as was measured (``benchmarks/README.md``).
    """
    return attention.startswith("flash_attention") or (attention == "sdpa" and on_gpu)


def training_arguments(
    settings: SftSettings, runtime: TrainRuntime, steps: int, scratch: Path, title: str
) -> SFTConfig:
    """The settings of :func:`train` in trl's form; ``steps`` is the number of steps of the whole training.

    Raises:
        UserError: the batch cannot be divided among the processes.
    """
    per_device, accumulation = divide_batch(settings.batch_size, PartialState().num_processes, runtime.per_device)
    on_gpu, attention, sharded = torch.cuda.is_available(), runtime.attention, "ACCELERATE_USE_FSDP" in os.environ
    # Trained weights are held in float32, and computation is autocast to bf16, as in the released training.
    loading = {"dtype": lora.base_dtype(settings), "device_map": None, "attn_implementation": attention}
    return SFTConfig(
        output_dir=str(scratch),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(settings.warmup_ratio * steps),
        weight_decay=settings.weight_decay,
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        bf16=settings.bf16,
        activation_checkpointing=runtime.gradient_checkpointing and not sharded,  # FSDP has its own
        # FSDP reduces gradients to their shards after each micro-batch. Otherwise every GPU would hold all of them.
        accelerator_config={"gradient_accumulation_kwargs": {"sync_each_batch": sharded}},
        model_init_kwargs={**loading, "use_kernels": runtime.kernels},
        max_length=None,  # trl must not cut silently: examples were checked and cut before
        dataset_kwargs={"skip_prepare_dataset": True},
        padding_free=per_device > 1 and runs_without_padding(attention, on_gpu),
        seed=settings.seed,
        logging_steps=max(1, steps // 200),
        save_strategy="no",
        report_to=runtime.report_to,
        run_name=title,
        disable_tqdm=True,
        dataloader_num_workers=0,
        use_cpu=not on_gpu,
        ddp_find_unused_parameters=False,
    )


def train(
    base: Path,
    tokenizer: Any,
    examples: Sequence[Mapping[str, Sequence[int]]],
    settings: SftSettings,
    runtime: TrainRuntime,
    scratch: Path,
    title: str,
) -> tuple[Trainer, RunInfo]:
    """Train to the end, from the last checkpoint in ``scratch`` if there is one; the log is written there, too.

    The ``examples`` are token ids and labels, none longer than the block.

    Returns:
        The trainer with the trained model, and how it ran.

    Raises:
        UserError: the batch cannot be divided among the processes, or the training was asked to stop.
    """
    steps = math.ceil(len(examples) / settings.batch_size) * settings.epochs
    resume = first_process_value(lambda: str(checkpoints.latest(scratch, title) or ""))
    config = training_arguments(settings, runtime, steps, scratch, title)
    sampler = BatchSampler(
        [len(example["input_ids"]) for example in examples],
        settings.batch_size,
        settings.seed,
        settings.group_by_length,
        parts=settings.batch_size // config.per_device_train_batch_size,
        balanced=config.padding_free,
    )
    checkpointing = CheckpointCallback(runtime.save_minutes, runtime.save_steps)
    with ExitStack() as stack:
        progress = Progress(title, steps, "steps")
        if PartialState().is_main_process:
            stack.enter_context(progress)
        trainer = make_trainer(
            runtime,
            model=str(base),
            args=config,
            train_dataset=dataset(examples, settings.batch_size, tokenizer.eos_token_id),
            processing_class=tokenizer,
            peft_config=lora.adapter(settings),
            callbacks=[EpochCallback(sampler), checkpointing, LossLogger(progress, scratch / "log.jsonl")],
        )
        trainer.sampler = sampler
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        info = run_info(trainer, config, int(resume.rpartition("-")[2]) if resume else 0)
        trainer.train(resume_from_checkpoint=resume or None)
    if checkpointing.stopped_at is not None:
        stopped = f"asked to stop after step {checkpointing.stopped_at:,} of {steps:,}; kept in {scratch}"
        raise UserError(f"{title}: {stopped}. Run again to continue from there.")
    return trainer, info


def run_info(trainer: Trainer, config: SFTConfig, resumed: int) -> RunInfo:
    """Ask accelerate how a trainer really runs, because on a CPU it silently turns FSDP into DDP."""
    model, kind = trainer.accelerator.unwrap_model(trainer.model), trainer.accelerator.distributed_type.value
    strategy = {"NO": "single", "MULTI_GPU": "DDP", "MULTI_CPU": "DDP"}.get(kind, kind)
    if kind == "FSDP":
        strategy = f"FSDP{trainer.accelerator.state.fsdp_plugin.fsdp_version}"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    share = config.per_device_train_batch_size, config.gradient_accumulation_steps
    loading: Any = config.model_init_kwargs
    how = loading["attn_implementation"], config.padding_free
    sizes = [(weights.numel(), weights.requires_grad) for weights in model.parameters()]
    counts = sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained)
    return RunInfo(strategy, device, PartialState().num_processes, *share, *how, resumed, *counts)


def make_trainer(runtime: TrainRuntime, **arguments: Any) -> Trainer:
    """Make the trainer.

    Raises:
        UserError: something that the recipe's ``train`` asks for is not installed.
    """
    avoid_cudnn()
    try:
        trainer = Trainer(**arguments)
    except (ImportError, RuntimeError) as error:  # transformers raises either for a missing package
        if not isinstance(error, ImportError) and "requires" not in str(error):
            raise
        wanted = ", ".join(f"{key}: {getattr(runtime, key)}" for key in ("attention", "kernels", "report_to"))
        remedy = "Install it in the training environment, or ask for something else."
        raise UserError(f"train ({wanted}): {first_line(error)} {remedy}") from None
    # If the package is missing, transformers silently takes a kernel from the hub, if it can.
    model: Any = trainer.model
    if (taken := model.config._attn_implementation) != runtime.attention:
        found = f"{runtime.attention} cannot run here, and transformers takes {taken} in its place"
        raise UserError(f"train.attention: {found}. Install its package in the training environment, or say sdpa.")
    return trainer


def weights(trainer: Trainer, dtype: str) -> dict[str, torch.Tensor]:
    """Gather the whole weights on the CPU, in the precision in which they are saved.

    Every process must call this; only the first one gets the weights, and the others an empty dictionary. ``bfloat16``
    halves the size of a model trained with bf16, and engines that serve it in bf16 would round it in the same way. Each
    tensor is cast before it is gathered, so that no memory ever holds all weights in float32.
    """
    first, kind = PartialState().is_main_process, getattr(torch, dtype)
    whole: dict[int, torch.Tensor] = {}  # tied weights stay one
    state: dict[str, torch.Tensor] = {}
    for name, shard in trainer.accelerator.unwrap_model(trainer.model).state_dict(keep_vars=True).items():
        if id(shard) not in whole:
            cast_shard = shard.detach().to(kind)
            tensor = cast_shard.full_tensor() if isinstance(cast_shard, DTensor) else cast_shard
            whole[id(shard)] = tensor.cpu() if first else tensor.new_empty(0)
        state[name] = whole[id(shard)]
    return state if first else {}


def save(trainer: Trainer, state: dict[str, torch.Tensor], folder: Path) -> None:
    """Write weights and configuration in Hugging Face format."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    model.config.dtype = next(iter(state.values())).dtype
    model.save_pretrained(folder, state_dict=state)


def divide_batch(batch: int, count: int, most: int) -> tuple[int, int]:
    """Divide a step's ``batch`` samples among ``count`` processes, each of which runs up to ``most`` at a time.

    Returns:
        The samples that a process runs at a time, and how many times it does so in a step.

    Raises:
        UserError: the batch cannot be divided.
    """
    if batch % count:
        undivided = f"{batch} samples cannot be shared among {count} processes"
        raise UserError(f"sft.batch_size: {undivided}; choose a number of GPUs that divides it")
    share = batch // count
    per_device = max(size for size in range(1, min(most, share) + 1) if share % size == 0)
    return per_device, share // per_device
