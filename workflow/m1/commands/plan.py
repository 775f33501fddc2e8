"""Estimate, before anything runs, what a configuration needs and what its results will be able to show (make plan).

The plan lists calls of models, tokens, dollars and hours, jobs, GPU-hours, and the power of the comparisons with the
paper. Counts are exact if the questions of a step exist already: its requests are made as the step would make them, and
looked up in the store. Otherwise they are estimates from the registry of data sets and from the paper's shares at each
step (3.1, Table 3). Existing results count as done; use `make dry-run` to see whether Snakemake would make them again.
"""

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from m1.commands import add_configfile, gpu_hours, http_calls, lengths, power
from m1.commands.http_calls import HttpStep
from m1.commands.questions import Questions
from m1.core.progress import align_columns
from m1.core.store import Store
from m1.wiring.config import load
from m1.wiring.run import Run

COUNTS = ("calls", "stored", "shared", "left")
PARTS = ("prompt", "thinking", "answer")
Stores = Mapping[Path, Store | None]  # the stores of steps that call a model, by folder; None if there is none yet


@dataclass
class StepCost:
    """The cost of a step that calls a model over HTTP; tokens, dollars and hours are of the calls left to make."""

    step: str
    model: str
    store: str
    calls: int
    exact: bool  # whether the questions are known; otherwise the number of calls is an estimate
    stored: int = 0  # calls in the store
    shared: int = 0  # calls that an earlier step makes, too
    left: int = 0  # calls left to make
    prompt_tokens: int = 0
    thinking_tokens: int = 0
    answer_tokens: int = 0
    dollars: float = 0.0
    hours: float = 0.0
    basis: str = ""


@dataclass
class Job:
    """The number of jobs of a rule, and of those whose results exist."""

    rule: str
    jobs: int
    there: int


@dataclass
class Plan:
    """The whole plan of a configuration."""

    steps: list[StepCost]
    jobs: list[Job]
    gpus: list[gpu_hours.GpuStep]
    cpus: list[gpu_hours.CpuStep]
    powers: list[power.Power]
    notes: list[str]
    warnings: list[str]


def make_plan(config: dict[str, Any]) -> Plan:
    """Make the plan of a configuration.

    Raises:
        UserError: the number of records of a set is not known, or an existing file cannot be read.
    """
    run = Run(config)
    questions = Questions(run)
    steps = http_calls.http_steps(run, questions)
    jobs, gpu_steps = count_jobs(run, questions), gpu_hours.gpu_steps(run, questions)
    with ExitStack() as stack:
        stores: dict[Path, Store | None] = {
            folder: stack.enter_context(Store(folder)) if folder.is_dir() else None
            for folder in {step.store: None for step in steps}
        }
        costs = step_costs(steps, stores, questions.collection_size())
        warnings, notes = budget_warnings(steps, costs, stores), [*store_notes(steps, stores), *assumptions(costs)]
    if gpu_steps:
        uncounted = [name for name in config["benchmarks"] if questions.size("benchmarks", name) is None]
        notes.append(gpu_hours.note(gpu_steps, uncounted, gpu_hours.card_of(run)))
    notes += gpu_hours.adapter_notes(run)
    tells = power.powers(run)
    cpu_steps = gpu_hours.cpu_steps(run, questions)
    if cpu_steps and not gpu_steps:
        notes.append(gpu_hours.cpu_note(run, cpu_steps, os.cpu_count() or 1))
    return Plan(costs, jobs, gpu_steps, cpu_steps, tells, notes + ([power.NOTE] if tells else []), warnings)


def step_costs(steps: Sequence[HttpStep], stores: Stores, collection: int) -> list[StepCost]:
    """Each step's cost; a call that several steps make counts for the first. ``collection`` is the number of
    questions."""
    found: dict[str, StepCost] = {}
    planned: dict[Path, set[str]] = defaultdict(set)
    estimated: dict[Path, int] = defaultdict(int)
    # Steps with known questions come first, so that estimates of the others can take them into account.
    for step in sorted(steps, key=lambda step: step.requests is None):
        store = stores[step.store]
        keys = dict.fromkeys(request.key(step.provider) for request in step.requests or ())
        cost = StepCost(step.name, step.provider.model, str(step.store), step.calls, step.requests is not None)
        if step.requests is not None:
            new = keys.keys() - planned[step.store]
            cost.calls, cost.shared = len(keys), len(keys) - len(new)
            cost.stored = sum(key in store for key in new) if store else 0
            planned[step.store] |= new
        else:
            # Two random draws from the collection share a number of questions that follows from their sizes.
            before = len(planned[step.store]) + estimated[step.store]
            cost.shared = round(step.calls * min(1.0, before / max(1, collection)))
            estimated[step.store] += step.calls - cost.shared
        mean = http_calls.call_means(step, store, keys)
        cost.left = left = cost.calls - cost.shared - cost.stored
        cost.prompt_tokens, cost.thinking_tokens = round(left * mean.prompt), round(left * mean.thinking)
        cost.answer_tokens, cost.dollars = round(left * mean.answer), left * mean.dollars
        cost.hours, cost.basis = http_calls.hours(step.provider, left, mean), mean.basis
        found[step.name] = cost
    return [found[step.name] for step in steps]


def budget_warnings(steps: Sequence[HttpStep], costs: Sequence[StepCost], stores: Stores) -> list[str]:
    """A line for each provider whose ``max_dollars`` is too low."""
    warnings = []
    for title, one in {step.title: step for step in steps}.items():
        store, limit = stores[one.store], one.provider.max_dollars
        if limit is None:
            continue
        needed = http_calls.stored_dollars(store, one.provider) if store else 0.0
        needed += sum(cost.dollars for step, cost in zip(steps, costs) if step.title == title)
        if needed > limit:
            warnings.append(
                f"{title}.max_dollars is ${limit:,.2f}, but about ${needed:,.2f} are needed, with what is in the store "
                "already: the run would stop before it is passed. Raise it, or ask for less."
            )
    return warnings


def store_notes(steps: Sequence[HttpStep], stores: Stores) -> list[str]:
    """A line for each store whose answers cannot be matched to a step yet, because its questions are not known."""
    unseen = {step.store: store for step in steps if step.requests is None and (store := stores[step.store])}
    said = "answers of whatever model; which calls they spare is seen once the questions are there"
    return [f"{folder}: {len(store):,} {said}" for folder, store in unseen.items()]


def assumptions(costs: Sequence[StepCost]) -> list[str]:
    """Notes on what is assumed about calls and numbers of questions, if anything is."""
    notes = []
    if any(cost.basis.startswith("assumed") for cost in costs if cost.left):
        thinking, answer = http_calls.TRACE
        notes.append(
            f"assumed: a token for {http_calls.CHARACTERS} characters of prompt (a question of {lengths.QUESTION} "
            f"where none is there yet); thinking and answer {thinking:,.0f} + {answer:.0f} tokens of a teacher "
            f"(m23K, as the authors printed it), {lengths.REPLY} of others; {http_calls.TOKENS_PER_SECOND} tokens a "
            f"second; a teacher's dollars are {http_calls.billed():.1f} times what its prices give for these tokens, "
            f"as the authors' bill was (${http_calls.BILL:.4f} for a trace of DeepSeek-R1). Measured means take the "
            f"place of all this from {http_calls.LEAST} calls on."
        )
    if not all(cost.exact for cost in costs):
        shares = "the share of questions that each step had in the paper (3.1, Table 3), or in the demo for its world"
        notes.append(f"~ estimate: records of the registry, then {shares}")
    return notes


def count_jobs(run: Run, questions: Questions) -> list[Job]:
    """Count the jobs that train, generate and score, and those whose results exist."""
    results = {
        "screen_attempt": [f"screen/{name}.parquet" for name in run.screening_models],
        "train_sft": [f"train/{name}" for name in run.needed_trainings],
        "infer_sweep": [f"infer/{name}/predictions.parquet" for name in run.sweep_models],
        "infer_answer": [f"infer/{name}/predictions.parquet" for name in run.direct],
        "score_predictions": [f"score/{name}.parquet" for name in run.recipes],
    }
    there = {rule: [(questions.results / path).exists() for path in paths] for rule, paths in results.items()}
    return [Job(rule, len(found), sum(found)) for rule, found in there.items()]


def total(steps: Iterable[StepCost]) -> dict[str, Any]:
    """The sums over the steps; hours are added as if one step ran after the other."""
    steps = list(steps)
    names = (*COUNTS, *(f"{part}_tokens" for part in PARTS), "dollars", "hours")
    sums = {name: sum(getattr(row, name) for row in steps) for name in names}
    return sums | {"exact": all(row.exact for row in steps)}


def table(plan: Plan) -> list[str]:
    """The plan as lines of text."""
    header = ["step", "model", "calls", "in store", "shared", "left", *PARTS, "dollars", "hours", "basis"]
    rows = [asdict(row) for row in plan.steps]
    cells = [_cells(row) for row in [*rows, {"step": "sum", "model": "", "basis": "", **total(plan.steps)}]]
    none = ["no step of this configuration calls a model over HTTP"]
    lines = align_columns([header, *cells], left={0, 1, 11}) if rows else none
    jobs = [["rule", "jobs", "there"], *([job.rule, f"{job.jobs:,}", f"{job.there:,}"] for job in plan.jobs)]
    lines += ["", *align_columns(jobs, left={0})]
    if plan.gpus:
        lines += ["", *align_columns(gpu_hours.rows(plan.gpus), left={0, 6})]
    if plan.cpus:
        lines += ["", *align_columns(gpu_hours.cpu_rows(plan.cpus), left={0, 4})]
    if plan.powers:
        lines += ["", *align_columns(power.rows(plan.powers), left={0})]
    remarks = [*plan.notes, *(f"warning: {line}" for line in plan.warnings)]
    return [*lines, "", *remarks] if remarks else lines


def _cells(row: Mapping[str, Any]) -> list[str]:
    counts = [f"{'' if row['exact'] or name == 'stored' else '~'}{row[name]:,}" for name in COUNTS]
    tokens = [f"{row[f'{part}_tokens'] / 1e6:,.2f}M" for part in PARTS]
    return [row["step"], row["model"], *counts, *tokens, f"{row['dollars']:,.2f}", f"{row['hours']:,.1f}", row["basis"]]


def main(argv: Sequence[str] | None = None) -> None:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="m1 plan", description=__doc__, formatter_class=as_written)
    add_configfile(parser)
    parser.add_argument("--json", action="store_true", help="print the plan as JSON, with tokens as plain numbers")
    arguments = parser.parse_args(argv)
    with redirect_stdout(sys.stderr):  # messages, for example about a damaged store, are no part of the plan
        plan = make_plan(load(arguments.configfile))
    if arguments.json:
        print(json.dumps({**asdict(plan), "total": total(plan.steps)}, indent=2))
    else:
        print("\n".join(table(plan)))
