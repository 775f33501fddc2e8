"""Choose a training subset from the correct traces: all, at random, or balanced over domains (3.1 "Diversity sampling",
Tables 2-4)."""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
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
    """Choose the samples of a subset from all correct traces, in a fixed order.

    ``all`` takes every sample in order (with a size, it equals ``random``). ``first`` takes the first ones; questions
    that were drawn at random are in the order of the draw. ``random`` takes the first ones of a seeded shuffle.
    ``domain`` draws a domain uniformly, then a sample in it. ``domain_source`` draws a domain, a source in it, and a
    sample: the paper's m1K.

    Raises:
        UserError: there are fewer samples than wanted, a rule lacks its size, or a sample lacks its domain.
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
        found = f"{len(unlabelled)} of {len(samples)} correct traces have no domain"
        first = f"the first: question {unlabelled[0]}"
        raise UserError(f"--domains: {found} ({first}). Rule {rule} needs all; run the labelling again.")
    groups = [(sample.domain, sample.source) if rule == "domain_source" else (sample.domain,) for sample in samples]
    return [samples[place] for place in balanced(groups, size, seed)]


def correct_samples(
    questions: list[Question], correct: dict[str, Trace], domains: list[Domain], subset: str, settings: SampleSettings
) -> list[Sample]:
    """Every question with a correct trace (by question id) as a sample, in the order of the questions. The order of the
    traces would depend on which call was answered first.

    ``domains`` may be empty; each sample records the subset, and rule and seed of ``settings``. A correct trace without
    a question is a :class:`UserError`.
    """
    names = {domain.question_id: domain.name for domain in domains}
    known = {question.id: question for question in questions}
    if lost := [identity for identity in correct if identity not in known]:
        found = f"{len(lost)} correct traces have no question there (the first: {lost[0]})"
        raise UserError(f"--questions: {found}. Give the file they were drawn from.")
    drawn = subset, settings.rule, settings.seed
    samples = []
    for identity, question in known.items():
        if trace := correct.get(identity):
            texts = question_text(question), trace.thinking, trace.answer
            samples.append(Sample(identity, question.source, names.get(identity, ""), *texts, *drawn))
    return samples


def count_samples(samples: Sequence[Sample]) -> dict[str, Any]:
    """The numbers of samples in all, by source and by domain, for a manifest."""
    sources = Counter(sample.source for sample in samples)
    domains = Counter(sample.domain for sample in samples if sample.domain)
    by_name = {"sources": dict(sorted(sources.items())), "domains": dict(sorted(domains.items()))}
    return {"samples": len(samples), **by_name}


def main(argv: Sequence[str] | None = None) -> None:
    """Choose a subset, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", required=True, help="Parquet of traces; only correct ones are used")
    parser.add_argument("--questions", required=True, nargs="+", help="Parquet of questions")
    parser.add_argument("--domains", help="Parquet of domains; needed by the rules domain and domain_source")
    parser.add_argument("--leaks", help="Parquet of questions to leave out, because the evaluation also has them")
    parser.add_argument("--settings", required=True, help=f"JSON object with the keys {SampleSettings.keys()}")
    like = "Parquet of another subset: as many samples as it has, or all where there are fewer (Random 23K, Table 2)"
    parser.add_argument("--like", help=like)
    parser.add_argument("--subset", required=True, help="name of the subset, for example m1k")
    parser.add_argument("--output", required=True, help="samples to write, Parquet")
    parser.add_argument("--manifest", required=True, help="manifest to write, JSON: counts by source and domain")
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
    correct = {trace.question_id: trace for trace in traces if trace.verdict == "correct"}
    samples = correct_samples(questions, correct, domains, arguments.subset, settings)
    samples = [sample for sample in samples if sample.id not in leaks]
    leaked = len(correct.keys() & leaks)
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
        counts={"correct": len(correct), "leaks": leaked, **count_samples(chosen)},
        started=started,
        published=arguments.published,
    )
    left_out = f", {leaked:,} of them in the evaluation" if leaked else ""
    out = f"{len(chosen):,} samples out by rule {rule}{note}"
    say("select", f"{arguments.subset}: {len(correct):,} correct traces in{left_out}, {out}")


if __name__ == "__main__":
    run(main)
