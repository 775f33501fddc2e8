"""The budget sweep: a model thinks once, to the largest budget, and answers at every smaller one and after every forced ``Wait`` (3.3).

Greedy decoding makes the thinking at budget b a prefix of the thinking at a larger budget. So each budget is a cut of the same
token ids plus one short answer, and the chain of the largest number of forced ``Wait`` holds every shorter chain.
Sequences are put together by token ids: decoding and encoding again would change the tokens at the seams.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m1.errors import UserError, run
from m1.files import write_manifest
from m1.infer.answer import chat_ids, stop_ids
from m1.infer.engine import KeptEngine, Request, add_arguments, opened
from m1.progress import say
from m1.prompts import evaluation_prompt, question_text
from m1.records import Prediction, Question, Rollout, read, write


@dataclass(frozen=True)
class Markers:
    """Token ids that frame thinking and answer (B.2, B.3)."""

    think: tuple[int, ...]
    """After the prompt: ``<|im_start|>think`` and a new line."""
    answer: tuple[int, ...]
    """After thinking that ended by itself: ``<|im_start|>answer``."""
    final_answer: tuple[int, ...]
    """After thinking that was cut: a new line, ``<|im_start|>answer``, a new line, ``Final Answer:``."""
    wait: tuple[int, ...]
    """What takes the place of the end of thinking when it is forced on."""
    stop: tuple[int, ...]
    """Ends thinking, and ends an answer."""

    @classmethod
    def of(cls, tokenizer: Any) -> Markers:
        """The markers in a tokenizer's token ids."""

        def ids(text: str) -> tuple[int, ...]:
            return tuple(tokenizer.encode(text, add_special_tokens=False))

        if len(ids("<|im_start|>")) != 1:
            raise UserError(
                "the tokenizer has no special token <|im_start|>: thinking cannot be marked; choose a base with Qwen2.5's special tokens"
            )
        return cls(
            ids("<|im_start|>think\n"),
            ids("<|im_start|>answer"),
            ids("\n<|im_start|>answer\nFinal Answer:"),
            ids("Wait"),
            stop_ids(tokenizer),
        )


@dataclass(frozen=True)
class Thought:
    """Thinking at some moment: its token ids, and whether it ended by itself (the end token is not among the ids)."""

    ids: tuple[int, ...]
    ended: bool


def cut(thought: Thought, budget: int) -> Thought:
    """Thinking as it would be at a smaller budget.

    It has ended by itself if its end token still fits: m tokens with the end token have ended at every budget >= m.
    """
    if thought.ended and len(thought.ids) + 1 <= budget:
        return thought
    return Thought(thought.ids[:budget], ended=False)


def think(engine: KeptEngine, prompts: Sequence[tuple[int, ...]], markers: Markers, budget: int) -> list[Thought]:
    """Think on every prompt, to the largest budget, once."""
    generations = engine.generate([Request((*prompt, *markers.think), budget, markers.stop) for prompt in prompts], "thinking")
    return [Thought(generation.token_ids, generation.finish_reason == "stop") for generation in generations]


def force(
    engine: KeptEngine, prompts: Sequence[tuple[int, ...]], thoughts: Sequence[Thought], markers: Markers, budget: int, times: int
) -> list[list[Thought]]:
    """Replace the end of thinking with ``Wait``, up to ``times`` times, inside a budget.

    Every question has its own count of tokens (the released code gives a whole batch the slack of its longest member).
    A ``Wait`` that would itself reach the budget is left out, and thinking that was cut is not forced.

    Returns:
        For 0, 1, ..., ``times`` forced ends, the thinking on every prompt.
    """
    chain = [[cut(thought, budget) for thought in thoughts]]
    for count in range(1, times + 1):
        latest = list(chain[-1])
        open_ = [i for i, thought in enumerate(latest) if thought.ended and len(thought.ids) + len(markers.wait) < budget]
        longer = [(*latest[i].ids, *markers.wait) for i in open_]
        requests = [Request((*prompts[i], *markers.think, *ids), budget - len(ids), markers.stop) for i, ids in zip(open_, longer)]
        for i, ids, generation in zip(open_, longer, engine.generate(requests, f"forced {count}")):
            latest[i] = Thought((*ids, *generation.token_ids), generation.finish_reason == "stop")
        chain.append(latest)
    return chain


def answer(
    engine: KeptEngine,
    tokenizer: Any,
    prompts: Sequence[tuple[int, ...]],
    thoughts: Sequence[Thought],
    markers: Markers,
    limit: int,
    what: str,
) -> list[tuple[str, int]]:
    """The short answer after thinking, which ended by itself or was cut; equal thinking is answered once.

    Returns:
        Answer text and its tokens.
    """
    requests = [
        Request((*prompt, *markers.think, *thought.ids, *(markers.answer if thought.ended else markers.final_answer)), limit, markers.stop)
        for prompt, thought in zip(prompts, thoughts)
    ]
    generations = engine.generate(requests, what)
    return [(tokenizer.decode(generation.token_ids, skip_special_tokens=True), generation.tokens) for generation in generations]


def sweep(
    engine: KeptEngine, tokenizer: Any, asked: Sequence[tuple[str, Question]], name: str, settings: dict[str, Any]
) -> tuple[list[Rollout], list[Prediction]]:
    """Rollouts, and predictions at every budget and every forced count.

    Args:
        asked: benchmark and question.
        name: the model's key.
        settings: ``budgets`` (tokens), ``forced`` (counts), ``forced_budget`` (tokens), ``answer_limit`` (tokens).
    """
    markers = Markers.of(tokenizer)
    prompts = [tuple(chat_ids(tokenizer, evaluation_prompt(question_text(question), "thinking"))) for _, question in asked]
    budgets, counts = sorted(set(settings["budgets"])), sorted(set(settings["forced"]) - {0})
    forced_budget = settings["forced_budget"]
    thoughts = think(engine, prompts, markers, max([*budgets, forced_budget] if counts else budgets))
    rollouts = [
        Rollout(question.id, benchmark, name, thought.ids, "stop" if thought.ended else "length")
        for (benchmark, question), thought in zip(asked, thoughts)
    ]
    stages = {(budget, 0): [cut(thought, budget) for thought in thoughts] for budget in budgets}
    if counts:
        chain = force(engine, prompts, thoughts, markers, forced_budget, counts[-1])
        stages |= {(forced_budget, count): chain[count] for count in [0, *counts]}
    pairs = [(stage, i) for stage in stages for i in range(len(asked))]
    places = [stages[stage][i] for stage, i in pairs]
    answers = answer(engine, tokenizer, [prompts[i] for _, i in pairs], places, markers, settings["answer_limit"], "answers")
    predictions = [
        Prediction(asked[i][1].id, asked[i][0], name, budget, forced, len(thought.ids), thought.ended, text, tokens)
        for ((budget, forced), i), thought, (text, tokens) in zip(pairs, places, answers)
    ]
    return rollouts, predictions


def main(argv: Sequence[str] | None = None) -> None:
    """Write rollouts and predictions of one model on all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--benchmarks", required=True, nargs="+", type=Path, help="question files, named by benchmark")
    parser.add_argument("--settings", required=True, type=json.loads, help="JSON: budgets, forced, forced_budget, answer_limit")
    parser.add_argument("--rollouts", required=True, type=Path, help="rollouts, Parquet")
    arguments = parser.parse_args(argv)
    started = time.time()
    asked = [(path.stem, question) for path in arguments.benchmarks for question in read(path, Question)]
    with opened(arguments, f"infer {arguments.name}") as (engine, tokenizer, identity):
        rollouts, predictions = sweep(engine, tokenizer, asked, arguments.name, arguments.settings)
    write(arguments.rollouts, rollouts, Rollout)
    write(arguments.output, predictions, Prediction)
    counts = {
        "questions": len(asked),
        "predictions": len(predictions),
        "thinking_tokens": sum(len(rollout.thinking_ids) for rollout in rollouts),
        "tokens_generated": engine.generated,
        "tokens_if_every_setting_were_generated_anew": sum(p.thinking_tokens + p.ended + p.answer_tokens for p in predictions),
    }
    inputs = {"model": arguments.model, **{path.stem: path for path in arguments.benchmarks}}
    write_manifest(
        arguments.manifest,
        inputs=inputs,
        settings=[arguments.settings, arguments.serve],
        counts=counts,
        started=started,
        known={"model": identity},
    )
    anew = counts["tokens_if_every_setting_were_generated_anew"]
    say(f"infer {arguments.name}", f"{len(predictions):,} predictions, {engine.generated:,} tokens generated; anew it would be {anew:,}")


if __name__ == "__main__":
    run(main)
