"""What a reproduction can be made of, and what each part costs: part of ``python -m m1 fit``.

A :class:`Part` is a model and a way to have it: trained whole, trained by LoRA, its published checkpoint, the answers
that the authors released, or as it is. A
:class:`Source` is a set of traces that the teacher is paid for. A :class:`Size` is what all models are asked. Costs are
those of ``make plan``: the same functions, on the recipes that the overlay will have.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from m1.commands import claim_power, gpu_hours
from m1.commands.cards import Card
from m1.commands.doctor import CHECKPOINTS, HELD, ROOM, TRAINING, WEIGHTS, parameters
from m1.commands.gpu_hours import Workload
from m1.commands.kept import Kept
from m1.commands.pin import cached_commit
from m1.commands.plan import StepCost
from m1.commands.questions import Questions
from m1.wiring.config import all_recipes, merge, recipe
from m1.wiring.run import THINKING, Run

LIMITS: tuple[int | None, ...] = (None, 1600, 800, 400, 200, 100, 50, 25, 10)
"""Questions of each benchmark at most: all of them, then halves. An average is narrowest, of so many questions in all,
where each benchmark has as many."""
FEWEST = 50
"""Of the paper's models: fewer tell nothing."""
SAMPLES: tuple[int | None, ...] = (1000, 400, 200, 100, 50, 25)
"""Samples that a model on a CPU is trained on."""
REQUESTS = 256
"""Requests in flight of each copy of a model on cards, as the recipes have them."""
PUBLISHED = {"m1k_tokenized": "m1k", "m23k_tokenized": "m23k"}
"""Entries of ``data`` with published subsets, whose traces need not be paid for."""
EXAMPLE = "m1-7b-1k-lora"
"""The recipe that LoRA's settings are taken from."""


@dataclass(frozen=True)
class Machine:
    """What a user has."""

    nodes: int
    gpus: int  # on each node; 0 for none
    card: Card | None
    cores: int
    hours: float
    dollars: float
    disk: float  # GB
    offline: bool = False  # only models and sets that are on this machine


@dataclass(frozen=True)
class Size:
    """What all models are asked."""

    limit: int | None  # questions of each benchmark at most
    budgets: tuple[int, ...]
    forced: tuple[int, ...]
    whole: tuple[str, ...] = ()  # benchmarks of which all questions are asked nevertheless

    def asked(self, benchmark: str, known: int) -> int:
        """Questions of a benchmark that has so many."""
        return known if self.limit is None or benchmark in self.whole else min(known, self.limit)

    @property
    def said(self) -> str:
        """For a sentence."""
        if self.limit is None:
            return "all questions of each benchmark"
        whole = f", all of {', '.join(self.whole)}" if self.whole else ""
        return f"at most {self.limit} questions of each benchmark{whole}"

    def thinking(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The key ``thinking`` of a configuration, with this size in it."""
        largest = min(settings["forced_budget"], max(self.budgets))
        return {**settings, "budgets": [*self.budgets], "forced": [*self.forced], "forced_budget": largest}


@dataclass(frozen=True)
class Part:
    """A model, and a way to have it."""

    model: str
    way: str  # "trained", "LoRA", "published" (its checkpoint), "released" (its answers), or "as it is"
    rows: frozenset[str]  # addresses of cells (m1.report.evidence) that it fills, so that claims may rest on them
    table1: bool
    thinks: bool
    budgets: tuple[int, ...]  # of its own recipe; none for those that all models have
    base: str  # weights that it needs on the disk
    source: str | None = None  # traces that it is trained on and that must be paid for
    excludes: str | None = None  # traces with which it would not be what the store has
    samples: int | None = None  # that it is trained on, where that is fewer than the subset has
    training: float = 0.0  # hours of a node, or of `nodes` of them
    nodes: int = 1
    checkpoints: float = 0.0  # GB, while it trains
    kept: float = 0.0  # GB
    changes: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)  # of its recipe
    # Hours of a node, by the sizes that the way can have.
    answering: Mapping[Size, float] = field(default_factory=dict, hash=False, compare=False)
    released: frozenset[str] = frozenset()  # addresses that the authors' answers fill: no claim rests on these


@dataclass(frozen=True)
class Source:
    """Traces that the teacher is paid for."""

    name: str
    dollars: float
    waiting: float  # hours until all calls are answered
    hours: float = 0.0  # of a node, for the screening


@dataclass(frozen=True)
class Menu:
    """All that can be had."""

    sizes: list[Size]
    parts: list[Part]
    sources: list[Source]
    weights: Mapping[str, float]  # GB of each base
    lacking: Mapping[str, str]  # models that no way leads to here, and why
    screening: Mapping[str, Any] | None  # how the screening models answer
    first: float  # hours of what comes before all models

    def filling(self, row: str) -> frozenset[str]:
        """The models that fill a row or curve."""
        return frozenset(part.model for part in self.parts if row in part.rows)


@dataclass(frozen=True)
class Made:
    """What runs before have left and measured."""

    paid: Sequence[StepCost]  # steps that call models over HTTP, of the plan; what the store has is not paid for
    slower: Mapping[str, float]  # how many times longer than modelled finished steps took, by stage (`train`, `infer`)
    first: float = 0.0  # hours of what the embedded world's models wait for: pretraining, screening, its teacher
    kept: Mapping[str, Kept] = field(default_factory=dict)  # by model
    there: Collection[str] = ()  # bases and published checkpoints


def make_menu(run: Run, machine: Machine, made: Made) -> Menu:
    """What can be had of a configuration, of the paper or of what stands for it, on a machine."""
    builder = MenuBuilder(run, machine, made)
    candidates = builder.candidates()
    parts = [part for name in candidates for part in builder.parts(name)]
    there = {part.model for part in parts}
    lacking = {name: builder.why_not(name) for name in candidates if name not in there}
    bases = {part.base: builder.size_of(part.base) for part in parts}
    weights = {name: 0.0 if name in made.there else WEIGHTS * size for name, size in bases.items()}
    sources = list(builder.sources(made.paid))
    return Menu(builder.sizes, parts, sources, weights, lacking, builder.screening(), made.first)


class MenuBuilder:
    """Makes the parts of a menu."""

    def __init__(self, run: Run, machine: Machine, made: Made) -> None:
        self.run, self.config, self.machine, self.made = run, run.config, machine, made
        self.questions = Questions(run)
        self.recipes = {name: recipe(name, "fit", {}) for name in all_recipes()}
        self.world = any(run.world_model("bases", base) for base in run.bases)
        self.counts = {name: self.questions.size("benchmarks", name) or 0 for name in self.config["benchmarks"]}
        self.wanted_whole = sorted({*wanted_whole()} & {*self.counts}, key=lambda name: self.counts[name])
        self.sizes = self._sizes()

    def candidates(self) -> list[str]:
        """Models that the configuration has, then those of other recipes that stand for a row of Tables 1 or 2 and
        whose base and subset it has."""
        names = {name: None for name in self.run.recipes if name in self.recipes}
        for name, one in self.recipes.items():
            known = not self.world if isinstance(one["base"], dict) else one["base"] in self.config["bases"]
            known &= "sft" not in one or one["sft"]["subset"] in self.config["subsets"]
            if known and (one["published"] or one["ablation"]):
                names.setdefault(name)
        return list(names)

    def _sizes(self) -> list[Size]:
        """From what tells most to what tells least: all budgets and forced counts, all budgets, and without the largest
        one or two, as long as there are three, which make a curve. Benchmarks that a claim wants whole are so one
        more at a time, the shortest first."""
        budgets, forced = tuple(self.config["thinking"]["budgets"]), tuple(self.config["thinking"]["forced"])
        shorter = [budgets[: len(budgets) - less] for less in (0, 1, 2) if not less or len(budgets) - less >= 3]
        ways = [(budgets, forced), *((some, ()) for some in shorter)]
        fewest, most = FEWEST if self.machine.card else 0, max(self.counts.values())
        found = []
        for limit in [one for one in LIMITS if one is None or fewest <= one < most]:
            cut = [name for name in self.wanted_whole if limit is not None and self.counts[name] > limit]
            wholes = [tuple(cut[:count]) for count in range(len(cut) + 1)]
            found += [Size(limit, *way, whole) for way in ways for whole in wholes]
        return found

    def size_of(self, base: str) -> float:
        """Billions of parameters; 0 where its name does not say."""
        if base in self.config["bases"]:
            return gpu_hours.model_size(self.run, "bases", base) / 1e9
        found = self.recipes[base]["base"] if base in self.recipes else {}
        return parameters(found) if isinstance(found, dict) else 0.0

    def _recipe(self, name: str) -> tuple[dict[str, Any], str, float]:
        """A model's recipe, the name of its base, and billions of parameters of that."""
        found = self.recipes[name]
        base = name if isinstance(found["base"], dict) else found["base"]
        return found, base, self.size_of(base)

    def is_here(self, entry: Mapping[str, Any], kind: str) -> bool:
        """Whether a model or dataset can be had: all can, but offline only what is a file or in the hub's cache."""
        if not self.machine.offline or entry.get("path"):
            return True
        return cached_commit(kind, entry["hub"], entry.get("revision") or "main") is not None

    def absent_sets(self) -> list[str]:
        """Entries of ``data`` that every choice needs, and that cannot be had."""
        published = self.config["published"]["evaluation"]
        names = [published, *PUBLISHED] if published else []
        names += [entry for part, entry in self.config["read_from"].items() if part.startswith("pools.")]
        data = self.config["data"]
        return [name for name in dict.fromkeys(names) if not self.is_here(data[name], "dataset")]

    def why_not(self, name: str) -> str:
        """Why a model cannot be had."""
        found, _, size = self._recipe(name)
        if self._serve(found, size) is not None:
            return "is not on this machine"
        if found["device"] == "cpu":
            return "is for a CPU"
        if self.machine.card is None:
            return "needs a GPU"
        held, there = ROOM * WEIGHTS * size, self.machine.gpus * self.machine.card.memory
        return f"takes {held:,.0f} GB to answer, and all cards of a node hold {there:,.0f}"

    def parts(self, name: str) -> Iterator[Part]:
        """The ways to have a model here."""
        found, base, size = self._recipe(name)
        yield from self._released(name, found)
        if (serve := self._serve(found, size)) is None:
            return
        served = {"serve": serve} if serve else {}
        here, old = merge(found, served), self.made.kept.get(name)
        common: dict[str, Any] = {
            "model": name,
            "rows": rows(found),
            "table1": bool(found["published"]) or name in self.config["report"]["table1"]["models"],
            # A recipe with budgets of its own has no place in the figures, whose models all have the same.
            "thinks": found["prompt"] in THINKING and "sft" in found and "thinking" not in found,
            "budgets": tuple(found.get("thinking", {}).get("budgets", ())),
        }
        # Without a budget in common with the other models, it has no place in Table 2.
        shown = [one for one in self.sizes if not common["budgets"] or {*common["budgets"]} & {*one.budgets}]
        anew = {one: self.answering(here, size, one) for one in shown}
        own = found["base"] if isinstance(found["base"], dict) else self.config["bases"][base]
        had = self.is_here(own, "model")
        if "sft" not in found:
            if had:
                answering = self.left(here, old, anew)
                yield Part(way="as it is", base=base, changes=difference(found, served), answering=answering, **common)
            return
        entry = name.replace("-", "_")
        if entry in self.config["data"] and self.is_here(self.config["data"][entry], "model"):
            there, weights = old if old and old.published == entry else None, f"{name}, published"
            yield Part(
                way="published",
                base=weights,
                kept=0.0 if weights in self.made.there else WEIGHTS * size,
                changes=difference(found, served),
                answering=self.left(here, there, anew),
                **common,
            )
        for way, changes, nodes in self._trainings(found, size) if had else ():
            for samples in (None,) if self.machine.card or self.world else SAMPLES:
                whole, kept = merge(here, changes), WEIGHTS * size
                common |= {"way": way, "base": base, "samples": samples, "changes": difference(found, changes | served)}
                common["source"] = self.source(found["sft"]["subset"])
                hours, most = self.training(whole, size, nodes, samples), 0.0 if way == "LoRA" else CHECKPOINTS * size
                yield Part(training=hours, nodes=nodes, checkpoints=most, kept=kept, answering=anew, **common)
                published, count = self.subset_of(whole, samples)
                if old and old.trains(whole, old.subset and published, count):
                    # With the traces of hard questions m1K and m23K are made here; without, they are published.
                    made = {"excludes" if old.subset else "source": "hard"} if published else {}
                    yield Part(answering=self.left(whole, old, anew), **(common | made))

    def _released(self, name: str, found: Mapping[str, Any]) -> Iterator[Part]:
        """The answers of a model that the configuration takes from the authors (``published.results``): to all
        questions, and at budgets of theirs, so that other sizes have no place for them."""
        files = self.run.published["results"].get(name, [])
        entries = [self.config["data"][one["from"]] | one for one in files]
        if not files or not all(self.is_here(entry, "dataset") for entry in entries):
            return
        budgets, best = {one["budget"] for one in files}, self.config["report"]["table1"]["budget"] == "best"
        fits = [one for one in self.sizes if one.limit is None and (best or max(one.budgets) in budgets)]
        hours, rows_shown = dict.fromkeys(fits, 0.0), rows(found)
        none: frozenset[str] = frozenset()
        place = f"{name}, released"
        yield Part(name, "released", none, False, False, (), place, answering=hours, released=rows_shown)

    def subset_of(self, found: Mapping[str, Any], samples: int | None) -> tuple[str | None, int | None]:
        """The entry of ``data`` that a model's subset is from, none where it is drawn here, and its samples at most."""
        subset = found["sft"]["subset"]
        entry = next((entry for entry, name in PUBLISHED.items() if name == subset and not self.world), None)
        return entry, samples or self.config["subsets"][subset].get("size")

    def left(self, found: Mapping[str, Any], old: Kept | None, anew: Mapping[Size, float]) -> dict[Size, float]:
        """Hours of answers by size, without those that the store has."""
        if old is None:
            return dict(anew)
        hours = {}
        for one, whole in anew.items():
            asked = {name: one.asked(name, known) for name, known in self.counts.items()}
            hours[one] = whole * (1 - old.share(found, self.thinking(found, one), asked))
        return hours

    def source(self, subset: str) -> str | None:
        """Traces of a subset that must be paid for; none of m1K and m23K, which are published, and of the embedded
        world, whose teacher costs nothing."""
        free = self.world or subset in PUBLISHED.values()
        return None if free else str(self.config["subsets"][subset]["traces"])

    def _serve(self, found: Mapping[str, Any], size: float) -> dict[str, Any] | None:
        """How a model answers on a node: on as few cards a copy as hold it, in as many copies as there is room for;
        empty for the recipe's own way, on a CPU. None where it fits on none."""
        card = self.machine.card
        if found["device"] == "cpu" or self.world:
            return {} if card is None else None
        each = 1
        while card and ROOM * WEIGHTS * size / each > card.memory:
            each *= 2
        if card is None or not size or each > self.machine.gpus:
            return None
        copies = self.machine.gpus // each
        options = {"deterministic": True, "attention_backend": card.backend, "tp": each, "dp": copies}
        return {"engine": "sglang", "dtype": "bfloat16", "batch": REQUESTS * copies, "options": options}

    def _trainings(self, found: Mapping[str, Any], size: float) -> Iterator[tuple[str, dict[str, Any], int]]:
        """The ways to train a model here, the paper's first: the way, what changes in its recipe, and nodes."""
        card, gpus = self.machine.card, self.machine.gpus
        if card is None:
            yield "trained", {}, 1
            return
        batch = found["sft"]["batch_size"]
        for nodes in range(1, self.machine.nodes + 1):
            processes = nodes * gpus
            held = ROOM * TRAINING * size / processes
            if batch % processes or held > card.memory:
                continue
            train = {
                "nodes": nodes,
                "processes": gpus,
                "strategy": "fsdp2" if processes > 1 else "ddp",
                "per_device": min(found["train"]["per_device"], batch // processes),
                "gradient_checkpointing": held > card.memory / 2,  # else there is room to keep activations
            }
            yield "trained", {"train": train}, nodes
            break
        example = self.recipes[EXAMPLE]
        sft = {key: example["sft"][key] for key in ("lora", "learning_rate")}
        if ROOM * HELD[sft["lora"]["base_dtype"]] * size <= card.memory:
            processes = max(count for count in range(1, gpus + 1) if batch % count == 0)
            train = {**example["train"], "processes": processes, "nodes": 1}
            yield "LoRA", {"sft": sft, "train": train}, 1

    def training(self, found: Mapping[str, Any], size: float, nodes: int, samples: int | None) -> float:
        """Hours of a training, on all of its nodes at once."""
        sft = found["sft"]
        tokens = gpu_hours.trained_tokens(found, samples or self.questions.subset_size(sft["subset"]), self.world)
        if self.machine.card is None:
            hours = self._cpu_hours("train", found, tokens, size)
        else:
            processes = found["train"]["processes"] * nodes
            used = gpu_hours.training_hours(tokens, size * 1e9, found, processes, self.machine.card)
            hours = (used or 0.0) / processes
        return hours * self.made.slower.get("train", 1.0)

    def _cpu_hours(self, stage: str, found: Mapping[str, Any], tokens: int, size: float) -> float:
        adapter, cores = bool(found.get("sft", {}).get("lora")), self.cores(found, stage)
        return gpu_hours.cpu_minutes(stage, tokens, size * 1e9, cores, self.world, adapter) / 60

    def cores(self, found: Mapping[str, Any], stage: str) -> int:
        """Cores that a job of a model has here."""
        asked = found["resources"].get(stage, {}).get("threads") or found["resources"].get("threads", 1)
        return min(int(asked), self.machine.cores)

    def thinking(self, found: Mapping[str, Any], one: Size) -> dict[str, Any] | None:
        """What a model is swept over; None for one that answers at once."""
        if found["prompt"] not in THINKING:
            return None
        return {**one.thinking(self.config["thinking"]), **found.get("thinking", {})}

    def answering(self, found: Mapping[str, Any], size: float, one: Size) -> float:
        """Hours that a model's answers take, on a node; ``found`` is its recipe with the ``serve`` it has here."""
        count, limit = sum(one.asked(name, known) for name, known in self.counts.items()), self.config["answer_limit"]
        work = gpu_hours.workload(count, found["prompt"], self.thinking(found, one), limit, self.world)
        if self.machine.card is None:
            return self._cpu_hours("infer", found, work.all, size) * self.made.slower.get("infer", 1.0)
        return self._generating(work, size, found["serve"])

    def _generating(self, work: Workload, size: float, serve: Mapping[str, Any]) -> float:
        assert self.machine.card
        cards = serve["options"]["tp"] * serve["options"]["dp"]
        hours = gpu_hours.generation_hours(work, size * 1e9, {**serve, "shards": 1}, self.machine.card)
        return (hours or 0.0) / cards * self.made.slower.get("infer", 1.0)

    def screening(self) -> dict[str, Any] | None:
        """How the screening models answer: as the largest of them needs; None where that does not fit."""
        sizes = [parameters(base) for base in self.run.screening_models.values()]
        return self._serve({"device": "gpu"}, max(sizes)) if sizes else None

    def sources(self, paid: Sequence[StepCost]) -> Iterator[Source]:
        """Sets of traces that can be paid for, each by itself; the hard ones need the screening by both models. What is
        in the store is not paid for again."""
        if self.machine.card is None:
            return
        steps = {step.step: step for step in paid}
        for name in self.run.teacher_sets:
            if name != "hard":
                yield Source(name, *_alone(steps[f"distill {name}"]))
        if "hard" in self.run.teacher_sets and (serve := self.screening()):
            limit = self.config["screen"]["answer_limit"]
            work = gpu_hours.direct_answers(self.questions.collection_size(), limit)
            each = [parameters(base) for base in self.run.screening_models.values()]
            hours = sum(self._generating(work, size, serve) for size in each)
            named = [_alone(steps[name]) for name in ("distill hard", "select domains") if name in steps]
            dollars, waiting = map(sum, zip(*named))
            yield Source("hard", dollars, waiting, hours)


def _alone(step: StepCost) -> tuple[float, float]:
    """Dollars and hours of a step, if no other one is run, whose calls it shares."""
    more = (step.calls - step.stored) / step.left if step.left else 0.0
    return step.dollars * more, step.hours * more


def difference(found: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """What of changes is other than in a recipe."""
    other: dict[str, Any] = {}
    for key, value in changed.items():
        own = found.get(key)
        if isinstance(value, dict) and isinstance(own, dict):
            value = difference(own, value)
            if not value:
                continue
        if value != own:
            other[key] = value
    return other


def rows(found: Mapping[str, Any]) -> frozenset[str]:
    """Addresses of the cells that a model of a recipe fills: its rows, and its curves."""
    published, ablation = found["published"], found["ablation"]
    own = [f"table1/{found['group']}/{published}"] if published else []
    own += [f"table2/{ablation['scale']}/{ablation['label']}"] if ablation else []
    if published and found["prompt"] in THINKING:
        own += [f"{kind}/{published}" for kind in ("figure1", "figure3", "turns", "thinking")]
    return frozenset(own)


def wanted_whole() -> list[str]:
    """Keys of the benchmarks whose number of questions is a claim."""
    known = claim_power.paper()["benchmarks"]
    keys = dict(zip(known["column"], known["key"]))
    cells = [cell for claim in claim_power.claims()["cells"] for cell in claim.split("; ")]
    return [keys[cell.partition("/")[2]] for cell in cells if cell.startswith("benchmarks/")]
