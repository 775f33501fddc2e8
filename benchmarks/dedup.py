"""Exact deduplication against exhaustive comparison: wall clock, CPU, memory, and whether the results are identical.

    python benchmarks/dedup.py              # 5,000 and 20,000 prompts against exhaustive comparison, 196,157 ours alone
    python benchmarks/dedup.py --full-check  # every real prompt, as it is and with 5 % of them perturbed, against
    exhaustive comparison

Prompts are the real ones below ``M1_SHARED_DATA`` (or ``../shared/data``) or, with ``--prompts``, those of Parquet
files of questions. :func:`enlarge` makes any number of them. Exhaustive is ``rapidfuzz.process.cdist`` with its score
cutoff in one process, each pair once (blocks of 500 prompts against those from the block on). Each measurement runs in
a process of its own; CPU seconds count its children, memory is the largest sum of the proportional set sizes (PSS) of
all its processes, texts included, sampled ten times a second.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import multiprocessing
import os
import pickle
import random
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from m1.core import records  # noqa: E402
from m1.core.errors import UserError, run  # noqa: E402
from m1.core.layouts import LAYOUTS, RefusedRecord  # noqa: E402
from m1.core.prompts import question_text  # noqa: E402
from m1.core.records import Question  # noqa: E402

DATA = Path(os.environ.get("M1_SHARED_DATA", ROOT / ".." / "shared" / "data"))
FILES = {
    "medmcqa/train_sample": "medmcqa",
    "medmcqa/train_extra_unverified": "medmcqa",
    "medmcqa/validation": "medmcqa",
    "medqa_usmle_4_options/train_sample": "medqa",
    "medqa_usmle_4_options/dev": "medqa",
    "medqa_usmle_4_options/test": "medqa",
    "medqa_usmle_5_options/train_sample": "medqa",
    "medqa_usmle_5_options/test": "medqa",
    "headqa/train": "headqa",
    "headqa/validation": "headqa",
    "headqa/test": "headqa",
    "pubmedqa/pqa_labeled": "pubmedqa",
    "mmlu_medical/test": "mmlu",
    "mmlu_pro_medical/test": "eval",
    "medbullets/op4": "eval",
    "medbullets/op5": "eval",
    "medxpertqa/text": "medxpertqa",
    "huatuogpt_o1_demo/demo": "eval",
}
"""Real file to its field layout."""
POOLS = {"medmcqa": 182_822, "medqa_usmle_4_options": 10_178, "headqa": 2_657, "pubmedqa": 500}
"""Rows of the paper's four pools (3.1): the mix."""
FULL = sum(POOLS.values())
THRESHOLD = 95
SEED = 0


def read_real() -> list[Question]:
    """All real questions, in the order of :data:`FILES`; their source is the folder."""
    if not DATA.is_dir():
        raise UserError(
            f"{DATA}: no real data here. Set M1_SHARED_DATA to its folder, or give Parquet files of "
            "questions with --prompts."
        )
    questions = []
    for name, layout in FILES.items():
        with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as stream:
            for number, line in enumerate(stream):
                try:
                    parts = LAYOUTS[layout](json.loads(line))
                except RefusedRecord:
                    continue
                questions.append(
                    Question(
                        f"{name}-{number}", name.split("/")[0], parts.stem, parts.context, parts.options, parts.answer
                    )
                )
    return questions


def enlarge(questions: Sequence[Question], size: int, seed: int = SEED) -> list[str]:
    """``size`` prompts that read like the paper's pools, in random order.

    Sources are mixed as in :data:`POOLS` where they are those (else as they come). Of each, the real prompts come
    first. Every further one is a real question of which half of the sentences and all options are taken from other
    questions of the source, and a third of the words of its stem and context from the words of the source. Two in a
    hundred are copies of earlier prompts with so many random edits that they lie around the threshold.
    """
    generator = random.Random(seed)
    sources: dict[str, list[Question]] = {}
    for question in questions:
        sources.setdefault(question.source, []).append(question)
    shares = {source: POOLS[source] for source in sources if source in POOLS} or {
        source: len(rows) for source, rows in sources.items()
    }
    prompts: list[str] = []
    for place, (source, share) in enumerate(shares.items()):
        last = place == len(shares) - 1
        wanted = size - len(prompts) if last else round(size * share / sum(shares.values()))
        rows = generator.sample(sources[source], len(sources[source]))
        made = [question_text(row) for row in rows[:wanted]]
        recombine = _recombiner(rows, generator)
        while len(made) < wanted:
            made.append(perturb(generator.choice(made), generator) if generator.random() < 0.02 else recombine())
        prompts += made
    generator.shuffle(prompts)
    return prompts


def _recombiner(rows: Sequence[Question], generator: random.Random) -> Callable[[], str]:
    word = re.compile(r"[^\W\d_]{3,}")
    sentence = re.compile(r"(?<=[.?!])\s+")
    corpus = [found for row in rows for found in word.findall(question_text(row))]

    def recombine() -> str:
        base, options, *others = generator.choices(rows, k=6)

        def mixed(field: str) -> str:
            pieces = sentence.split(getattr(base, field) or "")
            for number in range(len(pieces)):
                if generator.random() < 0.5:
                    taken = sentence.split(getattr(generator.choice(others), field) or "")
                    pieces[number] = taken[min(number, len(taken) - 1)]
            return word.sub(
                lambda found: generator.choice(corpus) if generator.random() < 0.33 else found[0], " ".join(pieces)
            )

        stem, context = mixed("stem"), mixed("context") if base.context else None
        return question_text(Question("", base.source, stem, context, options.options, "A"))

    return recombine


def perturb(text: str, generator: random.Random) -> str:
    """A copy with random letters deleted, inserted or replaced: 1 to 8 in a hundred, so that similarities are from 92
    to 99.5 or so."""
    letters = list(text)
    for _ in range(round(len(text) * generator.uniform(0.01, 0.08))):
        place = generator.randrange(len(letters) + 1)
        letters[place : place + generator.randrange(2)] = generator.choice(("", "a", "e", " ", "9"))
    return "".join(letters)


def ours(texts: Sequence[str], processes: int) -> set[int]:
    """Places of the later texts of close pairs, by the package."""
    from m1.pools.similar import later_of_close

    return later_of_close(texts, THRESHOLD, processes)


def exhaustive(texts: Sequence[str], processes: int) -> set[int]:
    """The same by comparing every pair."""
    import numpy as np
    from rapidfuzz import fuzz, process

    later: set[int] = set()
    for first in range(0, len(texts), 500):
        block = texts[first : first + 500]
        ratios = process.cdist(
            block, texts[first:], scorer=fuzz.ratio, score_cutoff=THRESHOLD, dtype=np.float64, workers=processes
        )
        _, columns = np.nonzero(np.triu(ratios >= THRESHOLD, k=1))
        later.update((first + columns).tolist())
    return later


class Measured(NamedTuple):
    """What a function returned, and what it took."""

    result: set[int]
    wall: float
    """Seconds."""
    cpu: float
    """Seconds, user and system, of all processes."""
    memory: float
    """Largest PSS of all processes together, in MiB."""


def measure(function: Callable[[Sequence[str], int], set[int]], texts: Sequence[str], processes: int) -> Measured:
    """Run the function on the texts in a fresh process and watch it."""
    import psutil

    with tempfile.TemporaryDirectory() as folder:
        given, taken = Path(folder, "given"), Path(folder, "taken")
        given.write_bytes(pickle.dumps(list(texts)))
        child = multiprocessing.get_context("spawn").Process(target=_measured, args=(function, given, processes, taken))
        child.start()
        peak = 0
        while child.is_alive():
            with contextlib.suppress(psutil.Error):
                parent = psutil.Process(child.pid)
                peak = max(
                    peak, sum(process.memory_full_info().pss for process in [parent, *parent.children(recursive=True)])
                )
            time.sleep(0.1)
        if child.exitcode:
            raise UserError(
                f"{function.__name__} on {len(texts):,} texts ended with exit code {child.exitcode}; see above."
            )
        result, wall, cpu = pickle.loads(taken.read_bytes())
        return Measured(result, wall, cpu, peak / 2**20)


def _measured(function: Callable[[Sequence[str], int], set[int]], given: Path, processes: int, taken: Path) -> None:
    texts = pickle.loads(given.read_bytes())
    function(texts[:10], 1)  # imports
    wall, cpu = time.perf_counter(), _cpu()
    result = function(texts, processes)
    taken.write_bytes(pickle.dumps((result, time.perf_counter() - wall, _cpu() - cpu)))


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def row(title: str, size: int, measured: Measured, other: Measured | None = None, scale: float = 1.0) -> None:
    """Print a row of the table; ``other`` is exhaustive comparison, whose CPU seconds are multiplied by ``scale``."""
    cells = [
        title,
        f"{size:,}",
        f"{measured.wall:.2f}",
        f"{measured.cpu:.2f}",
        f"{measured.memory:,.0f}",
        f"{len(measured.result):,}",
    ]
    ratio = f"{other.cpu * scale / measured.cpu:,.0f}" + (" (extrapolated)" if scale != 1 else "") if other else ""
    identical = ("yes" if other.result == measured.result else "NO") if other and scale == 1 else ""
    print(f"| {' | '.join([*cells, ratio, identical])} |", flush=True)


def head() -> None:
    """Print the head of the table."""
    print(
        "| texts | number | wall (s) | CPU (s) | memory (MiB) | left out | times less CPU than exhaustive | identical |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)


def compare(title: str, texts: Sequence[str], processes: int) -> Measured:
    """Rows of exhaustive comparison and of ours; what exhaustive comparison took."""
    slow = measure(exhaustive, texts, 1)
    row(f"{title}, exhaustive, 1 process", len(texts), slow)
    for number in sorted({1, processes}):
        row(f"{title}, ours, {number} process{'es' * (number > 1)}", len(texts), measure(ours, texts, number), slow)
    return slow


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", nargs="+", metavar="FILE", help="Parquet of questions, instead of the real data")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--full-check",
        action="store_true",
        help="all prompts as given, and with 5 %% perturbed, instead of enlarged ones",
    )
    arguments = parser.parse_args(argv)
    questions = (
        [q for path in arguments.prompts for q in records.read(path, Question)] if arguments.prompts else read_real()
    )
    head()
    if arguments.full_check:
        texts, generator = [question_text(question) for question in questions], random.Random(SEED)
        compare("as given", texts, arguments.processes)
        for place in generator.sample(range(len(texts)), len(texts) // 20):
            texts[place] = perturb(generator.choice(texts), generator)
        compare("5 % perturbed", texts, arguments.processes)
        return
    for size in (5_000, 20_000):
        slow = compare("enlarged", enlarge(questions, size), arguments.processes)
    texts = enlarge(questions, FULL)
    scale = (FULL / size) ** 2
    for number in sorted({1, arguments.processes}):
        row(f"enlarged, ours, {number} process{'es' * (number > 1)}", FULL, measure(ours, texts, number), slow, scale)
    hours = slow.cpu * scale / 3600
    print(
        f"\nExhaustive comparison of {FULL:,}, extrapolated: {slow.cpu:.0f} CPU s at {size:,}, "
        f"times {scale:.1f}: {hours:.1f} CPU hours."
    )


if __name__ == "__main__":
    run(main)
