r"""The authors' own inference program beside ours, setting by setting: is every text the same, and what does it cost?

    python benchmarks/authors.py --checkout m1 --model results/train/m1-small-1k \
        --benchmarks results/benchmarks/{gpqa,medqa,lancet}.parquet

``--checkout`` is a clone of https://github.com/UCSC-VLAA/m1, which runs unchanged (``--only_inference``) against
SGLang's server; SGLang's Python is in the environment variable ``M1_SGLANG_PYTHON`` (``make test-sglang`` makes it on a
CPU). The authors' program needs the packages omegaconf, click and python-dotenv (``--packages``: a folder that has
them, where this Python lacks them). Every setting is generated anew by it; ours thinks once, by ``--serve``, with
``generation`` as released (but ``limit: exact``: an end token that is the last one allowed is a stop for this SGLang,
and was none for the authors' 0.4.3). Prints a Markdown table for benchmarks/README.md, and exits with 1 if a text
differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from m1.core.records import LETTERS, Question, read  # noqa: E402
from m1.engines.cached import add_engine_arguments, open_engine  # noqa: E402
from m1.engines.shards import add_shard_argument  # noqa: E402
from m1.infer.settings import SweepSettings  # noqa: E402
from m1.infer.sweep import SweepResult, sweep  # noqa: E402
from m1.score.predictions import score  # noqa: E402

PORT = 28035
STUB = "launch_server_cmd = terminate_process = wait_for_server = None\n"
"""Stands in for the module ``sglang.utils``, which the program imports and does not use with ``--only_inference``."""
CPU = "--device cpu --attention-backend torch_native --sampling-backend pytorch --grammar-backend none"
WAYS = ("forcing", "seam", "scored", "stop", "bos")
Asked = list[tuple[str, Question]]


def entry(question: Question) -> dict[str, Any]:
    """A question as the evaluation file has it."""
    text = f"{question.context}\n{question.stem}" if question.context else question.stem
    options = dict(zip(LETTERS, question.options))
    return {"question": text, "options": options, "answer": question.answer_text, "answer_idx": question.answer}


@contextmanager
def serving(python: str, model: Path, dtype: str, flags: Sequence[str]) -> Iterator[None]:
    """SGLang's server at the port that the authors' program asks."""
    command = [python, "-m", "sglang.launch_server", "--model-path", str(model), "--dtype", dtype, *flags]
    command += ["--host", "127.0.0.1", "--port", str(PORT), "--log-level", "warning"]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            for _ in range(300):
                try:
                    urlopen(f"http://127.0.0.1:{PORT}/health_generate", timeout=10)
                    break
                except (URLError, ConnectionError, TimeoutError):
                    if server.poll() is not None:
                        log.seek(0)
                        sys.exit(f"SGLang's server ended:\n{log.read().decode()[-3000:]}")
                    time.sleep(1)
            yield
        finally:
            os.killpg(server.pid, 9)
            server.wait()


def run_theirs(arguments: argparse.Namespace, data: Path, budget: int, forced: int, batch: int) -> list[dict[str, Any]]:
    """What the authors' program answers at one setting, with its own verdicts."""
    folder = data.parent / f"{budget}-{forced}-{batch}"
    updates = {
        "eval_data_path": data,
        "eval_data_md5sum": hashlib.md5(data.read_bytes()).hexdigest(),
        "model_path": arguments.model.resolve(),
        "output_dir": folder,
        "exp_name": "run",
        "suffix_prompt": "Return your final response within \\boxed{{}}.",
        "max_new_tokens": budget,
        "max_new_answer_tokens": arguments.answer_limit,
        "force_think": True,
        "keep_think_below_budget_times": forced,
        "batch_size": batch,
    }
    stub = data.parent / "stub/sglang"
    stub.mkdir(parents=True, exist_ok=True)
    (stub / "__init__.py").touch()
    (stub / "utils.py").write_text(STUB)
    path = os.pathsep.join(map(str, filter(None, [stub.parent, arguments.packages])))
    command = [sys.executable, "src/eval/inference_keep_think.py", "--only_inference"]
    command += ["-u", ",".join(f"{key}={value}" for key, value in updates.items())]
    subprocess.run(
        command, cwd=arguments.checkout, env=os.environ | {"PYTHONPATH": path}, check=True, capture_output=True
    )
    (made,) = folder.glob("run/version_*")
    rows = json.loads((made / data.name).read_text())
    scored = json_objects((made / data.with_suffix(".scored.json").name).read_text())
    return [row | {"correct": verdict["correct"]} for row, verdict in zip(rows, scored, strict=True)]


def json_objects(text: str) -> Iterator[dict[str, Any]]:
    """JSON objects one after the other, each over several lines."""
    decoder, place = json.JSONDecoder(), 0
    while place < len(text.rstrip()):
        value, place = decoder.raw_decode(text, place + len(text[place:]) - len(text[place:].lstrip()))
        yield value


def run_ours(arguments: argparse.Namespace, asked: Asked, settings: SweepSettings, batch: int) -> tuple[Any, int]:
    """Ours at all settings from one thinking: what the authors' program has, by question and setting; and the tokens
    generated."""
    parser = argparse.ArgumentParser()
    add_engine_arguments(parser)
    add_shard_argument(parser)
    runtime = json.dumps({"batch": 128, "options": {}})
    found: dict[tuple[str, int, int], tuple[Any, ...]] = {}
    with tempfile.TemporaryDirectory() as store:
        flags = ["--name", "m", "--model", str(arguments.model), "--serve", arguments.serve, "--runtime", runtime]
        given = parser.parse_args([*flags, "--store", store, "--output", "none", "--manifest", "none"])
        with open_engine(given, "ours") as (engine, tokenizer, _):
            parts = [asked[start : start + batch] for start in range(0, len(asked), batch)]
            questions = {question.id: question for _, question in asked}

            def keep(swept: SweepResult) -> None:
                thinking = {rollout.question_id: rollout.thinking for rollout in swept.rollouts}
                for prediction, verdict in zip(swept.predictions, score(swept.predictions, questions, "released")):
                    key = prediction.question_id, prediction.budget, prediction.forced
                    text = tokenizer.decode(thinking[key[0]](*key[1:]), skip_special_tokens=True)
                    text, reason = (
                        text if text.endswith("\n") else f"{text}\n",
                        "stop" if prediction.ended else "length",
                    )
                    found[key] = (text, reason, prediction.answer, verdict.correct)

            sweep(engine, tokenizer, parts, "m", settings, keep, len(asked))
            return found, engine.generated


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", required=True, type=Path, help="a clone of the authors' repository")
    parser.add_argument("--packages", type=Path, help="folder with omegaconf, click and python-dotenv")
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--benchmarks", required=True, nargs="+", type=Path)
    parser.add_argument("--questions", type=int, default=51, help="at most, evenly from all (default %(default)s)")
    parser.add_argument("--budgets", type=int, nargs="+", default=[16, 32, 48, 64, 96, 128, 192])
    parser.add_argument("--forced", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--answer-limit", type=int, default=16)
    parser.add_argument("--batches", type=int, nargs="+", default=[1024, 16], help="questions forced together")
    parser.add_argument("--serve", default='{"engine": "transformers", "dtype": "float32", "options": {}}', help="ours")
    parser.add_argument("--server-flags", default=CPU + " --disable-cuda-graph --mem-fraction-static 0.2"
                        " --max-total-tokens 65536", help="of SGLang's server")  # fmt: skip
    arguments = parser.parse_args()
    asked = [(path.stem, question) for path in arguments.benchmarks for question in read(path, Question)]
    asked = asked[:: max(1, -(-len(asked) // arguments.questions))]
    limits = {"budgets": arguments.budgets, "forced": arguments.forced, "forced_budget": max(arguments.budgets)}
    ways = {"answer_limit": arguments.answer_limit, "prompt": "thinking", "limit": "exact", "too_long": "error"}
    settings = SweepSettings.from_parts(limits, ways, dict.fromkeys(WAYS, "released"))
    fields = ("thinking_text", "thinking_finish_reason", "response_text", "correct")
    different, seconds, tokens = 0, {"theirs": 0.0, "ours": 0.0}, {"theirs": 0, "ours": 0}
    print("| batch | budget | forced | questions | thinking | ended | scored text | verdict |\n" + "|---" * 8 + "|")
    dtype = json.loads(arguments.serve)["dtype"]
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(os.environ["M1_SGLANG_PYTHON"], arguments.model, dtype, arguments.server_flags.split()),
    ):
        data = Path(folder, "evaluation.json")
        lists: dict[str, list[Any]] = {}
        for name, question in asked:
            lists.setdefault(name, []).append(entry(question))
        data.write_text(json.dumps(lists))
        for batch in arguments.batches:
            began = time.perf_counter()
            ours, generated = run_ours(arguments, asked, settings, batch)
            seconds["ours"] += time.perf_counter() - began
            tokens["ours"] += generated
            for budget, forced in settings.conditions:
                began = time.perf_counter()
                theirs = run_theirs(arguments, data, budget, forced, batch)
                seconds["theirs"] += time.perf_counter() - began
                tokens["theirs"] += sum(row["num_gen_tokens"] for row in theirs)
                equal = [0] * len(fields)
                for (_, question), row in zip(asked, theirs, strict=True):
                    found = ours[question.id, budget, forced]
                    expected = [row[field] for field in fields]
                    for place, (mine, other) in enumerate(zip(found, expected)):
                        equal[place] += mine == other
                different += len(fields) * len(asked) - sum(equal)
                print(f"| {batch} | {budget} | {forced} | {len(asked)} | {' | '.join(map(str, equal))} |", flush=True)
    for name in ("theirs", "ours"):
        print(f"{name}: {tokens[name]:,} tokens, {seconds[name]:.0f} s of wall-clock time, starts included")
    print(f"{different:,} of all texts and verdicts differ")
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
