"""Make the embedded world: its facts, four pools and ten benchmarks in the field layouts of the real sets, and the
documents for pretraining."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from m1.core.errors import run
from m1.core.files import write_text
from m1.core.progress import say
from m1.world.documents import make_documents
from m1.world.facts import make_facts, save_facts
from m1.world.questions import BENCHMARKS, POOLS, make_set
from m1.world.settings import BuildSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Write the world below ``--output``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", required=True, help=f"JSON object with the keys {BuildSettings.keys()}")
    parser.add_argument("--output", required=True, type=Path, help="folder to write the world to")
    arguments = parser.parse_args(argv)
    settings, folder = BuildSettings.from_json(arguments.settings), arguments.output
    seed = settings.seed

    facts = make_facts(seed, settings.entities)
    save_facts(facts, str(folder / "facts.json"))
    sets = {("pools", name): (POOLS[name], size) for name, size in settings.pools.items()}
    sets |= {("benchmarks", name): (recipe, settings.benchmark_size) for name, recipe in BENCHMARKS.items()}
    for (kind, name), (recipe, size) in sets.items():
        _write_lines(folder / kind / f"{name}.jsonl", make_set(facts, recipe, size, f"{seed} {kind} {name}"))
    documents = make_documents(facts, seed, settings.facts_first, settings.mixed)
    _write_lines(folder / "documents.jsonl", [asdict(document) for document in documents])
    questions = f"{sum(settings.pools.values()):,} pool questions"
    say("world", f"{len(facts.next) + len(facts.trend)} facts, {questions}, {len(documents):,} documents")


def _write_lines(path: Path, records: list[dict]) -> None:
    write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


if __name__ == "__main__":
    run(main)
