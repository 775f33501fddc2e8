"""The budget sweep: a model thinks once, to the largest budget, and answers at every smaller one and after every forced
``Wait`` (3.3).

Greedy decoding makes the thinking at budget b a prefix of the thinking at a larger budget. So each budget is a cut of
the same token ids plus one short answer, and the chain of the largest number of forced ``Wait`` holds every shorter
chain. :mod:`m1.infer.frames` says how the parts are joined. Questions are gone through in chunks, so that memory does
not grow with their number; see ``docs/sweep.md``.
"""

import argparse
import itertools
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from m1.core.errors import run
from m1.core.progress import say
from m1.core.records import Prediction, Question, Rollout
from m1.engines.cached import CachedEngine, Request, add_engine_arguments, open_engine, render, write_engine_manifest
from m1.engines.context import answered, check
from m1.engines.shards import open_writer
from m1.infer import context
from m1.infer.frames import Thought, TokenFrames, make_frames
from m1.infer.settings import SweepSettings

NOTHING = Thought((), False, 0)


def think(
    engine: CachedEngine, prompts: Sequence[str], frames: TokenFrames, budgets: Sequence[int], where: str = ""
) -> list[Thought]:
    """Think on every prompt, to its largest budget, once; ``where`` says on the progress line, here and below, which
    questions these are."""
    requests = [Request(frames.think(prompt), budget, frames.stop) for prompt, budget in zip(prompts, budgets)]
    generations = engine.generate(requests, f"thinking{where}")
    return [frames.extend(NOTHING, generation, budget) for generation, budget in zip(generations, budgets)]


def force(
    engine: CachedEngine,
    prompts: Sequence[str],
    thoughts: Sequence[Thought],
    frames: TokenFrames,
    budget: int,
    counts: Collection[int],
    where: str = "",
) -> dict[int, list[Thought]]:
    """Replace the end of thinking with ``Wait``, again and again, inside a budget.

    ``forcing: exact``: each question by itself. What is left for it is the budget less its own tokens, ``Wait``s
    included; a ``Wait`` that would itself reach the budget is left out, and thinking that was cut is not forced.

    ``forcing: released``: all questions given are one batch of the released program, see :func:`shares`.

    One chain, to the largest of ``counts``, serves all: for each, the thinking on every prompt is returned.
    """
    latest = [frames.cut(thought, budget) for thought in thoughts]
    chain: dict[int, list[Thought]] = {}
    for count in range(max(counts) + 1):
        if count:
            longer = {i: frames.wait(thought) for i, thought in enumerate(latest)}
            room = shares(latest, longer, frames, budget)
            requests = [Request(frames.go_on(prompts[i], longer[i]), left, frames.stop) for i, left in room.items()]
            generations = engine.generate(requests, f"forced {count}{where}")
            for (i, left), generation in zip(room.items(), generations):
                latest[i] = frames.extend(longer[i], generation, left)
            if not room:  # nor in any later round
                return chain | {later: list(latest) for later in counts if later >= count}
        if count in counts:
            chain[count] = list(latest)
    return chain


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


def answer(
    engine: CachedEngine, prompts: Sequence[str], thoughts: Sequence[Thought], frames: TokenFrames, where: str = ""
) -> list[tuple[str, int]]:
    """Text that is scored, and tokens, of the short answer after thinking, which ended by itself or was cut; equal
    thinking is answered once."""
    limit, scored = frames.settings.answer_limit, frames.settings.scored == "released"
    framed = [frames.answer(prompt, thought) for prompt, thought in zip(prompts, thoughts)]
    answers = engine.answers(frames.tokenizer, [Request(ids, limit, frames.stop) for ids in framed], where)
    openings = [frames.prefixes[thought.ended] if scored else "" for thought in thoughts]
    return [(opening + text, tokens) for opening, (text, tokens) in zip(openings, answers)]


def sweep(
    engine: CachedEngine,
    tokenizer: Any,
    asked: Sequence[tuple[str, Question]],
    name: str,
    settings: SweepSettings,
    where: str = "",
) -> tuple[list[Rollout], list[Prediction], Counter[str]]:
    """The one thinking on each question, predictions at every budget and every forced count, and what they cost.

    The cost is what these settings need, whatever the store holds already. In tokens: ``rollout_tokens`` (thinking to
    the largest budget), ``forced_tokens`` (extending it to the largest forced count), ``answer_tokens`` (one answer for
    each different thinking on a question); ``anew_thinking_tokens`` and ``anew_answer_tokens`` are what generating
    every setting by itself would take. ``companion_tokens`` is thinking and forcing of questions that nothing is shown
    of, which are in a batch of the released program with those that are.

    All questions are in memory with their thinking, so the caller gives a chunk at a time: benchmark (empty for a
    companion) and question.
    """
    frames, conditions = make_frames(tokenizer, settings), settings.conditions
    prompts = render(tokenizer, [question for _, question in asked], settings.prompt)
    largest, forced_budget = max(budget for budget, _ in conditions), settings.forced_budget
    thoughts = think(engine, prompts, frames, [largest if one else forced_budget for one, _ in asked], where)
    chain = force(engine, prompts, thoughts, frames, forced_budget, {0, *settings.forced_counts}, where)
    shown = [i for i, (benchmark, _) in enumerate(asked) if benchmark]
    places = list(itertools.product(shown, conditions))
    cuts = [chain[forced][i] if forced else frames.cut(thoughts[i], budget) for i, (budget, forced) in places]
    answers = answer(engine, [prompts[i] for i, _ in places], cuts, frames, where)
    predictions = [
        Prediction(asked[i][1].id, asked[i][0], name, budget, forced, len(thought.ids), thought.ended, text, tokens)
        for (i, (budget, forced)), thought, (text, tokens) in zip(places, cuts, answers)
    ]
    rollouts, last = [], chain[max(chain)]
    for i in shown:
        (benchmark, question), waits = asked[i], last[i].waits
        reason, forced_ids = "stop" if thoughts[i].ended else "length", last[i].ids[waits[0] :] if waits else ()
        rollouts.append(Rollout(question.id, benchmark, name, thoughts[i].ids, reason, forced_ids, waits))
    distinct = {(i, thought.ids, thought.ended): tokens for (i, _), thought, (_, tokens) in zip(places, cuts, answers)}
    added = [after.generated - before.generated for before, after in zip(chain[0], last)]
    cost = Counter(
        questions=len(shown),
        predictions=len(predictions),
        rollout_tokens=sum(thoughts[i].generated for i in shown),
        forced_tokens=sum(added[i] for i in shown),
        answer_tokens=sum(distinct.values()),
        companion_tokens=sum(thoughts[i].generated + added[i] for i, (one, _) in enumerate(asked) if not one),
        anew_thinking_tokens=sum(thought.generated for thought in cuts),
        anew_answer_tokens=sum(tokens for _, tokens in answers),
    )
    return rollouts, predictions, cost


def with_unanswered(
    asked: Sequence[tuple[str, Question]],
    long: Collection[str],
    name: str,
    settings: SweepSettings,
    swept: tuple[list[Rollout], list[Prediction], Counter[str]],
) -> tuple[list[Rollout], list[Prediction], Counter[str]]:
    """What :func:`sweep` made of the questions that fit the model's context, with those that do not at their places:
    no thinking, and an empty answer at every setting. The cost counts them as ``unanswered``."""
    made, answers, cost = iter(swept[0]), iter(swept[1]), swept[2]
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
    cost["unanswered"] = len(rollouts) - len(swept[0])
    return rollouts, predictions, cost


def main(argv: Sequence[str] | None = None) -> None:
    """Write rollouts and predictions of one model on all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_engine_arguments(parser)
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
        needs = context.needs(tokenizer, context.parts(arguments, settings), settings)
        engine.longest, long = check(needs, arguments.model, settings.too_long, f"infer {name}")
        for where, asked in context.parts(arguments, settings):
            swept = sweep(engine, tokenizer, answered(asked, long), name, settings, where)
            rolled, predicted, cost = with_unanswered(asked, long, name, settings, swept)
            keep_rollouts(rolled)
            keep_predictions(predicted)
            counts.update(cost)
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
