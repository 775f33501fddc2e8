"""Show what each planned job will compute, and what it will take from the store (``m1 launch -n``, ``make dry-run``).

The jobs are those that Snakemake plans. Each job's own step reports what the store has: the function ``stored`` of its
module gets the command line of the job, and finds the keys as the step does when it runs. So a dry run and a run cannot
disagree. If another planned job makes an input first, the answer is not known yet; the table then says what holds for
the present inputs.
"""

import logging
import os
import re
import shlex
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from snakemake.logging import logger
from snakemake.settings.enums import Quietness

from m1.core.errors import UserError, first_line, printable
from m1.core.progress import align_columns
from m1.core.store import Stored

COMPUTED, STORED, UNKNOWN = "computed", "from the store", "not known yet"
KINDS = (COMPUTED, STORED, UNKNOWN)
NOTHING = "Nothing to be done: all that was asked for is there, and up to date."
VARIABLE = re.compile(r"\$\w+")


class Job(NamedTuple):
    """A planned job, as Snakemake's logger describes it."""

    rule: str
    wildcards: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    command: str
    reason: str

    @property
    def name(self) -> str:
        return " ".join([self.rule, "/".join(self.wildcards)]).strip()

    def step(self) -> tuple[str, list[str]] | None:
        """The module and arguments of a step that uses the store; None for any other job."""
        words = shlex.split(self.command)
        if "-m" not in words or "--store" not in words:
            return None
        begin = words.index("-m")
        end = words.index("2>") if "2>" in words else None
        line = [os.path.expandvars(word) if VARIABLE.fullmatch(word) else word for word in words[begin + 2 : end]]
        return words[begin + 1], line


class Recorder(logging.Filter):
    """Records the jobs in Snakemake's log messages; with ``instead``, it hides all messages but warnings."""

    def __init__(self, instead: bool) -> None:
        super().__init__()
        self.instead = instead
        self.jobs: list[Job] = []

    def filter(self, record: logging.LogRecord) -> bool:
        said: Any = record
        if getattr(record, "event", None) == "job_info" and said.shellcmd:
            wildcards = tuple(map(str, (said.wildcards or {}).values()))
            # Snakemake appends annotations to files, as in `a.csv (before update)`.
            inputs, outputs = (
                tuple(re.sub(r" \([\w ,]+\)$", "", one) for one in of) for of in (said.input, said.output)
            )
            self.jobs.append(Job(said.rule_name, wildcards, inputs, outputs, said.shellcmd, said.reason or ""))
        return not self.instead or record.levelno >= logging.WARNING


class State(NamedTuple):
    """The fate of a job in the coming run: one of :data:`KINDS`, and a description."""

    kind: str
    text: str


def state(job: Job, makers: Mapping[str, Job]) -> State:
    """The state of a job; ``makers`` are the planned jobs by their output files."""
    step = job.step()
    if step is None:
        return State(COMPUTED, COMPUTED)
    before = dict.fromkeys(makers[path].name for path in job.inputs if path in makers)
    if not before:
        return _ask(*step)
    text = f"not known before {_and_others(list(before))}"
    if all(Path(path).exists() for path in job.inputs):
        # For a step that generates, only the store's notes are read: a full look would load a tokenizer, which takes
        # seconds, for an answer that may still change.
        generates = "--serve" in step[1]
        now = _ask(step[0], [*step[1], "--look", "notes"] if generates else step[1])
        if now.kind == STORED or not generates:
            text += f"; as its inputs are now: {now.text}"
    return State(UNKNOWN, text)


def _ask(module: str, words: Sequence[str]) -> State:
    """The state of a job with known inputs, by what the store has."""
    try:
        found: Stored = import_module(module).count_stored(words)
    except UserError as error:
        return State(COMPUTED, f"would stop: {first_line(error)}")
    if found.there == found.of:
        return State(STORED, STORED)
    part = f": {found.there:,} of {found.of:,} {found.unit} are in the store" if found.there else ""
    return State(COMPUTED, COMPUTED + part)


def _and_others(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def lines(jobs: Sequence[Job]) -> Iterator[str]:
    """Yield the table, then the jobs of steps that use the store (equal ones together), then all others by rule."""
    if not jobs:
        yield NOTHING
        return
    makers = {path: job for job in jobs for path in job.outputs}
    found = [(job, state(job, makers)) for job in jobs if job.step()]
    others = Counter(job.rule for job in jobs if not job.step())
    counts = {job.rule: Counter[str]() for job, _ in found}
    for job, at in found:
        counts[job.rule][at.kind] += 1
    if others:
        counts["all other steps"] = Counter({COMPUTED: others.total()})
    cells = [[rule, str(of.total()), *(str(of[kind] or "-") for kind in KINDS)] for rule, of in counts.items()]
    yield from align_columns([["step", "jobs", *KINDS], *cells], left={0})
    if any(at.kind == UNKNOWN for _, at in found):
        yield "\nnot known yet: another planned job makes an input first; what the store has then, is taken from it"
    if found:
        yield ""
        alike: dict[tuple[str, str, str], list[str]] = {}
        for job, at in sorted(found, key=lambda pair: list(counts).index(pair[0].rule)):
            alike.setdefault((job.rule, at.text, why(job)), []).append(job.name)
        told = [[_and_others(names), text, reason] for (_, text, reason), names in alike.items()]
        yield from align_columns(told, left={0, 1, 2})
    if others:
        named = ", ".join(rule if number == 1 else f"{rule} ({number:,})" for rule, number in others.items())
        yield "\n" + textwrap.fill(f"all other steps: {named}", 110)


def why(job: Job) -> str:
    """Snakemake's reason for a job, in short, without the reason that ``not known before`` already gives."""
    parts = [part.partition(":")[0].strip().lower() for part in job.reason.split(";")]
    return "; ".join(part for part in parts if part and part != "input files updated by another job")


def record(options: Any) -> None:
    """Record the jobs of a dry run with Snakemake's ``options``; if these are quiet about rules, Snakemake's own list
    is hidden, for which ``host`` must be quiet, too."""
    instead = bool({Quietness.RULES, Quietness.ALL} & set(options.quiet or ()))
    if instead:
        options.quiet = {*options.quiet, Quietness.HOST}
    logger.addFilter(Recorder(instead))


def show() -> None:
    """Print the states of the recorded jobs, if jobs were recorded.

    Messages of the steps meanwhile, for example about a damaged store, go to stderr.
    """
    for recorder in (one for one in logger.filters if isinstance(one, Recorder)):
        if recorder.jobs or recorder.instead:
            with redirect_stdout(sys.stderr):
                told = list(lines(recorder.jobs))
            print("\n".join(map(printable, told if recorder.instead else ["", *told])))
