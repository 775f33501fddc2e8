"""Estimate the tokens, seconds and dollars of steps that call models over HTTP; part of ``make plan``."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from m1.client.completion import REFUSED, Completion
from m1.client.ledger import Beside
from m1.client.provider import Provider, Request
from m1.commands.lengths import QUESTION, REPLY, paper_length
from m1.commands.questions import Questions
from m1.core.places import source_file
from m1.core.prompts import evaluation_prompt, question_text
from m1.core.records import Question
from m1.core.store import Store
from m1.distill.traces import teacher_prompt
from m1.select.rubrics import read_qualifiers, read_task, user_turn, with_notes
from m1.wiring.run import Run

BILL = 590 / 30_000  # dollars of a trace: the authors note that about 30,000 traces cost $590
LIST = (0.55, 2.19)  # dollars of a million tokens of prompt and completion: DeepSeek's own list price of R1
# Assumptions: characters of a token, tokens of a teacher's thinking and answer, and tokens a second.
CHARACTERS = 4
TRACE = (paper_length("thinking").mean, paper_length("answer").mean)
TOKENS_PER_SECOND = 30
LEAST = 20  # with this many stored calls of a provider, their measured means replace the assumed values
# What a call of the embedded world's server takes in the demo; its tokens are words.
WORLD_TRACE, WORLD_REPLY, WORLD_SECONDS = (63, 2), 3, 0.034
READ = 1000  # the means are taken over about this many values of the store, evenly spread


@dataclass(frozen=True)
class HttpStep:
    """A step that calls a model over HTTP."""

    name: str
    title: str  # the provider's name in the configuration
    provider: Provider
    store: Path
    calls: int
    requests: list[Request] | None  # None if the questions are not known yet
    prompt_tokens: float  # mean over the calls, estimated from the prompts' characters


@dataclass(frozen=True)
class Means:
    """The averages of a provider's calls: tokens of its three parts, seconds and dollars."""

    prompt: float
    thinking: float
    answer: float
    seconds: float
    dollars: float
    basis: str  # where the numbers come from


def http_steps(run: Run, questions: Questions) -> list[HttpStep]:
    """The steps of a configuration that call models over HTTP, in the order of the paper."""
    names = [Path(manifest).relative_to("<results>").with_suffix("").parts for manifest in run.http_steps()]
    config, found = run.config, []

    def screen_prompt(question: Question) -> str:
        return evaluation_prompt(question_text(question), config["screen"]["prompt"])

    for name in (name for stage, name in names if stage == "screen"):
        known = questions.read("pools/merged.parquet"), questions.collection_size()
        title, folder = f"screen.providers.{name}", run.store(f"screen-{name}")
        found.append(_http_step(f"screen {name}", title, run.providers[name], folder, known, screen_prompt))
    for name in (name for stage, name in names if stage == "distill"):
        known, folder = questions.teacher_questions(name), run.store("teacher")
        found.append(_http_step(f"distill {name}", "teacher", config["teacher"], folder, known, teacher_prompt))
    for name in (name for stage, name in names if stage == "select"):
        qualifiers = read_qualifiers(source_file("resources/mesh/qualifiers.csv"))
        if notes := config["labeller"]["notes"]:
            qualifiers = with_notes(qualifiers, notes)
        prompt, known = partial(user_turn, qualifiers), questions.labeller_questions()
        folder, task = run.store("labeller"), read_task(source_file("resources/prompts/domain.txt"))
        found.append(_http_step(f"select {name}", "labeller", config["labeller"], folder, known, prompt, task))
    return found


def _http_step(
    name: str,
    title: str,
    settings: Mapping[str, Any],
    folder: str,
    questions: tuple[list[Question] | None, int],
    prompt: Callable[[Question], str],
    system: str | None = None,
) -> HttpStep:
    known, calls = questions
    requests = None if known is None else [Request(prompt(question), system=system) for question in known]
    # Without questions, the prompt of an empty one gives the length of the text around a question.
    framed = requests or [Request(prompt(Question("", "", "", None, (), "A")), system=system)]
    texts = [(request.system or "") + request.prompt for request in framed]
    tokens = sum(map(len, texts)) / len(texts) / CHARACTERS + (0 if requests else QUESTION)
    return HttpStep(name, title, Provider.from_settings(settings, title), Path(folder), calls, requests, tokens)


def call_means(step: HttpStep, store: Store | None, keys: Collection[str]) -> Means:
    """Average a step's calls: measured if the store has enough of the step itself (by ``keys``), or else of the
    provider's model; otherwise assumed."""
    if store is not None:
        own = [key for key in keys if key in store]
        some = _answers(store, own if len(own) >= LEAST else list(store), step.provider)
        calls = [call for call in some if call.at_most is None]
        if len(own) < LEAST:
            calls = [call for call in calls if call.served == step.provider.model]
        if len(calls) >= LEAST:
            prompt = sum(call.prompt_tokens for call in calls) / len(calls)
            thinking = sum(call.thinking_tokens for call in calls) / len(calls)
            answer = sum(call.answer_tokens for call in calls) / len(calls)
            timed = [call.seconds for call in calls if call.seconds]
            seconds = sum(timed) / len(timed) if len(timed) >= LEAST else (thinking + answer) / TOKENS_PER_SECOND
            untimed = "" if len(timed) >= LEAST else "; seconds assumed"
            dollars = step.provider.dollars(round(prompt), round(thinking + answer))
            return Means(prompt, thinking, answer, seconds, dollars, f"measured on {len(calls):,} calls{untimed}")
    teacher = step.title == "teacher"
    if (step.provider.serve or [""])[0] == "m1.world.server":
        thinking, answer = WORLD_TRACE if teacher else (0, WORLD_REPLY)
        dollars = step.provider.dollars(round(step.prompt_tokens), thinking + answer)
        return Means(step.prompt_tokens, thinking, answer, WORLD_SECONDS, dollars, "as in the demo")
    thinking, answer = TRACE if teacher else (0, REPLY)
    dollars = step.provider.dollars(round(step.prompt_tokens), round(thinking + answer)) * (billed() if teacher else 1)
    return Means(step.prompt_tokens, thinking, answer, (thinking + answer) / TOKENS_PER_SECOND, dollars, "assumed")


def billed() -> float:
    """How many times more than the list price of the assumed tokens the authors paid for a trace: these are the lengths
    of correct traces, and incorrect ones are longer, are asked for again, or are cut at the limit."""
    return 1e6 * BILL / (QUESTION * LIST[0] + sum(TRACE) * LIST[1])


def stored_dollars(store: Store, provider: Provider) -> float:
    """The approximate cost of all calls in a store at a provider's prices; uncounted calls enter with their bound.

    ``max_dollars`` limits this sum together with the calls that are left.
    """
    calls, (beside, _) = _answers(store, list(store), provider), Beside.read(store)
    dollars = sum(call.dollars(provider) for call in calls) / max(1, len(calls)) * len(store)
    return dollars + sum(provider.dollars(*one.tokens, live=True) for one in (beside.lost, beside.taken_back))


def _answers(store: Store, keys: Sequence[str], provider: Provider) -> list[Completion]:
    """A provider's answers for some keys, reduced to about :data:`READ` evenly spread ones."""
    found = []
    for key in keys[:: max(1, len(keys) // READ)]:
        with suppress(ValueError):  # no answer
            found.append(Completion.from_value(key, store.get(key), provider.marks))
    return [completion for completion in found if completion.finish_reason != REFUSED]


def hours(provider: Provider, calls: int, mean: Means) -> float:
    """The hours that calls take, by their latency or, if slower, by the provider's limits.

    A batch takes its whole window.
    """
    if provider.batch and calls:
        window = re.fullmatch(r"([0-9]+)([hd])", provider.batch["window"])
        return float(window[1]) * (24 if window[2] == "d" else 1) if window else 24.0
    minutes = [calls * mean.seconds / provider.concurrency / 60]
    if provider.requests_per_minute:
        minutes.append(calls / provider.requests_per_minute)
    if provider.tokens_per_minute:
        minutes.append(calls * (mean.prompt + mean.thinking + mean.answer) / provider.tokens_per_minute)
    return max(minutes) / 60
