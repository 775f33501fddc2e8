"""How many GPU-hours the trainings and generations of a configuration will take, before any of them runs: part of
``make plan``.

Arithmetic on assumptions, each a constant below, good to a factor of three or so: for asking for an allocation, not for
a bill. The paper says of its own trainings only "minutes on 8 H100 GPUs" and "a few hours with 16" (B.2).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from m1.commands.doctor import parameters
from m1.commands.questions import Questions
from m1.wiring.run import Run

# Operations a second of a GPU in training (six for a parameter and token): an H100 in bf16 at 40 % of its peak.
TRAINING = 400e12
SERVING = 100e12  # in generating (two for a parameter and token), where an engine keeps its batch full: bound by memory
STEPS = 25  # tokens a second of each request in process, whatever the model: bound by the calls of its kernels
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


def _trainings(run: Run, questions: Questions) -> Iterator[GpuStep]:
    for name in run.needed_trainings:
        nodes, gpus = run.training_gpus(name)
        if gpus:
            sft = run.recipes[name]["sft"]
            tokens = round(questions.subset_size(sft["subset"]) * (QUESTION + THINKING + ANSWER) * sft["epochs"])
            size = parameters(run.config["bases"][run.recipes[name]["base"]]) * 1e9
            hours = 6 * size * tokens / TRAINING / 3600 if size else None
            there = (questions.results / f"train/{name}").exists()
            yield GpuStep(f"train {name}", nodes * gpus, 1, tokens, hours, there)


def _evaluations(run: Run, questions: Questions) -> Iterator[GpuStep]:
    models = [name for name in [*run.swept, *run.direct] if run.answering_gpus(name)]
    count = sum(questions.size("benchmarks", name) or 0 for name in run.config["benchmarks"]) if models else 0
    for name in models:
        recipe = run.recipes[name]
        each = _thinking_tokens(recipe["thinking"]) if name in run.swept else min(ANSWER, run.config["answer_limit"])
        hours = _generation_hours(count * each, run.config["bases"][recipe["base"]], recipe["serve"])
        there = (questions.results / f"infer/{name}/predictions.parquet").exists()
        shards = recipe["serve"]["shards"]
        yield GpuStep(f"infer {name}", run.answering_gpus(name), shards, count * each, hours, there)


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
