"""A sweep with a real model over the questions of the demo's short form: every setting against generating it anew, and
SIGKILL."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from anew import Recording, anew
from m1.core.files import read_json
from m1.core.layouts import LAYOUTS
from m1.core.records import Prediction, Question, read, write
from m1.core.store import Store
from m1.engines.cached import TransformersEngine
from m1.infer import answer
from m1.infer.frames import make_frames
from m1.infer.sweep import main, render
from m1.pools.collect import to_questions
from m1.world.build import main as build_world
from random_model import ending_model, sweep_settings
from sweeps import swept
from transformers import AutoTokenizer

pytestmark = pytest.mark.train

CONFIG = Path(__file__).parents[2] / "config/config.yaml"
LAYOUT = {"medmcqa": "medmcqa", "medqa": "eval", "pubmedqa": "pubmedqa", "medxpertqa": "eval"}
"""The benchmarks of tests/configs/short.yaml; six questions each."""
SERVE = {"engine": "transformers", "dtype": "float32", "options": {}}


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Question files of the demo's short form."""
    folder = tmp_path_factory.mktemp("short")
    pools = {"medqa": 30, "headqa": 20, "medmcqa": 60, "pubmedqa": 30}
    world = {"seed": 11, "entities": 40, "pools": pools, "benchmark_size": 6, "facts_first": 48, "mixed": 240}
    build_world(["--settings", json.dumps(world), "--output", str(folder / "world")])
    for name, layout in LAYOUT.items():
        lines = (folder / f"world/benchmarks/{name}.jsonl").read_text().splitlines()
        write(
            folder / f"{name}.parquet",
            to_questions(name, [LAYOUTS[layout](json.loads(line)) for line in lines]),
            Question,
        )
    return [folder / f"{name}.parquet" for name in LAYOUT]


@pytest.fixture(scope="module")
def model(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ending_model(tmp_path_factory.mktemp("random") / "model", tokenizer_folder)


def test_cut_equals_direct_at_every_budget_and_forced_count(
    benchmarks: list[Path], model: Path, tmp_path: Path
) -> None:
    """All the demo's budgets and forced counts, and forcing until the budget is used up; all questions; token by
    token."""
    thinking = yaml.safe_load(CONFIG.read_text())["thinking"]
    settings = sweep_settings(**thinking | {"forced": [*thinking["forced"], "full"]})
    asked = [(path.stem, question) for path in benchmarks for question in read(path, Question)]
    assert len(asked) == 24
    tokenizer = AutoTokenizer.from_pretrained(model)
    prompts = render(tokenizer, [question for _, question in asked], "thinking")
    with Store(tmp_path) as store:
        engine = Recording(lambda: TransformersEngine(model, "float32", batch=24), "cut", store, "cut")
        _, predictions, cost = swept(engine, tokenizer, asked, "m", settings)
    frames = make_frames(tokenizer, settings)
    direct = anew(TransformersEngine(model, "float32", batch=13), prompts, frames)

    spent = {stage: sum(row.spent for row in found) for stage, found in direct.items()}
    thought = engine.check(direct, frames, predictions)
    assert thought == spent[192, 192] == cost["rollout_tokens"] + cost["forced_tokens"], "the longest chain, no more"
    assert cost["anew_thinking_tokens"] == sum(spent.values())
    assert cost["anew_answer_tokens"] == sum(row.answer.tokens for found in direct.values() for row in found)
    assert spent[16, 0] < spent[192, 0] < spent[192, 1] < spent[192, 4] < spent[192, 192], "or this tests little"


def arguments(benchmarks: list[Path], model: Path, folder: Path, store: Path) -> list[str]:
    wanted = sweep_settings(budgets=[16, 32, 48], forced=[1, 3], forced_budget=48, answer_limit=8).to_json()
    made = {"rollouts": "rollouts.parquet", "output": "predictions.parquet", "manifest": "manifest.json"}
    return [
        *(
            "--name",
            "m",
            "--model",
            str(model),
            "--serve",
            json.dumps(SERVE),
            "--runtime",
            json.dumps({"batch": 8, "options": {}}),
            "--store",
            str(store),
        ),
        *("--settings", wanted, "--benchmarks", *map(str, benchmarks)),
        *(text for flag, name in made.items() for text in (f"--{flag}", str(folder / name))),
    ]


def in_the_store(folder: Path) -> list[str]:
    """Keys of whole records, in the order in which they were put."""
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines(keepends=True)]
    return [json.loads(line)["key"] for line in lines if line.endswith("}\n")]


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.jsonl"))


@pytest.mark.slow
def test_killed_at_ten_random_moments_a_sweep_ends_the_same(
    benchmarks: list[Path], model: Path, tmp_path: Path
) -> None:
    benchmarks = benchmarks[:2]
    undisturbed, whole = tmp_path / "undisturbed", tmp_path / "whole"
    context: Any = multiprocessing.get_context(
        "forkserver"
    )  # each sweep is a process of its own, but torch is imported only once
    context.set_forkserver_preload(["torch", "transformers.models.qwen2.modeling_qwen2", "pyarrow.parquet"])

    def start(folder: Path, store: Path) -> Any:
        process = context.Process(target=main, args=(arguments(benchmarks, model, folder, store),))
        process.start()
        return process

    process = start(whole, undisturbed)
    process.join()
    assert process.exitcode == 0
    order, size = in_the_store(undisturbed), bytes_in(undisturbed)
    spent = read_json(whole / "manifest.json")["counts"]["generated_now"]
    tokens = tokens_in(undisturbed)
    assert sorted(order) == sorted(tokens)

    rng, partly = random.Random(7), 0
    for number in range(10):
        folder, store = tmp_path / str(number), tmp_path / f"store {number}"
        process, moment = start(folder, store), rng.random() * size
        while (
            process.is_alive() and bytes_in(store) < moment
        ):  # a share of the work, whatever else the machine does at the time,
            time.sleep(0.005)
        time.sleep(rng.random() * 0.03)  # and then at any place of the code
        process.kill()
        process.join()
        kept = in_the_store(store)
        partly += 0 < len(kept) < len(order)
        main(arguments(benchmarks, model, folder, store))
        for name in ("rollouts.parquet", "predictions.parquet"):
            assert (folder / name).read_bytes() == (whole / name).read_bytes()
        assert sorted(in_the_store(store)) == sorted(order), "nothing is generated twice, nothing is left out"
        counts = read_json(folder / "manifest.json")["counts"]
        assert counts["generated_now"] == spent - sum(tokens[key] for key in kept), (
            "what was kept is not generated again"
        )
        assert not [path for path in folder.iterdir() if ".partial" in path.name]
    assert partly >= 5, "most kills should fall into the work, or this tests little"


def tokens_in(folder: Path) -> dict[str, int]:
    """Tokens of every key in the store."""
    with Store(folder) as store:
        values = {key: store.get(key) for key in store}
    return {key: len(value["token_ids"]) + (value["finish_reason"] == "stop") for key, value in values.items()}


def test_how_much_is_in_flight_decides_no_byte(benchmarks: list[Path], model: Path, tmp_path: Path) -> None:
    made = []
    for batch in (1, 5, 512):
        folder = tmp_path / str(batch)
        given = arguments(benchmarks[:1], model, folder, folder / "store")
        given[given.index("--runtime") + 1] = json.dumps({"batch": batch, "options": {}})
        main(given)
        made.append([(folder / name).read_bytes() for name in ("rollouts.parquet", "predictions.parquet")])
    assert made[0] == made[1] == made[2]


def test_models_that_answer_at_once(benchmarks: list[Path], model: Path, tmp_path: Path) -> None:
    made = []
    for batch in (5, 512):
        folder = tmp_path / str(batch)
        flags = arguments(benchmarks, model, folder, folder / "store")
        flags[flags.index("--runtime") + 1] = json.dumps({"batch": batch, "options": {}})
        flags[flags.index("--settings") + 1] = (
            '{"prompt": "cot", "answer_limit": 6, "bos": "exact", "stop": "exact", "too_long": "error"}'
        )
        place = flags.index("--rollouts")
        answer.main([*flags[:place], *flags[place + 2 :]])
        made.append((folder / "predictions.parquet").read_bytes())
    assert made[0] == made[1]
    predictions = read(tmp_path / "5" / "predictions.parquet", Prediction)
    assert [p.question_id for p in predictions] == [
        question.id for path in benchmarks for question in read(path, Question)
    ]
    counts = read_json(tmp_path / "5" / "manifest.json")["counts"]
    assert counts == {
        "questions": 24,
        "answer_tokens": sum(p.answer_tokens for p in predictions),
        "unanswered": 0,
        "generated_now": counts["answer_tokens"],
    }
