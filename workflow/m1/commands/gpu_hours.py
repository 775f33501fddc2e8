"""How many GPU-hours the trainings and generations of a configuration will take, and how many minutes those on a CPU,
before any of them runs: part of ``make plan``.

Arithmetic on assumptions, each a constant below, good to a factor of three or so: for asking for an allocation, not for
a bill. The paper says of its own trainings only "minutes on 8 H100 GPUs" and "a few hours with 16" (B.2).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from m1.commands.doctor import HELD, parameters
from m1.commands.questions import Questions
from m1.wiring.run import Run

# Operations a second of a GPU in training: an H100 in bf16 at 40 % of its peak.
TRAINING = 400e12
WHOLE, ADAPTER = 6, 4  # operations of a parameter and token: an adapter needs no gradient of the frozen weights
SERVING = 100e12  # in generating (two for a parameter and token), where an engine keeps its batch full: bound by memory
STEPS = 25  # tokens a second of each request in process, whatever the model: bound by the calls of its kernels
# Operations a second of a CPU core in float32, in training and in generating by 32 (benchmarks/README.md).
CORE_TRAINING, CORE_SERVING = 70e9, 16e9
# Tokens of a question with its options, of thinking (Figure 8a has traces around 1,000) and of an answer, assumed.
QUESTION, THINKING, ANSWER = 150, 1_000, 200


@dataclass
class GpuStep:
    """A step on GPUs."""

    step: str
    gpus: int  # of each job, on all of its nodes
    jobs: int
    tokens: int  # trained on, over all epochs, or generated
    gpu_hours: float | None  # of all jobs; None where nobody knows how large the model is, as its name does not say
    there: bool  # its result is there

    @property
    def hours(self) -> float | None:
        """Hours of each job."""
        return None if self.gpu_hours is None else self.gpu_hours / self.gpus / self.jobs


@dataclass
class CpuStep:
    """A step on a CPU, of a model whose recipe says so."""

    step: str
    cores: int
    tokens: int  # trained on, over all epochs, or generated
    minutes: float | None  # None where nobody knows how large the model is
    there: bool  # its result is there


def gpu_steps(run: Run, questions: Questions) -> list[GpuStep]:
    """The steps that run on GPUs, in the order of the paper; none for the embedded world's tiny models."""
    return [*_screens(run, questions), *_trainings(run, questions), *_evaluations(run, questions)]


def _screens(run: Run, questions: Questions) -> Iterator[GpuStep]:
    screen = run.config["screen"]
    for name, base in run.screening_models.items():
        if gpus := run.screening_gpus(name):
            tokens = questions.collection_size() * min(ANSWER, screen["answer_limit"])
            there = (questions.results / f"screen/{name}.parquet").exists()
            hours = _generation_hours(tokens, base, screen["serve"])
            yield GpuStep(f"screen {name}", gpus, screen["shards"], tokens, hours, there)


def cpu_steps(run: Run, questions: Questions) -> list[CpuStep]:
    """The steps of models that run on a CPU; none for the embedded world's tiny models, which take seconds."""
    found = []
    for name in run.recipes:
        base = run.recipes[name]["base"]
        if not run.on_cpu(name) or run.world_model("bases", base):
            continue
        size = parameters(run.config["bases"][base]) * 1e9
        work = []
        if name in run.needed_trainings:
            each = ADAPTER if run.adapter(name) else WHOLE
            work.append(("train", _trained_tokens(run, questions, name), each / CORE_TRAINING, f"train/{name}"))
        if name in run.evaluated_here:
            tokens = _generated_tokens(run, questions, name)
            work.append(("infer", tokens, 2 / CORE_SERVING, f"infer/{name}/predictions.parquet"))
        for stage, tokens, seconds, file in work:
            cores = run.resources(stage, name)["threads"]
            minutes = tokens * size * seconds / cores / 60 if size else None
            found.append(CpuStep(f"{stage} {name}", cores, tokens, minutes, (questions.results / file).exists()))
    return found


def _trainings(run: Run, questions: Questions) -> Iterator[GpuStep]:
    for name in run.needed_trainings:
        nodes, gpus = run.training_gpus(name)
        if gpus:
            tokens = _trained_tokens(run, questions, name)
            size = parameters(run.config["bases"][run.recipes[name]["base"]]) * 1e9
            each = ADAPTER if run.adapter(name) else WHOLE
            hours = each * size * tokens / TRAINING / 3600 if size else None
            there = (questions.results / f"train/{name}").exists()
            yield GpuStep(f"train {name}", nodes * gpus, 1, tokens, hours, there)


def adapter_notes(run: Run) -> list[str]:
    """What is to be known of trainings by an adapter on GPUs: time and memory, by arithmetic."""
    found = []
    for name in run.needed_trainings:
        lora = run.adapter(name)
        if lora is None or not run.training_gpus(name)[1]:
            continue
        size = parameters(run.config["bases"][run.recipes[name]["base"]])
        base = f"{HELD[lora['base_dtype']] * size:,.0f} GB" if size else "as much as its weights"
        found.append(
            f"train {name} is by LoRA (rank {lora['r']}): {ADAPTER} operations of a parameter and token in place of "
            f"{WHOLE}; on each card the frozen base takes {base} in {lora['base_dtype']}; adapter, optimizer and "
            "activations come on top (docs/training.md has the arithmetic; it was not run on a GPU)."
        )
    return found


def _trained_tokens(run: Run, questions: Questions, model: str) -> int:
    """Tokens that a model is trained on, over all epochs."""
    sft = run.recipes[model]["sft"]
    return round(questions.subset_size(sft["subset"]) * (QUESTION + THINKING + ANSWER) * sft["epochs"])


def _evaluations(run: Run, questions: Questions) -> Iterator[GpuStep]:
    for name in (name for name in [*run.swept, *run.direct] if run.answering_gpus(name)):
        recipe = run.recipes[name]
        tokens = _generated_tokens(run, questions, name)
        hours = _generation_hours(tokens, run.config["bases"][recipe["base"]], recipe["serve"])
        there = (questions.results / f"infer/{name}/predictions.parquet").exists()
        yield GpuStep(f"infer {name}", run.answering_gpus(name), recipe["serve"]["shards"], tokens, hours, there)


def _generated_tokens(run: Run, questions: Questions, model: str) -> int:
    """Tokens that a model generates, on all benchmarks."""
    count = sum(questions.size("benchmarks", name) or 0 for name in run.config["benchmarks"])
    thinks = model in run.swept
    each = _thinking_tokens(run.recipes[model]["thinking"]) if thinks else min(ANSWER, run.config["answer_limit"])
    return count * each


def _thinking_tokens(settings: dict[str, Any]) -> int:
    """Tokens for a question: it is thought about once, to the largest budget, `Wait` is forced once, and all settings
    are answered."""
    answers = len(settings["budgets"]) + len(settings["forced"])
    forced = max(0, settings["forced_budget"] - THINKING) if settings["forced"] else 0
    return min(THINKING, max(settings["budgets"])) + forced + answers * min(ANSWER, settings["answer_limit"])


def _generation_hours(tokens: int, base: dict[str, Any], serve: dict[str, Any]) -> float | None:
    """GPU-hours; None where nobody knows how large the model is."""
    size = parameters(base) * 1e9
    rate = serve["batch"] * STEPS if serve["engine"] == "transformers" else SERVING / (2 * size) if size else None
    return tokens / rate / 3600 if rate else None


def rows(found: Iterable[GpuStep]) -> list[list[str]]:
    """As a table to read, with the sum of what is not there yet."""
    table = [["on GPUs", "GPUs", "jobs", "tokens", "GPU-hours", "hours each", ""]]
    jobs, whole = 0, 0.0
    for step in found:
        tokens, hours = f"{step.tokens / 1e6:,.1f}M", [_hours(step.gpu_hours), _hours(step.hours)]
        table.append([step.step, str(step.gpus), str(step.jobs), tokens, *hours, "there" if step.there else ""])
        if not step.there:
            jobs, whole = jobs + step.jobs, whole + (step.gpu_hours or 0)
    return [*table, ["sum of what is left", "", str(jobs), "", _hours(whole), "", ""]]


def cpu_rows(found: Sequence[CpuStep]) -> list[list[str]]:
    """As a table to read, with the sum of what is not there yet."""
    table = [["on CPUs", "cores", "tokens", "minutes", ""]]
    for step in found:
        minutes = "?" if step.minutes is None else f"{step.minutes:,.0f}"
        table.append([step.step, str(step.cores), f"{step.tokens / 1e6:,.2f}M", minutes, "there" if step.there else ""])
    left = sum(step.minutes or 0 for step in found if not step.there)
    return [*table, ["sum of what is left", "", "", f"{left:,.0f}", ""]]


def _hours(hours: float | None) -> str:
    return "?" if hours is None else f"{hours:,.1f}" if hours >= 1 else f"{hours:.2f}"


def note(found: Iterable[GpuStep], uncounted: Sequence[str]) -> str:
    """What is assumed, and which benchmarks (``uncounted``) nobody knows the size of."""
    text = (
        f"GPU-hours are those of an H100, to a factor of three: {TRAINING / 1e12:.0f} TFLOP/s in training, "
        f"{SERVING / 1e12:.0f} in generating, in process {STEPS} tokens a second for each request of a batch; "
        f"{QUESTION} tokens of question, {THINKING:,} of thinking, {ANSWER} of answer, all of forced_budget where "
        "`Wait` is forced; loading weights comes on top. A consumer card of 24 GB takes some eight times as long to "
        "train."
    )
    if uncounted:
        text += f" Not counted, as nobody knows their rows yet: {', '.join(uncounted)}; give `rows` in `data`."
    if unknown := sorted(step.step for step in found if step.gpu_hours is None):
        text += f" Not known, as no name says how large the model is: {', '.join(unknown)}."
    return text
