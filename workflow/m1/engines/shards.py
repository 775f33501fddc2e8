"""Read a step's questions one by one, so that memory stays bounded, and divide them into shards for separate jobs."""

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

BenchmarkQuestion = tuple[str, Question]
"""A benchmark (empty for a question that the report does not show) and a question."""
Shard = tuple[int, int]
"""The number of a shard (from 1), and the number of all shards."""


def add_shard_argument(parser: argparse.ArgumentParser) -> None:
    """Add the flag ``--shard`` of a step that reads :func:`questions`."""
    only = "only the I-th of N shards of the questions; all by default"
    parser.add_argument("--shard", type=shard, default=(1, 1), metavar="I/N", help=only)


def add_question_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a step that reads all benchmarks."""
    parser.add_argument("--benchmarks", required=True, nargs="+", type=Path, help="question files, named by benchmark")
    add_shard_argument(parser)


def shard(text: str) -> Shard:
    """Parse a shard from ``I/N``."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r}: I/N is needed, for example 3/48, with I from 1 to N")
    return int(number), int(count)


def all_manifests(first: Path) -> list[Path]:
    """The manifests of all shards, which lie beside that of the first one, ``1-of-N.json``."""
    count = int(first.stem.partition("-of-")[2])
    return [first.with_name(f"{number}-of-{count}.json") for number in range(1, count + 1)]


def in_shard(question: Question, shard: Shard) -> bool:
    """Whether a shard has this question, by a hash of the question's text.

    So all shards take about equally long, and equal questions, which are generated once, are in the same shard.
    """
    number, count = shard
    return zlib.crc32(question_text(question).encode("utf-8", "surrogatepass")) % count == number - 1


def questions(paths: Iterable[Path], shard: Shard = (1, 1)) -> Iterator[BenchmarkQuestion]:
    """Yield the questions of several files in order, each with its benchmark (the file's stem).

    Raises:
        UserError: a file is missing or wrong. Steps measure all questions before they generate
            (:func:`m1.engines.context.check`), so this is not found after hours.
    """
    return ((path.stem, one) for path in paths for one in stream(path, Question) if in_shard(one, shard))


def batches(
    paths: Sequence[Path], order: Path | None, size: int, shard: Shard = (1, 1)
) -> Iterator[list[BenchmarkQuestion]]:
    """Yield batches of questions whose results depend on each other, as in the released program.

    The whole evaluation file (``order``) decides the batches of ``size`` questions; without it, the order of the
    benchmarks does. Questions of no benchmark of this run get an empty benchmark: they only fill up their batch.
    Questions that are not in the file come last. Shard I of N has every N-th batch, beginning with the I-th.
    """
    asked = {question.id: (path.stem, question) for path in paths for question in stream(path, Question)}
    ordered = [asked.pop(one.id, ("", one)) for one in stream(order, Question)] if order else []
    ordered += asked.values()
    number, count = shard
    for start in range((number - 1) * size, len(ordered), count * size):
        yield ordered[start : start + size]


@contextmanager
def owned_shard(store: Path, part: str, shard: Shard, title: str) -> Iterator[Lock]:
    """Make this process the only one that generates a shard of a model's questions; wait for any other one.

    Shards of the same N have no question in common, so they run side by side. Shards of another N may overlap with this
    one, so they are waited for. ``part`` is a digest of the model and of how it generates.

    Raises:
        UserError: the store's folder cannot be written.
    """
    number, count = shard
    name = f"generating-{part[:12]}-{{}}-of-{{}}.lock"
    mine, gate = Lock(store / name.format(number, count)), Lock(store / name.format(0, 0))

    def take() -> tuple[Lock, Holder] | None:
        """Try to own the shard; returns the lock that is in the way and its holder, or None on success."""
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
    """Open a function that writes records to a Parquet file; without a path, it drops them.

    A shard has no file of its own, because everything that it generates is in the store.
    """
    with writing(path, record) if path else nullcontext() as writer:
        yield writer.add if writer else lambda rows: None
