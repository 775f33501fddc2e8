"""Training as trl is plainly used against ours: tokens a second and loss curves, on a tiny model here or on one GPU.

    python benchmarks/train.py        # the demo's small model on a CPU, fp32; exit code 1 where losses differ
    python benchmarks/train.py --laptop --repeats 1 --steps 3  # SmolLM2-135M's shape, in minutes
    python benchmarks/train.py --gpu  # a model of Qwen2.5-7B's shape on one card, bf16
    python benchmarks/train.py --gpu --shape tiny --device cpu  # the same program in small, to try it without a card

Models are made at random and samples too: tokens of a random Markov chain, so that there is something to learn, in
lengths that spread as the demo's do (log-normal). Settings are those of the demo's m1-small-23K and, with ``--gpu``, of
the paper's m1-7B-23K, except epochs and where a line says otherwise. Ours is :func:`m1.train.trainer.train` as the
workflow calls it; plain is trl's ``SFTTrainer`` with the same settings and our order of samples, so that each step of
every line is the same 16 samples (all but those by length). Every measurement is a process of its own and goes once
through the samples. The first step, which warms up, counts for the loss but not for the time. Tokens are those of the
samples, without padding.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from m1.commands.cards import FILE, named_card  # noqa: E402
from m1.commands.lengths import sample_tokens  # noqa: E402
from m1.core.errors import UserError, run  # noqa: E402
from m1.train.settings import SftSettings, TrainRuntime  # noqa: E402
from m1.train.text import IGNORED  # noqa: E402
from m1.wiring import config  # noqa: E402

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "intermediate_size": 256,
        "vocab_size": 1461,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "initializer_range": 0.05,
    },
    "smollm2-135m": {
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    },
    "qwen2.5-7b": {
        "hidden_size": 3584,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "intermediate_size": 18944,
        "vocab_size": 152064,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": False,
    },
}
"""Of Qwen2 models: the demo's small base, and SmolLM2-135M and Qwen2.5-7B by their published configurations."""
DEPTHS = {"tiny": (1, 2), "smollm2-135m": (15, 30), "qwen2.5-7b": (7, 14, 28)}
"""Numbers of layers that are measured. Weights, gradients and AdamW's moments in fp32 are 16 bytes a parameter, 122 GB
at 28 layers of the 7B shape: with a recipe that does not fit at the whole depth, that one is extrapolated from the
others."""
SAMPLES, EPOCHS = 23_493, 5
"""Of m1-7B-23K (Table 2, B.2)."""
TOLERANCE = 1e-4
"""Largest difference between losses of the same step in fp32: sums in another order."""
SEED = 0
Result = TypeVar("Result")


@dataclass(frozen=True)
class Variant:
    """One way to train."""

    title: str
    ours: bool
    per_device: int
    """Samples at a time; the rest of a batch is accumulated."""
    checkpointing: bool = False
    padding_free: bool = False
    """Samples of a micro-batch in one row. Of plain trl; ours does so on GPUs."""
    grouped: bool = False
    """Samples of like length in one batch, so another loss curve."""


CPU_VARIANTS: tuple[Variant, ...] = (
    Variant("trl plain: 1 at a time, 16 accumulated, checkpointing", False, 1, checkpointing=True),
    Variant("trl plain: 16 at a time, padded", False, 16),
    Variant("ours: 16 at a time", True, 16),
    Variant("ours: 4 at a time", True, 4),
    Variant("trl: 16 at a time, padding-free", False, 16, padding_free=True),
    Variant("ours as shipped: 16 at a time, by length", True, 16, grouped=True),
    Variant("ours: 4 at a time, by length", True, 4, grouped=True),
)
LAPTOP_VARIANTS: tuple[Variant, ...] = (
    Variant("trl plain: 1 at a time", False, 1),
    Variant("trl plain: 4 at a time, padded", False, 4),
    Variant("ours: 4 at a time", True, 4),
    Variant("ours as shipped: 1 at a time, by length", True, 1, grouped=True),
)
GPU_VARIANTS = (
    Variant("trl plain: 1 at a time", False, 1),
    Variant("trl plain: 1 at a time, checkpointing", False, 1, checkpointing=True),
    Variant("ours: 2 at a time, checkpointing", True, 2, checkpointing=True),
    Variant("ours as shipped: 2 at a time", True, 2),
)


@dataclass(frozen=True)
class Measured:
    """What a training took after its first step, and what it learned."""

    losses: list[float]
    """Of every step."""
    wall: float
    """Seconds."""
    cpu: float
    """Seconds, of all threads."""
    tokens: int
    padding: float
    """Padding tokens for each token of a sample."""
    flops: float
    """Model FLOPs; see :func:`model_flops`."""
    memory: float
    """Peak of the GPU, in GiB; 0 on a CPU."""
    how: str
    """What really ran."""


def model_flops(parameters: int, layers: int, width: int, lengths: Sequence[int]) -> float:
    """Floating-point operations that forward and backward pass need, without padding and without anything computed
    twice.

    6 N + 12 L H Q T for a token of a sequence of T: appendix B of "PaLM: Scaling Language Modeling with Pathways"
    (arXiv:2204.02311), which counts the whole square of attention, although half of it is masked.

    Args:
        parameters: N, of matrix products: all but an input embedding that is not the head, too.
        layers: L.
        width: H Q, heads times their size.
        lengths: T of each sample, tokens.
    """
    return sum(6.0 * parameters * length + 12.0 * layers * width * length**2 for length in lengths)


def extrapolated(values: Mapping[int, float], layers: int) -> float:
    """A value at another depth, on the line through the two deepest that were measured: all layers cost the same.

    Args:
        values: number of layers to value, two at least.
    """
    (one, first), (two, second) = sorted(values.items())[-2:]
    return second + (layers - two) * (second - first) / (two - one)


def hours(tokens_per_second: float, mean: int) -> float:
    """Hours of one card for m1-7B-23K.

    Args:
        mean: tokens of a sample.
    """
    return SAMPLES * EPOCHS * mean / tokens_per_second / 3600


def made(number: int, mean: int, spread: float, vocabulary: int) -> list[dict[str, list[int]]]:
    """Samples as token ids and labels, the same every time; the first third, at most 150 tokens, is a prompt without
    loss.

    Args:
        mean: tokens of a sample.
        spread: standard deviation of the logarithm of their number; 0.22 in the demo's m23K.
        vocabulary: ids; the first three are special.
    """
    generator = random.Random(SEED)
    after = [generator.choices(range(3, vocabulary), k=4) for _ in range(vocabulary)]
    prompt, samples = min(150, mean // 3), []
    for _ in range(number):
        length = round(generator.lognormvariate(math.log(mean) - spread**2 / 2, spread))
        ids = [generator.randrange(3, vocabulary)]
        while len(ids) < min(max(length, prompt + 8), 8192):
            ids.append(generator.choice(after[ids[-1]]))
        samples.append({"input_ids": ids, "labels": [IGNORED] * prompt + ids[prompt:]})
    return samples


def make_base(shape: Mapping[str, Any], dtype: str, folder: Path) -> None:
    """Write a random model of a shape."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM, set_seed

    set_seed(SEED)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen2ForCausalLM._from_config(
            Qwen2Config(**shape, eos_token_id=2, pad_token_id=0), dtype=getattr(torch, dtype)
        )
    model.save_pretrained(folder)


def measure(
    variant: Variant,
    base: Path,
    samples: Mapping[str, Any],
    settings: Mapping[str, Any],
    placement: Mapping[str, Any],
    after: Callable[[Any], None] = lambda trainer: None,
    callbacks: Sequence[Any] = (),
) -> Measured | None:
    """Train once; None where the memory of the card is too small. In a process of its own: see :func:`apart`.

    Nothing is saved: the workflow's checkpoint after the last step takes minutes on a slow disk, and is not measured.

    Args:
        base: folder of the model.
        samples: arguments of :func:`made`.
        settings: a recipe's ``sft``.
        placement: a recipe's ``train``.
        after: called with the trainer when all is measured.
        callbacks: further ones of the trainer.
    """
    import torch
    from m1.train import trainer as training
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, TrainerCallback

    class Clock(TrainerCallback):
        """When each step ended: wall clock and CPU seconds."""

        def __init__(self) -> None:
            self.ends: list[tuple[float, float]] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.ends.append((time.perf_counter(), time.process_time()))

    clock = Clock()

    class Timed(training.Trainer):
        """trl's trainer with our order and the clock, and without checkpoints."""

        def train(self, *arguments: Any, **named: Any) -> Any:
            self.remove_callback(training.CheckpointCallback)
            for callback in (clock, *callbacks):
                self.add_callback(callback)
            return super().train(*arguments, **named)

    settings = {**settings, "group_by_length": variant.grouped}
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1, "<eos>": 2}, "<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>")
    examples = made(**samples)
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as scratch:
        try:
            if variant.ours:
                setattr(training, "Trainer", Timed)  # noqa: B010
                placed = {
                    **placement,
                    "per_device": variant.per_device,
                    "gradient_checkpointing": variant.checkpointing,
                }
                trainer, info = training.train(
                    base,
                    tokenizer,
                    examples,
                    SftSettings.from_parts(settings),
                    TrainRuntime.from_parts(placed),
                    Path(scratch),
                    variant.title,
                )
                how, padding_free = info.attention, info.padding_free
            else:
                trainer = plain(Timed, variant, base, tokenizer, examples, settings, Path(scratch))
                how, padding_free = trainer.model.config._attn_implementation, variant.padding_free
        except torch.OutOfMemoryError:
            return None
    lengths = trainer.sampler.lengths
    micro = [[lengths[place] for place in part] for part in trainer.sampler][trainer.sampler.parts :]
    timed = [length for part in micro for length in part]
    computed = sum(timed) if padding_free else sum(len(part) * max(part) for part in micro)
    model = trainer.accelerator.unwrap_model(trainer.model)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if not model.config.tie_word_embeddings:
        parameters -= model.get_input_embeddings().weight.numel()
    (wall, cpu), (wall_end, cpu_end) = clock.ends[0], clock.ends[-1]
    measured = Measured(
        [line["loss"] for line in trainer.state.log_history if "loss" in line],
        wall_end - wall,
        cpu_end - cpu,
        sum(timed),
        computed / sum(timed) - 1,
        model_flops(parameters, model.config.num_hidden_layers, model.config.hidden_size, timed),
        torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0,
        f"{how}, padding-free" if padding_free else how,
    )
    after(trainer)
    return measured


def plain(
    trainer_type: Any,
    variant: Variant,
    base: Path,
    tokenizer: Any,
    examples: Sequence[Any],
    settings: Mapping[str, Any],
    scratch: Path,
) -> Any:
    """Train with trl's own settings, but for what the recipe says."""
    import torch
    from m1.train.trainer import BatchSampler, dataset
    from trl import SFTConfig

    batch = settings["batch_size"]
    lengths, parts = [len(example["input_ids"]) for example in examples], batch // variant.per_device
    sampler = BatchSampler(lengths, batch, settings["seed"], grouped=False, parts=parts)
    chosen = SFTConfig(
        output_dir=str(scratch),
        num_train_epochs=settings["epochs"],
        per_device_train_batch_size=variant.per_device,
        gradient_accumulation_steps=batch // variant.per_device,
        learning_rate=settings["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(settings["warmup_ratio"] * sampler.steps * settings["epochs"]),
        weight_decay=settings["weight_decay"],
        adam_beta1=settings["betas"][0],
        adam_beta2=settings["betas"][1],
        bf16=settings["bf16"],
        activation_checkpointing=variant.checkpointing,
        padding_free=variant.padding_free,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        seed=settings["seed"],
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )
    data = dataset(examples, batch, tokenizer.eos_token_id)
    trainer = trainer_type(model=str(base), args=chosen, train_dataset=data, processing_class=tokenizer)
    trainer.sampler = sampler
    trainer.train()
    return trainer


def apart(function: Callable[..., Result], *arguments: Any) -> Result:
    """What a function returns in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def difference(one: Measured, other: Measured) -> float:
    """The largest between the losses of the same step."""
    return max(abs(a - b) for a, b in zip(one.losses, other.losses, strict=True))


def on_cpu(arguments: argparse.Namespace, work: Path) -> None:
    """The table of the demo's small model, or of the laptop's; exit code 1 where loss curves are not equal."""
    if arguments.laptop:
        overlays = [ROOT / "config/paper.yaml", ROOT / "config/overlays/laptop.yaml"]
        recipe, shape = config.load(overlays)["recipes"]["m1-135m"], SHAPES["smollm2-135m"]
        samples, variants = {"mean": 690, "spread": 0.25}, LAPTOP_VARIANTS
    else:
        recipe, shape = config.load()["recipes"]["m1-small-23k"], SHAPES["tiny"]
        samples, variants = {"mean": 142, "spread": 0.22}, CPU_VARIANTS
    settings = {**recipe["sft"], "epochs": 1}
    number = (arguments.steps or 16) * settings["batch_size"]
    samples |= {"number": number, "vocabulary": shape["vocab_size"]}
    apart(make_base, shape, "float32", work / "base")
    found: dict[Variant, list[Measured]] = {variant: [] for variant in variants}
    for _ in range(arguments.repeats):
        for variant in variants:
            if measured := apart(measure, variant, work / "base", samples, settings, recipe["train"]):
                found[variant].append(measured)
    first = found[variants[0]][0]
    slow = min(measured.cpu for measured in found[variants[0]])
    print(
        "| recipe | wall (s) | CPU (s) | tokens/s | tokens/CPU s | of the first | padding | last "
        "loss | largest difference of losses |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    unequal = False
    for variant, runs in found.items():
        wall, cpu = min(measured.wall for measured in runs), min(measured.cpu for measured in runs)
        apart_by = max(difference(first, measured) for measured in runs)
        unequal |= not variant.grouped and not apart_by <= TOLERANCE
        speeds = (
            f"{runs[0].tokens / wall:,.0f} | {runs[0].tokens / cpu:,.0f} | "
            f"{slow / cpu * runs[0].tokens / first.tokens:.2f}"
        )
        same = "other batches" if variant.grouped else f"{apart_by:.1e}"
        print(
            f"| {variant.title} | {wall:.1f} | {cpu:.1f} | {speeds} | {runs[0].padding:.0%} | "
            f"{runs[0].losses[-1]:.4f} | {same} |"
        )
    print(
        f"\n{len(first.losses)} steps of {settings['batch_size']} samples, {first.tokens:,} tokens "
        f"timed; best of {arguments.repeats}."
    )
    if unequal:
        raise SystemExit(f"loss curves differ by more than {TOLERANCE:g}")


def on_gpu(arguments: argparse.Namespace, work: Path) -> None:
    """The table of a model of the shape on one card, at several depths."""
    recipe = config.load([ROOT / "config/paper.yaml"])["recipes"]["m1-7b-23k"]
    settings = {**recipe["sft"], "epochs": 1}
    shape = SHAPES[arguments.shape]
    whole, wanted = shape["num_hidden_layers"], sorted(arguments.layers or DEPTHS[arguments.shape])
    vocabulary = min(1000, shape["vocab_size"])
    samples = {
        "number": (arguments.steps or 8) * settings["batch_size"],
        "mean": arguments.tokens,
        "spread": 0.5,
        "vocabulary": vocabulary,
    }
    name = apart(card)
    if arguments.device == "cuda" and not name:
        raise UserError("no GPU here; try the program with --gpu --shape tiny --device cpu")
    known = named_card(name)
    peak = arguments.peak or (known and known.operations)
    if name and not peak:
        raise UserError(f"{name}: its peak is not in {FILE}; give it by --peak, dense bf16 FLOP/s")
    print(
        f"{name or 'CPU'}; {arguments.shape}, samples of {arguments.tokens:,} tokens on average; "
        "weights, gradients and AdamW in fp32\n"
    )
    print(
        "| layers | recipe | tokens/s | model FLOPs utilisation | peak memory (GiB) | card hours "
        "for m1-7B-23K | difference of losses |"
    )
    print("|---|---|---|---|---|---|---|")

    def row(layers: str, title: str, seconds: float, flops: float, memory: str, full: bool, same: str) -> None:
        share = f"{flops / seconds / peak:.1%}" if peak else ""
        cost = f"{hours(1 / seconds, arguments.tokens):,.0f}" if full else ""
        print(f"| {layers} | {title} | {1 / seconds:,.0f} | {share} | {memory} | {cost} | {same} |", flush=True)

    found: dict[Variant, dict[int, Measured]] = {variant: {} for variant in GPU_VARIANTS}
    for layers in wanted:
        base = work / f"base-{layers}"
        apart(make_base, {**shape, "num_hidden_layers": layers}, "bfloat16", base)
        first: Measured | None = None
        for variant in GPU_VARIANTS:
            measured = apart(measure, variant, base, samples, settings, recipe["train"])
            if not measured:
                print(f"| {layers} | {variant.title} | does not fit | | | | |", flush=True)
                continue
            first = first or measured
            found[variant][layers] = measured
            memory = f"{measured.memory:.1f}" if measured.memory else ""
            seconds, flops = measured.wall / measured.tokens, measured.flops / measured.tokens
            title = f"{variant.title} ({measured.how})"
            row(str(layers), title, seconds, flops, memory, layers == whole, f"{difference(first, measured):.1e}")
    for variant, depths in found.items():
        if whole not in depths and len(depths) > 1:
            seconds = extrapolated({layers: one.wall / one.tokens for layers, one in depths.items()}, whole)
            flops = extrapolated({layers: one.flops / one.tokens for layers, one in depths.items()}, whole)
            row(f"{whole}, extrapolated", variant.title, seconds, flops, "", True, "")


def card() -> str:
    """The name of the GPU; empty without one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, help="batches of 16 samples; by default 16, with --gpu 8")
    parser.add_argument("--repeats", type=int, default=3, help="without --gpu: each is measured so often, in turn")
    parser.add_argument("--laptop", action="store_true", help="a model of SmolLM2-135M's shape, on a CPU")
    parser.add_argument("--gpu", action="store_true", help="a model of --shape on one card")
    parser.add_argument("--shape", choices=SHAPES, default="qwen2.5-7b")
    parser.add_argument("--layers", type=int, nargs="+", help=f"depths, by default {DEPTHS}")
    parser.add_argument(
        "--tokens", type=int, default=round(sample_tokens()), help="of a sample; by default as `plan` assumes"
    )
    parser.add_argument("--peak", type=float, help=f"dense bf16 FLOP/s of the card, where it is not in {FILE}")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments = parser.parse_args(argv)
    if not arguments.gpu or arguments.device == "cpu":
        os.environ |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as work:
        (on_gpu if arguments.gpu else on_cpu)(arguments, Path(work))


if __name__ == "__main__":
    run(main)
