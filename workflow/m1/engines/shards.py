"""A step's questions, one after the other, so that memory stays bounded, and shards of them as jobs of their own."""

import argparse
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from m1.core.locks import POLL, Holder, Lock
from m1.core.progress import say
from m1.core.prompts import question_text
from m1.core.records import Question, Record, stream, writing
from m1.core.segments import usable

Asked = tuple[str, Question]
"""Benchmark (empty for a question that nothing is shown of) and question."""
Shard = tuple[int, int]
"""Number of a shard, from 1, and how many there are."""


def add_shard_argument(parser: argparse.ArgumentParser) -> None:
    """The flag of a step that goes through :func:`questions`."""
    only = "only the I-th of N shards of the questions; all by default"
    parser.add_argument("--shard", type=shard, default=(1, 1), metavar="I/N", help=only)


def add_question_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of a step that goes through all benchmarks."""
    parser.add_argument("--benchmarks", required=True, nargs="+", type=Path, help="question files, named by benchmark")
    add_shard_argument(parser)


def shard(text: str) -> Shard:
    """A shard from ``I/N``."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r}: I/N is needed, for example 3/48, with I from 1 to N")
    return int(number), int(count)


def all_manifests(first: Path) -> list[Path]:
    """The manifests of all shards, beside that of the first one, ``1-of-N.json``."""
    count = int(first.stem.partition("-of-")[2])
    return [first.with_name(f"{number}-of-{count}.json") for number in range(1, count + 1)]


def in_shard(question: Question, shard: Shard) -> bool:
    """Whether a shard has this question: by a hash of what is asked, so that all shards take about as long, and equal
    questions, which are generated once, are in the same one."""
    number, count = shard
    return zlib.crc32(question_text(question).encode("utf-8", "surrogatepass")) % count == number - 1


def questions(paths: Iterable[Path], shard: Shard = (1, 1)) -> Iterator[Asked]:
    """Questions of several files in their order, each with its file's stem, the benchmark; not all in memory at a time.

    Raises:
        UserError: a file is missing or wrong. A step goes through all of them before it generates, to measure them
            (:func:`m1.engines.context.check`), so that this is not found after hours.
    """
    return ((path.stem, one) for path in paths for one in stream(path, Question) if in_shard(one, shard))


def batches(paths: Sequence[Path], order: Path | None, size: int, shard: Shard = (1, 1)) -> Iterator[list[Asked]]:
    """Questions whose results depend on each other, ``size`` at a time. A shard has every N-th batch, from the I-th on.

    Args:
        order: question file of the whole evaluation file, in its order: questions of no benchmark are companions of
            those in their batch, with an empty benchmark. Questions that are not in it come after it. None: the
            benchmarks in their order.
    """
    asked = {question.id: (path.stem, question) for path in paths for question in stream(path, Question)}
    ordered = [asked.pop(one.id, ("", one)) for one in stream(order, Question)] if order else []
    ordered += asked.values()
    number, count = shard
    for start in range((number - 1) * size, len(ordered), count * size):
        yield ordered[start : start + size]


@contextmanager
def owned_shard(store: Path, part: str, shard: Shard, title: str) -> Iterator[Lock]:
    """Be the one process that generates a shard of what a model is asked: wait for the one that does, if there is one.

    Shards of one number have no question in common, so that they go on side by side. Another number deals them out
    anew, so that its shards are waited for.

    Args:
        part: digest of the model and of how it generates.

    Raises:
        UserError: the store's folder cannot be written.
    """
    number, count = shard
    name = f"generating-{part[:12]}-{{}}-of-{{}}.lock"
    mine, gate = Lock(store / name.format(number, count)), Lock(store / name.format(0, 0))

    def take() -> tuple[Lock, Holder] | None:
        """The lock that is in the way, and who has it; None when this shard is owned."""
        for path in sorted(store.glob(name.format("*", "*"))):
            other = Lock(path)
            if path not in (mine.path, gate.path) and not path.stem.endswith(f"-of-{count}"):
                if holder := other.take():
                    return other, holder
                other.release()
        holder = mine.take()
        return (mine, holder) if holder else None

    said = None
    with usable(store, "written", "Correct the permissions and run again."):
        while True:
            gate.wait(lambda holder: None)
            try:
                found = take()
            finally:
                gate.release()
            if found is None:
                break
            lock, holder = found
            if not lock.kernel and holder.alive is None:
                mine.kernel = False
                say(title, f"{holder} may be generating the same; {store} has no locks, so this goes on beside it")
                break
            if holder != said:
                said = holder
                waits = "waiting for it, so that nothing is generated twice"
                say(title, f"{holder} is generating the same into {store}; {waits}")
            time.sleep(POLL)
    try:
        yield mine
    finally:
        mine.release()


@contextmanager
def open_writer(path: Path | None, record: type[Record]) -> Iterator[Callable[[Iterable[Record]], None]]:
    """Takes records for a Parquet file; without one, for nothing: what a shard generates is in the store."""
    with writing(path, record) if path else nullcontext() as writer:
        yield writer.add if writer else lambda rows: None
