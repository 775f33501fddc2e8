"""Estimate the GPU-hours of a configuration's trainings and generations, and the minutes of those on a CPU; part of
``make plan``.

The model rests on assumptions, each a constant here or in :mod:`m1.commands.lengths`. It is right within a factor of
three or so, which suffices to ask for an allocation. Measurements of finished steps (:mod:`m1.commands.finished`)
replace the model. The paper says of its own trainings only "minutes on 8 H100 GPUs" and "a few hours with 16" (B.2).
"""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from m1.commands import finished, kept
from m1.commands.cards import Card, find_card
from m1.commands.doctor import HELD, parameters
from m1.commands.finished import Finished
from m1.commands.lengths import QUESTION, REPLY, WORLD, paper_length, sample_tokens
from m1.commands.questions import Questions
from m1.train.balance import balance
from m1.wiring.run import Run

TRAINING, PREFILL = 0.55, 0.3  # share of the card's peak, in training and in reading prompts
WHOLE, ADAPTER = 6, 4  # operations for each parameter and token; an adapter needs no gradient of the frozen weights
AGAIN = 2  # further operations if activations are computed again
# In a step, a replica generates a token for each request in flight. It reads all weights, which takes READING times the
# least time that the memory's bandwidth allows, and spends REQUEST seconds on each request beside reading its cache.
READING, REQUEST = 1.3, 15e-6
CACHE = 8.2e-6  # bytes of keys and values for each token and parameter (57,344 for a token of Qwen2.5-7B)
DETERMINISTIC = 1.34  # factor on the seconds of a step
LAUNCHES = 27e-3  # shortest step of transformers in seconds: launching its kernels takes as long for any model
# Operations a second of a CPU core in float32, in training and in generating by 32 (benchmarks/README.md).
CORE_TRAINING, CORE_SERVING = 70e9, 16e9
# The same of the embedded world's models in training, which are too small to keep a core busy. Seconds that a job of
# theirs takes to load its model, and seconds of each other job of a run: both are mostly the start of Python.
WORLD_TRAINING, WORLD_START, OTHER_JOB = 40e9, 6, 2
ONCE = 30  # of these other jobs, those that are there once, whatever the pools, benchmarks and models


@dataclass
class GpuStep:
    """The estimate of a step on GPUs."""

    step: str
    gpus: int  # of each job, on all of its nodes
    jobs: int
    tokens: int  # tokens trained on over all epochs, or generated
    gpu_hours: float | None  # of all jobs; None if the model's name does not say how large it is
    there: bool  # whether its result exists
    basis: str = "modelled"  # where tokens and hours come from

    @property
    def hours(self) -> float | None:
        """Hours of each job."""
        return None if self.gpu_hours is None else self.gpu_hours / self.gpus / self.jobs


@dataclass
class CpuStep:
    """The estimate of a step on a CPU, for a model whose recipe says so."""

    step: str
    cores: int
    tokens: int  # tokens trained on over all epochs, or generated
    minutes: float | None  # None if the model's name does not say how large it is
    there: bool  # whether its result exists
    taken: float | None = None  # minutes that it took, if its result exists and was made in one run


@dataclass(frozen=True)
class Asked:
    """The number of questions that a model answers, and the tokens that it generates for each."""

    questions: int
    tokens: float  # generated tokens of each question
    context: float  # mean number of tokens before a generated one
    longest: int  # tokens of the longest generation, which runs alone at the end

    @property
    def all(self) -> int:
        """Generated tokens of all questions."""
        return round(self.questions * self.tokens)


def gpu_steps(run: Run, questions: Questions) -> list[GpuStep]:
    """Estimates of the steps on GPUs, in the order of the paper; the embedded world's tiny models have none."""
    return [*_screens(run, questions), *_trainings(run, questions), *_evaluations(run, questions)]


def _screens(run: Run, questions: Questions) -> Iterator[GpuStep]:
    screen = run.config["screen"]
    asked = direct_answers(questions.collection_size(), screen["answer_limit"])
    for name, base in run.screening_models.items():
        if gpus := run.screening_gpus(name):
            path, serve = questions.results / f"screen/{name}.parquet", screen["serve"] | {"shards": screen["shards"]}
            hours = generation_hours(asked, parameters(base) * 1e9, serve, card_of(run))
            step = GpuStep(f"screen {name}", gpus, screen["shards"], asked.all, hours, path.exists())
            yield measured(step, finished.generation(path.with_suffix(".json"), gpus))


def cpu_steps(run: Run, questions: Questions) -> list[CpuStep]:
    """Estimates of the steps on a CPU, those of the embedded world's models among them."""
    found = list(_world_bases(run, questions))
    for name in run.recipes:
        if not run.on_cpu(name):
            continue
        base = run.recipes[name]["base"]
        world = bool(run.world_model("bases", base))
        size = world_size(run, "bases", base) if world else parameters(run.config["bases"][base]) * 1e9
        work = []
        if name in run.needed_trainings:
            each = ADAPTER if run.adapter(name) else WHOLE
            seconds = each / (WORLD_TRAINING if world else CORE_TRAINING)
            work.append(("train", _trained_tokens(run, questions, name), seconds, f"train/{name}"))
        if name in run.evaluated_here:
            tokens = _asked(run, questions, name).all
            work.append(("infer", tokens, 2 / CORE_SERVING, f"infer/{name}/predictions.parquet"))
        for stage, tokens, seconds, file in work:
            cores = run.resources(stage, name)["threads"]
            place = questions.results / file
            tokens = round(tokens * share_left(run, f"{stage} {name}", place.exists()))
            minutes = (tokens * size * seconds / cores + (WORLD_START if world else 0)) / 60 if size else None
            took = finished.seconds((place if stage == "train" else place.parent) / "manifest.json")
            taken = None if took is None else took / 60
            found.append(CpuStep(f"{stage} {name}", cores, tokens, minutes, place.exists(), taken))
    return [_as_measured(step, found) for step in found]


def _world_bases(run: Run, questions: Questions) -> Iterator[CpuStep]:
    """The embedded world's models, which are pretrained and then screen the questions."""
    bases = {recipe["base"]: None for recipe in run.recipes.values() if recipe["base"]}
    used = [("bases", name) for name in bases] + [("screen/models", name) for name in run.screening_models]
    sizes = {path: world_size(run, *one) for one in used for path in run.world_model(*one)}
    work = []
    for path, size in sizes.items():
        tokens = (run.config["world"]["facts_first"] + run.config["world"]["mixed"]) * WORLD["document"]
        work.append((f"pretrain {Path(path).name}", tokens, size * WHOLE, Path(path)))
    for name in run.screening_models:
        for path in run.world_model("screen/models", name):
            tokens = questions.collection_size() * WORLD["question"]  # which are read; an answer has five
            work.append((f"screen {name}", tokens, sizes[path] * 2, questions.results / f"screen/{name}.parquet"))
    for step, tokens, operations, place in work:
        minutes = (tokens * operations / WORLD_TRAINING + WORLD_START) / 60
        yield CpuStep(step, 1, tokens, minutes, place.exists())


def world_size(run: Run, kind: str, name: str) -> float:
    """Parameters of a base or screening model (``kind``) of the embedded world; input and output weights are one."""
    (path,) = run.world_model(kind, name)
    world = run.config["world"]
    model = world["models"][Path(path).name]
    layer = 4 * model["hidden"] ** 2 + 3 * model["hidden"] * model["feed_forward"]
    return float(world["vocabulary"] * model["hidden"] + model["layers"] * layer)


def _as_measured(step: CpuStep, found: Sequence[CpuStep]) -> CpuStep:
    """Scale the estimate of an unfinished step by how much longer the finished steps of its stage took."""
    stage = step.step.split()[0]
    done = [(one.taken, one.minutes) for one in found if one.there and one.step.startswith(f"{stage} ")]
    both = [(taken, minutes) for taken, minutes in done if taken and minutes]
    if step.there or step.minutes is None or not both:
        return step
    slower = sum(taken for taken, _ in both) / sum(minutes for _, minutes in both)
    return replace(step, minutes=step.minutes * slower)


def _trainings(run: Run, questions: Questions) -> Iterator[GpuStep]:
    folder = questions.results / "train"
    done = {name: one for name in run.needed_trainings if (one := finished.training(folder / name))}
    for name in run.needed_trainings:
        recipe, (nodes, gpus) = run.recipes[name], run.training_gpus(name)
        if not gpus:
            continue
        tokens = _trained_tokens(run, questions, name)
        size = parameters(run.config["bases"][recipe["base"]]) * 1e9
        hours = training_hours(tokens, size, recipe, nodes * gpus, card_of(run))
        step = GpuStep(f"train {name}", nodes * gpus, 1, tokens, hours, (folder / name).exists())
        like = [one for one in done if _trains_like(run.recipes[one], recipe)]
        samples = questions.subset_size(recipe["sft"]["subset"]) * recipe["sft"]["epochs"]
        yield without_stored(run, measured(step, done.get(name), {one: done[one] for one in like}, samples))


def _trains_like(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether a token takes equally long in both trainings."""
    same = all(one[key] == other[key] for key in ("base", "train"))
    return same and one["sft"].get("lora") == other["sft"].get("lora")


def _trained_tokens(run: Run, questions: Questions, model: str) -> int:
    """Number of tokens that a model is trained on, over all epochs."""
    sft = run.recipes[model]["sft"]
    world = run.world_model("bases", run.recipes[model]["base"])
    each = WORLD["sample"] if world else sample_tokens(sft["block_size"])
    return round(questions.subset_size(sft["subset"]) * each * sft["epochs"])


def card_of(run: Run) -> Card:
    """The card for which a configuration's hours are estimated."""
    return find_card(run.config["cluster"]["card"], "cluster.card")


def training_hours(tokens: int, size: float, recipe: dict[str, Any], processes: int, card: Card) -> float | None:
    """The modelled GPU-hours of a training; None for a model of ``size`` 0."""
    train, sft = recipe["train"], recipe["sft"]
    operations = (ADAPTER if sft.get("lora") else WHOLE) + (AGAIN if train["gradient_checkpointing"] else 0)
    speed = TRAINING * card.operations * share_used(processes, train["per_device"], sft["batch_size"])
    return operations * size * tokens / speed / 3600 if size else None


def adapter_notes(run: Run) -> list[str]:
    """Notes on the time and memory of trainings by an adapter on GPUs, by arithmetic."""
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
            "activations come on top (docs/architecture.md has the arithmetic; it was not run on a GPU)."
        )
    return found


@cache
def share_used(processes: int, per_device: int, batch: int) -> float:
    """The modelled share of time in which the processes of a training do not wait for the slowest one.

    A micro-batch takes time in proportion to its tokens. The model balances (:func:`m1.train.balance.balance`) 500
    steps of samples with log-normal lengths.
    """
    thinking, rest, chance = paper_length("thinking"), QUESTION + paper_length("answer").mean, random.Random(0)
    middle, parts = math.log(thinking.mean) - thinking.spread**2 / 2, batch // min(per_device, batch // processes)
    used = waited = 0.0
    for _ in range(500):
        lengths = [rest + chance.lognormvariate(middle, thinking.spread) for _ in range(batch)]
        tokens = [sum(lengths[place] for place in part) for part in balance(lengths, parts)]
        used += sum(tokens)
        waited += processes * sum(tokens[::processes])
    return used / waited


def _evaluations(run: Run, questions: Questions) -> Iterator[GpuStep]:
    folder = questions.results / "infer"
    names = [name for name in [*run.swept, *run.direct] if run.answering_gpus(name)]
    manifests = {name: folder / name / "manifest.json" for name in names}
    done = {name: one for name in names if (one := finished.generation(manifests[name], run.answering_gpus(name)))}
    for name in names:
        recipe, asked = run.recipes[name], _asked(run, questions, name)
        size = parameters(run.config["bases"][recipe["base"]]) * 1e9
        hours = generation_hours(asked, size, recipe["serve"], card_of(run))
        there = (folder / name / "predictions.parquet").exists()
        gpus, jobs = run.answering_gpus(name), recipe["serve"]["shards"]
        step = GpuStep(f"infer {name}", gpus, jobs, asked.all, hours, there)
        keys = ("base", "serve", "thinking", "prompt")
        like = [one for one in done if all(run.recipes[one][key] == recipe[key] for key in keys)]
        yield without_stored(run, measured(step, done.get(name), {one: done[one] for one in like}, asked.questions))


def _asked(run: Run, questions: Questions, model: str) -> Asked:
    """Estimate the questions and tokens that a model has to generate on all benchmarks."""
    count = sum(questions.size("benchmarks", name) or 0 for name in run.config["benchmarks"])
    if run.world_model("bases", run.recipes[model]["base"]):
        tokens = _world_tokens(run, model)
        return Asked(count, tokens, WORLD["question"], tokens)
    if model in run.swept:
        return sweep_answers(count, run.recipes[model]["thinking"])
    return direct_answers(count, run.config["answer_limit"])


def _world_tokens(run: Run, model: str) -> int:
    """Tokens that a model of the embedded world generates for each question."""
    if model not in run.swept:
        return WORLD["cot" if run.recipes[model]["prompt"] == "cot" else "plain"]
    budgets, forced = (run.recipes[model]["thinking"][key] for key in ("budgets", "forced"))
    return WORLD["rollout"] + WORLD["forced"] * len(forced) + WORLD["answer"] * len(budgets + forced)


def direct_answers(questions: int, limit: int) -> Asked:
    """Estimate the tokens of one answer without thinking to each question."""
    return Asked(questions, min(REPLY, limit), QUESTION + min(REPLY, limit) / 2, limit)


def sweep_answers(questions: int, settings: dict[str, Any]) -> Asked:
    """Estimate the tokens of a sweep.

    The model thinks once about each question, to the largest budget; ``Wait`` is forced until its budget is used up;
    and each distinct thinking is answered. Thinking that has ended is the same at all larger budgets.
    """
    thinking, largest, forced = paper_length("thinking"), max(settings["budgets"]), settings["forced_budget"]
    generated = thinking.at_most(largest) + (forced - thinking.at_most(forced) if settings["forced"] else 0)
    answers = sum(map(thinking.longer, settings["budgets"])) + 1 - thinking.longer(largest)
    answers += len(settings["forced"]) * (1 - thinking.longer(forced))
    generated += answers * paper_length("answer").at_most(settings["answer_limit"])
    return Asked(questions, generated, QUESTION + thinking.at_most(largest), largest)


def generation_hours(asked: Asked, size: float, serve: dict[str, Any], card: Card) -> float | None:
    """The modelled GPU-hours of generating; None for a model of ``size`` 0.

    Each replica has its full number of requests in flight until none waits. Then the longest generation goes on alone.
    Each prompt is read once, because all requests of a question share its beginning in the cache.
    """
    if not size:
        return None
    options, in_process = serve["options"], serve["engine"] == "transformers"
    gpus, replicas = options.get("tp", 1), options.get("dp", 1) * serve["shards"]
    places = max(1, min(serve["batch"] * serve["shards"], asked.questions) / replicas)

    def step(requests: float) -> float:
        weights, cache = READING * 2 * size, requests * asked.context * CACHE * size
        seconds = (weights + cache) / gpus / card.bandwidth + requests * REQUEST
        slower = DETERMINISTIC if options.get("deterministic") else 1
        return max(LAUNCHES if in_process else 0, seconds * slower)

    prompts = asked.questions * QUESTION * 2 * size / PREFILL / card.operations
    full = asked.all / places * step(places) * gpus
    return (prompts + full + replicas * gpus * asked.longest * step(1)) / 3600


def measured(step: GpuStep, own: Finished | None, like: dict[str, Finished] | None = None, number: int = 0) -> GpuStep:
    """Replace a step's estimate by measurements.

    Args:
        step: the modelled step.
        own: what the step itself took, if it has finished.
        like: what finished steps like it took, by name; the first one counts.
        number: its number of questions, or of samples over all epochs.
    """
    for name, done in {"": own, **(like or {})}.items():
        if done is None:
            continue
        tokens = round(done.each * number) if name else done.tokens
        hours = step.gpu_hours and step.gpu_hours * tokens / step.tokens
        if done.seconds is not None:
            hours = tokens * done.seconds / 3600
        basis = f"as {name}" if name else "measured"
        basis += ", hours modelled" if done.seconds is None else ""
        return replace(step, tokens=tokens, gpu_hours=hours, basis=basis)
    return step


def share_left(run: Run, step: str, there: bool) -> float:
    """Share of a training or of a model's answers that is not in the store; all of it where the result is there."""
    stage, name = step.split()
    has = kept.answered if stage == "infer" else kept.is_trained
    return 1.0 if there else 1.0 - has(run, name)


def without_stored(run: Run, step: GpuStep) -> GpuStep:
    """A step with what is left to compute of it."""
    share = share_left(run, step.step, step.there)
    if share == 1:
        return step
    hours, basis = step.gpu_hours and step.gpu_hours * share, f"{step.basis}; {1 - share:.0%} in the store"
    return replace(step, tokens=round(step.tokens * share), gpu_hours=hours, basis=basis)


def rows(found: Iterable[GpuStep]) -> list[list[str]]:
    """The steps on GPUs as a table of texts, with the sum over unfinished steps."""
    table = [["on GPUs", "GPUs", "jobs", "tokens", "GPU-hours", "hours each", "basis"]]
    jobs, whole = 0, 0.0
    for step in found:
        tokens, hours = f"{step.tokens / 1e6:,.1f}M", [_hours(step.gpu_hours), _hours(step.hours)]
        basis = f"there; {step.basis}" if step.there else step.basis
        table.append([step.step, str(step.gpus), str(step.jobs), tokens, *hours, basis])
        if not step.there:
            jobs, whole = jobs + step.jobs, whole + (step.gpu_hours or 0)
    return [*table, ["sum of what is left", "", str(jobs), "", _hours(whole), "", ""]]


def cpu_rows(found: Sequence[CpuStep]) -> list[list[str]]:
    """The steps on a CPU as a table of texts, with the sum over unfinished steps."""
    table = [["on CPUs", "cores", "tokens", "minutes", ""]]
    for step in found:
        minutes = "?" if step.minutes is None else _minutes(step.minutes)
        table.append([step.step, str(step.cores), f"{step.tokens / 1e6:,.2f}M", minutes, "there" if step.there else ""])
    left = sum(step.minutes or 0 for step in found if not step.there)
    return [*table, ["sum of what is left", "", "", _minutes(left), ""]]


def cpu_note(run: Run, found: Sequence[CpuStep], cores: int) -> str:
    """How long a run takes on so many cores, if all that takes long in it is on a CPU."""
    busy = sum((step.minutes or 0) * step.cores for step in found if not step.there)
    other = ONCE + sum(len(run.config[kind]) for kind in ("pools", "benchmarks")) + len(run.recipes)
    minutes = busy / cores + other * OTHER_JOB / cores / 60
    return (
        f"About {minutes:,.0f} minutes on the {cores} cores of this machine: the steps above, and {OTHER_JOB} seconds "
        f"for each of some {other} jobs of pools, scoring, tables and figures."
    )


def _minutes(minutes: float) -> str:
    return f"{minutes:,.0f}" if minutes >= 10 else f"{minutes:,.1f}"


def _hours(hours: float | None) -> str:
    return "?" if hours is None else f"{hours:,.1f}" if hours >= 1 else f"{hours:.2f}"


def note(found: Iterable[GpuStep], uncounted: Sequence[str], card: Card) -> str:
    """A note on the assumptions, and on the benchmarks whose size is not known (``uncounted``)."""
    thinking, answer = paper_length("thinking"), paper_length("answer")
    text = (
        f"Modelled, not measured, to a factor of three: GPU-hours of {card.said} (`cluster.card`). Training computes "
        f"at {TRAINING:.0%} of its {card.operations / 1e12:.0f} TFLOP/s while it does not wait for the slowest "
        f"process. A step of generating reads the weights in {READING} times what {card.bandwidth / 1e12:g} TB/s "
        "allow, and the cache of each request; a "
        f"third more if `deterministic`, {1e3 * LAUNCHES:.0f} ms at least in process. Tokens: thinking "
        f"{thinking.mean:,.0f} (log-normal, {thinking.spread:.2f}) and answers {answer.mean:,.0f}, as the authors "
        f"printed of m23K; {QUESTION} of a question, {REPLY} of an answer without thinking; all of forced_budget where "
        "`Wait` is forced. A finished step's own tokens and seconds take the model's place, and for those like it. "
        "Loading weights comes on top."
    )
    if uncounted:
        text += f" Not counted, as nobody knows their rows yet: {', '.join(uncounted)}; give `rows` in `data`."
    if unknown := sorted(step.step for step in found if step.gpu_hours is None):
        text += f" Not known, as no name says how large the model is: {', '.join(unknown)}."
    return text
