"""What a reproduction can be made of, and what each part costs: part of ``python -m m1 fit``.

A :class:`Part` is a model and a way to have it: trained whole, trained by LoRA, as published, or as it is. A
:class:`Source` is a set of traces that the teacher is paid for. A :class:`Size` is what all models are asked. Costs are
those of ``make plan``: the same functions, on the recipes that the overlay will have.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from m1.commands import gpu_hours
from m1.commands.cards import Card
from m1.commands.doctor import CHECKPOINTS, HELD, ROOM, TRAINING, WEIGHTS, parameters
from m1.commands.gpu_hours import Asked
from m1.commands.lengths import sample_tokens
from m1.commands.pin import cached_commit
from m1.commands.plan import StepCost
from m1.commands.questions import Questions
from m1.wiring.config import all_recipes, merge, recipe
from m1.wiring.run import THINKING, Run

LIMITS: tuple[int | None, ...] = (None, 800, 400, 200, 100, 50, 25, 10)
"""Questions of each benchmark at most: all of them, then halves."""
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
# The embedded world's models: tokens a second of a core in training and in answering, and hours that pretraining one
# takes, as the demo's manifests have them.
WORLD_TRAINING, WORLD_ANSWERING, WORLD_BASE = 10_000, 5_000, 120 / 3600


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

    def thinking(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The key ``thinking`` of a configuration, with this size in it."""
        largest = min(settings["forced_budget"], max(self.budgets))
        return {**settings, "budgets": [*self.budgets], "forced": [*self.forced], "forced_budget": largest}


@dataclass(frozen=True)
class Part:
    """A model, and a way to have it."""

    model: str
    way: str  # "trained", "LoRA", "published", or "as it is"
    rows: frozenset[str]  # addresses of cells (m1.report.evidence) that it fills
    table1: bool
    thinks: bool
    budgets: tuple[int, ...]  # of its own recipe; none for those that all models have
    base: str  # weights that it needs on the disk
    source: str | None = None  # traces that it is trained on and that must be paid for
    samples: int | None = None  # that it is trained on, where that is fewer than the subset has
    training: float = 0.0  # hours of a node, or of `nodes` of them
    nodes: int = 1
    checkpoints: float = 0.0  # GB, while it trains
    kept: float = 0.0  # GB
    changes: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)  # of its recipe
    answering: Mapping[Size, float] = field(default_factory=dict, hash=False, compare=False)  # hours of a node


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
    making: Mapping[str, float]  # hours that each base takes to be there
    lacking: Mapping[str, str]  # models that no way leads to here, and why
    screening: Mapping[str, Any] | None  # how the screening models answer


def make_menu(run: Run, machine: Machine, paid: Sequence[StepCost], slower: Mapping[str, float]) -> Menu:
    """What can be had of a configuration on a machine.

    Args:
        run: of the paper, or of what stands for it.
        machine: what there is.
        paid: steps that call models over HTTP, of the run's plan.
        slower: for ``training`` and ``answering``, how many times longer than modelled a step took here.
    """
    kitchen = Kitchen(run, machine, slower)
    candidates = kitchen.candidates()
    parts = [part for name in candidates for part in kitchen.parts(name)]
    there = {part.model for part in parts}
    lacking = {name: kitchen.why_not(name) for name in candidates if name not in there}
    bases = {part.base: kitchen.size_of(part.base) for part in parts}
    weights = {name: WEIGHTS * size for name, size in bases.items()}
    making = dict.fromkeys(bases, WORLD_BASE if kitchen.world else 0.0)
    return Menu(kitchen.sizes, parts, list(kitchen.sources(paid)), weights, making, lacking, kitchen.screening())


class Kitchen:
    """Makes the parts of a menu."""

    def __init__(self, run: Run, machine: Machine, slower: Mapping[str, float]) -> None:
        self.run, self.config, self.machine, self.slower = run, run.config, machine, slower
        self.questions = Questions(run)
        self.recipes = {name: recipe(name, "fit", {}) for name in all_recipes()}
        self.world = any(run.world_model("bases", base) for base in run.bases)
        whole = {name: self.questions.size("benchmarks", name) or 0 for name in self.config["benchmarks"]}
        self.counts = list(whole.values())
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
        one or two, as long as there are three, which make a curve."""
        budgets, forced = tuple(self.config["thinking"]["budgets"]), tuple(self.config["thinking"]["forced"])
        shorter = [budgets[: len(budgets) - less] for less in (0, 1, 2) if not less or len(budgets) - less >= 3]
        ways = [(budgets, forced), *((some, ()) for some in shorter)]
        fewest = FEWEST if self.machine.card else 0
        limits = [one for one in LIMITS if one is None or fewest <= one < max(self.counts)]
        return [Size(limit, *way) for limit in limits for way in ways]

    def size_of(self, base: str) -> float:
        """Billions of parameters; 0 of the embedded world's, and where its name does not say."""
        if base in self.config["bases"]:
            return parameters(self.config["bases"][base])
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
        if (serve := self._serve(found, size)) is None:
            return
        served = {"serve": serve} if serve else {}
        common: dict[str, Any] = {
            "model": name,
            "rows": rows(found),
            "table1": bool(found["published"]) or name in self.config["report"]["table1"]["models"],
            # A recipe with budgets of its own has no place in the figures, whose models all have the same.
            "thinks": found["prompt"] in THINKING and "sft" in found and "thinking" not in found,
            "budgets": tuple(found.get("thinking", {}).get("budgets", ())),
            "answering": {one: self.answering(found, size, serve, one) for one in self.sizes},
        }
        own = found["base"] if isinstance(found["base"], dict) else self.config["bases"][base]
        if "sft" not in found:
            if self.is_here(own, "model"):
                yield Part(way="as it is", base=base, changes=difference(found, served), **common)
            return
        subset = found["sft"]["subset"]
        source = self.config["subsets"][subset]["traces"] if self.pays(subset) else None
        checkpoint = self.config["data"].get(name.replace("-", "_"))
        if checkpoint and self.is_here(checkpoint, "model"):
            kept = WEIGHTS * size
            yield Part(
                way="published", base=f"{name}, published", kept=kept, changes=difference(found, served), **common
            )
        for way, changes, nodes in self._trainings(found, size) if self.is_here(own, "model") else ():
            for samples in (None,) if self.machine.card or self.world else SAMPLES:
                whole = merge(found, changes)
                yield Part(
                    way=way,
                    base=base,
                    source=source,
                    samples=samples,
                    training=self.training(whole, size, nodes, samples),
                    nodes=nodes,
                    checkpoints=CHECKPOINTS * size if way == "trained" else 0.0,
                    kept=WEIGHTS * size,
                    changes=difference(found, changes | served),
                    **common,
                )

    def pays(self, subset: str) -> bool:
        """Whether a subset's traces must be paid for: those of m1K and m23K are published, and the embedded world's
        teacher costs nothing."""
        return not self.world and subset not in PUBLISHED.values()

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
        count = samples or self.questions.subset_size(sft["subset"])
        tokens = round(count * sample_tokens(sft["block_size"]) * sft["epochs"])
        if self.world:
            hours = tokens / WORLD_TRAINING / 3600
        elif self.machine.card is None:
            each = gpu_hours.ADAPTER if sft.get("lora") else gpu_hours.WHOLE
            hours = tokens * size * 1e9 * each / gpu_hours.CORE_TRAINING / self.cores(found, "train") / 3600
        else:
            processes = found["train"]["processes"] * nodes
            used = gpu_hours.training_hours(tokens, size * 1e9, dict(found), processes, self.machine.card)
            hours = (used or 0.0) / processes
        return hours * self.slower["training"]

    def cores(self, found: Mapping[str, Any], stage: str) -> int:
        """Cores that a job of a model has here."""
        asked = found["resources"].get(stage, {}).get("threads") or found["resources"].get("threads", 1)
        return min(int(asked), self.machine.cores)

    def answering(self, found: Mapping[str, Any], size: float, serve: Mapping[str, Any], one: Size) -> float:
        """Hours that a model's answers take, on a node."""
        count = sum(min(known, one.limit or known) for known in self.counts)
        if found["prompt"] in THINKING:
            settings = {**one.thinking(self.config["thinking"]), **found.get("thinking", {})}
            asked = gpu_hours.sweep_answers(count, settings)
        else:
            asked = gpu_hours.direct_answers(count, self.config["answer_limit"])
        return self._generating(asked, size, serve, self.cores(found, "infer")) * self.slower["answering"]

    def _generating(self, asked: Asked, size: float, serve: Mapping[str, Any], cores: int) -> float:
        if self.world:
            return asked.all / WORLD_ANSWERING / 3600
        if self.machine.card is None:
            return asked.all * size * 1e9 * 2 / gpu_hours.CORE_SERVING / cores / 3600
        cards = serve["options"]["tp"] * serve["options"]["dp"]
        hours = gpu_hours.generation_hours(asked, size * 1e9, {**serve, "shards": 1}, self.machine.card)
        return (hours or 0.0) / cards

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
        for name in self.run.traced:
            if name != "hard":
                yield Source(name, *_alone(steps[f"distill {name}"]))
        if "hard" in self.run.traced and (serve := self.screening()):
            limit = self.config["screen"]["answer_limit"]
            asked = gpu_hours.direct_answers(self.questions.collection_size(), limit)
            each = [parameters(base) for base in self.run.screening_models.values()]
            hours = sum(self._generating(asked, size, serve, 1) for size in each) * self.slower["answering"]
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
