"""What jobs with GPUs ask of a scheduler, from the recipes of the paper and the first block of profiles/slurm; how
models' questions are shared out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from m1.core.files import identity_file
from m1.train.settings import SftSettings, deciding_values, kept_folder
from m1.wiring.config import load
from m1.wiring.infer import InferRules
from m1.wiring.jobs import Jobs, output_flags
from m1.wiring.run import Run
from m1.wiring.screen import ScreenRules
from m1.wiring.train import TrainRules
from runs import ROOT, demo_run, wildcards
from snakemake.iocontainers import InputFiles

PROFILE = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
ONE = {"slurm_partition": "gpu", "nodes": 1}


def jobs(run: Run, stage: str) -> Jobs:
    """The jobs of a stage."""
    rules = {"train": TrainRules, "infer": InferRules, "screen": ScreenRules}
    return rules[stage](run).jobs


def paper(tmp_path: Path, **cluster: str) -> Run:
    """The paper's configuration with the profile's cluster, which Snakemake hands on as text."""
    text = {key: str(value) for key, value in (PROFILE["config"]["cluster"] | cluster).items()}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump({"cluster": text}))
    return Run(load([ROOT / "config/paper.yaml", tmp_path / "cluster.yaml"]))


def resources(run: Run, stage: str, attempt: int = 1, **names: str) -> dict[str, Any]:
    """What is not None."""
    found = {}
    for name, value in jobs(run, stage).allocation().items():
        more = {"attempt": attempt} if name in ("mem_mb", "runtime") else {"input": ["not/there.yet"]}
        found[name] = value(wildcards(**names), **more)
    return {name: value for name, value in found.items() if value is not None}


def test_trainings_ask_for_a_gpu_for_each_process(tmp_path: Path) -> None:
    run = paper(tmp_path)
    assert resources(run, "train", model="m1-7b-23k") == {"mem_mb": 72000, "runtime": 1440, **ONE, "gpu": 8}
    several = {"slurm_partition": "gpu", "nodes": 2, "gres": "gpu:8", "mpi": "srun", "tasks": 2, "tasks_per_gpu": 0}
    assert resources(run, "train", model="m1-32b-1k") == {"mem_mb": 200000, "runtime": 1440, **several}


def test_a_training_that_the_store_has_asks_for_no_gpu(tmp_path: Path) -> None:
    """As Snakemake asks when the job is submitted: by its inputs as they are then."""
    run, model = paper(tmp_path), wildcards(model="m1-32b-1k")
    run.config["store"] = str(tmp_path / "store")
    rules = TrainRules(run)
    base, subset = tmp_path / "base", tmp_path / "m1k.parquet"

    def asked(attempt: int = 1) -> dict[str, Any]:
        inputs = InputFiles([str(base), str(subset)])
        inputs._set_name("base", 0)
        inputs._set_name("subset", 1)
        inputs._set_name("template", 2, end=2)  # none
        values = rules.jobs.allocation().items()
        found = {name: value(model, inputs, attempt) for name, value in values if name not in ("mem_mb", "runtime")}
        return {name: value for name, value in found.items() if value is not None}

    with_gpus = asked()
    assert with_gpus["gres"] == "gpu:8", "the inputs are not there yet"
    base.mkdir()
    identity_file(base).write_text("0123")
    subset.write_text("samples")
    assert asked() == with_gpus
    kept = kept_folder(
        tmp_path / "store", model.model, deciding_values("0123", base, None, subset, settings_of(rules, model))
    )
    kept.mkdir(parents=True)
    (kept / "config.json").write_text("{}")
    identity_file(kept).write_text("4567")
    rules = TrainRules(run)
    assert asked() == {"slurm_partition": "cpu", "nodes": 1}
    assert asked(attempt=2) == with_gpus, "the model was damaged"
    subset.write_text("other samples")
    os.utime(subset, ns=(1, 1))
    assert asked() == with_gpus


def settings_of(rules: TrainRules, model: Any) -> SftSettings:
    return SftSettings.from_json(rules.sft(model))


BILLIONS = {"7b": 7.6, "32b": 32.8}
"""Parameters of the paper's bases."""


def test_the_papers_trainings_have_the_memory_and_cores_that_they_need(tmp_path: Path) -> None:
    """The first process reads the whole model in float32, and each one of a GPU takes 4 GB; a tenth is left over. Each
    computes on one core and has a second one for its helpers."""
    run, trained = paper(tmp_path), 0
    for name, recipe in run.recipes.items():
        if recipe.get("sft") and recipe["device"] == "gpu" and recipe["base"] in BILLIONS:
            processes, asked = recipe["train"]["processes"], resources(run, "train", model=name)
            assert asked["mem_mb"] >= 1100 * (4 * BILLIONS[recipe["base"]] + 4 * processes), name
            assert jobs(run, "train").threads(wildcards(model=name)) >= 2 * processes, name
            trained += 1
    assert trained == 7


@pytest.mark.parametrize(("model", "gpus"), [("m1-7b-1k", 8), ("m1-32b-1k", 8), ("32b", 8)])
def test_answers_ask_for_the_product_of_tensor_and_data_parallelism(model: str, gpus: int, tmp_path: Path) -> None:
    run = paper(tmp_path)
    options = run.recipes[model]["serve"]["options"]
    assert options["tp"] * options["dp"] == gpus
    assert resources(run, "infer", model=model).items() >= {**ONE, "gpu": gpus}.items()
    options |= {"tp": 2, "dp": 1}  # a user with two cards
    assert resources(run, "infer", model=model)["gpu"] == 2
    run.recipes[model]["serve"] |= {"engine": "openai", "options": {"base_url": "http://gpu7:30000/v1"}}
    elsewhere = resources(run, "infer", model=model)
    assert "gpu" not in elsewhere
    assert elsewhere["slurm_partition"] == "cpu"


def test_each_job_knows_how_many_gpus_it_asks_for_and_no_param_does(tmp_path: Path) -> None:
    """So it can stop where torch sees fewer; a param would run it again where another number is asked for."""
    run = paper(tmp_path)
    run.recipes["m1-7b-1k"]["serve"]["shards"] = 16
    train, infer, screen = TrainRules(run), InferRules(run), ScreenRules(run)
    shard = {"shard": "3", "shards": "16"}
    told = {
        "a training": (train.runtime, train.sft, {"model": "m1-7b-1k"}, 8),
        "on each of two nodes": (train.runtime, train.sft, {"model": "m1-32b-1k"}, 8),
        "a shard of answers": (infer.runtime, infer.serve, {"model": "m1-7b-1k"} | shard, 8),
        "what gathers shards": (infer.runtime, infer.serve, {"model": "m1-7b-1k"}, 0),
        "a shard of a screen": (screen.runtime, screen.serve, {"base": "32b"} | shard, 2),
    }
    for what, (runtime, param, names, gpus) in told.items():
        assert json.loads(runtime(wildcards(**names)))["gpus"] == gpus, what
        assert "gpus" not in json.loads(param(wildcards(**names))), what
    run.recipes["m1-7b-1k"]["device"] = "cpu"
    run.config["screen"]["device"] = "cpu"
    for rules, names in ((train, {"model": "m1-7b-1k"}), (infer, {"model": "m1-7b-1k"} | shard)):
        assert json.loads(rules.runtime(wildcards(**names)))["gpus"] == 0
    assert json.loads(screen.runtime(wildcards(base="32b", **shard)))["gpus"] == 0
    assert "gpu" not in resources(run, "screen", base="32b", **shard)


def test_stages_of_a_model_may_ask_for_other_memory_and_time(tmp_path: Path) -> None:
    run = paper(tmp_path)
    assert (
        resources(run, "train", model="m1-7b-1k")["runtime"],
        resources(run, "infer", model="m1-7b-1k")["runtime"],
    ) == (1440, 480)
    run.recipes["m1-7b-1k"]["resources"] = {"threads": 8, "mem_mb": 64000, "train": {"mem_mb": 500000}}
    train, infer = resources(run, "train", model="m1-7b-1k"), resources(run, "infer", model="m1-7b-1k")
    assert (train["mem_mb"], infer["mem_mb"], train["runtime"]) == (500000, 64000, 60)
    assert jobs(run, "train").threads(wildcards(model="m1-7b-1k")) == 8


def test_a_type_of_gpu_is_asked_for_with_gpus_only(tmp_path: Path) -> None:
    run = paper(tmp_path, gpu_type="h100")
    assert resources(run, "train", model="m1-7b-1k").items() >= {"gpu": 8, "gpu_model": "h100"}.items()
    assert resources(run, "train", model="m1-32b-1k")["gres"] == "gpu:h100:8"
    assert "gpu_model" not in resources(run, "train", model="m1-32b-1k")
    screening = resources(run, "screen", base="32b", shard="1", shards="48")
    assert screening == {"mem_mb": 100000, "runtime": 180, **ONE, "gpu": 2, "gpu_model": "h100"}


def test_memory_grows_with_each_attempt_and_time_up_to_the_longest(tmp_path: Path) -> None:
    run = paper(tmp_path, longest="2000")
    found = [resources(run, "train", attempt=attempt, model="m1-7b-1k") for attempt in (1, 2, 3)]
    assert [(one["mem_mb"], one["runtime"]) for one in found] == [(72000, 1440), (144000, 2000), (216000, 2000)]


def test_the_embedded_worlds_models_need_no_gpu_and_without_a_cluster_nothing_is_said_of_partitions() -> None:
    run = Run(load())
    without = {"mem_mb": 2000, "runtime": 60, "nodes": 1}
    assert resources(run, "train", model="m1-small-1k") == without
    assert resources(run, "infer", model="small") == without
    assert resources(run, "screen", base="large") == without


def test_what_only_joins_its_shards_asks_for_no_gpu(tmp_path: Path) -> None:
    run = paper(tmp_path)
    assert run.config["screen"]["shards"] > 1
    assert "gpu" not in resources(run, "screen", base="7b")
    assert resources(run, "screen", base="7b", shard="3", shards="48")["gpu"] == 2
    run.recipes["m1-7b-1k"]["serve"]["shards"] = 16
    assert "gpu" not in resources(run, "infer", model="m1-7b-1k")
    assert resources(run, "infer", model="m1-7b-1k", shard="3", shards="16")["gpu"] == 8


def sharing(tmp_path: Path, shards: int, remote: bool = False) -> Run:
    run = demo_run()
    run.config["pathvars"]["results"] = str(tmp_path)
    run.config["screen"]["shards"], run.remote = shards, remote
    return run


def number(run: Run) -> int:
    found = ScreenRules(run).shards(wildcards(base="small"))
    assert found == [f"<results>/screen/shards/small/{n}-of-{len(found)}.json" for n in range(1, len(found) + 1)]
    return len(found)


def test_what_is_made_keeps_its_shards(tmp_path: Path) -> None:
    assert number(sharing(tmp_path, 1)) == 0
    assert number(sharing(tmp_path, 48)) == 48
    folder = tmp_path / "screen/shards/small"
    folder.mkdir(parents=True)
    for part in (1, 2):
        (folder / f"{part}-of-3.json").touch()
    assert number(sharing(tmp_path, 48)) == 48, "three were begun, and not finished"
    (folder / "3-of-3.json").touch()
    for run in (sharing(tmp_path, 48), sharing(tmp_path, 1), sharing(tmp_path, 48, remote=True)):
        assert number(run) == 3


def test_what_one_job_made_stays_so(tmp_path: Path) -> None:
    (tmp_path / "screen").mkdir()
    (tmp_path / "screen/small.parquet").touch()
    assert number(sharing(tmp_path, 48)) == 0
    (tmp_path / "screen/small.parquet").unlink()  # as Snakemake does before the job starts, on another host perhaps
    assert number(sharing(tmp_path, 48, remote=True)) == 0


def test_a_job_knows_what_it_is_to_make() -> None:
    output = {"rollouts": "r.parquet", "predictions": "p.parquet", "manifest": "m.json"}
    whole = wildcards(model="m")
    assert output_flags(whole, SimpleNamespace(shards=[]), output) == "--rollouts r.parquet --output p.parquet"
    assert output_flags(whole, SimpleNamespace(shards=["1.json", "2.json"]), output).endswith(" --gather 1.json")
    assert (
        output_flags(wildcards(model="m", shard="2", shards="3"), SimpleNamespace(), {"manifest": "m.json"})
        == "--shard 2/3"
    )


def test_a_plan_calls_no_function_of_what_no_job_asks_for(tmp_path: Path) -> None:
    asked = {"mem_mb", "runtime", "slurm_partition", "nodes", "gpu"}
    several = {"gres", "mpi", "tasks", "tasks_per_gpu"}
    run = paper(tmp_path)
    assert jobs(run, "infer").allocation().keys() == jobs(run, "screen").allocation().keys() == asked
    assert jobs(run, "train").allocation().keys() == asked | several, "32B trains on two nodes"
    assert jobs(Run(load()), "train").allocation().keys() == asked
    assert jobs(paper(tmp_path, gpu_type="h100"), "infer").allocation().keys() == asked | {"gpu_model"}
