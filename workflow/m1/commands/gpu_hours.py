"""How many GPU-hours the trainings and generations of a configuration will take, before any of them runs: part of
``make plan``.

Arithmetic on assumptions, each a constant below, good to a factor of three or so: for asking for an allocation, not for
a bill. The paper says of its own trainings only "minutes on 8 H100 GPUs" and "a few hours with 16" (B.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from m1.commands.doctor import parameters
from m1.wiring.run import Wiring

if TYPE_CHECKING:
    from m1.commands.plan import Questions

TRAINING = 400e12
"""Operations a second that a GPU does in training: an H100 in bf16 at 40 % of its peak. Six of them for a parameter and
token."""
SERVING = 100e12
"""In generating, with an engine that keeps its batch full (SGLang): bound by memory. Two for a parameter and token."""
STEPS = 25
"""Tokens a second of each request in process (transformers), whatever the model: bound by the calls of its kernels."""
QUESTION, THINKING, ANSWER = 150, 1_000, 200
"""Tokens of a question with its options, of thinking (Figure 8a has traces around 1,000) and of an answer, assumed."""


@dataclass
class Work:
    """A step on GPUs."""

    step: str
    gpus: int
    """Of each job, on all of its nodes."""
    jobs: int
    tokens: int
    """Trained on, over all epochs, or generated."""
    gpu_hours: float | None
    """Of all jobs; None where nobody knows how large the model is, as its name does not say."""
    there: bool
    """Its result is there."""

    @property
    def hours(self) -> float | None:
        """Hours of each job."""
        return None if self.gpu_hours is None else self.gpu_hours / self.gpus / self.jobs


def works(wiring: Wiring, questions: Questions) -> list[Work]:
    """The steps of a configuration that run on GPUs, in the order of the paper; none for the embedded world's tiny
    models.

    Args:
        questions: how many there are of each kind, made or estimated.
    """
    config, found = wiring.config, []
    screen = config["screen"]
    if wiring.screens:
        for name, base in screen["models"].items():
            if gpus := wiring.screens_on(name):
                tokens = questions.merged() * min(ANSWER, screen["answer_limit"])
                shards = screen["shards"]
                found.append(
                    _generating(
                        f"screen {name}",
                        gpus,
                        shards,
                        tokens,
                        base,
                        screen["serve"],
                        f"screen/{name}.parquet",
                        questions,
                    )
                )
    for name in wiring.trainings:
        nodes, gpus = wiring.trains_on(name)
        if gpus:
            sft = wiring.recipes[name]["sft"]
            tokens = round(questions.subset(sft["subset"]) * (QUESTION + THINKING + ANSWER) * sft["epochs"])
            size = parameters(config["bases"][wiring.recipes[name]["base"]]) * 1e9
            hours = 6 * size * tokens / TRAINING / 3600 if size else None
            found.append(
                Work(f"train {name}", nodes * gpus, 1, tokens, hours, (questions.results / f"train/{name}").exists())
            )
    asked = (
        sum(questions.size("benchmarks", name) or 0 for name in config["benchmarks"])
        if any(map(wiring.answers_on, wiring.recipes))
        else 0
    )
    for name in [*wiring.swept, *wiring.at_once]:
        recipe = wiring.recipes[name]
        if gpus := wiring.answers_on(name):
            each = _thinking(recipe["thinking"]) if name in wiring.swept else min(ANSWER, config["answer_limit"])
            base, made = config["bases"][recipe["base"]], f"infer/{name}/predictions.parquet"
            shards = recipe["serve"]["shards"]
            found.append(
                _generating(f"infer {name}", gpus, shards, asked * each, base, recipe["serve"], made, questions)
            )
    return found


def _thinking(settings: dict[str, Any]) -> int:
    """Tokens for a question: it is thought about once, to the largest budget, `Wait` is forced once, and all settings
    are answered."""
    answers = len(settings["budgets"]) + len(settings["forced"])
    forced = max(0, settings["forced_budget"] - THINKING) if settings["forced"] else 0
    return min(THINKING, max(settings["budgets"])) + forced + answers * min(ANSWER, settings["answer_limit"])


def _generating(
    step: str,
    gpus: int,
    shards: int,
    tokens: int,
    base: dict[str, Any],
    serve: dict[str, Any],
    made: str,
    questions: Questions,
) -> Work:
    size = parameters(base) * 1e9
    rate = serve["batch"] * STEPS if serve["engine"] == "transformers" else SERVING / (2 * size) if size else None
    return Work(step, gpus, shards, tokens, tokens / rate / 3600 if rate else None, (questions.results / made).exists())


def rows(found: Iterable[Work]) -> list[list[str]]:
    """As a table to read, with the sum of what is not there yet."""
    left = [work for work in found if not work.there]
    header = ["on GPUs", "GPUs", "jobs", "tokens", "GPU-hours", "hours each", ""]
    cells = [
        [
            work.step,
            f"{work.gpus}",
            f"{work.jobs}",
            f"{work.tokens / 1e6:,.1f}M",
            _hours(work.gpu_hours),
            _hours(work.hours),
            "there" if work.there else "",
        ]
        for work in found
    ]
    whole = sum(work.gpu_hours or 0 for work in left)
    return [
        header,
        *cells,
        ["sum of what is left", "", f"{sum(work.jobs for work in left)}", "", _hours(whole), "", ""],
    ]


def _hours(hours: float | None) -> str:
    return "?" if hours is None else f"{hours:,.1f}" if hours >= 1 else f"{hours:.2f}"


def note(found: Iterable[Work], uncounted: Sequence[str]) -> str:
    """What is assumed, and which benchmarks (``uncounted``) nobody knows the size of."""
    unknown = sorted(work.step for work in found if work.gpu_hours is None)
    return (
        f"GPU-hours are those of an H100, to a factor of three: {TRAINING / 1e12:.0f} TFLOP/s in "
        f"training, {SERVING / 1e12:.0f} in"
        f" generating, in process {STEPS} tokens a second for each request of a batch; {QUESTION} "
        f"tokens of question, {THINKING:,} of"
        f" thinking, {ANSWER} of answer, all of forced_budget where `Wait` is forced; loading weights comes on top."
        " A consumer card of 24 GB takes some eight times as long to train."
        + (
            f" Not counted, as nobody knows their rows yet: {', '.join(uncounted)}; give `rows` in `data`."
            if uncounted
            else ""
        )
        + (f" Not known, as no name says how large the model is: {', '.join(unknown)}." if unknown else "")
    )
