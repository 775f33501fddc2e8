"""Choose a training subset from the correct traces: all, at random, or balanced (3.1, diversity sampling; Tables
2-4)."""

import argparse
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

from m1.core import records
from m1.core.counts import PUBLISHED
from m1.core.draws import balanced, permutation
from m1.core.errors import UserError, run
from m1.core.files import write_manifest
from m1.core.progress import say
from m1.core.prompts import question_text
from m1.core.records import Domain, Question, Sample, Trace
from m1.select.settings import SampleSettings


def choose(samples: Sequence[Sample], rule: str, size: int | None, seed: int) -> list[Sample]:
    """The samples of a subset.

    Args:
        samples: all there are, in a fixed order.
        rule: ``all`` (every one, in order; with a size the same as ``random``), ``first`` (the first ones, in order:
            questions that were drawn at random are in the order of the draw), ``random`` (the first of a seeded
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
        found = f"size is {size}, but there are only {len(samples)} correct traces"
        raise UserError(f"--settings: {found}. Ask for fewer, or distill more questions.")
    if rule == "first":
        return list(samples[:size])
    if rule in {"all", "random"}:
        return [samples[place] for place in permutation(len(samples), seed)[:size]]
    if unlabelled := [sample.id for sample in samples if not sample.domain]:
        found = (
            f"{len(unlabelled)} of {len(samples)} correct traces have no domain (the first: question {unlabelled[0]})"
        )
        raise UserError(f"--domains: {found}. Rule {rule} needs all; run the labelling again.")
    groups = [(sample.domain, sample.source) if rule == "domain_source" else (sample.domain,) for sample in samples]
    return [samples[place] for place in balanced(groups, size, seed)]


def correct_samples(
    questions: Sequence[Question],
    traces: Sequence[Trace],
    domains: Sequence[Domain],
    leaks: Collection[str],
    subset: str,
    rule: str,
    seed: int,
) -> list[Sample]:
    """Every question with a correct trace as a sample, in the order of the questions (that of the traces depends on who
    answered first).

    Args:
        leaks: ids of questions that the evaluation has, too; they are left out (B.1).

    Raises:
        UserError: a correct trace whose question is not there.
    """
    correct = {trace.question_id: trace for trace in traces if trace.verdict == "correct"}
    names = {domain.question_id: domain.name for domain in domains}
    known = {question.id: question for question in questions}
    if lost := [identity for identity in correct if identity not in known]:
        found = f"{len(lost)} correct traces have no question there (the first: {lost[0]})"
        raise UserError(f"--questions: {found}. Give the file they were drawn from.")
    samples = []
    for identity, question in known.items():
        if identity in correct and identity not in leaks:
            texts = question_text(question), correct[identity].thinking, correct[identity].answer
            samples.append(Sample(identity, question.source, names.get(identity, ""), *texts, subset, rule, seed))
    return samples


def count_samples(samples: Sequence[Sample]) -> dict[str, Any]:
    """How many samples there are, in all and by source and domain: for a manifest."""
    sources = Counter(sample.source for sample in samples)
    domains = Counter(sample.domain for sample in samples if sample.domain)
    return {
        "samples": len(samples),
        "sources": dict(sorted(sources.items())),
        "domains": dict(sorted(domains.items())),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Choose the subset asked for on the command line (see ``--help``)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", required=True, help="Parquet of traces; only correct ones are used")
    parser.add_argument("--questions", required=True, nargs="+", help="Parquet of questions")
    parser.add_argument("--domains", help="Parquet of domains; needed by the rules domain and domain_source")
    parser.add_argument("--leaks", help="Parquet of questions that are left out, since the evaluation has them, too")
    parser.add_argument("--settings", required=True, help=f"JSON: {SampleSettings.keys()}")
    like = "Parquet of another subset: as many samples as it has, or all where there are fewer (Random 23K, Table 2)"
    parser.add_argument("--like", help=like)
    parser.add_argument("--subset", required=True, help="name of the subset, for example m1k")
    parser.add_argument("--output", required=True, help="Parquet of samples")
    parser.add_argument("--manifest", required=True, help="JSON: settings, counts in and out per source and domain")
    parser.add_argument("--published", help=PUBLISHED)
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
    traces = records.read(arguments.traces, Trace)
    leaks = {question.id for question in records.read(arguments.leaks, Question)} if arguments.leaks else set()
    correct = {trace.question_id for trace in traces if trace.verdict == "correct"}
    samples = correct_samples(questions, traces, domains, leaks, arguments.subset, rule, seed)
    note = ""
    if arguments.like:
        wanted = len(records.read(arguments.like, Sample))
        size = min(wanted, len(samples))
        note = f" (fewer than the {wanted:,} of {arguments.like}: all there are)" if size < wanted else ""
    chosen = choose(samples, rule, size, seed)
    if not chosen:
        empty = f"no correct trace in it, so subset {arguments.subset} would be empty"
        raise UserError(f"{arguments.traces}: {empty}. Check the teacher's answers.")
    records.write(arguments.output, chosen, Sample)
    inputs = {name: getattr(arguments, name) for name in ("traces", "domains", "leaks", "like")}
    inputs |= {f"questions {number}": path for number, path in enumerate(arguments.questions)}
    write_manifest(
        arguments.manifest,
        inputs={name: path for name, path in inputs.items() if path},
        settings={"subset": arguments.subset, **asdict(settings)},
        counts={"correct": len(correct), "leaks": len(correct & leaks), **count_samples(chosen)},
        started=started,
        published=arguments.published,
    )
    left_out = f", {len(correct & leaks):,} of them in the evaluation" if correct & leaks else ""
    out = f"{len(chosen):,} samples out by rule {rule}{note}"
    say("select", f"{arguments.subset}: {len(correct):,} correct traces in{left_out}, {out}")


if __name__ == "__main__":
    run(main)
