"""What one card does: training, FSDP2, LoRA, the transformers engine and the sweep, in at most eight minutes.

    bash benchmarks/gpu.sh            # on a machine with an H100 or H200; its head says what must lie beside it
    python benchmarks/gpu.py --tiny   # every measurement in small, on a CPU, to try the program without a card

Each measurement is a process with a time limit of its own, the most wanted first. One that fails or overruns its limit
is said, and the others go on; what does not fit into the whole time is left out, and said. Models are random, in the
shapes of Qwen2.5, so nothing is downloaded. Training is :func:`m1.train.trainer.train` and plain trl as
benchmarks/train.py has them, generating is the engine of the package, and the sweep is m1.infer.sweep.

Results are JSON lines in ``results.jsonl`` below ``--out``, what the programs say is in ``log.txt`` there, and the
table for benchmarks/README.md, with the predictions beside, is printed at the end. A profile says where the time of a
training step and of a step of the engine goes; its tables of operations are in ``log.txt``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "workflow"), str(ROOT / "benchmarks")]

import train as trainings  # noqa: E402
from m1.core.errors import UserError, run  # noqa: E402
from m1.wiring import config  # noqa: E402

SHAPES: dict[str, dict[str, Any]] = {
    "7b": trainings.SHAPES["qwen2.5-7b"],
    "1.5b": {
        "hidden_size": 1536,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "intermediate_size": 8960,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
    },
    "tiny": {**trainings.SHAPES["tiny"], "num_key_value_heads": 2},
}
"""Of Qwen2.5's models, by their published configurations; every one is ``tiny`` with ``--tiny``."""
ENDS = 64
"""In the sweep, one id of so many ends a generation: a random model then thinks for about so many tokens."""
VERSIONS = ("torch", "transformers", "trl", "accelerate", "peft", "datasets", "tokenizers", "triton", "pyarrow")
SECONDS = 450
"""Of the whole, so that a call with a limit of eight minutes ends by itself."""
SPACE = 40e9
"""Bytes of the models of all measurements, and some more; they are kept in memory where it has so much room."""


@dataclass(frozen=True)
class Task:
    """A measurement: a key of :data:`SECTIONS`, what of it, the model's shape and layers, seconds that it may take at
    most, and what was predicted before anything ran."""

    section: str
    what: str = ""
    shape: str = ""
    layers: int = 0
    seconds: int = 60
    predicted: str = ""

    @property
    def name(self) -> str:
        """As the table calls it; unique."""
        layers = f", {self.layers} layers" if self.layers else ""
        return " ".join(filter(None, (self.section, self.shape, self.what))) + layers

    @property
    def base(self) -> str:
        """Folder of the model."""
        return f"base-{self.shape}-{self.layers}"


TASKS = (
    Task("probe", seconds=40, predicted="750 to 800 TFLOP/s; 3.0 TB/s on an H100, 4.3 on an H200"),
    Task("base", "", "1.5b", 28),
    Task("profile", "engine", "1.5b", 28, 50, "GPU busy a tenth of the time: bound by launches"),
    Task("base", "", "7b", 8),
    Task("profile", "ours-2", "7b", 8, 80, "GPU busy nine tenths of the time, with bf16 matrix products"),
    Task("train", "ours-2-ac", "7b", 8, 90, "40 to 45 % MFU (27,000 tokens/s); 44 GiB of states and some more"),
    Task("train", "plain-1-ac", "7b", 8, 90, "within 10 % of ours-2-ac"),
    Task("sweep", "", "1.5b", 28, 150, "at most 0.30 of the time of each setting anew"),
    Task("engine", "", "1.5b", 28, 120, "25 to 30 ms a step at 32 and 128 rows; floor 1 ms; most of 24 differ"),
    Task("train", "ours-2", "7b", 8, 90, "1.3 times the tokens/s of ours-2-ac"),
    Task("train", "ours-2-ac-fsdp", "7b", 8, 120, "losses within 0.02 of ours-2-ac, at its speed"),
    Task("base", "", "7b", 28, 90),
    Task("train", "ours-2-ac-lora", "7b", 28, 120, "9,000 to 13,000 tokens/s; 20 to 30 GiB"),
    Task("engine", "", "7b", 28, 120, "25 to 30 ms a step at 32 rows, as for 1.5B; floor 5 ms; most of 24 differ"),
    Task("base", "", "7b", 4),
    Task("train", "ours-2-ac", "7b", 4, 90, "with 8 layers: 28 layers by extrapolation"),
    Task("train", "ours-4-ac", "7b", 8, 90, "within 10 % of ours-2-ac"),
    Task("train", "plain-1", "7b", 8, 90, "within 10 % of ours-2"),
)
"""The most wanted first."""

Row = dict[str, Any]
"""A result: its figures, and ``said``, which the table shows."""


def probe(task: Task, work: Path, tiny: bool) -> Iterator[Row]:
    """Versions, and what the card reaches at best: dense bf16 TFLOP/s, and TB/s of a copy, read and written."""
    import torch

    versions: dict[str, str] = {}
    for name in VERSIONS:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    if tiny:
        yield {"card": "CPU", "versions": versions, "said": f"CPU; {said}"}
        return
    if not torch.cuda.is_available():
        raise UserError("no GPU that torch sees; try the program with --tiny")

    def seconds(work: Callable[[], Any]) -> float:
        for repeats in (3, 10):
            torch.cuda.synchronize()
            started = time.perf_counter()
            for _ in range(repeats):
                work()
            torch.cuda.synchronize()
        return (time.perf_counter() - started) / repeats

    one, other = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    small, zero = torch.zeros(16, device="cuda"), torch.zeros(16)
    source = torch.empty(2 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    flops = 2 * 8192**3 / seconds(lambda: one @ other) / 1e12
    copied = 2 * source.numel() / seconds(lambda: target.copy_(source)) / 1e12
    launch = seconds(lambda: [small.add_(1) for _ in range(1000)]) * 1e3
    answer = seconds(lambda: small.add_(1)[0].item()) * 1e6
    on_cpu = seconds(lambda: [zero.add_(1) for _ in range(1000)]) * 1e3
    card, cuda = torch.cuda.get_device_name(), torch.version.cuda
    text = f"{card}, CUDA {cuda}: {flops:.0f} TFLOP/s, {copied:.1f} TB/s; {launch:.1f} µs to launch a kernel, "
    text += f"{answer:.0f} µs until a number is back, {on_cpu:.1f} µs for the same on the CPU; {said}"
    host = {"launch_us": launch, "answer_us": answer, "cpu_us": on_cpu}
    yield {"card": card, "cuda": cuda, "versions": versions, "tflops": flops, "copy_tb_s": copied, **host, "said": text}


def base(task: Task, work: Path, tiny: bool) -> Iterator[Row]:
    """Write the random model that other measurements read."""
    started = time.perf_counter()
    layers = (1 if task.layers < 8 else 2) if tiny else task.layers
    shape = {**SHAPES["tiny" if tiny else task.shape], "num_hidden_layers": layers}
    trainings.make_base(shape, "float32" if tiny else "bfloat16", work / task.base)
    yield {"seconds": time.perf_counter() - started}


def measure(
    task: Task, work: Path, tiny: bool, steps: int, changes: Mapping[str, Any], **more: Any
) -> trainings.Measured | None:
    """Train on random samples as ``task.what`` says, with the settings of m1-7B-23K but for ``changes``.

    ``more`` are further arguments of :func:`train.measure`.
    """
    kind, per_device, *words = task.what.split("-")
    recipe = config.load([ROOT / "config/paper.yaml"])["recipes"]["m1-7b-23k"]
    settings = {**recipe["sft"], "epochs": 1, **changes}
    samples = {"number": steps * settings["batch_size"], "mean": 120 if tiny else 1350}
    samples |= {"spread": 0.5, "vocabulary": 1000}
    variant = trainings.Variant(task.what, kind == "ours", int(per_device), "ac" in words)
    return trainings.measure(variant, work / task.base, samples, settings, recipe["train"], **more)


def train(task: Task, work: Path, tiny: bool) -> Iterator[Row]:
    """Train on 80 random samples, 16 a step, with the settings of m1-7B-23K.

    ``task.what`` is ours or plain, samples at a time, and any of ac (activations are computed again), fsdp (FSDP2 with
    one process: its mixed precision, wrapping, loading and saving), lora.
    """
    words = task.what.split("-")
    if "fsdp" in words:
        join_sharded("ac" in words, tiny)
    import torch

    more: Row = {}

    def after(trainer: Any) -> None:
        more["strategy"] = trainer.accelerator.distributed_type.value
        if "fsdp" in words:
            more["save_seconds"] = save_seconds(trainer, work)

    lora = {"lora": LORA} if "lora" in words else {}
    measured = measure(task, work, tiny, 2 if tiny else 5, lora, after=after)
    if measured is None:
        yield {"fits": False, "said": "does not fit"}
        return
    if "fsdp" in words and not tiny and more["strategy"] != "FSDP":
        raise UserError(f"FSDP was asked for, and {more['strategy']} ran")
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    kind = trainings.named_card(card)
    peak = kind and kind.operations
    needed = measured.flops * (2 / 3 if "lora" in words else 1)  # a frozen weight needs no gradient of its own
    speed, mfu = measured.tokens / measured.wall, needed / measured.wall / peak if peak else None
    said = f"{speed:,.0f} tokens/s{f', {mfu:.1%} MFU' if mfu else ''}, {measured.memory:.1f} GiB at most, padding "
    said += f"{measured.padding:.0%}, losses {measured.losses[0]:.4f} to {measured.losses[-1]:.4f} ({measured.how})"
    figures = {"tokens_s": speed, "mfu": mfu, "gib": measured.memory, "padding": measured.padding}
    yield {**figures, "losses": measured.losses, "how": measured.how, "fits": True, **more, "said": said}


def profile(task: Task, work: Path, tiny: bool) -> Iterator[Row]:
    """Where the time of a training step of four samples goes, or that of twelve steps of the engine with 32 rows."""
    import torch
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as Profiler

    on_gpu = torch.cuda.is_available()
    profiler = Profiler(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])])
    times: list[float] = []

    def clock() -> None:
        if on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter())

    if task.what == "engine":
        from m1.engines.transformers import TransformersEngine

        made = TransformersEngine(work / task.base, "float32" if tiny else "bfloat16", 4 if tiny else 32)
        vocabulary = SHAPES["tiny" if tiny else task.shape]["vocab_size"]
        generate(made, requests(8, 8, 8, vocabulary))  # kernels are loaded
        with profiler:
            clock()
            generate(made, requests(made.batch, 12, 12, vocabulary))
            clock()
    else:
        from transformers import TrainerCallback

        class OneStep(TrainerCallback):
            """Profiles the third step."""

            def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step == 2:
                    profiler.start()
                    clock()

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step == 3:
                    clock()
                    profiler.stop()

        measure(task, work, tiny, 3, {"batch_size": 4}, callbacks=[OneStep()])
    found, wall = profiler.key_averages(), times[1] - times[0]
    for order in ("self_device_time_total", "self_cpu_time_total"):
        print(found.table(sort_by=order, row_limit=40, max_name_column_width=90), flush=True)
    # An operation is charged with the time of the kernels that it launches, too, so only kernels are counted.
    kind, time_of = (DeviceType.CUDA, "device") if on_gpu else (DeviceType.CPU, "cpu")
    shares: Counter[str] = Counter()
    for row in found:
        if row.device_type == kind:
            shares[row.key[:60]] += getattr(row, f"self_{time_of}_time_total") / 1e6 / wall
    most = shares.most_common(4)
    launches = sum(row.count for row in found if "LaunchKernel" in row.key)
    where, busy = "GPU" if on_gpu else "CPU", shares.total()
    said = f"{1e3 * wall:.0f} ms, {where} busy {busy:.0%}, {launches:,} launches; most in "
    said += ", ".join(f"`{name}` {share:.0%}" for name, share in most)
    yield {"wall": wall, "busy": busy, "launches": launches, "most": most, "said": said}


LORA = {"r": 16, "alpha": 32, "dropout": 0.0, "targets": None, "base_dtype": "bfloat16"}
"""A recipe's ``sft.lora``."""


def join_sharded(checkpointing: bool, tiny: bool) -> None:
    """Make this process the only one of an FSDP2 training; accelerate takes it up from the environment, transformers
    when it loads."""
    import yaml
    from accelerate import PartialState
    from m1.train.trainer import choose_fsdp

    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = "29511"
    if not tiny:  # accelerate has no FSDP on a CPU
        text = (ROOT / "config/accelerate/fsdp2.yaml").read_text(encoding="utf-8")
        choose_fsdp(yaml.safe_load(text)["fsdp_config"], checkpointing)
    PartialState(cpu=tiny)


def save_seconds(trainer: Any, work: Path) -> float:
    """Seconds of gathering and writing the model, as the step of the workflow does it."""
    from m1.train import trainer as ours

    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=work) as folder:
        ours.save(trainer, ours.weights(trainer, "bfloat16"), Path(folder) / "model")
        if not list(Path(folder, "model").glob("*.safetensors")):
            raise UserError("nothing was saved")
    return time.perf_counter() - started


def engine(task: Task, work: Path, tiny: bool) -> Iterator[Row]:
    """The transformers engine on a random model: speed at 32 and 128 rows, and whether rows side by side change it.

    Twice as many requests as rows, log-normal limits (0.6) of 150 tokens on average. The floor of a step is the time
    in which the weights are read once, at 3 TB/s.
    """
    import torch
    from m1.engines.transformers import TransformersEngine

    scale = 8 if tiny else 1
    made = TransformersEngine(work / task.base, "float32" if tiny else "bfloat16", 32)
    steps = [0]
    made.model.register_forward_hook(lambda *_: steps.__setitem__(0, steps[0] + 1))
    vocabulary = SHAPES["tiny" if tiny else task.shape]["vocab_size"]
    size = sum(weights.numel() * weights.element_size() for weights in made.model.parameters())
    generate(made, requests(8, 8, 8, vocabulary))  # kernels are loaded
    for rows in (32 // scale, 128 // scale):
        made.batch, steps[0] = rows, 0
        found, seconds = generate(made, requests(2 * rows, 150 // scale, 400 // scale, vocabulary))
        tokens, memory = sum(map(len, found)), 0.0
        if torch.cuda.is_available():
            memory = torch.cuda.max_memory_allocated() / 2**30
        figures = {"rows": rows, "tokens_s": tokens / seconds, "ms_step": 1e3 * seconds / steps[0], "gib": memory}
        figures |= {"busy": tokens / steps[0] / rows, "floor_ms": size / 3.0e12 * 1e3}
        said = "{rows} rows: {ms_step:.1f} ms a step (floor {floor_ms:.1f}), {tokens_s:,.0f} tokens/s, {busy:.0%} of "
        yield figures | {"said": (said + "rows busy, {gib:.1f} GiB at most").format(**figures)}
    asked = requests(24, 64 // scale, 128 // scale, vocabulary)
    together: list[Sequence[int]] = []
    for rows in (32, 8, 1):
        made.batch = rows
        found, _ = generate(made, asked if rows > 1 else asked[:4])
        together = together or found
        first = sorted(first_difference(one, other) for one, other in zip(together, found) if one != other)
        if rows < 32:
            equal = {"rows": rows, "equal": len(found) - len(first), "of": len(found), "first_differences": first}
            yield equal | {"said": "{equal} of {of} equal with 32 and with {rows} rows".format(**equal)}


def requests(count: int, mean: int, most: int, vocabulary: int) -> list[Any]:
    """Requests of random tokens, the same every time, with log-normal limits."""
    from m1.engines.protocol import Request

    chance = random.Random(0)
    found = []
    for _ in range(count):
        prompt = tuple(chance.randrange(3, vocabulary) for _ in range(chance.randrange(60, 200)))
        limit = round(chance.lognormvariate(math.log(mean) - 0.6**2 / 2, 0.6))
        found.append(Request(prompt, max(2, min(limit, most)), ()))
    return found


def generate(made: Any, asked: Sequence[Any]) -> tuple[list[Sequence[int]], float]:
    """Token ids in the order of the requests, and seconds."""
    import torch

    found: dict[Any, Sequence[int]] = {}

    def done(request: Any, generation: Any) -> Iterable[Any]:
        found[request] = generation.token_ids
        return ()

    started = time.perf_counter()
    made.generate(asked, done)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return [found[request] for request in asked], time.perf_counter() - started


def first_difference(one: Sequence[int], other: Sequence[int]) -> int:
    """The first place at which two lists of tokens differ."""
    return next((place for place, pair in enumerate(zip(one, other)) if pair[0] != pair[1]), min(len(one), len(other)))


def sweep(task: Task, work: Path, tiny: bool) -> Iterator[Row]:
    """All settings of the demo from one thinking against each setting anew, on one engine that is started once.

    Questions and tokenizer are those of a small embedded world. The model is random: what agrees in bf16 is that of a
    model without margins between tokens.
    """
    from m1.core.chat import tokenizer_of
    from m1.engines.transformers import TransformersEngine
    from m1.infer.settings import SweepSettings

    number, read = 6 if tiny else 64, config.load()
    asked = {"prompt": "thinking", "too_long": "error"}
    settings = SweepSettings.from_parts(read["thinking"], read["generation"], asked)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        questions, model = make_world(Path(folder), number), Path(folder) / "tokenizer"
        for file in (work / task.base).iterdir():
            (model / file.name).symlink_to(file)
        (model / "generation_config.json").unlink()
        ends = [*range(0, SHAPES["tiny" if tiny else task.shape]["vocab_size"], ENDS)]
        (model / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}), encoding="utf-8")
        made = TransformersEngine(model, "float32" if tiny else "bfloat16", number)
        generate(made, requests(8, 8, 8, 900))  # kernels are loaded
        yield compare(made, tokenizer_of(model, None), questions, settings, number)


def compare(made: Any, tokenizer: Any, questions: Sequence[Any], settings: Any, batch: int) -> Row:
    """The sweep against each of its settings generated from nothing: tokens, seconds, and what is equal.

    Answers are equal where the same tokens were asked for and came; thinking is, where the same were asked for.
    """
    from m1.engines.cached import render
    from m1.engines.protocol import Request
    from m1.engines.schedule import Job, Schedule
    from m1.infer import sweep as ours
    from m1.infer.frames import make_frames

    frames, prompts = make_frames(tokenizer, settings), render(tokenizer, questions, settings.prompt)
    parts = [[("medqa", question)] for question in questions]
    kept: list[Any] = []
    once, tokens, seconds = timed(
        made, batch, lambda engine: ours.sweep(engine, tokenizer, parts, "m", settings, kept.append)
    )

    async def alone(prompt: ours.Prompt, budget: int, forced: int, schedule: Schedule) -> Any:
        thought = await ours.think(schedule, prompt, frames, budget)
        async for _, latest in ours.force(schedule, [prompt], [thought], frames, budget, {forced}):
            thought = latest[0]
        request = Request(frames.answer(prompt.text, thought), settings.answer_limit, frames.stop, group=prompt.group)
        return request, await schedule.ask(request)

    answers: list[Any] = []
    figures = {"anew_tokens": 0, "anew_seconds": 0.0}
    for condition in settings.conditions:
        jobs = [Job(1, partial(alone, ours.Prompt(text, place), *condition)) for place, text in enumerate(prompts)]
        _, more, took = timed(made, batch, lambda engine, jobs=jobs: engine.run(jobs, len(jobs), answers.append))
        figures["anew_tokens"] += more
        figures["anew_seconds"] += took
    equal = sum(once.get(request) == generation for request, generation in answers)
    thinking = sum(request in once for request, _ in answers)
    figures |= {"tokens": tokens, "seconds": seconds, "equal": equal, "equal_thinking": thinking, "of": len(answers)}
    figures |= {"token_share": tokens / figures["anew_tokens"], "wall_share": seconds / figures["anew_seconds"]}
    said = "{token_share:.3f} of the tokens and {wall_share:.2f} of the time of each setting anew ({seconds:.1f} s); "
    said += "thinking equal in {equal_thinking} of {of}, answers in {equal}"
    return figures | {"said": said.format(**figures)}


def timed(made: Any, batch: int, work: Callable[[Any], None]) -> tuple[dict[Any, Any], int, float]:
    """What was generated for each request with an empty store, tokens, and seconds."""
    from m1.core.store import Store
    from m1.engines.cached import CachedEngine

    found: dict[Any, Any] = {}

    class Recording(CachedEngine):
        def generate(self, requests: Any, done: Any) -> None:
            def remember(request: Any, generation: Any) -> Any:
                found[request] = generation
                return done(request, generation)

            super().generate(requests, remember)

    with tempfile.TemporaryDirectory() as folder, Store(Path(folder)) as store:
        engine = Recording(lambda: made, "random", store, "sweep", batch=batch)
        started = time.perf_counter()
        work(engine)
        return found, engine.generated, time.perf_counter() - started


def make_world(folder: Path, number: int) -> list[Any]:
    """Questions of a small embedded world, and its tokenizer, written to ``folder/tokenizer``."""
    from m1.core.layouts import LAYOUTS, Parts
    from m1.core.sources import read_local
    from m1.pools.collect import to_questions
    from m1.world.build import main as build
    from m1.world.tokenizer import main as make_tokenizer

    settings = {"seed": 5, "entities": 12, "pools": {"medmcqa": 4}, "benchmark_size": number}
    settings |= {"facts_first": 40, "mixed": 200}
    build(["--settings", json.dumps(settings), "--output", str(folder / "world")])
    words = ["--world", str(folder / "world"), "--vocabulary", "900", "--output", str(folder / "tokenizer")]
    make_tokenizer(words)
    rows = [LAYOUTS["medqa"](row) for row in read_local(folder / "world/benchmarks/medqa.jsonl")]
    return to_questions("medqa", [row for row in rows if isinstance(row, Parts)])


SECTIONS: dict[str, Callable[[Task, Path, bool], Iterator[Row]]] = {
    "probe": probe, "base": base, "profile": profile, "train": train, "engine": engine, "sweep": sweep,
}  # fmt: skip


def run_tasks(
    tasks: Sequence[Task], command: Callable[[Task], list[str]], out: Path, work: Path, seconds: float
) -> None:
    """Run each in a process of its own until ``seconds`` are over; see the head of this file.

    A process writes its results itself. What it does not say in time is said here: that it failed, that it overran its
    limit, or that it was left out. Without a card, which the probe finds out, nothing else is run.
    """
    end, without_card = time.monotonic() + seconds, False
    for task in tasks:
        limit = min(task.seconds, end - time.monotonic())
        if without_card:
            tell(out, task, {"left_out": True, "said": "left out: the probe failed"})
            continue
        if limit < task.seconds / 2:
            tell(out, task, {"left_out": True, "said": "left out: no time"})
            continue
        if task.section != "base" and task.base and task.shape and not (work / task.base).is_dir():
            tell(out, task, {"left_out": True, "said": "left out: no model"})
            continue
        started = time.monotonic()
        with open(out / "log.txt", "a", encoding="utf-8") as log:
            log.write(f"\n== {task.name}\n")
            log.flush()
            code = run_limited(command(task), limit, log)
        if code != 0:
            why = f"over {limit:.0f} s" if code is None else f"exit code {code}"
            tell(out, task, {"failed": why, "said": f"failed ({why}): see log.txt"})
            without_card = task.section == "probe"
        print(f"({task.name}: {time.monotonic() - started:.0f} s)", flush=True)


def run_limited(command: Sequence[str], seconds: float, log: Any) -> int | None:
    """Exit code of a program; None where it and what it had started was killed after ``seconds``."""
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        # The group outlives its leader where that has left children behind.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def tell(out: Path, task: Task, row: Row) -> None:
    """Add a result to the file."""
    with open(out / "results.jsonl", "a", encoding="utf-8") as lines:
        lines.write(json.dumps({"task": task.name, **row}) + "\n")


def table(tasks: Iterable[Task], rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The Markdown table: what was predicted, and what was measured, if anything."""
    said: dict[str, list[str]] = {}
    for row in rows:
        said.setdefault(row["task"], []).append(row.get("said", ""))
    lines = ["| measurement | predicted | measured |", "|---|---|---|"]
    for task in tasks:
        if task.predicted or any(said.get(task.name, ())):
            measured = "; ".join(filter(None, said.get(task.name, ()))) or "not run"
            lines.append(f"| {task.name} | {task.predicted} | {measured} |")
    return lines


def whole_model(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Tokens a second of ours-2-ac at 28 layers, on the line through the depths that were measured."""
    by = {task.name: task.layers for task in TASKS if task.section == "train" and task.what == "ours-2-ac"}
    found = {by[row["task"]]: 1 / row["tokens_s"] for row in rows if row["task"] in by and "tokens_s" in row}
    if len(found) < 2:
        return []
    speed = 1 / trainings.extrapolated(found, SHAPES["7b"]["num_hidden_layers"])
    return [f"train 7b ours-2-ac, 28 layers: {speed:,.0f} tokens/s a card (extrapolated)"]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="every measurement in small, on a CPU")
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), help="folder of results.jsonl and log.txt")
    parser.add_argument("--seconds", type=float, help=f"of the whole; {SECONDS} by default, with --tiny without end")
    parser.add_argument("--predictions", action="store_true", help="print the table of what was predicted")
    parser.add_argument("--task", type=int, help=argparse.SUPPRESS)  # for its own processes
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    tasks = [replace(task, seconds=900) for task in TASKS] if arguments.tiny else TASKS
    if arguments.predictions:
        print("\n".join(table(TASKS, ())))
    elif arguments.task is not None:
        task = tasks[arguments.task]
        for row in SECTIONS[task.section](task, arguments.work, arguments.tiny):
            tell(arguments.out, task, row)
    else:
        measure_all(list(tasks), arguments)


def measure_all(tasks: Sequence[Task], arguments: argparse.Namespace) -> None:
    """Run all tasks with a folder for their models, in memory where the machine has one, and print what they found."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in ("results.jsonl", "log.txt"):
        (arguments.out / name).write_text("", encoding="utf-8")
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
    if arguments.tiny:
        os.environ |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    memory = Path("/dev/shm")
    roomy = not arguments.tiny and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > SPACE
    own = [sys.executable, __file__, "--out", str(arguments.out), *(["--tiny"] if arguments.tiny else [])]
    with tempfile.TemporaryDirectory(dir=memory if roomy else None, prefix="m1-gpu-") as work:

        def command(task: Task) -> list[str]:
            return [*own, "--work", work, "--task", str(tasks.index(task))]

        seconds = arguments.seconds or (math.inf if arguments.tiny else SECONDS)
        run_tasks(tasks, command, arguments.out, Path(work), seconds)
    rows = [json.loads(line) for line in (arguments.out / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    print("\n".join(["", *table(tasks, rows), *whole_model(rows)]))


if __name__ == "__main__":
    run(main)
