"""Is the report's page quick? Builds pages of synthetic runs, opens them in headless Chromium, and measures.

    python benchmarks/page.py                             # 100,000 predictions, at ten settings and at one
    python benchmarks/page.py --page results/report.html  # and a page that is there
    python benchmarks/page.py --paper                     # and 3 models on the paper's 11,461 questions

Prints a Markdown table. Loading is from the start of the navigation to the first frame with the data; a filter, from
its change to the frame that shows its result (the median and the slowest of all filters, each alone, and of searches);
reading, from a click to the frame that shows the text. Ends with exit code 1 if loading takes 2 s or a filter 200 ms.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "workflow"), str(ROOT / "tests" / "support")]

from chromium import PROGRAM, Page, browser  # noqa: E402
from m1.core import records  # noqa: E402
from m1.core.errors import UserError, run  # noqa: E402
from m1.core.records import Prediction, Question, Rollout, Score, writing  # noqa: E402
from m1.report.files import read_benchmarks  # noqa: E402
from m1.report.settings import Model  # noqa: E402
from shown import save_shown  # noqa: E402

BENCHMARKS = ROOT / "resources" / "paper" / "benchmarks.csv"
BUDGETS = (128, 256, 512, 1024, 2048, 4096)
FORCED = (1, 2, 4, 8)
LOADING, FILTERING = 2000, 200
"""Milliseconds that are allowed."""


def write_run(folder: Path, questions: int, models: int, thinks: bool, mean: int) -> list[str]:
    """Files of a synthetic run, and the module's arguments for them. Thinking has ``mean`` tokens on average, at least
    a tenth of it."""
    from tokenizers import Tokenizer, decoders
    from tokenizers import models as kinds

    chance = random.Random(0)
    words = ["".join(chance.choices("aeiourstlnmdc", k=chance.randint(2, 10))) for _ in range(5000)]
    vocabulary = {f" {word}": number for number, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(kinds.WordLevel(vocabulary, unk_token=next(iter(vocabulary))))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    frequent = [len(vocabulary) ** chance.random() for _ in range(1 << 16)]  # few words are frequent, as in language
    ids = [int(number) - 1 for number in frequent]
    prose = [" ".join(words[number % len(words)] for number in ids[at : at + 120]) for at in range(0, 1 << 16, 120)]
    benchmarks = list(read_benchmarks(BENCHMARKS))
    settings = [(budget, 0) for budget in BUDGETS] + [(BUDGETS[-1], count) for count in FORCED] if thinks else [(0, 0)]
    by_benchmark: dict[str, list[Question]] = {name: [] for name in benchmarks}
    for number in range(questions):
        name = benchmarks[number % len(benchmarks)]
        options = tuple(chance.choice(prose)[:40] for _ in range(4))
        by_benchmark[name].append(Question(f"{number:016x}", name, chance.choice(prose), None, options, "A"))
    for name, rows in by_benchmark.items():
        records.write(folder / "benchmarks" / f"{name}.parquet", rows, Question)
    names = [f"model-{number}" for number in range(models)]
    with ExitStack() as files:
        scores = files.enter_context(writing(folder / "scores.parquet", Score))
        predictions, rollouts = (
            [files.enter_context(writing(folder / "infer" / name / file, record)) for name in names]
            for file, record in (("predictions.parquet", Prediction), ("rollouts.parquet", Rollout))
        )
        for question in (question for rows in by_benchmark.values() for question in rows):
            for number, name in enumerate(names):
                length = min(BUDGETS[-1], int(mean / 10 + chance.expovariate(1 / (0.9 * mean)))) if thinks else 0
                start = chance.randrange(len(ids) - BUDGETS[-1])
                if thinks:
                    cut = length == BUDGETS[-1]
                    forced = () if cut else tuple(ids[:80])
                    waits = () if cut else tuple(length + 10 * i for i in range(8))
                    rollout = Rollout(
                        question.id,
                        question.source,
                        name,
                        tuple(ids[start : start + length]),
                        "length" if cut else "stop",
                        forced,
                        waits,
                    )
                    rollouts[number].add([rollout])
                for budget, count in settings:
                    correct, ended, text = (
                        chance.random() < 0.6,
                        length < budget,
                        f"Answer: \\boxed{{{chance.choice(prose)[:60]}}}",
                    )
                    key = (question.id, question.source, name, budget, count)
                    tokens = min(length, budget)
                    predictions[number].add([Prediction(*key, tokens, ended, text, 12)])
                    letter, rule = ("A", "boxed text") if correct else ("B", "most similar option")
                    scores.add([Score(key[0], key[1], *key[1:], ended, tokens, 12, text[15:-1], letter, correct, rule)])
    shown = save_shown(
        folder,
        models=tuple(Model(name, name.capitalize(), "." if thinks else None) for name in names),
        benchmarks=tuple(benchmarks),
        note="synthetic",
    )
    arguments = ["--shown", shown, "--scores", folder / "scores.parquet", "--benchmarks", BENCHMARKS]
    return [*map(str, arguments), "--output", str(folder / "report.html")]


FRAME = "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
TIMED = (
    f"(async () => {{{{ const begun = performance.now(); {{action}}; await {FRAME}; return "
    "performance.now() - begun; }}}})()"
)
"""Milliseconds from an action to the frame after it."""


def measure(page: Page, path: Path) -> dict[str, Any]:
    """Milliseconds of loading, of filters and of opening readings."""
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
    count, shown = page.ask("[judgedCount, N]")
    return {
        "loading": statistics.median(loading),
        "filters": filters,
        "opened": opened,
        "predictions": count,
        "readings": shown,
    }


def line(name: str, path: Path, found: dict[str, Any], built: str) -> str:
    """A row of the table."""
    filters = f"{statistics.median(found['filters']):.0f} ms, {max(found['filters']):.0f} ms"
    opened = f"{statistics.median(found['opened']):.0f} ms, {max(found['opened']):.0f} ms"
    return (
        f"| {name} | {found['predictions']:,} | {found['readings']:,} | {path.stat().st_size / 1e6:.1f} MB | {built} "
        f"| {found['loading']:.0f} ms | {filters} | {opened} |"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, action="append", default=[], help="a page that is there")
    parser.add_argument("--paper", action="store_true", help="three models on as many questions as the paper's, too")
    options = parser.parse_args(argv)
    if PROGRAM is None:
        raise UserError("no Chromium is installed (Debian's package is chromium)")
    runs = {"ten settings": (5_000, 2, True, 300), "one setting": (10_000, 10, False, 0)}
    if options.paper:
        runs["three models, the paper's questions"] = (11_461, 3, True, 1000)
    print(
        "| page | predictions | readings | size | made in | loads | filters: median, slowest | "
        "opens a reading: median, slowest |"
    )
    print("|---|---|---|---|---|---|---|---|")
    slow = False
    with browser() as page, tempfile.TemporaryDirectory() as folder:
        page.size(1400, 900)
        for path in options.page:
            found = measure(page, path)
            slow |= found["loading"] >= LOADING or max(found["filters"]) >= FILTERING
            print(line(path.stem, path, found, "-"), flush=True)
        for name, shape in runs.items():
            place = Path(folder) / name
            place.mkdir()
            arguments = write_run(place, *shape)
            began = time.monotonic()
            command = [sys.executable, "-m", "m1.report.page", *arguments]
            subprocess.run(
                command,
                check=True,
                stdout=subprocess.DEVNULL,
                env={"PYTHONPATH": str(ROOT / "workflow"), "PATH": "/usr/bin:/bin"},
            )
            memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
            built = f"{time.monotonic() - began:.0f} s, {memory:.1f} GB"
            found = measure(page, place / "report.html")
            slow |= found["loading"] >= LOADING or max(found["filters"]) >= FILTERING
            print(line(name, place / "report.html", found, built), flush=True)
    if slow:
        raise SystemExit(f"slower than {LOADING} ms of loading or {FILTERING} ms of filtering")


if __name__ == "__main__":
    run(main)
