"""Ask the teacher every question and keep the traces whose answer is correct (3.1 "Thinking generation", B.1)."""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from m1.client.complete import REFUSED, Completion, Provider, Request, complete_all
from m1.core import records
from m1.core.answers import extract_boxed
from m1.core.counts import PUBLISHED
from m1.core.curation import CURATION_RULES, CurationRule, passes_curation
from m1.core.errors import UserError, run
from m1.core.files import replacing, write_manifest
from m1.core.progress import say
from m1.core.prompts import BOXED, question_text
from m1.core.records import VERDICTS, Question, Trace
from m1.core.store import Store

DIFFERING = ("question_id", "source", "correct_letter", "correct_text", "boxed", *CURATION_RULES)
"""Columns of the list of answers on which the curation rules disagree; the last ones hold the verdict by each."""


def teacher_prompt(question: Question) -> str:
    """The teacher's user turn: instruction first, no system turn (B.1)."""
    return f"{BOXED} {question_text(question)}"


def verdict(question: Question, completion: Completion, rule: CurationRule) -> str:
    """What became of a call, one of :data:`m1.core.records.VERDICTS`.

    Args:
        rule: of :func:`m1.core.curation.passes_curation`. Without a box, ``released`` scores the whole text, as the
            released code does; ``strict`` wants a box, as B.1 does.
    """
    if completion.finish_reason == REFUSED:
        return "failed"
    if completion.finish_reason == "length":
        return "truncated"
    extracted = extract_boxed(completion.answer)
    unboxed = not extracted.strip() or extracted == completion.answer
    if not completion.thinking or (unboxed and rule == "strict"):
        return "no_answer"
    if passes_curation(completion.answer, question, rule):
        return "correct"
    return "no_answer" if unboxed else "incorrect"


def make_trace(question: Question, completion: Completion, provider: Provider, found: str) -> Trace:
    """The record of the teacher's answer to a question."""
    return Trace(
        question_id=question.id,
        teacher=provider.name,
        thinking=completion.thinking,
        answer=completion.answer,
        finish_reason=completion.finish_reason,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        thinking_tokens=completion.thinking_tokens,
        dollars=provider.dollars(completion.prompt_tokens, completion.completion_tokens),
        request=completion.key,
        verdict=found,
    )


def difference(question: Question, completion: Completion, by_rule: Mapping[str, str]) -> dict[str, str] | None:
    """A row of the list of answers that are correct by one of the rules only, such as "Amoxicillin" where A is correct
    (``released``).

    Args:
        by_rule: rule to verdict.

    Returns:
        None where the rules agree.
    """
    if len({found == "correct" for found in by_rule.values()}) == 1:
        return None
    return {
        "question_id": question.id,
        "source": question.source,
        "correct_letter": question.answer,
        "correct_text": question.answer_text,
        "boxed": extract_boxed(completion.answer),
        **by_rule,
    }


@dataclass
class Tally:
    """Traces counted."""

    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By source of the question, and verdict."""
    correct_by_one_rule: Counter[str] = field(default_factory=Counter)
    """Answers that are correct by this rule only."""

    def counts(self, questions: Sequence[Question]) -> dict[str, Any]:
        """For the manifest."""
        sources = sorted({question.source for question in questions})
        return {
            "questions": len(questions),
            "answered": len(questions) - sum(self.verdicts[source, "failed"] for source in sources),
            "correct_by_one_rule_only": {name: self.correct_by_one_rule[name] for name in CURATION_RULES},
            "verdicts": {name: sum(self.verdicts[source, name] for source in sources) for name in VERDICTS},
            "sources": {source: {name: self.verdicts[source, name] for name in VERDICTS} for source in sources},
        }


def write_traces(
    questions: Sequence[Question],
    completions: Iterable[Completion],
    provider: Provider,
    rule: CurationRule,
    paths: Mapping[str, str],
) -> Tally:
    """Write the teacher's answers, in question order.

    Args:
        completions: one for each question.
        rule: which answers count as correct.
        paths: files of the ``correct`` traces, of the ``dropped`` ones, and of answers on which the rules are
            ``differing``.
    """
    tally = Tally()
    with (
        records.writing(paths["correct"], Trace) as correct,
        records.writing(paths["dropped"], Trace) as dropped,
        replacing(paths["differing"]) as partial,
        open(partial, "w", newline="", encoding="utf-8") as stream,
    ):
        differing = csv.DictWriter(stream, DIFFERING, lineterminator="\n")
        differing.writeheader()
        for question, completion in zip(questions, completions):
            by_rule: dict[str, str] = {one: verdict(question, completion, one) for one in CURATION_RULES}
            found = by_rule[rule]
            (correct if found == "correct" else dropped).add([make_trace(question, completion, provider, found)])
            tally.verdicts[question.source, found] += 1
            if row := difference(question, completion, by_rule):
                differing.writerow(row)
                tally.correct_by_one_rule.update(one for one in by_rule if by_rule[one] == "correct")
    return tally


def main(argv: Sequence[str] | None = None) -> None:
    """Write the correct traces, the dropped ones, and the manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", required=True, help="Parquet of questions to ask")
    parser.add_argument(
        "--teacher",
        required=True,
        type=json.loads,
        help="JSON: what decides the answers (keys of m1.client.complete.Provider)",
    )
    parser.add_argument(
        "--calls", required=True, type=json.loads, help="JSON: how calls are made, and prices (its other keys)"
    )
    parser.add_argument("--store", required=True, help="folder of the store of calls")
    parser.add_argument("--output", required=True, help="Parquet of correct traces, in question order")
    parser.add_argument("--dropped", required=True, help="Parquet of the other traces, in question order")
    parser.add_argument(
        "--differing", required=True, help="CSV of the answers that are correct by one of the rules only"
    )
    parser.add_argument("--manifest", required=True, help="JSON: counts, tokens, dollars")
    parser.add_argument("--published", help=PUBLISHED)
    arguments = parser.parse_args(argv)
    started = time.time()

    provider = Provider.from_settings({**arguments.teacher, **arguments.calls}, "teacher")
    if provider.rule not in CURATION_RULES:
        raise UserError(f"teacher.rule: {provider.rule!r}; one of {', '.join(CURATION_RULES)} is needed.")
    questions = records.read(arguments.questions, Question)
    paths = {"correct": arguments.output, "dropped": arguments.dropped, "differing": arguments.differing}
    with Store(arguments.store) as store:
        completions, spending = complete_all(
            [Request(teacher_prompt(q)) for q in questions], provider, store, f"distill {provider.name}"
        )
        tally = write_traces(questions, completions, provider, provider.rule, paths)
    counts = tally.counts(questions)
    write_manifest(
        arguments.manifest,
        inputs={"questions": arguments.questions},
        settings={**arguments.teacher, **arguments.calls},
        counts=counts,
        started=started,
        published=arguments.published,
        spending=asdict(spending),
    )
    verdicts = counts["verdicts"]
    others = ", ".join(
        f"{verdicts[name]:,} {name.replace('_', ' ')}" for name in VERDICTS if name != "correct" and verdicts[name]
    )
    say(
        "distill",
        f"{len(questions):,} questions → {verdicts['correct']:,} correct traces"
        + (f" ({others})" if others else "")
        + f" · {spending}",
    )


if __name__ == "__main__":
    run(main)
