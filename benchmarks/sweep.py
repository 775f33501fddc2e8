"""One thinking for every setting against each setting anew: tokens and seconds of both ways in one run, and whether
they agree.

    python benchmarks/sweep.py --model results/train/m1-small-1k --benchmarks results/benchmarks/*.parquet

Both ways run the same code on the same engine, started for each setting with an empty store; all token ids of both are
compared. ``--serve`` takes any engine of a recipe, for example ``{"engine": "transformers", "dtype": "bfloat16"}`` or,
with SGLang's Python in ``M1_SGLANG_PYTHON``, ``{"engine": "sglang", "dtype": "float32"}``; ``--anew-batch`` gives the
second way another batch size, as whoever generates anew may have. Prints rows of the Markdown table in
benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from m1.core.records import Question  # noqa: E402
from m1.engines.cached import CachedEngine, Generation, Request, add_engine_arguments, open_engine  # noqa: E402
from m1.engines.shards import chunks  # noqa: E402
from m1.infer.frames import make_frames  # noqa: E402
from m1.infer.settings import SweepSettings  # noqa: E402
from m1.infer.sweep import answer, force, render, sweep, think  # noqa: E402

Asked = Sequence[tuple[str, Question]]
Answered = list[tuple[Request, Generation]]
"""Of each question at each setting: all tokens before the answer, the thinking among them, and the answer."""


def cpu_seconds() -> float:
    """CPU seconds (user and system) so far of this process and all below it: SGLang runs in processes of its own."""
    own = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (own, *own.children(recursive=True)))


class Way:
    """One way of making predictions: tokens generated, wall-clock and CPU seconds (the model is loaded before), and
    what was answered."""

    def __init__(self, model: Path, serve: dict[str, Any], batch: int) -> None:
        runtime = json.dumps({"batch": batch, "options": {}})
        self.flags = ["--name", "m", "--model", str(model), "--serve", json.dumps(serve), "--runtime", runtime]
        self.tokens, self.wall, self.cpu = 0, 0.0, 0.0

    def run(self, work: Callable[[CachedEngine, Any], object]) -> Answered:
        """What ``work`` asks of an engine with an empty store, and is answered."""
        answered: Answered = []
        parser = argparse.ArgumentParser()
        add_engine_arguments(parser)
        with tempfile.TemporaryDirectory() as store:
            arguments = parser.parse_args([*self.flags, "--store", store, "--output", "none", "--manifest", "none"])
            with open_engine(arguments, "sweep") as (engine, tokenizer, _):
                generate = engine.generate
                generate([Request(tuple(tokenizer.encode("Wait")), 1, ())], "loading")

                def recorded(requests: Sequence[Request], what: str) -> list[Generation]:
                    found = generate(requests, what)
                    if what.startswith("answers"):
                        answered.extend(zip(requests, found))
                    return found

                setattr(engine, "generate", recorded)  # noqa: B010
                tokens, wall, cpu = engine.generated, time.perf_counter(), cpu_seconds()
                work(engine, tokenizer)
                self.tokens += engine.generated - tokens
                self.wall += time.perf_counter() - wall
                self.cpu += cpu_seconds() - cpu
        return answered

    def row(self, *first: str) -> str:
        """A row of the table."""
        return f"| {' | '.join(first)} | {self.tokens:,} | {self.wall:.1f} | {self.cpu:.1f} |"


def alone(
    engine: CachedEngine, tokenizer: Any, asked: Asked, settings: SweepSettings, budget: int, forced: int
) -> None:
    """One setting from nothing."""
    frames = make_frames(tokenizer, settings)
    prompts = render(tokenizer, [question for _, question in asked], settings.prompt)
    thoughts = think(engine, prompts, frames, [budget] * len(prompts))
    answer(engine, prompts, force(engine, prompts, thoughts, frames, budget, {forced})[forced], frames)


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--benchmarks", required=True, nargs="+", type=Path)
    parser.add_argument(
        "--serve", type=json.loads, default={"engine": "transformers", "dtype": "float32", "options": {}}
    )
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--anew-batch", type=int, help="of the second way; the same by default")
    parser.add_argument("--questions", type=int, default=1 << 30, help="at most, evenly from all")
    arguments = parser.parse_args()
    arguments.anew_batch = arguments.anew_batch or arguments.batch
    asked = [pair for _, part in chunks(arguments.benchmarks, 1 << 30) for pair in part]
    asked = asked[:: max(1, -(-len(asked) // arguments.questions))]
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    asked_as = {"prompt": "thinking", "too_long": "error"}
    settings = SweepSettings.from_parts(config["thinking"], config["generation"], asked_as)
    once, anew = (Way(arguments.model, arguments.serve, batch) for batch in (arguments.batch, arguments.anew_batch))
    conditions = settings.conditions
    swept = once.run(lambda engine, tokenizer: sweep(engine, tokenizer, asked, "m", settings))
    direct = {
        (budget, forced): anew.run(partial(alone, asked=asked, settings=settings, budget=budget, forced=forced))
        for budget, forced in conditions
    }

    what = f"{arguments.model.name}, {len(asked)} questions, {arguments.serve['engine']} {arguments.serve['dtype']}"
    print("| model and engine | way | tokens | wall (s) | CPU (s) |\n|---|---|---|---|---|")
    print(once.row(f"{what}, batch {arguments.batch}", "one thinking"))
    print(anew.row(f"the same, batch {arguments.anew_batch}", "each setting anew"))
    print(
        f"share of tokens {once.tokens / anew.tokens:.3f}, of wall {once.wall / anew.wall:.3f}, of "
        f"CPU {once.cpu / anew.cpu:.3f}"
    )
    print("identical in every token, thinking (thinking and answer):")
    for place, (budget, forced) in enumerate(conditions):
        pairs = list(zip(swept[place :: len(conditions)], direct[budget, forced], strict=True))
        thinking = sum(one[0].prompt == other[0].prompt for one, other in pairs)
        whole = sum(one == other for one, other in pairs)
        print(f"  budget {budget}, forced {forced}: {thinking} ({whole}) of {len(pairs)}")


if __name__ == "__main__":
    main()
