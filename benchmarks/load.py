"""Is the report quick and small enough at the paper's size? Makes the files of a run, runs each step on them, measures.

    python benchmarks/load.py                                  # 25 models, 11,461 questions, 12 settings: 2 GB of files
    python benchmarks/load.py --models 3 --questions 500       # in small
    python benchmarks/load.py --folder load --only scaling     # keeps the files; a second run makes none again
    python benchmarks/load.py --open                           # and opens the page in headless Chromium
    python benchmarks/load.py --page results/report.html       # opens a page that is there, and nothing else

Prints a Markdown table of the steps, each by its command line in a process of its own: wall and CPU seconds, peak
memory (the largest of the step's processes), bytes written. Of `score`, a job for each model, the slowest and the
largest counts. Ends with exit code 1 if a step takes longer or more memory than :data:`LIMITS` allows, or the page
loads in more than 2 s or filters in more than 200 ms.

Questions have the lengths of the real sets. Every model thinks, as long as the authors printed. Made up are the words,
how answers are written, and how often they are correct (near the published row of Table 1). An answer whose thinking
ended by itself is the same at all larger budgets, as in a sweep.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "workflow"), str(ROOT / "tests" / "support")]

from chromium import PROGRAM, Page, browser  # noqa: E402
from m1.core import records  # noqa: E402
from m1.core.errors import UserError, run  # noqa: E402
from m1.core.files import replacing, write_json, write_manifest  # noqa: E402
from m1.core.records import LETTERS, Prediction, Question, Rollout  # noqa: E402
from m1.report.settings import AccuracyRow, Model, RuleManifests  # noqa: E402
from shown import save_shown  # noqa: E402

PAPER = ROOT / "resources" / "paper"
BUDGETS = (128, 256, 512, 1024, 2048, 4096, 8192)
FORCED, FORCED_BUDGET = (1, 2, 4, 6, 8), 2048
SETTINGS = [(budget, 0) for budget in BUDGETS] + [(FORCED_BUDGET, count) for count in FORCED]
PAGE = "page"
LIMITS = {PAGE: (60.0, 3.0)}
"""Seconds of wall clock and GiB that a step may take; others by :data:`LIMIT`."""
LIMIT = (60.0, 1.0)
LOADING, FILTERING = 2000, 200
"""Milliseconds of the page that are allowed."""


class Shape(NamedTuple):
    """Lengths of a benchmark's questions, in characters; measured on the real sets where these can be had."""

    stem: int
    spread: float  # of the logarithm
    options: int
    option: int
    context: int = 0


SHAPES = {
    "medmcqa": Shape(84, 0.7, 4, 20),
    "medqa": Shape(729, 0.36, 4, 26),
    "pubmedqa": Shape(95, 0.32, 3, 5, context=1500),
    "mmlu_pro": Shape(154, 0.65, 10, 64),
    "gpqa": Shape(500, 0.5, 4, 60),  # assumed
    "lancet": Shape(900, 0.4, 4, 40),  # assumed
    "medbullets_op4": Shape(916, 0.2, 4, 23),
    "medbullets_op5": Shape(916, 0.2, 5, 23),
    "medxpertqa": Shape(662, 0.48, 10, 35),
    "nejm": Shape(900, 0.4, 5, 30),  # assumed
}
THINKING, SPREAD = 1383, 0.68  # tokens on average, as the authors printed; spread of the logarithm
ANSWER = 900  # characters on average, of 194 tokens
ENDINGS = {
    "Answer: \\boxed{{{letter}}}": 0.70,
    "Answer: \\boxed{{{letter}. {option}}}": 0.10,
    "Answer: \\boxed{{{option}}}": 0.06,
    "**The answer is {letter}.**": 0.05,
    "So it is rather {option}": 0.05,
    "": 0.04,  # names nothing, so the most similar option is taken
}
"""How answers end, and how often; assumed."""
TOO_LONG = 0.002  # share of questions that a model is not asked


class Prose:
    """Made-up words, few of them frequent, as in language."""

    def __init__(self) -> None:
        chance = np.random.default_rng(0)
        lengths = chance.integers(2, 11, 20_000)
        words = dict.fromkeys("".join(chance.choice(list("aeiourstlnmdc"), length)) for length in lengths)
        self.words = list(words)
        self.ids = (len(self.words) ** chance.random(1 << 19)).astype(np.int32) - 1
        self._text = " ".join(self.words[number] for number in self.ids)

    def text(self, chance: np.random.Generator, length: float) -> str:
        """So many characters from anywhere."""
        start = int(chance.integers(len(self._text) - int(length)))
        return self._text[start : start + max(2, int(length))].strip() or "none"

    def write_tokenizer(self, folder: Path) -> None:
        """A tokenizer with a token for each word, decoded as byte-level ones are."""
        from tokenizers import Tokenizer, decoders
        from tokenizers import models as kinds

        vocabulary = {f"\u0120{word}": number for number, word in enumerate(self.words)}
        tokenizer = Tokenizer(kinds.WordLevel(vocabulary, unk_token=next(iter(vocabulary))))
        tokenizer.decoder = decoders.ByteLevel()
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(folder / "tokenizer.json"))


def benchmark_sizes(questions: int) -> dict[str, int]:
    """Benchmark to its number of questions: the paper's where they are 11,461, else in proportion, at least four."""
    with (PAPER / "benchmarks.csv").open(newline="", encoding="utf-8") as stream:
        sizes = {row["key"]: int(row["n"]) for row in csv.DictReader(stream)}
    return {key: max(4, round(n * questions / sum(sizes.values()))) for key, n in sizes.items()}


def log_normal(chance: np.random.Generator, mean: float, spread: float, count: int) -> np.ndarray:
    """Lengths of some mean, whose logarithms have a spread."""
    return chance.lognormal(np.log(mean) - spread**2 / 2, spread, count)


def write_questions(folder: Path, sizes: dict[str, int], prose: Prose) -> None:
    """The benchmarks and their manifests, which say that the questions are the published ones."""
    chance = np.random.default_rng(1)
    with (PAPER / "benchmarks.csv").open(newline="", encoding="utf-8") as stream:
        sources = {row["key"]: (row["evaluation"], row["list"]) for row in csv.DictReader(stream)}
    for place, (key, n) in enumerate(sizes.items()):
        shape, rows = SHAPES[key], []
        for number, length in enumerate(log_normal(chance, shape.stem, shape.spread, n)):
            options = tuple(prose.text(chance, shape.option * chance.uniform(0.5, 1.5)) for _ in range(shape.options))
            context = prose.text(chance, shape.context) if shape.context else None
            identity = f"{place:08x}{number:08x}"
            answer = LETTERS[chance.integers(shape.options)]
            rows.append(Question(identity, key, prose.text(chance, length), context, options, answer))
        path = folder / "benchmarks" / f"{key}.parquet"
        records.write(path, rows, Question)
        checksum, listed = sources[key]
        settings = {"checksum": checksum, "key": listed or None}
        counts = {"published": n, "questions": n}
        write_manifest(path.with_suffix(".json"), inputs={}, settings=settings, counts=counts, started=time.time())


def published_accuracies() -> list[dict[str, Any]]:
    """The rows of the published Table 1."""
    with (PAPER / "table1.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_model(folder: Path, number: int, accuracy: float) -> None:
    """Rollouts and predictions of one model, correct in some % of its answers, and their manifest."""
    prose, chance, name = Prose(), np.random.default_rng([2, number]), f"model-{number:02}"
    questions = [q for path in sorted((folder / "benchmarks").glob("*.parquet")) for q in records.read(path, Question)]
    lengths = np.maximum(1, log_normal(chance, THINKING, SPREAD, len(questions))).astype(int)
    into = folder / "infer" / name
    with ExitStack() as files:
        paths = [files.enter_context(replacing(into / f"{kind}.parquet")) for kind in ("rollouts", "predictions")]
        kinds = [records.schema(Rollout), records.schema(Prediction)]
        writers = [
            files.enter_context(pq.ParquetWriter(path, kind, **records.WRITING)) for path, kind in zip(paths, kinds)
        ]
        for first in range(0, len(questions), records.PART):
            part = slice(first, first + records.PART)
            rolled, predicted = [], []
            for question, length in zip(questions[part], lengths[part]):
                rollout = make_rollout(question, name, int(length), prose, chance)
                rolled.append(rollout)
                predicted += make_predictions(question, rollout, accuracy, prose, chance)
            for writer, rows, kind in zip(writers, (rolled, predicted), kinds):
                columns = [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(kind)]
                writer.write_table(pa.table(columns, schema=kind), row_group_size=records.PART)
    counts = {"questions": len(questions), "predictions": len(questions) * len(SETTINGS)}
    write_manifest(into / "manifest.json", inputs={}, settings=None, counts=counts, started=time.time())


def make_rollout(
    question: Question, model: str, length: int, prose: Prose, chance: np.random.Generator
) -> tuple[Any, ...]:
    """The fields of a rollout; what ended by itself within the forced budget was forced on, up to that budget."""
    start = int(chance.integers(len(prose.ids) - BUDGETS[-1]))
    ids = prose.ids[start : start + min(length, BUDGETS[-1])]
    forced, waits = prose.ids[:0], []
    if length < FORCED_BUDGET - max(FORCED):
        step = min(150, (FORCED_BUDGET - length) // max(FORCED))
        forced = prose.ids[start : start + step * max(FORCED)]
        waits = [length + step * place for place in range(max(FORCED))]
    ended = "stop" if length < BUDGETS[-1] else "length"
    return question.id, question.source, model, ids, ended, forced, waits


def make_predictions(
    question: Question, rollout: tuple[Any, ...], accuracy: float, prose: Prose, chance: np.random.Generator
) -> Iterator[tuple[Any, ...]]:
    """The fields of a question's predictions. A setting with the thinking of the one before has its answer, too."""
    thought, forced, waits = len(rollout[3]), len(rollout[5]), rollout[6]
    too_long, luck = chance.random() < TOO_LONG, chance.random()
    before, answer = -1, ""
    for budget, count in SETTINGS:
        tokens = min(thought, budget)
        if count and waits:
            tokens = waits[count] if count < len(waits) else thought + forced
        if tokens != before and not too_long:
            hurt = 12 if count else max(0.0, 20 * (1 - tokens / THINKING))
            # Answers to one question go together, and some turn by chance.
            correct = luck + chance.normal(0, 0.1) < (accuracy - hurt) / 100
            answer = make_answer(question, bool(correct), prose, chance)
        before = tokens
        ended = bool(thought < budget)
        yield (*rollout[:3], budget, count, tokens, ended, answer, 0 if too_long else 194, bool(too_long))


def make_answer(question: Question, correct: bool, prose: Prose, chance: np.random.Generator) -> str:
    """An answer that names the correct option, or another one."""
    place = LETTERS.index(question.answer)
    if not correct:
        place = int(place + chance.integers(1, len(question.options))) % len(question.options)
    ending = list(ENDINGS)[np.searchsorted(np.cumsum(list(ENDINGS.values())), chance.random())]
    reasons = prose.text(chance, ANSWER * chance.uniform(0.5, 1.5))
    return f"{reasons}\n\n{ending.format(letter=LETTERS[place], option=question.options[place])}"


def make(folder: Path, models: int, questions: int) -> None:
    """The files that the steps read."""
    prose, sizes, rows = Prose(), benchmark_sizes(questions), published_accuracies()
    prose.write_tokenizer(folder / "tokenizer")
    write_questions(folder, sizes, prose)
    names = [f"model-{number:02}" for number in range(models)]
    for number in range(models):
        write_model(folder, number, float(rows[number % len(rows)]["Avg."]))
        print(f"made {names[number]}", file=sys.stderr, flush=True)
    table1 = [
        AccuracyRow(name, name, row["group"], row["model"], BUDGETS, BUDGETS, False) for name, row in zip(names, rows)
    ]
    labelled = tuple(Model(name, name.capitalize(), "tokenizer", row.published) for name, row in zip(names, table1))
    if models > 3:  # one row is the mean of three trainings
        table1[0] = AccuracyRow(**vars(table1[0]) | {"trainings": tuple(names[:3])})
    save_shown(
        folder,
        models=labelled,
        table1=tuple(table1),
        figures=tuple(names),
        budgets=BUDGETS,
        forced=(0, *FORCED),
        forced_budget=FORCED_BUDGET,
        figure1_published=True,
        benchmarks=tuple(sizes),
        manifests=(RuleManifests("infer_sweep", tuple(f"infer/{name}/manifest.json" for name in names)),),
        page_tables=("table1", "compare", "claims", "budget_choice", "paired", "scaling", "best_budget"),
        page_figures=("figure1", "figure3"),
    )
    lengths = pd.read_csv(PAPER / "lengths.csv").query("part == 'thinking'").drop(columns="part")
    lengths.to_csv(folder / "lengths.csv", index=False)
    write_json(folder / "load.json", {"models": models, "questions": questions})


def commands(folder: Path) -> dict[str, list[list[str]]]:
    """The step to its command lines, as the rules have them, and in their order."""
    names = sorted(path.name for path in (folder / "infer").iterdir())
    questions = sorted(str(path.relative_to(folder)) for path in (folder / "benchmarks").glob("*.parquet"))
    benchmarks = ["--benchmarks", str(PAPER / "benchmarks.csv")]
    shared = ["--shown", "shown.json", "--scores", *(f"score/{name}.parquet" for name in names)]

    def paper(flag: str, *files: str) -> list[str]:
        return [f"--{flag}", *(str(PAPER / f"{file}.csv") for file in files)]

    def step(module: str, output: Sequence[str], *more: str, write: str = "--output") -> list[list[str]]:
        manifest = [] if module == "figures" else ["--manifest", Path(output[0]).with_suffix(".json").name]
        return [[f"m1.report.{module}", *more, *shared, write, *output, *manifest]]

    def score(name: str) -> list[str]:
        read = ["--predictions", f"infer/{name}/predictions.parquet", "--questions", *questions]
        settings = ["--settings", '{"protocol": "released"}']
        written = ["--output", f"score/{name}.parquet", "--manifest", f"score/{name}.json"]
        return ["m1.score.predictions", *read, *settings, *written]

    def figure(name: str) -> list[list[str]]:
        return step("figures", [f"{name}.pdf", f"{name}.png"], name, *benchmarks, *paper("published", "figure1"))

    table1 = ["table1", *benchmarks, *paper("published", "table1"), "--long", "table1_long.csv"]
    both, points = paper("published", "table1", "table2"), paper("points", "figure1")
    counts = [*paper("claims", "claims"), *paper("counts", "table3"), "--lengths", "lengths.csv"]
    cases = [
        word for number in (4, 5, 8) for word in (f"--figure{number}", f"figure{number}.pdf", f"figure{number}.png")
    ]
    return {
        "score": [score(name) for name in names],
        "table1": step("tables", ["table1.csv"], *table1),
        "figure1": figure("figure1"),
        "figure3": figure("figure3"),
        "compare": step("compare", ["compare.csv"], *both, *benchmarks),
        "choice": step("choice", ["budget_choice.csv"], *paper("table1", "table1"), *points, *benchmarks),
        "claims": step("claims", ["claims.csv"], *counts),
        "paired": step("paired", ["paired.csv"], *benchmarks),
        "scaling": step("scaling", ["scaling.csv", "best_budget.csv"], *benchmarks),
        "cases": step("cases", ["cases.csv"], *benchmarks, *cases, write="--table"),
        PAGE: step("page", ["report.html"], *benchmarks),
    }


class Cost(NamedTuple):
    """What a process took."""

    wall: float
    cpu: float  # seconds, user and system
    memory: float  # GiB


def measure(command: Sequence[str], folder: Path) -> Cost:
    """Run a module with its arguments, on one thread as Snakemake does; a :class:`UserError` if it fails."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow"), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with (folder / "step.log").open("w+", encoding="utf-8") as log:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=folder, env=environment, stdout=log, stderr=log
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise UserError(f"{' '.join(command[:2])} failed:\n{log.read()[-2000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / (1 << 20))


def written(command: Sequence[str], folder: Path) -> int:
    """Bytes of the files that a command was told to write."""
    flags = ("--output", "--long", "--table", "--figure4", "--figure5", "--figure8")
    found, flag = 0, ""
    for word in command:
        flag = word if word.startswith("--") else flag
        found += (folder / word).stat().st_size if flag in flags and word != flag else 0
    return found


def run_steps(folder: Path, only: Sequence[str]) -> bool:
    """Run and print; whether all kept to their limits."""
    print("| step | wall (s) | CPU (s) | peak memory (GiB) | written (MB) |")
    print("|---|---|---|---|---|")
    kept = True
    for step, lines in commands(folder).items():
        if only and step not in only:
            continue
        costs = [measure(line, folder) for line in lines]
        worst = Cost(*(max(values) for values in zip(*costs)))
        size = sum(written(line, folder) for line in lines) / len(lines)
        name = step if len(lines) == 1 else f"{step}, each of {len(lines)} models"
        print(f"| {name} | {worst.wall:.1f} | {worst.cpu:.1f} | {worst.memory:.2f} | {size / 1e6:.2f} |", flush=True)
        seconds, memory = LIMITS.get(step, LIMIT)
        kept = kept and worst.wall <= seconds and worst.memory <= memory
    return kept


FRAME = "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
TIMED = (
    f"(async () => {{{{ const begun = performance.now(); {{action}}; await {FRAME}; return "
    "performance.now() - begun; }})()"
)
"""Milliseconds from an action to the frame after it."""


def open_page(page: Page, path: Path) -> bool:
    """Use a page and print milliseconds, by its own clock: from navigation to the first list of questions, from a
    change of a filter (each alone, and searches) or a click on a reading to the frame that shows it. Returns whether
    loading and filters keep to their limits."""
    loading = []
    for _ in range(3):
        page.open(path, "#questions")
        loading.append(float(page.ask("document.documentElement.dataset.loaded")))
    filters = []
    chosen = page.ask(
        "[...document.querySelectorAll('#filters select')].flatMap((s) => [...s.options].map((o) => [s.id, o.value]))"
    )
    sought = [["search", text] for text in ("a", "the", "ares", "no such text", "0000a")]
    for name, value in [*chosen, *sought]:
        page.ask("$('filters').reset()")
        filters.append(page.ask(TIMED.format(action=f"$({json.dumps(name)}).value = {json.dumps(value)}; filter()")))
    page.ask("$('filters').reset(); filter()")
    opened = [page.ask(TIMED.format(action=f"await open(Math.floor(N * {part / 20}))")) for part in range(20)]
    count, shown, texts = page.ask("[judgedCount, N, places.filter((one, i) => i % 2 === 0 && one !== NOWHERE).length]")
    found = [f"{statistics.median(times):.0f} ms, {max(times):.0f} ms" for times in (filters, opened)]
    row = [f"{count:,}", f"{shown:,}", f"{texts:,}", f"{path.stat().st_size / 1e6:.1f} MB"]
    print(f"| {' | '.join([path.name, *row, f'{statistics.median(loading):.0f} ms', *found])} |", flush=True)
    return statistics.median(loading) < LOADING and max(filters) < FILTERING


def open_pages(paths: Sequence[Path]) -> bool:
    """Open pages in headless Chromium and print; whether all kept to their limits."""
    if PROGRAM is None:
        raise UserError("no Chromium is installed (Debian's package is chromium)")
    heads = "page | predictions | readings | with text | size | loads | filters: median, slowest | opens a reading: "
    print(f"\n| {heads}median, slowest |\n|{'---|' * 8}")
    with browser() as page:
        page.size(1400, 900)
        kept = [open_page(page, path) for path in paths]
    return all(kept)


def main(argv: Sequence[str] | None = None) -> None:
    """Make the files, run the steps, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, choices=range(1, 26), default=25, metavar="1…25")
    parser.add_argument(
        "--questions", type=int, default=11_461, help="of all ten benchmarks, in the paper's proportion"
    )
    parser.add_argument("--folder", type=Path, help="for the files, which stay; by default a temporary one")
    parser.add_argument("--make", action="store_true", help="make the files and run no step")
    parser.add_argument("--only", nargs="+", default=[], metavar="STEP", help="steps to run, by default all")
    parser.add_argument("--open", action="store_true", help="open the page in headless Chromium, too")
    parser.add_argument("--page", type=Path, action="append", help="a page that is there: open it and do nothing else")
    options = parser.parse_args(argv)
    if options.page:
        raise SystemExit(0 if open_pages(options.page) else "slower than allowed")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        size = {"models": options.models, "questions": options.questions}
        done = folder / "load.json"
        if options.make:
            return make(folder, **size)
        if not done.is_file() or json.loads(done.read_text()) != size:
            # In a process of its own: a step would inherit this one's peak of memory.
            of = [word for name, number in size.items() for word in (f"--{name}", str(number))]
            subprocess.run([sys.executable, __file__, "--make", "--folder", str(folder), *of], check=True)
        kept = run_steps(folder, options.only)
        if options.open:
            kept = open_pages([folder / "report.html"]) and kept
    if not kept:
        raise SystemExit("slower or larger than allowed")


if __name__ == "__main__":
    run(main)
