"""Choose a training subset from the correct traces: all, at random, or balanced (3.1, diversity sampling; Tables
2-4)."""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import asdict
from typing import TypeVar

from m1.core import records
from m1.core.errors import UserError, run
from m1.core.files import write_manifest
from m1.core.progress import say
from m1.core.prompts import question_text
from m1.core.records import Domain, Question, Sample, Trace
from m1.select.settings import SampleSettings

T = TypeVar("T")


def draw_random(items: Sequence[T], size: int, seed: int) -> list[T]:
    """The first ``size`` of a seeded shuffle."""
    return random.Random(seed).sample(items, len(items))[:size]


def draw_balanced(items: Sequence[T], groups: Sequence[Sequence[Hashable]], size: int, seed: int) -> list[T]:
    """Draw without replacement, uniformly through levels of groups: a group that is not empty, one inside it, ..., an
    item.

    Args:
        items: what is drawn from; at least ``size`` of them.
        groups: for each item its group at every level: ``(domain,)``, or ``(domain, source)`` for the paper's diversity
            sampling (3.1).

    Returns:
        ``size`` items in the order drawn.
    """
    generator = random.Random(seed)
    tree: dict = {}
    for item, path in zip(items, groups):
        node = tree
        for group in path[:-1]:
            node = node.setdefault(group, {})
        node.setdefault(path[-1], []).append(item)
    return [_take(tree, generator) for _ in range(size)]


def _take(node: dict, generator: random.Random) -> T:  # type: ignore[type-var]
    """Draw one item below a node and delete what is then empty; groups are in sorted order, so that the order of files
    decides nothing."""
    group = generator.choice(sorted(node))
    inside = node[group]
    item = _take(inside, generator) if isinstance(inside, dict) else inside.pop(generator.randrange(len(inside)))
    if not inside:
        del node[group]
    return item


def choose(samples: Sequence[Sample], rule: str, size: int | None, seed: int) -> list[Sample]:
    """The samples of a subset.

    Args:
        samples: all there are, in a fixed order.
        rule: ``all`` (every one, in order; with a size the same as ``random``), ``random`` (the first of a seeded
            shuffle), ``domain`` (uniformly a domain, then a sample in it) or ``domain_source`` (a domain, a source in
            it, a sample: the paper's m1K).

    Raises:
        UserError: more are asked for than there are; a rule that needs a size has none; a domain is missing.
    """
    if size is None:
        if rule != "all":
            raise UserError(f"--settings: size is null; rule {rule} needs a number.")
        return list(samples)
    if size > len(samples):
        raise UserError(
            f"--settings: size is {size}, but there are only {len(samples)} correct traces. Ask for "
            "fewer, or distill more questions."
        )
    if rule in {"all", "random"}:
        return draw_random(samples, size, seed)
    unlabelled = [sample.id for sample in samples if not sample.domain]
    if unlabelled:
        raise UserError(
            f"--domains: {len(unlabelled)} of {len(samples)} correct traces have no domain (the first: "
            f"question {unlabelled[0]}). "
            f"Rule {rule} needs all; run the labelling again."
        )
    groups = [(sample.domain, sample.source) if rule == "domain_source" else (sample.domain,) for sample in samples]
    return draw_balanced(samples, groups, size, seed)


def correct_samples(
    questions: Sequence[Question], traces: Sequence[Trace], domains: Sequence[Domain], subset: str, rule: str, seed: int
) -> list[Sample]:
    """Every question with a correct trace as a sample, in the order of the questions (that of the traces depends on who
    answered first).

    Raises:
        UserError: a correct trace whose question is not there.
    """
    correct = {trace.question_id: trace for trace in traces if trace.verdict == "correct"}
    names = {domain.question_id: domain.name for domain in domains}
    known = {question.id: question for question in questions}
    lost = [identity for identity in correct if identity not in known]
    if lost:
        raise UserError(
            f"--questions: {len(lost)} correct traces have no question there (the first: {lost[0]}). Give "
            "the file they were drawn from."
        )
    return [
        Sample(
            id=identity,
            source=question.source,
            domain=names.get(identity, ""),
            prompt=question_text(question),
            thinking=correct[identity].thinking,
            answer=correct[identity].answer,
            subset=subset,
            rule=rule,
            seed=seed,
        )
        for identity, question in known.items()
        if identity in correct
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Choose the subset asked for on the command line (see ``--help``)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", required=True, help="Parquet of traces; only correct ones are used")
    parser.add_argument("--questions", required=True, nargs="+", help="Parquet of questions")
    parser.add_argument("--domains", help="Parquet of domains; needed by the rules domain and domain_source")
    parser.add_argument("--settings", required=True, help=f"JSON: {SampleSettings.keys()}")
    parser.add_argument(
        "--like",
        help="Parquet of another subset: as many samples as it has, or all where there are fewer (Random 23K, Table 2)",
    )
    parser.add_argument("--subset", required=True, help="name of the subset, for example m1k")
    parser.add_argument("--output", required=True, help="Parquet of samples")
    parser.add_argument("--manifest", required=True, help="JSON: settings, counts in and out per source and domain")
    arguments = parser.parse_args(argv)
    started = time.time()
    settings = SampleSettings.from_json(arguments.settings)
    rule, size, seed = settings.rule, settings.size, settings.seed
    if rule.startswith("domain") and not arguments.domains:
        raise UserError(f"--settings: rule {rule} needs --domains.")
    if arguments.like and size is not None:
        raise UserError(f"--settings: size is {size}, but --like {arguments.like} gives the size; set size to null.")

    questions = [question for path in arguments.questions for question in records.read(path, Question)]
    domains = records.read(arguments.domains, Domain) if arguments.domains else []
    samples = correct_samples(questions, records.read(arguments.traces, Trace), domains, arguments.subset, rule, seed)
    note = ""
    if arguments.like:
        wanted = len(records.read(arguments.like, Sample))
        size = min(wanted, len(samples))
        note = f" (fewer than the {wanted:,} of {arguments.like}: all there are)" if size < wanted else ""
    chosen = choose(samples, rule, size, seed)
    if not chosen:
        raise UserError(
            f"{arguments.traces}: no correct trace in it, so subset {arguments.subset} would be empty. "
            "Check the teacher's answers."
        )
    records.write(arguments.output, chosen, Sample)
    inputs = {"traces": arguments.traces, "domains": arguments.domains, "like": arguments.like}
    inputs |= {f"questions {number}": path for number, path in enumerate(arguments.questions)}
    write_manifest(
        arguments.manifest,
        inputs={name: path for name, path in inputs.items() if path},
        settings={"subset": arguments.subset, **asdict(settings)},
        counts={
            "correct": len(samples),
            "samples": len(chosen),
            "sources": dict(sorted(Counter(sample.source for sample in chosen).items())),
            "domains": dict(sorted(Counter(sample.domain for sample in chosen if sample.domain).items())),
        },
        started=started,
    )
    say(
        "select",
        f"{arguments.subset}: {len(samples):,} correct traces in, {len(chosen):,} samples out by rule {rule}{note}",
    )


if __name__ == "__main__":
    run(main)
