"""Ask the teacher every question and keep the traces whose answer is right (3.1 "Thinking generation", B.1)."""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

from m1 import records
from m1.answers import extract_boxed
from m1.calls.client import REFUSED, Completion, Provider, Request, complete_all
from m1.curation import CURATION_RULES, CurationRule, is_right_curated
from m1.errors import UserError, run
from m1.files import write_manifest
from m1.progress import say
from m1.prompts import teacher_prompt
from m1.records import VERDICTS, Question, Trace
from m1.store import Store


def verdict(question: Question, completion: Completion, rule: CurationRule) -> str:
    """What became of a call, one of :data:`m1.records.VERDICTS`.

    Args:
        rule: of :func:`m1.curation.is_right_curated`. Without a box, ``released`` judges the whole text, as the released code does;
            ``strict`` wants a box, as B.1 does.
    """
    if completion.finish_reason == REFUSED:
        return "failed"
    if completion.finish_reason == "length":
        return "truncated"
    extracted = extract_boxed(completion.answer)
    unboxed = not extracted.strip() or extracted == completion.answer
    if not completion.thinking or (unboxed and rule == "strict"):
        return "no_answer"
    if is_right_curated(completion.answer, question, rule):
        return "right"
    return "no_answer" if unboxed else "wrong"


def make_trace(question: Question, completion: Completion, provider: Provider, rule: CurationRule) -> Trace:
    """The record of the teacher's answer to a question."""
    return Trace(
        question_id=question.id,
        teacher=provider.name,
        thinking=completion.thinking,
        answer=completion.answer,
        finish_reason=completion.finish_reason,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        dollars=provider.dollars(completion.prompt_tokens, completion.completion_tokens),
        request=completion.key,
        verdict=verdict(question, completion, rule),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Write the right traces, the dropped ones, and the manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", required=True, help="Parquet of questions to ask")
    parser.add_argument(
        "--teacher", required=True, type=json.loads, help="JSON: what decides the answers (keys of m1.calls.client.Provider)"
    )
    parser.add_argument("--calls", required=True, type=json.loads, help="JSON: how calls are made, and prices (its other keys)")
    parser.add_argument("--store", required=True, help="folder of the store of calls")
    parser.add_argument("--output", required=True, help="Parquet of right traces, in question order")
    parser.add_argument("--dropped", required=True, help="Parquet of the other traces, in question order")
    parser.add_argument("--manifest", required=True, help="JSON: counts, tokens, dollars")
    arguments = parser.parse_args(argv)
    started = time.time()

    provider = Provider.from_settings({**arguments.teacher, **arguments.calls}, "teacher")
    if provider.rule not in CURATION_RULES:
        raise UserError(f"teacher.rule: {provider.rule!r}; one of {', '.join(CURATION_RULES)} is needed.")
    rule = cast(CurationRule, provider.rule)
    questions = records.read(arguments.questions, Question)
    with Store(arguments.store) as store:
        completions, spending = complete_all([Request(teacher_prompt(q)) for q in questions], provider, store, f"distill {provider.name}")
    traces = [make_trace(question, completion, provider, rule) for question, completion in zip(questions, completions)]

    records.write(arguments.output, [trace for trace in traces if trace.verdict == "right"], Trace)
    records.write(arguments.dropped, [trace for trace in traces if trace.verdict != "right"], Trace)
    verdicts = Counter(trace.verdict for trace in traces)
    by_source = Counter((question.source, trace.verdict) for question, trace in zip(questions, traces))
    sources = sorted({question.source for question in questions})
    write_manifest(
        arguments.manifest,
        inputs={"questions": arguments.questions},
        settings={**arguments.teacher, **arguments.calls},
        counts={
            "questions": len(questions),
            "verdicts": {name: verdicts[name] for name in VERDICTS},
            "sources": {source: {name: by_source[source, name] for name in VERDICTS} for source in sources},
        },
        started=started,
        spending=asdict(spending),
    )
    others = ", ".join(f"{verdicts[name]:,} {name.replace('_', ' ')}" for name in VERDICTS if name != "right" and verdicts[name])
    say(
        "distill",
        f"{len(questions):,} questions → {verdicts['right']:,} right traces" + (f" ({others})" if others else "") + f" · {spending}",
    )


if __name__ == "__main__":
    run(main)
