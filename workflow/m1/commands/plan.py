"""What a configuration will need before anything runs: calls of models, tokens, dollars and hours, jobs, and GPU-hours
(``make plan``).

Counts are exact where the questions of a step are there already: its requests are made as the step would make them, and
looked up in the store. Before that they are estimates from the registry of data and from the shares that the paper had
at each step (3.1, Table 3). What is there is taken as it is; whether it will be made anew is for ``snakemake -n`` to
say.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from m1.client.provider import Completion, Provider, Request
from m1.commands import gpu_hours
from m1.core import records
from m1.core.errors import UserError
from m1.core.places import source_file
from m1.core.progress import aligned
from m1.core.prompts import evaluation_prompt, question_text
from m1.core.records import Question
from m1.core.store import Store
from m1.distill.traces import teacher_prompt
from m1.select.domains import domain_prompt, read_qualifiers
from m1.wiring.config import load
from m1.wiring.run import Wiring

DEDUPLICATED = 192_023 / 196_157
"""Share of the collection that deduplication and decontamination leave (3.1); Table 3 has no row of it."""
BILL = 590 / 30_000
"""Dollars for a trace: the authors' own note of what about 30,000 of them cost."""
CHARACTERS = 4
"""Characters to a token, assumed; where the questions are not there yet, one takes
:data:`m1.commands.gpu_hours.QUESTION` tokens."""
TRACE = (gpu_hours.THINKING, gpu_hours.ANSWER)
"""Thinking and answer of a teacher, assumed."""
REPLY = (0, 300)
"""Thinking and answer of a labeller or a screening model, assumed."""
TOKENS_PER_SECOND = 30
"""Of one call, assumed."""
LEAST = 20
"""Calls of a provider in the store, from which on their means are taken in place of what is assumed."""
READ = 1000
"""Values of the store that are read for the means, evenly spread."""


@dataclass(frozen=True)
class Means:
    """What a call of a provider takes, on average."""

    prompt: float
    thinking: float
    answer: float
    """Tokens."""
    seconds: float
    dollars: float
    basis: str
    """Where this is known from."""


@dataclass
class Step:
    """A step that calls a model over HTTP; tokens, dollars and hours are those of the calls that are left."""

    step: str
    model: str
    store: str
    calls: int
    exact: bool
    """Whether the questions are known; else the number is an estimate."""
    stored: int = 0
    """Of the calls, answered in the store already."""
    shared: int = 0
    """Of the calls, asked by another step, too."""
    left: int = 0
    prompt_tokens: int = 0
    thinking_tokens: int = 0
    answer_tokens: int = 0
    dollars: float = 0.0
    hours: float = 0.0
    basis: str = ""


@dataclass
class Job:
    """Jobs of a rule that run here or on GPUs."""

    rule: str
    jobs: int
    there: int
    """Of the jobs, those whose results are there."""


@dataclass
class Plan:
    """All of it."""

    steps: list[Step]
    jobs: list[Job]
    gpus: list[gpu_hours.Work]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Questions:
    """The questions of each step, as far as they are known: the file, or else how many there will be.

    Args:
        wiring: of the configuration.
    """

    def __init__(self, wiring: Wiring) -> None:
        self.wiring, self.config = wiring, wiring.config
        self.results = Path(wiring.config["pathvars"]["results"])
        with open(source_file("resources/paper/table3.csv"), newline="", encoding="utf-8") as stream:
            paper = {row["Dataset"]: int(row["Summation"]) for row in csv.DictReader(stream)}
        self.hard_share = paper["+After difficulty filtering"] / (paper["Initial collection"] * DEDUPLICATED)
        self.correct_share = paper["+Generating thinking data"] / paper["+After difficulty filtering"]
        self._read: dict[Path, list[Question]] = {}

    def read(self, name: str) -> list[Question] | None:
        """The questions of a file below the results; None where it is not there."""
        path = self.results / name
        if path not in self._read and path.exists():
            self._read[path] = records.read(path, Question)
        return self._read.get(path)

    def rows(self, name: str) -> int | None:
        """Rows of a Parquet file below the results; None where it is not there."""
        import pyarrow.parquet as pq

        path = self.results / name
        try:
            return pq.read_metadata(path).num_rows if path.exists() else None
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: not readable as Parquet ({error}). Delete it to have it made again.") from error

    def size(self, kind: str, name: str) -> int | None:
        """Questions of a pool or benchmark (``kind``): made, or as the registry or the local file has them; None where
        nobody knows."""
        from m1.core import sources

        made = self.rows(f"{kind}/{name}.parquet")
        if made is not None:
            return made
        source, entry = self.config[kind][name], self.config["read_from"][f"{kind}.{name}"]
        rows, path, limit, part = source["rows"], source["path"], source["limit"], source["part"]
        if rows is None and path and path.startswith(f"{self.results}/world/"):
            world = self.config["world"]
            rows = world["pools"][Path(path).stem] if kind == "pools" else world["benchmark_size"]
        elif rows is None and path and Path(path).exists():
            rows = len(sources.read(source, entry)[1])
        if part and part["take"] == "first":
            rows = part["size"]
        elif part and rows is not None:
            rows -= part["size"]
        return min((one for one in (rows, limit) if one is not None), default=None)

    def pool(self, name: str) -> int:
        """Questions of a pool.

        Raises:
            UserError: nobody knows before the set is read.
        """
        size = self.size("pools", name)
        if size is None:
            entry = self.config["read_from"][f"pools.{name}"]
            raise UserError(
                f"data.{entry}: how many records it has is not known before it is read. Give its `rows` in "
                "the configuration."
            )
        return size

    def merged(self) -> int:
        """Questions of the whole collection, after deduplication and decontamination."""
        made = self.rows("pools/merged.parquet")
        return round(sum(map(self.pool, self.config["pools"])) * DEDUPLICATED) if made is None else made

    def hard(self) -> int:
        """Questions that no screening model solves."""
        made = self.rows("screen/hard.parquet")
        return round(self.merged() * self.hard_share) if made is None else made

    def correct(self) -> int:
        """Correct traces of the hard questions."""
        made = self.rows("distill/hard.parquet")
        return round(self.hard() * self.correct_share) if made is None else made

    def subset(self, name: str) -> int:
        """Samples of a training subset."""
        made = self.rows(f"select/{name}.parquet")
        if made is not None:
            return made
        if entry := self.wiring.published["subsets"].get(name):
            if rows := self.config["data"][entry]["rows"]:
                return rows
            raise UserError(
                f"data.{entry}: how many records it has is not known before it is read. Give its `rows` in "
                "the configuration."
            )
        subset = self.config["subsets"][name]
        return self.subset(subset["like"]) if "like" in subset else subset["size"] or self.correct()

    def asked(self, name: str) -> tuple[list[Question] | None, int]:
        """Questions of a set for the teacher, if known, and their number."""
        made = self.read(str(Path(self.wiring.asked(SimpleNamespace(set=name))).relative_to("<results>")))
        if made is not None:
            return made, len(made)
        if name == "hard":
            return None, self.hard()
        drawn = self.config["distill"][name]
        size = drawn["size"] if "size" in drawn else self.subset(drawn["like"])
        known = "size" in drawn or self.rows(f"select/{drawn['like']}.parquet") is not None
        collection = self.read("pools/merged.parquet") if known else None
        if collection is not None:
            from m1.distill.draw import draw

            questions = draw(collection, size, drawn["share"], self.config["seed"])
            return questions, len(questions)
        return None, min(int(size / drawn["share"]), self.merged())

    def labelled(self) -> tuple[list[Question] | None, int]:
        """Questions with a correct trace, if known, and their number."""
        import pyarrow.parquet as pq

        collection = self.read("pools/merged.parquet")
        if collection is None or self.rows("distill/hard.parquet") is None:
            return None, self.correct()
        wanted = dict.fromkeys(
            pq.read_table(self.results / "distill/hard.parquet", columns=["question_id"])["question_id"].to_pylist()
        )
        known = {question.id: question for question in collection}
        questions = [known[identity] for identity in wanted if identity in known]
        return questions, len(questions)


@dataclass
class _Ask:
    """A step before it is priced."""

    step: str
    title: str
    """The provider's name in the configuration."""
    provider: Provider
    store: Path
    calls: int
    requests: list[Request] | None
    prompt_tokens: float
    """Of a call, by the length of the prompt."""


def asks(questions: Questions) -> list[_Ask]:
    """The steps of a configuration that call models over HTTP, in the order of the paper."""
    wiring, config = questions.wiring, questions.config
    steps = [Path(manifest).relative_to("<results>").with_suffix("").parts for manifest in wiring.spending()]
    found = []
    for name in (name for stage, name in steps if stage == "screen"):
        known = questions.read("pools/merged.parquet"), questions.merged()
        style = partial(_screen_prompt, config["screen"]["prompt"])
        found.append(
            _ask(
                wiring,
                f"screen {name}",
                f"screen.providers.{name}",
                wiring.providers[name],
                f"screen-{name}",
                known,
                style,
            )
        )
    for name in (name for stage, name in steps if stage == "distill"):
        known = questions.asked(name)
        found.append(_ask(wiring, f"distill {name}", "teacher", config["teacher"], "teacher", known, teacher_prompt))
    for name in (name for stage, name in steps if stage == "select"):
        qualifiers = read_qualifiers(Path(source_file("resources/mesh/qualifiers.csv")))
        template = Path(source_file("resources/prompts/domain.txt")).read_text(encoding="utf-8")
        prompt = partial(domain_prompt, template, qualifiers)
        found.append(
            _ask(wiring, f"select {name}", "labeller", config["labeller"], "labeller", questions.labelled(), prompt)
        )
    return found


def _screen_prompt(style: str, question: Question) -> str:
    return evaluation_prompt(question_text(question), style)


def _ask(
    wiring: Wiring,
    step: str,
    title: str,
    settings: Mapping[str, Any],
    folder: str,
    found: tuple[list[Question] | None, int],
    prompt: Callable[[Question], str],
) -> _Ask:
    known, calls = found
    requests = None if known is None else [Request(prompt(question)) for question in known]
    # Where no question is there, one without text gives the length of the frame around it.
    texts = [request.prompt for request in requests or [Request(prompt(Question("", "", "", None, (), "A")))]]
    tokens = sum(map(len, texts)) / len(texts) / CHARACTERS + (0 if requests else gpu_hours.QUESTION)
    return _Ask(
        step, title, Provider.from_settings(settings, title), Path(wiring.store(folder)), calls, requests, tokens
    )


def means(ask: _Ask, store: Store | None, keys: Collection[str]) -> Means:
    """What a call takes: measured where the store has enough of the provider's calls, else assumed.

    Args:
        keys: of the step's own calls; they are measured first.
    """
    if store is not None:
        own = [key for key in keys if key in store]
        values = _values(store, own if len(own) >= LEAST else list(store))
        if len(own) < LEAST:
            values = {key: value for key, value in values.items() if value.get("served") == ask.provider.model}
        if len(values) >= LEAST:
            completions = [Completion.from_value(key, value) for key, value in values.items()]
            prompt, thinking, answer = (
                sum(getattr(completion, f"{part}_tokens") for completion in completions) / len(completions)
                for part in ("prompt", "thinking", "answer")
            )
            timed = [value["seconds"] for value in values.values() if value.get("seconds")]
            seconds = sum(timed) / len(timed) if len(timed) >= LEAST else (thinking + answer) / TOKENS_PER_SECOND
            untimed = "" if len(timed) >= LEAST else "; seconds assumed"
            dollars = ask.provider.dollars(round(prompt), round(thinking + answer))
            return Means(prompt, thinking, answer, seconds, dollars, f"measured on {len(values):,} calls{untimed}")
    thinking, answer = TRACE if ask.title == "teacher" else REPLY
    dollars, basis = ask.provider.dollars(round(ask.prompt_tokens), thinking + answer), "assumed"
    if ask.title == "teacher" and 0 < dollars < BILL:
        dollars, basis = BILL, "assumed; dollars of the authors' bill"
    return Means(ask.prompt_tokens, thinking, answer, (thinking + answer) / TOKENS_PER_SECOND, dollars, basis)


def paid(store: Store, provider: Provider) -> float:
    """About what all calls in a store's folder cost at this provider's prices: ``max_dollars`` limits this and what is
    left together."""
    completions = [Completion.from_value(key, value) for key, value in _values(store, list(store)).items()]
    dollars = sum(
        provider.dollars(completion.prompt_tokens, completion.completion_tokens) for completion in completions
    )
    return dollars / max(1, len(completions)) * len(store)


def _values(store: Store, keys: Sequence[str]) -> dict[str, Any]:
    """Answers of some keys, :data:`READ` of them at most."""
    chosen = keys[:: max(1, len(keys) // READ)]
    return {key: value for key in chosen if "message" in (value := store.get(key))}


def hours(provider: Provider, calls: int, mean: Means) -> float:
    """How long calls take: by the latency, or by the provider's limits where these are slower; a batch takes its
    window."""
    if provider.batch and calls:
        window = re.fullmatch(r"([0-9]+)([hd])", provider.batch["window"])
        return float(window[1]) * (24 if window[2] == "d" else 1) if window else 24.0
    minutes = [calls * mean.seconds / provider.concurrency / 60]
    if provider.requests_per_minute:
        minutes.append(calls / provider.requests_per_minute)
    if provider.tokens_per_minute:
        minutes.append(calls * (mean.prompt + mean.thinking + mean.answer) / provider.tokens_per_minute)
    return max(minutes) / 60


def make_plan(config: dict[str, Any]) -> Plan:
    """The plan of a configuration.

    Args:
        config: from :func:`m1.wiring.config.load`.

    Raises:
        UserError: the number of records of a set is not known, or what is there cannot be read.
    """
    wiring = Wiring(config)
    questions = Questions(wiring)
    everything = asks(questions)
    plan = Plan([], jobs(wiring, questions), gpu_hours.works(wiring, questions))
    stores = {ask.store: Store(ask.store) if ask.store.is_dir() else None for ask in everything}
    planned: dict[Path, set[str]] = {ask.store: set() for ask in everything}
    estimated: dict[Path, float] = dict.fromkeys(planned, 0.0)
    needed = {ask.title: paid(store, ask.provider) if (store := stores[ask.store]) else 0.0 for ask in everything}
    rows: dict[str, Step] = {}
    collection = max(1, questions.merged())
    for ask in sorted(
        everything, key=lambda ask: ask.requests is None
    ):  # what is known first, so that the others can be set against it
        store = stores[ask.store]
        row = Step(ask.step, ask.provider.model, str(ask.store), ask.calls, ask.requests is not None)
        keys: dict[str, None] = {}
        if ask.requests is not None:
            keys = dict.fromkeys(request.key(ask.provider) for request in ask.requests)
            row.calls = len(keys)
            row.shared = len(planned[ask.store].intersection(keys))
            new = keys.keys() - planned[ask.store]
            row.stored = sum(key in store for key in new) if store else 0
            planned[ask.store] |= new
        else:
            # Two draws of the collection have as many questions in common as chance has it.
            before = len(planned[ask.store]) + estimated[ask.store]
            row.shared = round(ask.calls * min(1.0, before / collection))
            estimated[ask.store] += ask.calls - row.shared
        mean = means(ask, store, keys)
        row.left = row.calls - row.shared - row.stored
        row.prompt_tokens, row.thinking_tokens, row.answer_tokens = (
            round(row.left * part) for part in (mean.prompt, mean.thinking, mean.answer)
        )
        row.dollars, row.hours, row.basis = row.left * mean.dollars, hours(ask.provider, row.left, mean), mean.basis
        rows[ask.step] = row
        needed[ask.title] += row.dollars
    for title, limit in {ask.title: ask.provider.max_dollars for ask in everything}.items():
        if limit is not None and needed[title] > limit:
            plan.warnings.append(
                f"{title}.max_dollars is ${limit:,.2f}, but about ${needed[title]:,.2f} are needed, with "
                "what is in the store already: "
                "the run would stop before it is passed. Raise it, or ask for less."
            )
    unseen = {ask.store: store for ask in everything if ask.requests is None and (store := stores[ask.store])}
    plan.notes += [
        f"{folder}: {len(store):,} answers of whatever model; which calls they spare is seen once "
        "the questions are there"
        for folder, store in unseen.items()
    ]
    plan.steps = [rows[ask.step] for ask in everything]
    if any(row.basis.startswith("assumed") for row in plan.steps if row.left):
        plan.notes.append(
            f"assumed: a token for {CHARACTERS} characters of prompt (a question of "
            f"{gpu_hours.QUESTION} where none is there yet); "
            f"thinking and answer {TRACE[0]:,} + {TRACE[1]} tokens of a teacher (Figure 8a), {REPLY[1]} of others; "
            f"{TOKENS_PER_SECOND} tokens a second; at least ${BILL:.4f} for a trace of a paid teacher "
            "(the authors' bill). "
            f"Measured means take their place from {LEAST} calls on."
        )
    if not all(row.exact for row in plan.steps):
        plan.notes.append(
            "~ estimate: records of the registry, then the paper's share of questions at each step (3.1, Table 3)"
        )
    if plan.gpus:
        uncounted = [name for name in config["benchmarks"] if questions.size("benchmarks", name) is None]
        plan.notes.append(gpu_hours.note(plan.gpus, uncounted))
    for opened in filter(None, stores.values()):
        opened.close()
    return plan


def jobs(wiring: Wiring, questions: Questions) -> list[Job]:
    """Jobs that need a GPU, or a CPU for tiny models, and the scoring after them."""
    local = list(wiring.config["screen"]["models"]) if wiring.screens else []
    results = {
        "screen_attempt": [f"screen/{name}.parquet" for name in local],
        "train_sft": [f"train/{name}" for name in wiring.trainings],
        "infer_sweep": [f"infer/{name}/predictions.parquet" for name in wiring.swept],
        "infer_answer": [f"infer/{name}/predictions.parquet" for name in wiring.at_once],
        "score_predictions": [f"score/{name}.parquet" for name in wiring.recipes],
    }
    return [
        Job(rule, len(paths), sum((questions.results / path).exists() for path in paths))
        for rule, paths in results.items()
    ]


def total(steps: Iterable[Step]) -> dict[str, Any]:
    """The sum of the steps; their hours add up, as if one came after the other."""
    steps = list(steps)
    names = (
        "calls",
        "stored",
        "shared",
        "left",
        "prompt_tokens",
        "thinking_tokens",
        "answer_tokens",
        "dollars",
        "hours",
    )
    return {name: sum(getattr(row, name) for row in steps) for name in names} | {
        "exact": all(row.exact for row in steps)
    }


def table(plan: Plan) -> list[str]:
    """The plan as lines to read."""
    header = [
        "step",
        "model",
        "calls",
        "in store",
        "shared",
        "left",
        "prompt",
        "thinking",
        "answer",
        "dollars",
        "hours",
        "means",
    ]
    rows = [asdict(row) for row in plan.steps]
    cells = [_cells(row) for row in [*rows, {"step": "sum", "model": "", "basis": "", **total(plan.steps)}]]
    lines = (
        aligned([header, *cells], left={0, 1, 11})
        if rows
        else ["no step of this configuration calls a model over HTTP"]
    )
    lines += [
        "",
        *aligned(
            [["rule", "jobs", "there"], *([job.rule, f"{job.jobs:,}", f"{job.there:,}"] for job in plan.jobs)], left={0}
        ),
    ]
    if plan.gpus:
        lines += ["", *aligned(gpu_hours.rows(plan.gpus), left={0, 6})]
    return [
        *lines,
        *([""] if plan.notes or plan.warnings else []),
        *plan.notes,
        *(f"warning: {line}" for line in plan.warnings),
    ]


def _cells(row: Mapping[str, Any]) -> list[str]:
    mark = "" if row["exact"] else "~"
    counts = [
        f"{mark}{row[name]:,}" if name != "stored" else f"{row[name]:,}"
        for name in ("calls", "stored", "shared", "left")
    ]
    tokens = [f"{row[f'{part}_tokens'] / 1e6:,.2f}M" for part in ("prompt", "thinking", "answer")]
    return [row["step"], row["model"], *counts, *tokens, f"{row['dollars']:,.2f}", f"{row['hours']:,.1f}", row["basis"]]


def main(argv: Sequence[str] | None = None) -> None:
    """Say what a configuration will need."""
    parser = argparse.ArgumentParser(
        prog="m1 plan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--configfile",
        nargs="*",
        default=[],
        type=Path,
        help="laid over the default configuration, as Snakemake's --configfile",
    )
    parser.add_argument("--json", action="store_true", help="the same as JSON, tokens in ones")
    arguments = parser.parse_args(argv)
    with redirect_stdout(sys.stderr):  # what is said of a damaged store is no part of the plan
        plan = make_plan(load(arguments.configfile))
    if arguments.json:
        print(json.dumps({**asdict(plan), "total": total(plan.steps)}, indent=2))
    else:
        print("\n".join(table(plan)))
