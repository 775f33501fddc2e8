"""Ask the teacher every question, and keep the traces with a correct answer (3.1 "Thinking generation", B.1)."""

import argparse
import csv
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from m1.client.attempt import excerpt
from m1.client.complete import REFUSED, Completion, Provider, Request, add_call_arguments, complete_all, look_up_in
from m1.client.completion import name_call, stored_completion
from m1.core import records
from m1.core.answers import extract_boxed, read_box
from m1.core.counts import PUBLISHED
from m1.core.curation import CURATION_RULES, CurationRule, passes_curation
from m1.core.errors import UserError, run
from m1.core.files import csv_cell, replacing, write_manifest
from m1.core.progress import say
from m1.core.prompts import BOXED, question_text
from m1.core.records import VERDICTS, Question, Trace
from m1.core.store import Store, Stored

FIRST_WITHOUT = 20
"""If this many answers have no thinking, and none has it, the run ends, because the next thousands would not either."""


def teacher_prompt(question: Question) -> str:
    """The teacher's user turn: the instruction, then the question; there is no system turn (B.1)."""
    return f"{BOXED} {question_text(question)}"


def verdict(question: Question, completion: Completion, rule: CurationRule) -> str:
    """The verdict on a teacher's answer: one of :data:`m1.core.records.VERDICTS`.

    If there is no box, the rule ``released`` judges the whole text, as the released code does; ``strict`` requires a
    box (B.1).
    """
    if completion.finish_reason == REFUSED:
        return "failed"
    if completion.finish_reason == "length":
        return "truncated"
    if completion.answer and not completion.thinking:
        return "no_thinking"
    extracted = (read_box if rule == "strict" else extract_boxed)(completion.answer)
    unboxed = not extracted.strip() or extracted == completion.answer
    if not completion.answer or (unboxed and rule == "strict"):
        return "no_answer"
    if passes_curation(completion.answer, question, rule):
        return "correct"
    return "no_answer" if unboxed else "incorrect"


class ThinkingWatch:
    """Ends a run whose answers have no thinking, because every trace would be paid for and dropped.

    Called with each answer, it returns the error that ends the run when :data:`FIRST_WITHOUT` answers have come and
    none can be used.
    """

    def __init__(self, provider: Provider, requests: Sequence[Request]) -> None:
        self.provider, self.requests = provider, {request.key(provider): request for request in requests}
        self.told: set[str] = set()
        """Keys of answers that lack the thinking or the answer."""
        self.useful = False
        """Whether any answer has both."""
        self.first: Completion | None = None

    def look_back(self, store: Store) -> None:
        """Check the answers in the store first.

        Raises:
            UserError: they suffice to end the run before anything is asked.
        """
        for key, request in self.requests.items():
            if self.useful:
                return
            if key in store:
                self(stored_completion(store, key, self.provider, request))
        if len(self.told) >= FIRST_WITHOUT and (error := self.error()):
            raise error

    def __call__(self, completion: Completion) -> UserError | None:
        if completion.finish_reason in {REFUSED, "length"} or not (completion.thinking or completion.answer):
            return None
        if completion.thinking and completion.answer:
            self.useful = True
        else:
            self.told.add(completion.key)
            self.first = self.first or completion
        return self.error() if len(self.told) >= FIRST_WITHOUT else None

    def error(self) -> UserError | None:
        """The error that no trace can be used, or None.

        The message shows the first answer, because the model's own marks can be seen there.
        """
        if self.useful or not self.first:
            return None
        title, end, first = self.provider.name, self.provider.thinking_end, self.first
        found = f"none of {len(self.told):,} answers has both thinking and an answer, and every trace would be dropped"
        looked = f"Thinking was looked for in the field reasoning_content or reasoning, and before {end!r} in the text"
        asked = name_call(first.key, self.requests.get(first.key))
        shown = f"The text for {asked} begins: {excerpt(first.answer or first.thinking)}"
        remedy = (
            "Name in teacher.thinking_end what the model writes between thinking and answer, have the server tell them"
            " apart (SGLang and vLLM: --reasoning-parser), or take a model that thinks. Answers that are kept are then"
            " read anew; none of them is asked for or paid again."
        )
        return UserError(f"{title}: {found}. {looked}. {shown}\n{remedy}")


def write_traces(
    questions: Sequence[Question], completions: Iterable[Completion], provider: Provider, paths: Mapping[str, str]
) -> dict[str, Any]:
    """Write the teacher's answers, one for each question, in the order of the questions; returns the counts for the
    manifest.

    ``paths`` names the files of the ``correct`` traces, of the ``dropped`` ones, and of answers that only one curation
    rule accepts (``differing``), such as "Amoxicillin" if A is correct.
    """
    verdicts: Counter[tuple[str, str]] = Counter()
    by_one_rule = dict.fromkeys(CURATION_RULES, 0)
    with (
        records.writing(paths["correct"], Trace) as correct,
        records.writing(paths["dropped"], Trace) as dropped,
        replacing(paths["differing"]) as partial,
        open(partial, "w", newline="", encoding="utf-8") as stream,
    ):
        differing = csv.writer(stream, lineterminator="\n")
        differing.writerow(["question_id", "source", "correct_letter", "correct_text", "boxed", *CURATION_RULES])
        for question, completion in zip(questions, completions):
            by_rule = {rule: verdict(question, completion, rule) for rule in CURATION_RULES}
            found = by_rule[provider.rule]  # type: ignore[index]
            (correct if found == "correct" else dropped).add([_trace(question, completion, provider, found)])
            verdicts[question.source, found] += 1
            passed = [rule for rule in CURATION_RULES if by_rule[rule] == "correct"]
            if len(passed) == 1:
                by_one_rule[passed[0]] += 1
                answers = question.answer, question.answer_text, read_box(completion.answer)
                differing.writerow(map(csv_cell, [question.id, question.source, *answers, *by_rule.values()]))
    sources = sorted({question.source for question in questions})
    return {
        "questions": len(questions),
        "answered": len(questions) - sum(verdicts[source, "failed"] for source in sources),
        "correct_by_one_rule_only": by_one_rule,
        "verdicts": {name: sum(verdicts[source, name] for source in sources) for name in VERDICTS},
        "sources": {source: {name: verdicts[source, name] for name in VERDICTS} for source in sources},
    }


def _trace(question: Question, completion: Completion, provider: Provider, found: str) -> Trace:
    said = completion.thinking, completion.answer, completion.finish_reason
    tokens = completion.prompt_tokens, completion.completion_tokens, completion.thinking_tokens
    return Trace(question.id, provider.name, *said, *tokens, completion.dollars(provider), completion.key, found)


class CallInputs(NamedTuple):
    """The step's flags, and the requests that follow from them."""

    arguments: argparse.Namespace
    provider: Provider
    questions: list[Question]
    requests: list[Request]


def prepare(argv: Sequence[str] | None) -> CallInputs:
    """Read the flags and questions, and make the request for each question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", required=True, help="Parquet of questions to ask")
    add_call_arguments(parser, "teacher")
    parser.add_argument("--output", required=True, help="Parquet of correct traces, in question order")
    parser.add_argument("--dropped", required=True, help="Parquet of the other traces, in question order")
    parser.add_argument("--differing", required=True, help="CSV of answers that are correct by one of the rules only")
    parser.add_argument("--manifest", required=True, help="JSON: counts, tokens, dollars")
    parser.add_argument("--published", help=PUBLISHED)
    arguments = parser.parse_args(argv)
    provider = Provider.from_settings({**arguments.teacher, **arguments.calls}, "teacher")
    if provider.rule not in CURATION_RULES:
        raise UserError(f"teacher.rule: {provider.rule!r}; one of {', '.join(CURATION_RULES)} is needed.")
    questions = records.read(arguments.questions, Question)
    requests = [Request(teacher_prompt(question), question=question.id) for question in questions]
    return CallInputs(arguments, provider, questions, requests)


def count_stored(argv: Sequence[str]) -> Stored:
    """Count the calls that the store has already."""
    asked = prepare(argv)
    return look_up_in(asked.arguments.store, asked.requests, asked.provider)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the correct traces, the dropped ones, and the manifest."""
    started = time.time()
    arguments, provider, questions, requests = prepare(argv)
    paths = {"correct": arguments.output, "dropped": arguments.dropped, "differing": arguments.differing}
    watch = ThinkingWatch(provider, requests)
    with Store(arguments.store) as store:
        watch.look_back(store)
        completions, spending = complete_all(requests, provider, store, f"distill {provider.name}", watch)
        if error := watch.error():
            raise error
        counts = write_traces(questions, completions, provider, paths)
    write_manifest(
        arguments.manifest,
        inputs={"questions": arguments.questions},
        settings={**arguments.teacher, **arguments.calls},
        counts=counts,
        started=started,
        published=arguments.published,
        spending=asdict(spending),
    )
    correct = counts["verdicts"]["correct"]
    others = [(name.replace("_", " "), count) for name, count in counts["verdicts"].items() if name != "correct"]
    dropped = ", ".join(f"{count:,} {name}" for name, count in others if count)
    found = f"{correct:,} correct traces ({dropped})" if dropped else f"{correct:,} correct traces"
    say("distill", f"{len(questions):,} questions → {found} · {spending}")


if __name__ == "__main__":
    run(main)
