"""Take the answers that the authors published in place of generating them: data set ``m1-results`` (3.3, B.3; Table 1,
Figures 1 and 3).

One file holds a model's results at one thinking budget and one number of forced ``Wait``s, on all benchmarks. It is a
JSON list whose records name their benchmark in ``source`` (what the released evaluation writes), or a JSON object of
lists by benchmark (as the evaluation file is):

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

Tokens of thinking and of the answer apart are not published. Nothing is guessed: after thinking both are stored as 0,
and the manifest says so and holds the sum.
"""

from __future__ import annotations

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
from m1.core.layouts import LAYOUTS, Refused
from m1.core.progress import Progress, say
from m1.core.records import Prediction, Question, read, write
from m1.core.settings import Source
from m1.infer.settings import PublishedResult, PublishedSettings

SHOWN = 3
"""How many of the results or questions that do not fit are named."""


class Result(NamedTuple):
    """One published result; ``where`` names file and record."""

    where: str
    stem: str
    options: tuple[str, ...]
    letter: str
    """Of the correct option, as this file has it."""
    answer: str
    ended: bool
    tokens: int
    """Generated tokens altogether."""


def read_results(source: Source, names: Sequence[str], title: str) -> dict[str, list[tuple[str, Any]]]:
    """Records of one file by the benchmark they name, each with its place; benchmarks not among ``names`` are left out.

    Raises:
        UserError: the file cannot be read, or is neither a list nor an object of lists with these names.
    """
    found: dict[str, list[tuple[str, Any]]] = {name: [] for name in names}
    try:
        place, rows = sources.read(source, title)
    except sources.Missing:
        raise
    except UserError:  # no list, so an object of lists; any other fault is found there again
        for name in names:
            place, rows = sources.read(replace(source, key=name), title)
            found[name] = [(f"{place}: {name}, record {number} (from 0)", row) for number, row in enumerate(rows)]
        return found
    for number, row in enumerate(rows):
        where = f"{place}: record {number} (from 0)"
        if not isinstance(row, dict) or not isinstance(row.get("source"), str):
            raise UserError(
                f"{where}, field 'source': the benchmark's name is needed. Give a file of results as the "
                "authors published them."
            )
        if row["source"] in found:
            found[row["source"]].append((where, row))
    return found


def to_result(row: Any, where: str, budget: int, forced: int) -> Result:
    """A published record, checked.

    Args:
        budget: thinking tokens allowed; 0 for a model that answers at once.
        forced: how many times ``Wait`` was forced at most.

    Raises:
        UserError: names the record, the field, what was found and the remedy.
    """

    def wrong(field: str, needed: str) -> UserError:
        return UserError(f"{where}, field '{field}': {row.get(field)!r} found; {needed}")

    try:
        if not isinstance(row, dict):
            raise Refused("(record)", "not an object with fields", row)
        parts = LAYOUTS["eval"](row)
    except Refused as error:
        raise UserError(f"{where}, {error}. Correct the record.") from None
    if not isinstance(row.get("response_text"), str):
        raise wrong("response_text", "the answer's text is needed. Correct the record.")
    thinks = row.get("thinking_text") is not None
    if thinks != (budget > 0):
        found = "there is thinking" if thinks else "there is no thinking"
        raise UserError(
            f"{where}, field 'thinking_text': {found}, but budget is {budget} in --settings; 0 is for a "
            "model without thinking."
        )
    reason = row.get("thinking_finish_reason")
    if thinks and reason not in ("stop", "length"):
        raise wrong("thinking_finish_reason", "it must be 'stop' or 'length'. Correct the record.")
    times = row.get("num_keep_think_below_budget", 0)
    if not _is_count(times) or times > forced:
        raise wrong(
            "num_keep_think_below_budget",
            f"at most {forced} are possible. Correct `forced` in --settings or give the correct file.",
        )
    tokens = row.get("num_gen_tokens", 0)
    if not _is_count(tokens):
        raise wrong("num_gen_tokens", "a whole number of tokens is needed. Correct the record.")
    return Result(
        where, parts.stem, parts.options, parts.answer, row["response_text"], not thinks or reason == "stop", tokens
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def match(results: Iterable[Result], questions: Iterable[Question], where: str) -> list[tuple[Question, Result]]:
    """Each question with its result, in the order of the questions.

    They are one by content: the text (the evaluation file has abstract and question of PubMedQA in one; white space
    apart) and the options in their order. Of questions that repeat, the first gets the first result.

    Args:
        where: file and benchmark, for messages.

    Raises:
        UserError: a result without a question or a question without a result; says how many and names the first of
            them.
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
    left = [f"{result.where} {result.stem[:60]!r}" for same in waiting.values() for result in same]
    if left or alone:
        faults = [f"{len(left)} results have no question ({'; '.join(left[:SHOWN])})"] if left else []
        faults += [f"{len(alone)} questions have no result ({'; '.join(alone[:SHOWN])})"] if alone else []
        raise UserError(
            f"{where}: {len(pairs)} questions have their result, but {' and '.join(faults)}. Collect "
            "the benchmark whole "
            "from the evaluation file that the results were made with, or correct `names` in --settings."
        )
    return pairs


def _content(text: str, options: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    return "".join(text.split()), options


def take(
    setting: PublishedResult, names: Mapping[str, str], asked: Mapping[str, Sequence[Question]], model: str
) -> list[tuple[str, Question, Result]]:
    """Benchmark, question and result of one setting (budget and forced count), in the order of the benchmarks and their
    questions.

    Args:
        setting: one of ``results`` in --settings.
        names: the results' name of a benchmark to its key.
        asked: questions by the key of their benchmark.
    """
    found = read_results(setting, list(names), model)
    place = setting.path or f"{setting.hub}/{setting.file}"
    taken = []
    for name, benchmark in names.items():
        results = [to_result(row, where, setting.budget, setting.forced) for where, row in found[name]]
        taken += [
            (benchmark, question, result)
            for question, result in match(results, asked[benchmark], f"{place}, benchmark {benchmark}")
        ]
    return taken


def to_prediction(
    benchmark: str, question: Question, result: Result, model: str, setting: PublishedResult
) -> Prediction:
    """A result as a prediction; see the module for what is not known of its tokens."""
    budget, forced = setting.budget, setting.forced
    answer_tokens = 0 if budget else result.tokens
    return Prediction(question.id, benchmark, model, budget, forced, 0, result.ended, result.answer, answer_tokens)


def check_settings(settings: PublishedSettings, benchmarks: Iterable[str]) -> dict[str, str]:
    """The benchmarks of this run by the name that the results give them.

    Raises:
        UserError: settings of another form; a setting (budget, forced) twice; a benchmark without a name.
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
            raise UserError(
                f"{where}: budget {result.budget}, forced {result.forced}; numbers from 0 are needed, and no forcing "
                "at budget 0."
            )
        if condition in seen:
            raise UserError(
                f"{where}: budget {result.budget} with {result.forced} forced is there twice; give each one file."
            )
        seen.add(condition)
    called = {key: name for name, key in names.items()}
    nameless = [key for key in benchmarks if key not in called]
    if nameless:
        raise UserError(
            f"--settings: names has none for benchmark {', '.join(nameless)}. Add the name that the results give it."
        )
    return {called[key]: key for key in benchmarks}


def main(argv: Sequence[str] | None = None) -> None:
    """Write the published answers of one model as predictions (see ``--help``)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="the model's key")
    parser.add_argument("--settings", required=True, help=f"JSON: {PublishedSettings.keys()}")
    parser.add_argument("--benchmarks", required=True, nargs="+", type=Path, help="question files, named by benchmark")
    parser.add_argument("--output", required=True, type=Path, help="predictions, Parquet")
    parser.add_argument(
        "--manifest", required=True, type=Path, help="JSON: settings, counts, what was left out, tokens"
    )
    arguments = parser.parse_args(argv)
    started = time.time()
    settings = PublishedSettings.from_json(arguments.settings)
    read_questions = {path.stem: read(path, Question) for path in arguments.benchmarks}
    missing = sorted(key for key, questions in read_questions.items() if not questions)
    asked = {key: questions for key, questions in read_questions.items() if questions}
    names = check_settings(settings, asked)
    title = f"infer {arguments.name}"
    predictions: list[Prediction] = []
    tokens, differ = {}, 0
    with Progress(title, len(settings.results), "files of results") as progress:
        for setting in settings.results:
            pairs = take(setting, names, asked, arguments.name)
            predictions += [to_prediction(*pair, arguments.name, setting) for pair in pairs]
            tokens[f"budget {setting.budget}, forced {setting.forced}"] = sum(result.tokens for _, _, result in pairs)
            differ += sum(question.answer != result.letter for _, question, result in pairs)
            progress.advance()
    write(arguments.output, predictions, Prediction)
    inputs: dict[str, str | Path] = {path.stem: path for path in arguments.benchmarks}
    inputs |= {f"results {number}": result.path for number, result in enumerate(settings.results) if result.path}
    write_manifest(
        arguments.manifest,
        inputs=inputs,
        settings={"name": arguments.name, **asdict(settings)},
        counts={
            "questions": sum(map(len, asked.values())),
            "predictions": len(predictions),
            "correct_letter_differs": differ,
        },
        started=started,
        missing=missing,
        tokens_generated=tokens,
        tokens_note="after thinking, thinking_tokens and answer_tokens of the predictions are 0: only their "
        "sum is published",
    )
    without = f"; no questions of {', '.join(missing)}: left out" if missing else ""
    say(
        title,
        f"{len(predictions):,} published answers to {sum(map(len, asked.values())):,} questions taken over{without}",
    )


if __name__ == "__main__":
    run(main)
