"""Estimate the GPU-hours of a configuration's trainings and generations, and the minutes of those on a CPU; part of
``make plan``.

The model rests on assumptions, each a constant here or in :mod:`m1.commands.lengths`. Training, and generating by
transformers, were measured on one H100 (benchmarks/README.md, One card); generating by SGLang was not. Measurements of
finished steps (:mod:`m1.commands.finished`) replace the model. The paper says of its own trainings only "minutes on 8
H100 GPUs" and "a few hours with 16" (B.2).
"""

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

TRAINING, PREFILL = 0.26, 0.3  # share of the card's peak, in training (measured) and in reading prompts
WHOLE, ADAPTER = 6, 4  # operations for each parameter and token; an adapter needs no gradient of the frozen weights
AGAIN = 2  # further operations if activations are computed again
# In a step, a replica generates a token for each request in flight. It reads all weights, which takes READING times the
# least time that the memory's bandwidth allows, and spends REQUEST seconds on each request beside reading its cache.
READING, REQUEST = 1.3, 15e-6
CACHE = 8.2e-6  # bytes of keys and values for each token and parameter (57,344 for a token of Qwen2.5-7B)
DETERMINISTIC = 1.34  # factor on the seconds of a step
LAUNCHES = 35e-3  # shortest step of transformers in seconds: launching its kernels takes as long for any model
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
class Workload:
    """What a model generates: for how many questions, and how many tokens for each."""

    questions: int
    tokens: float  # generated tokens of each question
    context: float  # mean number of tokens before a generated one
    longest: int  # tokens of the longest generation, which runs alone at the end

    @property
    def all(self) -> int:
        """Generated tokens of all questions."""
        return round(self.questions * self.tokens)


def gpu_steps(run: Run, questions: Questions, modelled: bool = False) -> list[GpuStep]:
    """Estimates of the steps on GPUs, in the order of the paper; the embedded world's tiny models have none.

    What has finished, and what is in the store, counts unless the steps are to be as ``modelled``.
    """
    models = [*_trainings(run, questions, modelled), *_evaluations(run, questions, modelled)]
    return [*_screens(run, questions), *models]


def _screens(run: Run, questions: Questions) -> Iterator[GpuStep]:
    screen = run.config["screen"]
    work = direct_answers(questions.collection_size(), screen["answer_limit"])
    for name in run.screening_models:
        if gpus := run.screening_gpus(name):
            path, serve = questions.results / f"screen/{name}.parquet", screen["serve"] | {"shards": screen["shards"]}
            hours = generation_hours(work, model_size(run, "screen/models", name), serve, card_of(run))
            step = GpuStep(f"screen {name}", gpus, screen["shards"], work.all, hours, path.exists())
            yield measured(step, finished.generation(path.with_suffix(".json"), gpus))


def cpu_steps(run: Run, questions: Questions) -> list[CpuStep]:
    """Estimates of the steps on a CPU, those of the embedded world's models among them."""
    found = [*_world_bases(run, questions), *_cpu_models(run, questions)]
    slower = _slowness((step.step, step.taken, step.minutes) for step in found if step.there)

    def scaled(step: CpuStep) -> CpuStep:
        times = 1.0 if step.there else slower.get(step.step.split()[0], 1.0)
        return replace(step, minutes=step.minutes and step.minutes * times)

    return list(map(scaled, found))


def slowness(run: Run, questions: Questions) -> dict[str, float]:
    """How many times longer than modelled the finished trainings (``train``) and answers (``infer``) of a run took;
    nothing for a stage of which none has finished in one go."""
    found = [(step.step, step.taken, step.minutes) for step in _cpu_models(run, questions, modelled=True)]
    for step in gpu_steps(run, questions, modelled=True):
        seconds = finished.seconds(questions.results / step.step.replace(" ", "/") / "manifest.json")
        found.append((step.step, seconds and seconds / 60, step.hours and step.hours * 60))
    return _slowness(found)


def _slowness(steps: Iterable[tuple[str, float | None, float | None]]) -> dict[str, float]:
    """The minutes that steps took, divided by the modelled ones, by stage."""
    both: dict[str, list[tuple[float, float]]] = {}
    for step, taken, modelled in steps:
        if taken and modelled:
            both.setdefault(step.split()[0], []).append((taken, modelled))
    return {stage: sum(taken for taken, _ in of) / sum(modelled for _, modelled in of) for stage, of in both.items()}


def _cpu_models(run: Run, questions: Questions, modelled: bool = False) -> Iterator[CpuStep]:
    """The trainings and answers of models on a CPU."""
    for name, recipe in run.recipes.items():
        if not run.on_cpu(name):
            continue
        world, size = bool(run.world_model("bases", recipe["base"])), model_size(run, "bases", recipe["base"])
        work = []
        if name in run.needed_trainings:
            tokens = trained_tokens(recipe, questions.subset_size(recipe["sft"]["subset"]), world)
            work.append(("train", tokens, f"train/{name}"))
        if name in run.evaluated_here:
            work.append(("infer", _workload(run, questions, name).all, f"infer/{name}/predictions.parquet"))
        for stage, tokens, file in work:
            cores, there = run.resources(stage, name)["threads"], (questions.results / file).exists()
            if not modelled:
                tokens = round(tokens * share_left(run, f"{stage} {name}", there))
            minutes = cpu_minutes(stage, tokens, size, cores, world, bool(run.adapter(name))) if size else None
            took = finished.seconds(questions.results / stage / name / "manifest.json")
            yield CpuStep(f"{stage} {name}", cores, tokens, minutes, there, None if took is None else took / 60)


def _world_bases(run: Run, questions: Questions) -> Iterator[CpuStep]:
    """The embedded world's models, which are pretrained and then screen the questions."""
    bases = {recipe["base"]: None for recipe in run.recipes.values() if recipe["base"]}
    used = [("bases", name) for name in bases] + [("screen/models", name) for name in run.screening_models]
    sizes = {path: model_size(run, *one) for one in used for path in run.world_model(*one)}
    tokens = sum(run.config["world"][part] for part in ("facts_first", "mixed")) * WORLD["document"] if sizes else 0
    work = [(f"pretrain {Path(path).name}", tokens, size, Path(path)) for path, size in sizes.items()]
    for name in run.screening_models:
        for path in run.world_model("screen/models", name):
            tokens = questions.collection_size() * WORLD["question"]  # which are read; an answer has five
            work.append((f"screen {name}", tokens, sizes[path], questions.results / f"screen/{name}.parquet"))
    for step, tokens, size, place in work:
        yield CpuStep(step, 1, tokens, cpu_minutes(step.split()[0], tokens, size), place.exists())


def cpu_minutes(
    stage: str, tokens: int, size: float, cores: int = 1, world: bool = True, adapter: bool = False
) -> float:
    """The modelled minutes of a step on a CPU: of ``pretrain``, ``screen``, ``train`` or ``infer``."""
    operations = {"pretrain": WHOLE, "train": ADAPTER if adapter else WHOLE}.get(stage, 2)
    speed = CORE_SERVING if stage == "infer" else WORLD_TRAINING if world else CORE_TRAINING
    return (tokens * size * (operations / speed) / cores + (WORLD_START if world else 0)) / 60


def model_size(run: Run, kind: str, name: str) -> float:
    """Parameters of a base or screening model (``kind``): by its name, 0 if that does not say; in the embedded world by
    its shape, where input and output weights are one."""
    if not (paths := run.world_model(kind, name)):
        return parameters(run.model_entry(kind, name)) * 1e9
    world = run.config["world"]
    model = world["models"][Path(paths[0]).name]
    layer = 4 * model["hidden"] ** 2 + 3 * model["hidden"] * model["feed_forward"]
    return float(world["vocabulary"] * model["hidden"] + model["layers"] * layer)


def _trainings(run: Run, questions: Questions, modelled: bool) -> Iterator[GpuStep]:
    folder = questions.results / "train"
    done = {name: one for name in run.needed_trainings if (one := finished.training(folder / name))}
    for name in run.needed_trainings:
        recipe, (nodes, gpus) = run.recipes[name], run.training_gpus(name)
        if not gpus:
            continue
        samples, size = questions.subset_size(recipe["sft"]["subset"]), model_size(run, "bases", recipe["base"])
        tokens = trained_tokens(recipe, samples)
        hours = training_hours(tokens, size, recipe, nodes * gpus, card_of(run))
        step = GpuStep(f"train {name}", nodes * gpus, 1, tokens, hours, (folder / name).exists())
        like = {one: took for one, took in done.items() if _trains_like(run.recipes[one], recipe)}
        number = samples * recipe["sft"]["epochs"]
        yield step if modelled else without_stored(run, measured(step, done.get(name), like, number))


def _trains_like(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether a token takes equally long in both trainings."""
    same = all(one[key] == other[key] for key in ("base", "train"))
    return same and one["sft"].get("lora") == other["sft"].get("lora")


def trained_tokens(recipe: Mapping[str, Any], samples: int, world: bool = False) -> int:
    """Tokens that a model is trained on, over all epochs."""
    each = WORLD["sample"] if world else sample_tokens(recipe["sft"]["block_size"])
    return round(samples * each * recipe["sft"]["epochs"])


def card_of(run: Run) -> Card:
    """The card for which a configuration's hours are estimated."""
    return find_card(run.config["cluster"]["card"], "cluster.card")


def training_hours(tokens: int, size: float, recipe: Mapping[str, Any], processes: int, card: Card) -> float | None:
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
        size = model_size(run, "bases", run.recipes[name]["base"]) / 1e9
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


def _evaluations(run: Run, questions: Questions, modelled: bool) -> Iterator[GpuStep]:
    folder = questions.results / "infer"
    gpus = {name: count for name in [*run.sweep_models, *run.direct] if (count := run.answering_gpus(name))}
    manifests = {name: folder / name / "manifest.json" for name in gpus}
    done = {name: one for name in gpus if (one := finished.generation(manifests[name], gpus[name]))}
    for name in gpus:
        recipe, work = run.recipes[name], _workload(run, questions, name)
        hours = generation_hours(work, model_size(run, "bases", recipe["base"]), recipe["serve"], card_of(run))
        there = (folder / name / "predictions.parquet").exists()
        step = GpuStep(f"infer {name}", gpus[name], recipe["serve"]["shards"], work.all, hours, there)
        keys = ("base", "serve", "thinking", "prompt")
        like = {one: took for one, took in done.items() if all(run.recipes[one][key] == recipe[key] for key in keys)}
        yield step if modelled else without_stored(run, measured(step, done.get(name), like, work.questions))


def _workload(run: Run, questions: Questions, model: str) -> Workload:
    recipe = run.recipes[model]
    count = sum(questions.size("benchmarks", name) or 0 for name in run.config["benchmarks"])
    thinking = recipe["thinking"] if model in run.sweep_models else None
    world = bool(run.world_model("bases", recipe["base"]))
    return workload(count, recipe["prompt"], thinking, run.config["answer_limit"], world)


def workload(questions: int, prompt: str, thinking: dict[str, Any] | None, limit: int, world: bool) -> Workload:
    """Estimate what a model generates about so many questions: one that answers at once (``thinking`` is None) up to
    ``limit`` tokens, and one of the embedded world as in the demo."""
    if not world:
        return direct_answers(questions, limit) if thinking is None else sweep_answers(questions, thinking)
    tokens = WORLD["cot" if prompt == "cot" else "plain"]
    if thinking is not None:
        budgets, forced = len(thinking["budgets"]), len(thinking["forced"])
        tokens = WORLD["rollout"] + WORLD["forced"] * forced + WORLD["answer"] * (budgets + forced)
    return Workload(questions, tokens, WORLD["question"], tokens)


def direct_answers(questions: int, limit: int) -> Workload:
    """Estimate the tokens of one answer without thinking to each question."""
    return Workload(questions, min(REPLY, limit), QUESTION + min(REPLY, limit) / 2, limit)


def sweep_answers(questions: int, settings: dict[str, Any]) -> Workload:
    """Estimate the tokens of a sweep.

    The model thinks once about each question, to the largest budget; ``Wait`` is forced until its budget is used up;
    and each distinct thinking is answered. Thinking that has ended is the same at all larger budgets.
    """
    thinking, largest, forced = paper_length("thinking"), max(settings["budgets"]), settings["forced_budget"]
    generated = thinking.at_most(largest) + (forced - thinking.at_most(forced) if settings["forced"] else 0)
    answers = sum(map(thinking.longer, settings["budgets"])) + 1 - thinking.longer(largest)
    answers += len(settings["forced"]) * (1 - thinking.longer(forced))
    generated += answers * paper_length("answer").at_most(settings["answer_limit"])
    return Workload(questions, generated, QUESTION + thinking.at_most(largest), largest)


def generation_hours(work: Workload, size: float, serve: dict[str, Any], card: Card) -> float | None:
    """The modelled GPU-hours of generating; None for a model of ``size`` 0.

    Each replica has its full number of requests in flight until none waits. Then the longest generation goes on alone.
    Each prompt is read once, because all requests of a question share its beginning in the cache.
    """
    if not size:
        return None
    options, in_process = serve["options"], serve["engine"] == "transformers"
    gpus, replicas = options.get("tp", 1), options.get("dp", 1) * serve["shards"]
    places = max(1, min(serve["batch"] * serve["shards"], work.questions) / replicas)

    def step(requests: float) -> float:
        weights, cache = READING * 2 * size, requests * work.context * CACHE * size
        seconds = (weights + cache) / gpus / card.bandwidth + requests * REQUEST
        slower = DETERMINISTIC if options.get("deterministic") else 1
        return max(LAUNCHES if in_process else 0, seconds * slower)

    prompts = work.questions * QUESTION * 2 * size / PREFILL / card.operations
    full = work.all / places * step(places) * gpus
    return (prompts + full + replicas * gpus * work.longest * step(1)) / 3600


def measured(step: GpuStep, own: Finished | None, like: dict[str, Finished] | None = None, number: int = 0) -> GpuStep:
    """Replace a step's estimate by what it took itself (``own``), or by what finished steps like it took, the first
    one.

    Args:
        number: questions, or samples over all epochs.
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
        f"Modelled: GPU-hours of {card.said} (`cluster.card`). Training computes at {TRAINING:.0%} of its "
        f"{card.operations / 1e12:.0f} TFLOP/s, as 8 layers of 7B's shape did on one H100, while it does not wait for "
        f"the slowest process. A step of generating reads the weights in {READING} times what "
        f"{card.bandwidth / 1e12:g} TB/s allow, and the cache of each request; a third more if `deterministic`, "
        f"{1e3 * LAUNCHES:.0f} ms at least in process. Tokens: thinking "
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
