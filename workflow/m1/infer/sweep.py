"""The budget sweep: a model thinks once, to the largest budget, and answers at every smaller one and after every forced
``Wait`` (3.3).

Greedy decoding makes the thinking at budget b a prefix of the thinking at a larger budget. So each budget is a cut of
the same token ids plus one short answer, and the chain of the largest number of forced ``Wait`` holds every shorter
chain. :mod:`m1.infer.frames` says how the parts are joined. Each question asks its next stage as soon as its last has
ended (:mod:`m1.engines.schedule`), and memory does not grow with the number of questions; see ``docs/architecture.md``.
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
from m1.engines.context import answered, check
from m1.engines.schedule import Job, Pending, Schedule
from m1.engines.shards import Asked, open_writer
from m1.infer import context
from m1.infer.frames import Thought, TokenFrames, make_frames
from m1.infer.settings import SweepSettings

NOTHING = Thought((), False, 0)


class Prompt(NamedTuple):
    """What a question is asked with, and the group of its requests."""

    text: str
    group: int


class Swept(NamedTuple):
    """The one thinking on each question, predictions at every budget and every forced count, and what they cost.

    The cost is what the settings need, whatever the store holds already. In tokens: ``rollout_tokens`` (thinking to
    the largest budget), ``forced_tokens`` (extending it to the largest forced count), ``answer_tokens`` (one answer for
    each different thinking on a question); ``anew_thinking_tokens`` and ``anew_answer_tokens`` are what generating
    every setting by itself would take. ``companion_tokens`` is thinking and forcing of questions that nothing is shown
    of, which are in a batch of the released program with those that are.
    """

    rollouts: list[Rollout]
    predictions: list[Prediction]
    cost: Counter[str]


async def think(schedule: Schedule, prompt: Prompt, frames: TokenFrames, budget: int) -> Thought:
    """Think on a prompt, to its largest budget, once."""
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
    """Replace the end of thinking with ``Wait``, again and again, inside a budget.

    ``forcing: exact``: a question by itself. What is left for it is the budget less its own tokens, ``Wait``s
    included; a ``Wait`` that would itself reach the budget is left out, and thinking that was cut is not forced.

    ``forcing: released``: the questions are one batch of the released program, see :func:`shares`. Each round waits for
    all of them.

    Yields:
        Each of ``counts``, in their order, with the thinking on every prompt: one chain, to the largest, serves all.
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
            going = bool(room)  # else there is none in any later round
        if count in counts:
            yield count, list(latest)


def shares(latest: Sequence[Thought], longer: dict[int, Thought], frames: TokenFrames, budget: int) -> dict[int, int]:
    """Questions that are forced once more, and the tokens that each may generate.

    As released, all questions of a batch may generate what its **shortest** member has left, so that the others may
    think beyond the budget; and a question goes on whenever its tokens, as the program counts them, are fewer than the
    budget, be its thinking cut or ended. ``longer`` is the thinking with one ``Wait`` more.
    """
    if frames.settings.forcing == "exact":
        left = {i: budget - len(longer[i].ids) for i, thought in enumerate(latest) if thought.ended}
        return {i: tokens for i, tokens in left.items() if tokens > 0}
    forced = {i: thought.counted + len(longer[i].ids) - len(thought.ids) for i, thought in enumerate(latest)}
    counted = {i: tokens for i, tokens in forced.items() if latest[i].counted < budget and tokens < budget}
    return dict.fromkeys(counted, budget - min(counted.values(), default=0))


async def answer(schedule: Schedule, prompt: Prompt, thought: Thought, frames: TokenFrames) -> tuple[str, int]:
    """Text that is scored, and tokens, of the short answer after thinking, which ended by itself or was cut."""
    framed, limit = frames.answer(prompt.text, thought), frames.settings.answer_limit
    found = await schedule.ask(Request(framed, limit, frames.stop, group=prompt.group))
    opening = frames.prefixes[thought.ended] if frames.settings.scored == "released" else ""
    return opening + frames.decode(found.token_ids), found.tokens


async def sweep_batch(
    schedule: Schedule, asked: Sequence[Asked], frames: TokenFrames, name: str, settings: SweepSettings
) -> Swept:
    """Everything about the questions of a batch of the released program, or about a single question."""
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
    chain: list[list[Thought]] = []  # not forced, and forced to the largest count so far
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
    return Swept(rollouts, predictions, count_tokens(asked, thoughts, (chain[0], chain[-1]), cuts, found))


def to_rollout(asked: Asked, name: str, thought: Thought, forced: Thought) -> Rollout:
    """The record of thinking to the largest budget, and of what was forced to the largest count."""
    reason, forced_ids = "stop" if thought.ended else "length", forced.ids[forced.waits[0] :] if forced.waits else ()
    return Rollout(asked[1].id, asked[0], name, thought.ids, reason, forced_ids, forced.waits)


def count_tokens(
    asked: Sequence[Asked],
    thoughts: Sequence[Thought],
    forced: tuple[Sequence[Thought], Sequence[Thought]],
    cuts: dict[tuple[int, tuple[int, int]], Thought],
    answers: dict[tuple[int, tuple[int, int]], tuple[str, int]],
) -> Counter[str]:
    """The cost of a batch (:class:`Swept`); ``forced``: thinking inside the forced budget before forcing, and after all
    of it."""
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
    asked: Sequence[Asked], long: Collection[str], name: str, settings: SweepSettings, swept: Swept
) -> Swept:
    """What :func:`sweep_batch` made of the questions that fit the model's context, with those that do not at their
    places: no thinking, and an empty answer at every setting. The cost counts them as ``unanswered``."""
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
    return Swept(rollouts, predictions, swept.cost)


def sweep(
    engine: CachedEngine,
    tokenizer: Any,
    parts: Iterable[Sequence[Asked]],
    name: str,
    settings: SweepSettings,
    keep: Callable[[Swept], None],
    questions: int = 0,
    long: Collection[str] = (),
) -> None:
    """Sweep questions, as :func:`m1.infer.context.parts` gives them; ``keep`` gets each part's result, in their order.

    Args:
        questions: how many they are, for the progress line.
        long: ids of those that do not fit the model's context.
    """
    frames = make_frames(tokenizer, settings)

    async def work(asked: Sequence[Asked], schedule: Schedule) -> Swept:
        swept = await sweep_batch(schedule, answered(asked, long), frames, name, settings)
        return with_unanswered(asked, long, name, settings, swept)

    engine.run((Job(len(asked), partial(work, asked)) for asked in parts), questions, keep)


def stored(argv: Sequence[str]) -> Stored:
    """Of how many questions the store has all answers already."""
    return look(main, argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Write rollouts and predictions of one model on all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_engine_arguments(parser, "m1.infer.sweep")
    context.add_arguments(parser)
    parser.add_argument("--settings", required=True, help=f"JSON: {SweepSettings.keys()}")
    parser.add_argument("--rollouts", type=Path, help="rollouts, Parquet; none by default")
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

        def keep(swept: Swept) -> None:
            keep_rollouts(swept.rollouts)
            keep_predictions(swept.predictions)
            counts.update(swept.cost)

        sweep(engine, tokenizer, context.parts(arguments, settings), name, settings, keep, questions, long)
    counts.update(settings=len(settings.conditions), unanswered=0)  # not by |=, which drops what is 0
    benchmarks = {path.stem: path for path in arguments.benchmarks}
    write_engine_manifest(arguments, engine, identity, benchmarks, asdict(settings), counts, name=name)
    needed = sum(counts[f"{part}_tokens"] for part in ("rollout", "forced", "answer", "companion"))
    anew = counts["anew_thinking_tokens"] + counts["anew_answer_tokens"]
    done = f"{counts['predictions']:,} predictions of {counts['questions']:,} questions: {needed:,} tokens"
    done += f"; {counts['unanswered']:,} questions too long, unanswered" if counts["unanswered"] else ""
    say(f"infer {name}", f"{done}, {engine.generated:,} generated now; each setting anew would take {anew:,}")


if __name__ == "__main__":
    run(main)
