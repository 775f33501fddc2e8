"""Use the answers that the authors published, in place of generating them or to compare with our own.

They are the data set ``m1-results`` (3.3, B.3; Table 1, Figures 1 and 3). A file holds a model's results at one
thinking budget and one number of forced ``Wait``s, on all benchmarks. It is a JSON list whose records name their
benchmark in ``source`` (as the released evaluation writes it), or a JSON object of lists by benchmark (as the
evaluation file is):

=========================== ========================================================================================
field                       what it holds
=========================== ========================================================================================
question, options,          as in the evaluation file; the question is found by them
answer, answer_idx
response_text               the answer, after thinking with the marker it was started with (``<|im_start|>answer``, or
                            that and ``Final Answer:``); kept as it is, for the released scoring read all of it
thinking_text               the thinking; null for a model that answers at once
thinking_finish_reason      ``stop`` or ``length``; null for a model that answers at once
num_gen_tokens              tokens of thinking, markers and answer together
num_keep_think_below_budget how many ``Wait``s were forced on this question; may be absent
=========================== ========================================================================================

Separate counts of tokens of thinking and answer are not published. They are not guessed: after thinking, both are
stored as 0, and the manifest says so and holds the sum.
"""

import argparse
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from m1.core import sources
from m1.core.errors import UserError, run
from m1.core.files import write_manifest
from m1.core.layouts import LAYOUTS, RefusedRecord
from m1.core.progress import Progress, say
from m1.core.records import Prediction, Question, read, write
from m1.core.settings import Source
from m1.infer.settings import PublishedResult, PublishedSettings


class Result(NamedTuple):
    """One published result."""

    where: str  # file and record, for messages
    stem: str
    options: tuple[str, ...]
    letter: str  # of the correct option
    answer: str
    ended: bool  # whether thinking ended by itself
    tokens: int  # all tokens generated


def read_results(source: Source, names: Sequence[str], title: str) -> dict[str, list[tuple[str, Any]]]:
    """Read a file of results: for each benchmark in ``names``, its records, each with its place for messages."""
    found: dict[str, list[tuple[str, Any]]] = {name: [] for name in names}
    try:
        place, rows = sources.read(source, title)
    except sources.Missing:
        raise
    except UserError:  # not a list, so perhaps an object of lists; any other fault is found again below
        for name in names:
            place, rows = sources.read(replace(source, key=name), title)
            found[name] = [(f"{place}: {name}, record {number} (from 0)", row) for number, row in enumerate(rows)]
        return found
    for number, row in enumerate(rows):
        where = f"{place}: record {number} (from 0)"
        if not isinstance(row, dict) or not isinstance(row.get("source"), str):
            needed = "the benchmark's name is needed. Give a file of results as the authors published them."
            raise UserError(f"{where}, field 'source': {needed}")
        if row["source"] in found:
            found[row["source"]].append((where, row))
    return found


def to_result(row: Any, where: str, budget: int, forced: int) -> Result:
    """Check a published record of a setting, and convert it; budget 0 is that of a model without thinking."""

    def check(correct: bool, field: str, needed: str) -> None:
        if not correct:
            raise UserError(f"{where}, field '{field}': {row.get(field)!r} found; {needed}")

    try:
        if not isinstance(row, dict):
            raise RefusedRecord("(record)", "not an object with fields", row)
        parts = LAYOUTS["eval"](row)
    except RefusedRecord as error:
        raise UserError(f"{where}, {error}. Correct the record.") from None
    response: Any = row.get("response_text")
    reason = row.get("thinking_finish_reason")
    check(isinstance(response, str), "response_text", "the answer's text is needed. Correct the record.")
    thinks = row.get("thinking_text") is not None
    if thinks != (budget > 0):
        found = f"there is {'' if thinks else 'no '}thinking, but budget is {budget} in --settings"
        raise UserError(f"{where}, field 'thinking_text': {found}; 0 is for a model without thinking.")
    known = not thinks or reason in ("stop", "length")
    check(known, "thinking_finish_reason", "it must be 'stop' or 'length'. Correct the record.")
    times, tokens = row.get("num_keep_think_below_budget", 0), row.get("num_gen_tokens", 0)
    most = f"at most {forced} are possible. Correct `forced` in --settings or give the correct file."
    check(type(times) is int and 0 <= times <= forced, "num_keep_think_below_budget", most)
    whole = type(tokens) is int and tokens >= 0
    check(whole, "num_gen_tokens", "a whole number of tokens is needed. Correct the record.")
    ended = not thinks or reason == "stop"
    return Result(where, parts.stem, parts.options, parts.answer, response, ended, tokens)


def match(
    results: Iterable[Result], questions: Iterable[Question], where: str, part: bool = False
) -> list[tuple[Question, Result]]:
    """Pair each question of a benchmark with its result, in the order of the questions.

    A pair has the same content: the same text without white space (the evaluation file joins abstract and question of
    PubMedQA) and the same options in order. Of repeated questions, the first gets the first result.

    Raises:
        UserError: a question has no result or, unless ``part``, a result has no question.
    """
    waiting: defaultdict[tuple[str, tuple[str, ...]], deque[Result]] = defaultdict(deque)
    for result in results:
        waiting[_content(result.stem, result.options)].append(result)
    pairs, alone = [], []
    for question in questions:
        same = waiting[_content(f"{question.context or ''}{question.stem}", question.options)]
        if same:
            pairs.append((question, same.popleft()))
        else:
            alone.append(f"{question.id} {question.stem[:60]!r}")
    over = [] if part else [result for same in waiting.values() for result in same]
    left = [f"{result.where} {result.stem[:60]!r}" for result in over]
    if left or alone:
        faults = [
            f"{len(found)} {what} ({'; '.join(found[:3])})"
            for found, what in ((left, "results have no question"), (alone, "questions have no result"))
            if found
        ]
        raise UserError(
            f"{where}: {len(pairs)} questions have their result, but {' and '.join(faults)}. Collect the benchmark "
            "whole from the evaluation file that the results were made with, or correct `names` in --settings."
        )
    return pairs


def _content(text: str, options: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    return "".join(text.split()), options


def take(
    setting: PublishedResult, names: Mapping[str, str], asked: Mapping[str, Sequence[Question]], model: str, part: bool
) -> tuple[list[tuple[str, Question, Result]], int]:
    """Read the results of one setting, and pair them with the questions (``asked``, by benchmark).

    ``names`` are the results' names of the benchmarks, to their keys in this run; ``part`` is as in :func:`match`.

    Returns:
        Benchmark, question and result, in the order of ``names`` and of the questions; and the number of results
        without a question.
    """
    found, taken = read_results(setting, list(names), model), []
    place = setting.path or f"{setting.hub}/{setting.file}"
    for name, benchmark in names.items():
        results = [to_result(row, where, setting.budget, setting.forced) for where, row in found[name]]
        pairs = match(results, asked[benchmark], f"{place}, benchmark {benchmark}", part)
        taken += [(benchmark, *pair) for pair in pairs]
    return taken, sum(map(len, found.values())) - len(taken)


def check_settings(settings: PublishedSettings, benchmarks: Iterable[str]) -> dict[str, str]:
    """Check the settings; returns the benchmarks of this run by the name that the results have for them.

    Raises:
        UserError: a key has two names, a setting is impossible or stands twice, or a benchmark has no name.
    """
    names, results = settings.names, settings.results
    if len(set(names.values())) < len(names):
        raise UserError(f"--settings: names is {names!r}; a benchmark has two names there. Give each key once.")
    if not results:
        raise UserError("--settings: results is []; give at least one file of results.")
    seen = set()
    for number, result in enumerate(results):
        where, condition = f"--settings: results[{number}]", (result.budget, result.forced)
        if min(condition) < 0 or (result.forced and not result.budget):
            needed = "numbers from 0 are needed, and no forcing at budget 0"
            raise UserError(f"{where}: budget {result.budget}, forced {result.forced}; {needed}.")
        if condition in seen:
            twice = f"budget {result.budget} with {result.forced} forced is there twice"
            raise UserError(f"{where}: {twice}; give each one file.")
        seen.add(condition)
    called = {key: name for name, key in names.items()}
    if nameless := [key for key in benchmarks if key not in called]:
        missing = f"names has none for benchmark {', '.join(nameless)}"
        raise UserError(f"--settings: {missing}. Add the name that the results give it.")
    return {called[key]: key for key in benchmarks}


def main(argv: Sequence[str] | None = None) -> None:
    """Write the published answers of one model as predictions (see ``--help``)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="the model's key")
    parser.add_argument("--settings", required=True, help=f"JSON object with the keys {PublishedSettings.keys()}")
    parser.add_argument("--benchmarks", required=True, nargs="+", type=Path, help="question files, named by benchmark")
    parser.add_argument("--output", required=True, type=Path, help="predictions to write, Parquet")
    held = "JSON: settings, counts, what was left out, tokens"
    parser.add_argument("--manifest", required=True, type=Path, help=held)
    arguments = parser.parse_args(argv)
    started = time.time()
    settings = PublishedSettings.from_json(arguments.settings)
    asked = {path.stem: read(path, Question) for path in arguments.benchmarks}
    missing = sorted(key for key in asked if not asked[key])
    names = check_settings(settings, [key for key in asked if asked[key]])
    name, title = arguments.name, f"infer {arguments.name}"
    predictions: list[Prediction] = []
    tokens, differ, left = {}, 0, 0
    with Progress(title, len(settings.results), "files of results") as progress:
        for setting in settings.results:
            budget, forced = setting.budget, setting.forced
            taken, more = take(setting, names, asked, name, settings.part)
            for benchmark, question, found in taken:
                answered = found.answer, 0 if budget else found.tokens
                predictions.append(Prediction(question.id, benchmark, name, budget, forced, 0, found.ended, *answered))
            tokens[f"budget {budget}, forced {forced}"] = sum(found.tokens for _, _, found in taken)
            left += more
            differ += sum(question.answer != found.letter for _, question, found in taken)
            progress.advance()
    write(arguments.output, predictions, Prediction)
    inputs: dict[str, str | Path] = {path.stem: path for path in arguments.benchmarks}
    inputs |= {f"results {number}": result.path for number, result in enumerate(settings.results) if result.path}
    questions, note = sum(map(len, asked.values())), "thinking_tokens and answer_tokens of the predictions are 0"
    counts = {"questions": questions, "predictions": len(predictions)}
    counts |= {"results_left": left, "correct_letter_differs": differ}
    write_manifest(
        arguments.manifest,
        inputs=inputs,
        settings={"name": name, **asdict(settings)},
        counts=counts,
        started=started,
        missing=missing,
        tokens_generated=tokens,
        tokens_note=f"after thinking, {note}: only their sum is published",
    )
    without = f"; no questions of {', '.join(missing)}: left out" if missing else ""
    without += f"; {left:,} answers to questions that this run lacks: left out" if left else ""
    say(title, f"{len(predictions):,} published answers to {questions:,} questions taken over{without}")


if __name__ == "__main__":
    run(main)
