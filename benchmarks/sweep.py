"""One thinking for every setting against each setting anew: tokens and seconds of both ways in one run, and whether
they agree.

    python benchmarks/sweep.py --model results/train/m1-small-1k --benchmarks results/benchmarks/*.parquet

Both ways run the same code on the same engine, with an empty store for each setting (an engine's own cache of prefixes
is warm for the second way, to its advantage); all token ids of both are compared. ``--serve`` takes any engine of a
recipe, for example ``{"engine": "transformers", "dtype": "bfloat16"}`` or, with SGLang's Python in
``M1_SGLANG_PYTHON``, ``{"engine": "sglang", "dtype": "float32"}``; ``--anew-batch`` gives the second way another batch
size, as whoever generates anew may have. Prints rows of the Markdown table in benchmarks/README.md.

    python benchmarks/sweep.py --modelled 7b

drives the same schedule with a server that is arithmetic (``tests/support/modelled_server.py``), in place of 8 GPUs:
how full it is kept, beside chunks of 512 whose stages wait for their slowest, and beside generating anew. Step times
and lengths are assumed, not measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "workflow"), str(ROOT / "tests" / "support")]

from characters import Characters  # noqa: E402
from m1.core.chat import tokenizer_of  # noqa: E402
from m1.core.records import Question  # noqa: E402
from m1.core.settings import read  # noqa: E402
from m1.core.store import Store  # noqa: E402
from m1.engines.cached import ENGINES, CachedEngine, Engine, Generation, Request  # noqa: E402
from m1.engines.protocol import Done  # noqa: E402
from m1.engines.schedule import Job, Schedule  # noqa: E402
from m1.engines.shards import BenchmarkQuestion, questions  # noqa: E402
from m1.infer.frames import TokenFrames, make_frames  # noqa: E402
from m1.infer.settings import SweepSettings, Way  # noqa: E402
from m1.infer.sweep import Prompt, answer, force, render, sweep, think  # noqa: E402
from modelled_server import SHAPES, ModelledServer, generate_as_printed  # noqa: E402

QUESTIONS = 11_461
"""Of the paper's ten benchmarks."""
Found = dict[Request, Generation]
"""What was generated for each request."""


def cpu_seconds() -> float:
    """CPU seconds (user and system) so far of this process and all below it: SGLang runs in processes of its own."""
    own = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (own, *own.children(recursive=True)))


class Costs:
    """Of one way of making predictions, on a started engine: tokens generated, wall-clock and CPU seconds."""

    def __init__(self, engine: Engine, tokenizer: Any, batch: int) -> None:
        self.engine, self.tokenizer, self.batch = engine, tokenizer, batch
        self.tokens, self.wall, self.cpu = 0, 0.0, 0.0
        engine.generate([Request(tuple(tokenizer.encode("Wait")), 1, ())], lambda *_: ())

    def run(self, work: Callable[[CachedEngine, Any], object]) -> Found:
        """What ``work`` asks, with an empty store, and is answered."""
        found: Found = {}

        class Recording(CachedEngine):
            def generate(self, requests: Iterable[Request], done: Done) -> None:
                def record(request: Request, generation: Generation) -> Iterable[Request]:
                    found[request] = generation
                    return done(request, generation)

                super().generate(requests, record)

        with tempfile.TemporaryDirectory() as folder, Store(folder) as store:
            engine = Recording(lambda: self.engine, "m", store, "sweep", batch=self.batch)
            wall, cpu = time.perf_counter(), cpu_seconds()
            work(engine, self.tokenizer)
            self.tokens += engine.generated
            self.wall += time.perf_counter() - wall
            self.cpu += cpu_seconds() - cpu
        return found

    def row(self, *first: str) -> str:
        """A row of the table."""
        return f"| {' | '.join(first)} | {self.tokens:,} | {self.wall:.1f} | {self.cpu:.1f} |"


async def alone(question: Question, frames: TokenFrames, budget: int, forced: int, schedule: Schedule) -> Request:
    """One setting of one question from nothing; the request for its answer."""
    settings = frames.settings
    (text,) = render(frames.tokenizer, [question], settings.prompt)
    prompt = Prompt(text, schedule.new_group())
    thought = await think(schedule, prompt, frames, budget)
    async for _, (latest,) in force(schedule, [prompt], [thought], frames, budget, {forced}):
        thought = latest
    await answer(schedule, prompt, thought, frames)
    return Request(frames.answer(prompt.text, thought), settings.answer_limit, frames.stop)


def direct(
    engine: CachedEngine,
    tokenizer: Any,
    asked: Sequence[BenchmarkQuestion],
    settings: SweepSettings,
    budget: int,
    forced: int,
) -> list[Request]:
    """One setting of all questions from nothing; the requests for their answers."""
    frames, found = make_frames(tokenizer, settings), list[Request]()
    work = (partial(alone, question, frames, budget, forced) for _, question in asked)
    engine.run((Job(1, one) for one in work), len(asked), found.append)
    return found


async def in_stages(asked: Sequence[BenchmarkQuestion], frames: TokenFrames, schedule: Schedule) -> None:
    """A chunk of questions each of whose stages waits for its slowest."""
    settings, budget = frames.settings, frames.settings.forced_budget
    texts = render(frames.tokenizer, [question for _, question in asked], settings.prompt)
    prompts = [Prompt(text, schedule.new_group()) for text in texts]
    begun = [schedule.start(think(schedule, prompt, frames, max(settings.budgets))) for prompt in prompts]
    thoughts = [await one for one in begun]
    cuts = [(prompt, frames.cut(one, some)) for prompt, one in zip(prompts, thoughts) for some in settings.budgets]
    async for _, latest in force(schedule, prompts, thoughts, frames, budget, settings.forced_counts):
        cuts += zip(prompts, latest)
    answers = [schedule.start(answer(schedule, prompt, cut, frames)) for prompt, cut in cuts]
    for one in answers:
        await one


def modelled(name: str, count: int) -> None:
    """Print how full 8 modelled GPUs are kept at the paper's settings, by the sweep, by chunks of 512, and by
    generating anew; a part of the questions gets a part of the GPUs, and of the chunk."""
    part = min(1.0, count / QUESTIONS)
    shape = replace(SHAPES[name], copies=max(1, round(SHAPES[name].copies * part)))
    gpus, chunk = 8 * shape.copies // SHAPES[name].copies, 512 * shape.copies // SHAPES[name].copies
    exact = yaml.safe_load((ROOT / "config/config.yaml").read_text())["generation"]
    thinking = yaml.safe_load((ROOT / "config/paper.yaml").read_text())["thinking"]
    settings = SweepSettings.from_parts(thinking, exact, {"prompt": "thinking", "too_long": "error"})
    asked = [("b", Question(f"q{i}", "b", f"{i} {'x' * 100}", None, ("a", "b"), "A")) for i in range(count)]

    def by_sweep(engine: CachedEngine, size: int, forcing: Way) -> None:
        parts = (asked[start : start + size] for start in range(0, count, size))
        sweep(engine, Characters(), parts, "m", replace(settings, forcing=forcing), lambda part: None, count)

    def by_chunks(engine: CachedEngine) -> None:
        frames = make_frames(Characters(), settings)
        for start in range(0, count, chunk):
            some = asked[start : start + chunk]
            engine.run([Job(len(some), partial(in_stages, some, frames))], len(some), lambda done: None)

    def anew(engine: CachedEngine) -> None:
        for condition in settings.conditions:
            direct(engine, Characters(), asked, settings, *condition)

    print(f"| {gpus} GPUs, modelled | way | tokens | minutes | rows in use | until 0.9 of the time | GPU-hours |")
    print("|---|---|---|---|---|---|---|")
    batch, alone = shape.copies * shape.rows, partial(by_sweep, size=1, forcing="exact")
    released = partial(by_sweep, size=1024 * shape.copies // SHAPES[name].copies, forcing="released")
    ways = {"one thinking": (alone, True), "the same, to any copy": (alone, False)}
    ways |= {"the same, forced as released": (released, True)}
    ways |= {f"chunks of {chunk}, in stages": (by_chunks, False), "each setting anew": (anew, False)}
    for way, (work, sticky) in ways.items():
        server = ModelledServer(shape, batch, generate_as_printed, sticky)
        with tempfile.TemporaryDirectory() as folder, Store(folder) as store:
            work(CachedEngine(lambda: server, way, store, f"{name}, {way}", batch=batch))  # noqa: B023
        shares = [f"{server.in_flight(part) / batch:.0%}" for part in (1.0, 0.9)]
        cells = [f"{name}, {count:,} questions", way, f"{server.tokens:,}", f"{server.now / 60:.1f}", *shares]
        print(f"| {' | '.join(cells)} | {server.now / 3600 * gpus:.2f} |", flush=True)


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modelled", choices=SHAPES, help="no engine: a modelled server of 8 GPUs")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--benchmarks", nargs="+", type=Path, default=[])
    parser.add_argument(
        "--serve", type=json.loads, default={"engine": "transformers", "dtype": "float32", "options": {}}
    )
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--anew-batch", type=int, help="of the second way; the same by default")
    parser.add_argument(
        "--thinking", type=json.loads, default={}, help="JSON: keys of `thinking` other than the demo's"
    )
    parser.add_argument("--questions", type=int, default=1 << 30, help="at most, evenly from all")
    arguments = parser.parse_args()
    if arguments.modelled:
        modelled(arguments.modelled, min(arguments.questions, QUESTIONS))
        return
    if not (arguments.model and arguments.benchmarks):
        parser.error("--model and --benchmarks are needed, or --modelled")
    arguments.anew_batch = arguments.anew_batch or arguments.batch
    asked = list(questions(arguments.benchmarks))
    asked = asked[:: max(1, -(-len(asked) // arguments.questions))]
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    asked_as = {"prompt": "thinking", "too_long": "error"}
    settings = SweepSettings.from_parts(config["thinking"] | arguments.thinking, config["generation"], asked_as)
    serve, tokenizer = {"options": {}} | arguments.serve, tokenizer_of(arguments.model, None)
    answers: dict[tuple[int, int], list[Request]] = {}

    def one_setting(engine: CachedEngine, tokenizer: Any, condition: tuple[int, int]) -> None:
        answers[condition] = direct(engine, tokenizer, asked, settings, *condition)

    with ExitStack() as stack:

        def costs(batch: int) -> Costs:
            kind = ENGINES[serve["engine"]]
            options = read(kind.options, serve["options"], "--serve")
            made = kind.start(arguments.model, serve["dtype"], batch, options, "sweep", 0)
            if isinstance(made, AbstractContextManager):
                stack.enter_context(made)
            return Costs(made, tokenizer, batch)

        once = costs(arguments.batch)
        same = arguments.anew_batch == arguments.batch
        anew = Costs(once.engine, tokenizer, arguments.batch) if same else costs(arguments.anew_batch)
        parts = ([one] for one in asked)
        swept = once.run(lambda *given: sweep(*given, parts, "m", settings, lambda part: None, len(asked)))
        found = {one: anew.run(partial(one_setting, condition=one)) for one in settings.conditions}

    what = f"{arguments.model.name}, {len(asked)} questions, {arguments.serve['engine']} {arguments.serve['dtype']}"
    print("| model and engine | way | tokens | wall (s) | CPU (s) |\n|---|---|---|---|---|")
    print(once.row(f"{what}, batch {arguments.batch}", "one thinking"))
    print(anew.row(f"the same, batch {arguments.anew_batch}", "each setting anew"))
    print(
        f"share of tokens {once.tokens / anew.tokens:.3f}, of wall {once.wall / anew.wall:.3f}, of "
        f"CPU {once.cpu / anew.cpu:.3f}"
    )
    print("identical in every token, thinking (thinking and answer):")
    for (budget, forced), requests in answers.items():
        thinking = sum(request in swept for request in requests)
        whole = sum(swept.get(request) == found[budget, forced][request] for request in requests)
        print(f"  budget {budget}, forced {forced}: {thinking} ({whole}) of {len(requests)}")


if __name__ == "__main__":
    main()
