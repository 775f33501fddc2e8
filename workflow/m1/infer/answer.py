"""Answers of models that answer at once, plain or +CoT (B.3): the bases in Table 1."""

from __future__ import annotations

import argparse
import itertools
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from m1 import settings as given
from m1.errors import UserError, run
from m1.infer.engine import KeptEngine, Request, add_arguments, opened, write_generated
from m1.markers import chat
from m1.progress import say
from m1.prompts import evaluation_prompt, question_text
from m1.records import Prediction, Question, Record, stream, writing

PORTION = 512
"""Questions at a time; decides no answer and no file, only how much is in memory."""


Shard = tuple[int, int]
"""Number of a shard, from 1, and how many there are."""


def add_portions(parser: argparse.ArgumentParser) -> None:
    """The flags of a step that goes through its questions in :func:`portions`."""
    parser.add_argument("--portion", type=int, default=PORTION, help="questions at a time (default %(default)s); decides no answer")
    parser.add_argument(
        "--shard", type=shard, default=(1, 1), metavar="I/N", help="only the I-th of N shards of the questions; all by default"
    )


def add_questions(parser: argparse.ArgumentParser) -> None:
    """The flags of a step that goes through all benchmarks."""
    parser.add_argument("--benchmarks", required=True, nargs="+", type=Path, help="question files, named by benchmark")
    add_portions(parser)


def shard(text: str) -> Shard:
    """A shard from ``I/N``."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r}: I/N is needed, for example 3/48, with I from 1 to N")
    return int(number), int(count)


def in_shard(question: Question, shard: Shard) -> bool:
    """Whether a shard has this question.

    Questions are dealt by a hash of what is asked: so all shards take about as long, and equal questions, which are generated once, are in
    the same shard.
    """
    number, count = shard
    return zlib.crc32(question_text(question).encode("utf-8", "surrogatepass")) % count == number - 1


def portions(paths: Sequence[Path], size: int, shard: Shard = (1, 1)) -> Iterator[tuple[str, list[tuple[str, Question]]]]:
    """Questions of several files in their order, a portion at a time, and no more of them in memory.

    Every file is read and checked before the first portion: a wrong one is not found after hours of generating.

    Args:
        paths: question files; those of benchmarks are named by them.
        size: questions in a portion; the last may have fewer.
        shard: only the questions of this one.

    Yields:
        Which questions these are, for the progress line (empty if one portion holds all), and the file's stem (the benchmark) and
        question of each.

    Raises:
        UserError: a file is missing or wrong, or ``size`` is less than one.
    """
    if size < 1:
        raise UserError(f"--portion: {size}; at least one question is needed.")
    total = sum(in_shard(question, shard) for path in paths for question in stream(path, Question))
    asked = ((path.stem, question) for path in paths for question in stream(path, Question) if in_shard(question, shard))
    for start in range(0, total, size):
        part = list(itertools.islice(asked, size))
        where = f", shard {shard[0]}/{shard[1]}" if shard[1] > 1 else ""
        yield where + (f", questions {start + 1:,}-{start + len(part):,} of {total:,}" if size < total else ""), part


@contextmanager
def kept(path: Path | None, record: type[Record]) -> Iterator[Callable[[Iterable[Record]], None]]:
    """Takes records for a Parquet file. Without a file it takes them for nothing: what a shard generates is in the store."""
    if path is None:
        yield lambda rows: None
    else:
        with writing(path, record) as writer:
            yield writer.add


def stop_ids(tokenizer: Any) -> tuple[int, ...]:
    """Tokens that end an answer: end of text, end of turn (also Llama 3's), and the start of another turn or part."""
    names = {tokenizer.eos_token, "<|im_end|>", "<|endoftext|>", "<|im_start|>", "<|eot_id|>"}
    known = tokenizer.get_vocab()
    return tuple(sorted(known[name] for name in names if name in known))


def chat_ids(tokenizer: Any, user: str) -> list[int]:
    """Token ids of one user turn and the opening of the assistant's, by the model's chat template."""
    return tokenizer.encode(chat(tokenizer, user), add_special_tokens=False)


def answer_at_once(
    engine: KeptEngine, tokenizer: Any, questions: Sequence[Question], style: str, limit: int, where: str = ""
) -> list[tuple[str, int]]:
    """Greedy answers without thinking.

    Args:
        style: prompt style, see :func:`m1.prompts.evaluation_prompt`.
        limit: tokens of an answer at most.
        where: which questions these are, for the progress line.

    Returns:
        Answer text and its tokens, in the order of the questions.
    """
    stop = stop_ids(tokenizer)
    requests = [Request(tuple(chat_ids(tokenizer, evaluation_prompt(question_text(q), style))), limit, stop) for q in questions]
    generations = engine.generate(requests, f"answers{where}")
    return [(tokenizer.decode(g.token_ids, skip_special_tokens=True), g.tokens) for g in generations]


def main(argv: Sequence[str] | None = None) -> None:
    """Write the predictions of one model on all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    add_questions(parser)
    parser.add_argument("--settings", required=True, help="JSON: prompt (style), answer_limit (tokens)")
    arguments = parser.parse_args(argv)
    started = time.time()
    settings, name = given.parse(arguments.settings, ["prompt", "answer_limit"]), arguments.name
    counts = {"questions": 0, "answer_tokens": 0}
    with opened(arguments, f"infer {name}") as (engine, tokenizer, identity), kept(arguments.output, Prediction) as keep:
        for where, asked in portions(arguments.benchmarks, arguments.portion, arguments.shard):
            questions = [question for _, question in asked]
            answers = answer_at_once(engine, tokenizer, questions, settings["prompt"], settings["answer_limit"], where)
            keep(
                Prediction(question.id, benchmark, name, 0, 0, 0, True, text, tokens)
                for (benchmark, question), (text, tokens) in zip(asked, answers)
            )
            counts["questions"] += len(asked)
            counts["answer_tokens"] += sum(tokens for _, tokens in answers)
    write_generated(arguments, engine, identity, {path.stem: path for path in arguments.benchmarks}, settings, counts, started)
    say(f"infer {name}", f"{counts['questions']:,} questions answered, {engine.generated:,} tokens generated")


if __name__ == "__main__":
    run(main)
