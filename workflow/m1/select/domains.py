"""Label every question that has a correct trace with its medical domain, one of the 76 MeSH qualifiers (3.1 "Diversity
sampling", Table 4)."""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import reduce
from operator import add
from typing import NamedTuple

from m1.client.complete import Answers, Provider, Request, Spending, add_call_arguments, complete_all, look_up
from m1.core import records
from m1.core.counts import PUBLISHED
from m1.core.errors import UserError, run
from m1.core.files import write_manifest
from m1.core.progress import say
from m1.core.records import Domain, Question, Trace
from m1.core.store import Store, Stored, look_into
from m1.select.rubrics import Qualifiers, final_code, read_qualifiers, read_task, user_turn, with_notes

FAILED_SHARE = 0.01  # a larger share of questions without a domain is an error, because the sampling would lose them


Complete = Callable[[list[Request], Provider, Store, str], tuple[Answers, Spending]]


def label(
    questions: Sequence[Question],
    task: str,
    qualifiers: Qualifiers,
    provider: Provider,
    store: Store,
    complete: Complete = complete_all,
) -> tuple[dict[str, str], Spending]:
    """Ask the labeller for the domain of each question; returns question id to code, and the cost.

    A question whose answer names no code is asked up to ``max_retries`` more times, and then left out. A repeated
    request has another seed (1, 2, …), so that it is another call for the provider and for the store. A labeller that
    then repeats its answer word for word, as at temperature 0, is not asked about that question again.
    """
    codes: dict[str, str] = {}
    unread: dict[str, tuple[str, str]] = {}  # by question, what the labeller said when it last named no code
    spendings: list[Spending] = []
    waiting = list(questions)
    for attempt in range(provider.max_retries + 1):
        if not waiting and spendings:
            break
        requests = [Request(user_turn(qualifiers, one), attempt or None, task, one.id) for one in waiting]
        title = "domains" if attempt == 0 else f"domains, attempt {attempt + 1}"
        completions, spending = complete(requests, provider, store, title)
        spendings.append(spending)
        asked, waiting = waiting, []
        for question, completion in zip(asked, completions):
            code, said = final_code(completion.answer), (completion.thinking, completion.answer)
            if code in qualifiers and completion.finish_reason != "length":
                codes[question.id] = code
            elif said != unread.get(question.id):
                unread[question.id] = said
                waiting.append(question)
    return codes, reduce(add, spendings)


def read_solved(samples: str, paths: Sequence[str], leaks: str | None) -> list[Question]:
    """The questions that have a correct trace (``samples``), in the order of the traces, without those in ``leaks``,
    which the evaluation also has. A trace whose question is in none of the files is a :class:`UserError`."""
    known = {question.id: question for path in paths for question in records.read(path, Question)}
    wanted = dict.fromkeys(trace.question_id for trace in records.read(samples, Trace) if trace.verdict == "correct")
    if unknown := [identity for identity in wanted if identity not in known]:
        found = f"question {unknown[0]} is in none of {', '.join(paths)} ({len(unknown):,} such)"
        raise UserError(f"{samples}: {found}. Give the files that the traces were made from.")
    left_out = {question.id for question in records.read(leaks, Question)} if leaks else set()
    return [known[identity] for identity in wanted if identity not in left_out]


class CallInputs(NamedTuple):
    """The step's flags, and the labeller, task and questions that follow from them."""

    arguments: argparse.Namespace
    provider: Provider
    qualifiers: Qualifiers
    task: str
    questions: list[Question]


def prepare(argv: Sequence[str] | None) -> CallInputs:
    """Read the flags, the questions, and the labeller's task and rubrics."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", required=True, nargs="+", help="Parquet files of questions")
    parser.add_argument("--samples", required=True, help="Parquet of traces; questions with a correct one are labelled")
    add_call_arguments(parser, "labeller", note="; rule is null")
    parser.add_argument("--leaks", help="Parquet of questions that are left out, since the evaluation has them, too")
    parser.add_argument("--qualifiers", required=True, help="CSV: code, name, scope_note")
    parser.add_argument("--prompt", required=True, help="text of the system turn: what the labeller has to do")
    parser.add_argument("--output", required=True, help="Parquet of domains")
    parser.add_argument("--manifest", required=True, help="JSON: counts per domain, failures, tokens, dollars")
    parser.add_argument("--published", help=PUBLISHED)
    arguments = parser.parse_args(argv)
    provider = Provider.from_settings({**arguments.labeller, **arguments.calls}, "labeller")
    qualifiers = read_qualifiers(arguments.qualifiers)
    if provider.notes:
        qualifiers = with_notes(qualifiers, provider.notes)
    task = read_task(arguments.prompt)
    questions = read_solved(arguments.samples, arguments.questions, arguments.leaks)
    return CallInputs(arguments, provider, qualifiers, task, questions)


def count_stored(argv: Sequence[str]) -> Stored:
    """Count the calls that the store has already.

    Unless it has all first calls, it is not known how many questions will be asked again, so only these are counted.
    """
    arguments, provider, qualifiers, task, questions = prepare(argv)
    found: list[Stored] = []

    def look(requests: list[Request], provider: Provider, store: Store, title: str) -> tuple[Answers, Spending]:
        found.append(look_up(requests, provider, store))
        if found[-1].there < found[-1].of:
            raise LookupError
        return complete_all(requests, provider, store, title)  # makes no call

    with look_into(arguments.store) as store, suppress(LookupError):
        label(questions, task, qualifiers, provider, store, look)
    return Stored(sum(one.there for one in found), sum(one.of for one in found), "calls")


def main(argv: Sequence[str] | None = None) -> None:
    """Write the domains and the manifest."""
    started = time.time()
    arguments, provider, qualifiers, task, questions = prepare(argv)
    with Store(arguments.store) as store:
        codes, spending = label(questions, task, qualifiers, provider, store)
    failed = [question.id for question in questions if question.id not in codes]
    if len(failed) > FAILED_SHARE * len(questions):
        found = f"{len(failed):,} of {len(questions):,} answers name no code of {arguments.qualifiers}"
        again = f"also when asked again, up to {provider.max_retries} times; the first is question {failed[0]}"
        remedy = f"Check the prompt {arguments.prompt}, labeller.max_tokens and the model."
        raise UserError(f"{provider.name}: {found}, {again}. {remedy}")
    labelled = [question.id for question in questions if question.id in codes]
    domains = [Domain(identity, codes[identity], qualifiers[codes[identity]][0]) for identity in labelled]
    records.write(arguments.output, domains, Domain)
    counts = Counter(domain.name for domain in domains)
    inputs = {f"questions {number}": path for number, path in enumerate(arguments.questions, start=1)}
    inputs |= {name: getattr(arguments, name) for name in ("samples", "qualifiers", "prompt")}
    inputs |= {name: path for name, path in (("leaks", arguments.leaks), ("notes", provider.notes)) if path}
    by_domain = {name: counts[name] for name, _ in qualifiers.values()}
    write_manifest(
        arguments.manifest,
        inputs=inputs,
        settings={**arguments.labeller, **arguments.calls},
        counts={"questions": len(questions), "labelled": len(domains), "domains": by_domain},
        started=started,
        published=arguments.published,
        failed=failed,
        spending=asdict(spending),
    )
    lost = f" ({len(failed):,} without one)" if failed else ""
    out = f"{len(domains):,} in {len(counts)} of {len(qualifiers)} domains{lost}"
    say("domains", f"{len(questions):,} questions → {out} · {spending}")


if __name__ == "__main__":
    run(main)
