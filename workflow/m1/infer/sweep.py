"""Sweep a model over the thinking budgets: think once, to the largest budget, and answer at every budget and after
every forced ``Wait`` (3.3).

Greedy decoding makes the thinking at budget b a prefix of the thinking at a larger budget. So each budget is a cut of
the same token ids plus one short answer, and the chain of the largest number of forced ``Wait`` holds every shorter
chain. :mod:`m1.infer.frames` says how the parts are joined; see also ``docs/architecture.md``.
"""

import argparse
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from m1.core.errors import run
from m1.core.progress import say
from m1.core.records import Prediction, Rollout
from m1.core.store import Stored
from m1.engines.cached import (
    CachedEngine,
    Request,
    add_engine_arguments,
    look,
    open_engine,
    render,
    write_engine_manifest,
)
from m1.engines.context import check
from m1.engines.schedule import Job, Pending, Schedule
from m1.engines.shards import BenchmarkQuestion, open_writer
from m1.infer import context
from m1.infer.frames import Thought, TokenFrames, make_frames
from m1.infer.settings import SweepSettings

NOTHING = Thought((), False, 0)


class Prompt(NamedTuple):
    """The rendered prompt of a question, and the group of its requests."""

    text: str
    group: int


class SweepResult(NamedTuple):
    """The results of some questions: one rollout each, predictions at every budget and forced count, and the cost.

    The cost is what the settings need, whatever the store already holds. It counts tokens: ``rollout_tokens`` (thinking
    to the largest budget), ``forced_tokens`` (its extension to the largest forced count) and ``answer_tokens`` (one
    answer for each distinct thinking on a question). ``anew_thinking_tokens`` and ``anew_answer_tokens`` are what it
    would cost to generate every setting by itself. ``companion_tokens`` are those of questions that the report does not
    show, but which share a batch of the released program with others.
    """

    rollouts: list[Rollout]
    predictions: list[Prediction]
    cost: Counter[str]


async def think(schedule: Schedule, prompt: Prompt, frames: TokenFrames, budget: int) -> Thought:
    """Think on a prompt once, up to a budget."""
    request = Request(frames.think(prompt.text), budget, frames.stop, group=prompt.group)
    return frames.extend(NOTHING, await schedule.ask(request), budget)


async def force(
    schedule: Schedule,
    prompts: Sequence[Prompt],
    thoughts: Sequence[Thought],
    frames: TokenFrames,
    budget: int,
    counts: Collection[int],
) -> AsyncIterator[tuple[int, list[Thought]]]:
    """Replace the end of thinking with ``Wait`` repeatedly, within a budget.

    With ``forcing: exact``, each question is forced by itself. It may generate what its own tokens, including each
    ``Wait``, leave of the budget. A ``Wait`` that would itself reach the budget is left out, and cut thinking is not
    forced. With ``forcing: released``, the questions are one batch of the released program (:func:`shares`), and each
    round waits for all of them.

    Yields:
        Each of ``counts``, in increasing order, with the thinking on every prompt. One chain, to the largest count,
        serves all counts.
    """
    latest = [frames.cut(thought, budget) for thought in thoughts]
    going = True
    for count in range(max(counts) + 1):
        if count and going:
            longer = {i: frames.wait(thought) for i, thought in enumerate(latest)}
            room = shares(latest, longer, frames, budget)
            begun = {i: (frames.go_on(prompts[i].text, longer[i]), left) for i, left in room.items()}
            asked = {i: schedule.ask(Request(*one, frames.stop, group=prompts[i].group)) for i, one in begun.items()}
            for i, left in room.items():
                latest[i] = frames.extend(longer[i], await asked[i], left)
            going = bool(room)  # if no question has room now, none will have any in a later round
        if count in counts:
            yield count, list(latest)


def shares(latest: Sequence[Thought], longer: dict[int, Thought], frames: TokenFrames, budget: int) -> dict[int, int]:
    """The questions that are forced once more, and the tokens that each may generate.

    In the released program, all questions of a batch may generate as many tokens as its **shortest** member has left,
    so the others may think beyond the budget. And a question goes on whenever its tokens, as the program counts them,
    are fewer than the budget, whether its thinking was cut or has ended.

    ``longer`` is the thinking so far (``latest``) with one more ``Wait``; ``budget`` is that of forced thinking.
    """
    if frames.settings.forcing == "exact":
        left = {i: budget - len(longer[i].ids) for i, thought in enumerate(latest) if thought.ended}
        return {i: tokens for i, tokens in left.items() if tokens > 0}
    forced = {i: thought.counted + len(longer[i].ids) - len(thought.ids) for i, thought in enumerate(latest)}
    counted = {i: tokens for i, tokens in forced.items() if latest[i].counted < budget and tokens < budget}
    return dict.fromkeys(counted, budget - min(counted.values(), default=0))


async def answer(schedule: Schedule, prompt: Prompt, thought: Thought, frames: TokenFrames) -> tuple[str, int]:
    """Generate the short answer after thinking; returns its text for scoring, and its number of tokens."""
    framed, limit = frames.answer(prompt.text, thought), frames.settings.answer_limit
    found = await schedule.ask(Request(framed, limit, frames.stop, group=prompt.group))
    opening = frames.prefixes[thought.ended] if frames.settings.scored == "released" else ""
    return opening + frames.decode(found.token_ids), found.tokens


async def sweep_batch(
    schedule: Schedule, asked: Sequence[BenchmarkQuestion], frames: TokenFrames, name: str, settings: SweepSettings
) -> SweepResult:
    """Sweep a single question, or the questions of one batch of the released program."""
    conditions, forced_budget = settings.conditions, settings.forced_budget
    texts = render(frames.tokenizer, [question for _, question in asked], settings.prompt)
    prompts = [Prompt(text, schedule.new_group()) for text in texts]
    shown = [i for i, (benchmark, _) in enumerate(asked) if benchmark]
    largest = max(budget for budget, _ in conditions)
    cuts: dict[tuple[int, tuple[int, int]], Thought] = {}
    answers: dict[tuple[int, tuple[int, int]], Pending[tuple[str, int]]] = {}

    def begin_answer(i: int, condition: tuple[int, int], thought: Thought) -> None:
        cuts[i, condition] = thought
        answers[i, condition] = schedule.start(answer(schedule, prompts[i], thought, frames))

    async def unforced(i: int) -> Thought:
        benchmark, _ = asked[i]
        thought = await think(schedule, prompts[i], frames, largest if benchmark else forced_budget)
        for budget, forced in conditions if benchmark else ():
            if not forced:
                begin_answer(i, (budget, 0), frames.cut(thought, budget))
        return thought

    begun = [schedule.start(unforced(i)) for i in range(len(asked))]
    thoughts = [await thought for thought in begun]
    chain: list[list[Thought]] = []  # the unforced thinking, and that forced to the largest count so far
    async for count, latest in force(schedule, prompts, thoughts, frames, forced_budget, {0, *settings.forced_counts}):
        chain = [*chain[:1], latest]
        for i in shown if count else ():
            begin_answer(i, (forced_budget, count), latest[i])
    places = list(itertools.product(shown, conditions))
    found = {place: await answers[place] for place in places}
    predictions = [
        Prediction(asked[i][1].id, asked[i][0], name, *condition, len(thought.ids), thought.ended, *found[i, condition])
        for i, condition in places
        for thought in [cuts[i, condition]]
    ]
    rollouts = [to_rollout(asked[i], name, thoughts[i], chain[-1][i]) for i in shown]
    return SweepResult(rollouts, predictions, count_tokens(asked, thoughts, (chain[0], chain[-1]), cuts, found))


def to_rollout(asked: BenchmarkQuestion, name: str, thought: Thought, forced: Thought) -> Rollout:
    """The record of a question's thinking to the largest budget, and to the largest forced count."""
    reason, forced_ids = "stop" if thought.ended else "length", forced.ids[forced.waits[0] :] if forced.waits else ()
    return Rollout(asked[1].id, asked[0], name, thought.ids, reason, forced_ids, forced.waits)


def count_tokens(
    asked: Sequence[BenchmarkQuestion],
    thoughts: Sequence[Thought],
    forced: tuple[Sequence[Thought], Sequence[Thought]],
    cuts: dict[tuple[int, tuple[int, int]], Thought],
    answers: dict[tuple[int, tuple[int, int]], tuple[str, int]],
) -> Counter[str]:
    """The cost of a batch (:class:`SweepResult`).

    ``forced`` is the thinking within the forced budget, before all forcing and after it.
    """
    shown = [i for i, (benchmark, _) in enumerate(asked) if benchmark]
    places = ((i, cuts[i, condition], tokens) for (i, condition), (_, tokens) in answers.items())
    distinct = {(i, cut.ids, cut.ended): tokens for i, cut, tokens in places}
    added = [after.generated - before.generated for before, after in zip(*forced)]
    return Counter(
        questions=len(shown),
        predictions=len(answers),
        rollout_tokens=sum(thoughts[i].generated for i in shown),
        forced_tokens=sum(added[i] for i in shown),
        answer_tokens=sum(distinct.values()),
        companion_tokens=sum(thoughts[i].generated + added[i] for i, (one, _) in enumerate(asked) if not one),
        anew_thinking_tokens=sum(cut.generated for cut in cuts.values()),
        anew_answer_tokens=sum(tokens for _, tokens in answers.values()),
    )


def with_unanswered(
    asked: Sequence[BenchmarkQuestion], long: Collection[str], name: str, settings: SweepSettings, swept: SweepResult
) -> SweepResult:
    """Add the questions that do not fit the model's context to the results of the others, at their places.

    They get no thinking, and an empty answer at every setting. The cost counts them as ``unanswered``.
    """
    made, answers = iter(swept.rollouts), iter(swept.predictions)
    rollouts: list[Rollout] = []
    predictions: list[Prediction] = []
    for benchmark, question in asked:
        if not benchmark:
            continue
        if question.id not in long:
            rollouts.append(next(made))
            predictions += itertools.islice(answers, len(settings.conditions))
            continue
        rollouts.append(Rollout(question.id, benchmark, name, (), "length"))
        for budget, forced in settings.conditions:
            predictions.append(Prediction(question.id, benchmark, name, budget, forced, 0, False, "", 0, True))
    swept.cost["unanswered"] = len(rollouts) - len(swept.rollouts)
    return SweepResult(rollouts, predictions, swept.cost)


def sweep(
    engine: CachedEngine,
    tokenizer: Any,
    parts: Iterable[Sequence[BenchmarkQuestion]],
    name: str,
    settings: SweepSettings,
    keep: Callable[[SweepResult], None],
    questions: int = 0,
    long: Collection[str] = (),
) -> None:
    """Sweep all questions with an engine; ``keep`` gets the result of each part, in their order.

    Args:
        parts: the questions, from :func:`m1.infer.context.parts`.
        questions: the number of all questions, for the progress line.
        long: ids of questions that do not fit the model's context.
    """
    frames = make_frames(tokenizer, settings)

    async def work(asked: Sequence[BenchmarkQuestion], schedule: Schedule) -> SweepResult:
        fitting = [(benchmark, question) for benchmark, question in asked if question.id not in long]
        swept = await sweep_batch(schedule, fitting, frames, name, settings)
        return with_unanswered(asked, long, name, settings, swept)

    engine.run((Job(len(asked), partial(work, asked)) for asked in parts), questions, keep)


def count_stored(argv: Sequence[str]) -> Stored:
    """Count the questions whose answers are all in the store."""
    return look(main, argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Write rollouts and predictions of one model on all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_engine_arguments(parser, "m1.infer.sweep")
    context.add_arguments(parser)
    parser.add_argument("--settings", required=True, help=f"JSON object with the keys {SweepSettings.keys()}")
    parser.add_argument("--rollouts", type=Path, help="Parquet file of the rollouts; not written by default")
    arguments = parser.parse_args(argv)
    settings, name, counts = SweepSettings.from_json(arguments.settings), arguments.name, Counter[str]()
    with (
        open_engine(arguments, f"infer {name}") as (engine, tokenizer, identity),
        open_writer(arguments.rollouts, Rollout) as keep_rollouts,
        open_writer(arguments.output, Prediction) as keep_predictions,
    ):
        asked = itertools.chain.from_iterable(context.parts(arguments, settings))
        needs = context.needs(tokenizer, asked, settings)
        engine.longest, long, questions = check(needs, arguments.model, settings.too_long, f"infer {name}")

        def keep(swept: SweepResult) -> None:
            keep_rollouts(swept.rollouts)
            keep_predictions(swept.predictions)
            counts.update(swept.cost)

        sweep(engine, tokenizer, context.parts(arguments, settings), name, settings, keep, questions, long)
    counts.update(settings=len(settings.conditions), unanswered=0)  # `|=` of a Counter would drop counts of 0
    benchmarks = {path.stem: path for path in arguments.benchmarks}
    write_engine_manifest(arguments, engine, identity, benchmarks, asdict(settings), counts, name=name)
    needed = sum(counts[f"{part}_tokens"] for part in ("rollout", "forced", "answer", "companion"))
    anew = counts["anew_thinking_tokens"] + counts["anew_answer_tokens"]
    done = f"{counts['predictions']:,} predictions of {counts['questions']:,} questions: {needed:,} tokens"
    done += f"; {counts['unanswered']:,} questions too long, unanswered" if counts["unanswered"] else ""
    say(f"infer {name}", f"{done}, {engine.generated:,} generated now; each setting anew would take {anew:,}")


if __name__ == "__main__":
    run(main)
