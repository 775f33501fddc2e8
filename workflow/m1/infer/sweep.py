"""The budget sweep: a model thinks once, to the largest budget, and answers at every smaller one and after every forced
``Wait`` (3.3).

Greedy decoding makes the thinking at budget b a prefix of the thinking at a larger budget. So each budget is a cut of
the same token ids plus one short answer, and the chain of the largest number of forced ``Wait`` holds every shorter
chain. Sequences are put together by token ids: decoding and encoding again would change the tokens at the seams.
Questions are gone through in chunks, so that memory does not grow with their number; see ``docs/sweep.md``.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from m1.core.chat import TurnTokens, chat_ids, stop_ids
from m1.core.errors import run
from m1.core.progress import say
from m1.core.prompts import evaluation_prompt, question_text
from m1.core.records import Prediction, Question, Rollout
from m1.engines.cached import CachedEngine, Request, add_engine_arguments, open_engine, write_engine_manifest
from m1.engines.shards import add_question_arguments, chunks, open_writer
from m1.infer.settings import SweepSettings


@dataclass(frozen=True)
class SweepTokens:
    """Token ids that frame thinking and answer, and those that end them (B.2, B.3)."""

    think: tuple[int, ...]
    """After the prompt: ``<|im_start|>think`` and a new line."""
    answer: tuple[int, ...]
    """After thinking that ended by itself: ``<|im_start|>answer``."""
    final_answer: tuple[int, ...]
    """After thinking that was cut: a new line, ``<|im_start|>answer``, a new line, ``Final Answer:``."""
    wait: tuple[int, ...]
    """What takes the place of the end of thinking when it is forced on."""
    stop: tuple[int, ...]

    @classmethod
    def from_tokenizer(cls, tokenizer: Any) -> SweepTokens:
        """The markers in a tokenizer's token ids."""

        def ids(text: str) -> tuple[int, ...]:
            return tuple(tokenizer.encode(text, add_special_tokens=False))

        marks = TurnTokens.from_tokenizer(tokenizer)
        think, answer = marks.header("think"), marks.header("answer")
        stop = sorted({*stop_ids(tokenizer), *ids(marks.opening), *ids(marks.end)})
        return cls(ids(think), ids(answer.rstrip()), ids(f"\n{answer}Final Answer:"), ids("Wait"), tuple(stop))


@dataclass(frozen=True)
class Thought:
    """Thinking at some moment."""

    ids: tuple[int, ...]
    """Token ids, forced ``Wait``s among them, without the token that ended it."""
    ended: bool
    """Whether it ended by itself, else it was cut."""
    generated: int
    """Tokens that had to be generated to come here from nothing: ends that a ``Wait`` replaced count, the ``Wait``s do
    not."""
    waits: tuple[int, ...] = ()
    """Where in ``ids`` each forced ``Wait`` begins."""


def cut(thought: Thought, budget: int) -> Thought:
    """Thinking that was not forced, as it would be at a smaller budget.

    It has ended by itself if its end token still fits: m tokens with the end token have ended at every budget >= m.
    """
    if thought.ended and len(thought.ids) + 1 <= budget:
        return thought
    ids = thought.ids[:budget]
    return Thought(ids, ended=False, generated=len(ids))


def think(
    engine: CachedEngine, prompts: Sequence[tuple[int, ...]], markers: SweepTokens, budget: int, where: str = ""
) -> list[Thought]:
    """Think on every prompt, to the largest budget, once; ``where`` says on the progress line, here and below, which
    questions these are."""
    requests = [Request((*prompt, *markers.think), budget, markers.stop) for prompt in prompts]
    generations = engine.generate(requests, f"thinking{where}")
    return [Thought(one.token_ids, one.finish_reason == "stop", one.tokens) for one in generations]


def force(
    engine: CachedEngine,
    prompts: Sequence[tuple[int, ...]],
    thoughts: Sequence[Thought],
    markers: SweepTokens,
    budget: int,
    counts: Collection[int],
    where: str = "",
) -> dict[int, list[Thought]]:
    """Replace the end of thinking with ``Wait``, again and again, inside a budget.

    Every question has its own count of tokens (the released code gives each of a batch the tokens that its longest
    member has left). A ``Wait`` that would itself reach the budget is left out, and thinking that was cut is not
    forced. One chain, to the largest of ``counts``, serves all: for each, the thinking on every prompt is returned.
    """
    latest, chain = [cut(thought, budget) for thought in thoughts], {}
    open_ = list(range(len(latest)))
    for count in range(max(counts) + 1):
        if count:
            open_ = [i for i in open_ if latest[i].ended and len(latest[i].ids) + len(markers.wait) < budget]
            longer = {i: (*latest[i].ids, *markers.wait) for i in open_}
            framed = {i: (*prompts[i], *markers.think, *ids) for i, ids in longer.items()}
            requests = [Request(framed[i], budget - len(longer[i]), markers.stop) for i in open_]
            for i, generation in zip(open_, engine.generate(requests, f"forced {count}{where}")):
                ended, generated = generation.finish_reason == "stop", latest[i].generated + generation.tokens
                waits = (*latest[i].waits, len(latest[i].ids))
                latest[i] = Thought((*longer[i], *generation.token_ids), ended, generated, waits)
        if count in counts:
            chain[count] = list(latest)
    return chain


def answer(
    engine: CachedEngine,
    tokenizer: Any,
    prompts: Sequence[tuple[int, ...]],
    thoughts: Sequence[Thought],
    markers: SweepTokens,
    limit: int,
    where: str = "",
) -> list[tuple[str, int]]:
    """Text and tokens of the short answer after thinking, which ended by itself or was cut; equal thinking is answered
    once."""
    framed = [
        (*prompt, *markers.think, *thought.ids, *(markers.answer if thought.ended else markers.final_answer))
        for prompt, thought in zip(prompts, thoughts)
    ]
    return engine.answers(tokenizer, [Request(ids, limit, markers.stop) for ids in framed], where)


def prompt_ids(tokenizer: Any, asked: Sequence[tuple[str, Question]]) -> list[tuple[int, ...]]:
    """Token ids before the thinking on each question; ``asked`` is benchmark and question."""
    return [tuple(chat_ids(tokenizer, evaluation_prompt(question_text(question), "thinking"))) for _, question in asked]


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
    every setting by itself would take.

    All questions are in memory with their thinking, so the caller gives a chunk at a time: benchmark and question.
    """
    markers, prompts = SweepTokens.from_tokenizer(tokenizer), prompt_ids(tokenizer, asked)
    thoughts = think(engine, prompts, markers, max(budget for budget, _ in settings.conditions), where)
    chain = force(engine, prompts, thoughts, markers, settings.forced_budget, {0, *settings.forced_counts}, where)
    places = list(itertools.product(range(len(asked)), settings.conditions))
    cuts = [chain[forced][i] if forced else cut(thoughts[i], budget) for i, (budget, forced) in places]
    answers = answer(engine, tokenizer, [prompts[i] for i, _ in places], cuts, markers, settings.answer_limit, where)
    predictions = [
        Prediction(asked[i][1].id, asked[i][0], name, budget, forced, len(thought.ids), thought.ended, text, tokens)
        for (i, (budget, forced)), thought, (text, tokens) in zip(places, cuts, answers)
    ]
    rollouts = []
    for (benchmark, question), thought, last in zip(asked, thoughts, chain[max(chain)]):
        reason, forced_ids = "stop" if thought.ended else "length", last.ids[last.waits[0] :] if last.waits else ()
        rollouts.append(Rollout(question.id, benchmark, name, thought.ids, reason, forced_ids, last.waits))
    answered = [(i, thought, tokens) for (i, _), thought, (_, tokens) in zip(places, cuts, answers)]
    tokens_spent = _token_counts(thoughts, chain, answered)
    return rollouts, predictions, Counter(questions=len(asked), predictions=len(predictions), **tokens_spent)


def _token_counts(
    thoughts: Sequence[Thought], chain: dict[int, list[Thought]], answered: Sequence[tuple[int, Thought, int]]
) -> dict[str, int]:
    """The token counts that :func:`sweep` returns; ``answered`` is a prediction's question, thinking and tokens."""
    distinct = {(i, thought.ids, thought.ended): tokens for i, thought, tokens in answered}
    return {
        "rollout_tokens": sum(thought.generated for thought in thoughts),
        "forced_tokens": sum(last.generated - first.generated for first, last in zip(chain[0], chain[max(chain)])),
        "answer_tokens": sum(distinct.values()),
        "anew_thinking_tokens": sum(thought.generated for _, thought, _ in answered),
        "anew_answer_tokens": sum(tokens for _, _, tokens in answered),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Write rollouts and predictions of one model on all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_engine_arguments(parser)
    add_question_arguments(parser)
    parser.add_argument("--settings", required=True, help=f"JSON: {SweepSettings.keys()}")
    parser.add_argument("--rollouts", type=Path, help="rollouts, Parquet; none by default")
    arguments = parser.parse_args(argv)
    settings, name, counts = SweepSettings.from_json(arguments.settings), arguments.name, Counter[str]()
    with (
        open_engine(arguments, f"infer {name}") as (engine, tokenizer, identity),
        open_writer(arguments.rollouts, Rollout) as keep_rollouts,
        open_writer(arguments.output, Prediction) as keep_predictions,
    ):
        for where, asked in chunks(arguments.benchmarks, arguments.chunk, arguments.shard):
            rolled, predicted, cost = sweep(engine, tokenizer, asked, name, settings, where)
            keep_rollouts(rolled)
            keep_predictions(predicted)
            counts.update(cost)
    counts["settings"] = len(settings.conditions)
    benchmarks = {path.stem: path for path in arguments.benchmarks}
    write_engine_manifest(arguments, engine, identity, benchmarks, asdict(settings), counts, name=name)
    needed = counts["rollout_tokens"] + counts["forced_tokens"] + counts["answer_tokens"]
    anew = counts["anew_thinking_tokens"] + counts["anew_answer_tokens"]
    done = f"{counts['predictions']:,} predictions of {counts['questions']:,} questions: {needed:,} tokens"
    say(f"infer {name}", f"{done}, {engine.generated:,} generated now; each setting anew would take {anew:,}")


if __name__ == "__main__":
    run(main)
