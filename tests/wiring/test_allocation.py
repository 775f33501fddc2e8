"""What jobs with GPUs ask of a scheduler, from the recipes of the paper and the first block of profiles/slurm."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from m1.wiring.config import load
from m1.wiring.run import Wiring

ROOT = Path(__file__).parents[2]
PROFILE = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
ONE = {"slurm_partition": "gpu", "nodes": 1}


class Wildcards(SimpleNamespace):
    """As Snakemake's: attributes, and a mapping."""

    def keys(self) -> Any:
        return vars(self).keys()

    def __getitem__(self, name: str) -> Any:
        return vars(self)[name]


def paper(tmp_path: Path, **cluster: str) -> Wiring:
    """The paper's configuration with the profile's cluster, which Snakemake hands on as text."""
    text = {key: str(value) for key, value in (PROFILE["config"]["cluster"] | cluster).items()}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump({"cluster": text}))
    return Wiring(load([ROOT / "config/paper.yaml", tmp_path / "cluster.yaml"]))


def asked(wiring: Wiring, stage: str, attempt: int = 1, **wildcards: str) -> dict[str, Any]:
    """What is not None."""
    found = {}
    for name, value in wiring.allocation(stage).items():
        more = {"attempt": attempt} if name in ("mem_mb", "runtime") else {}
        found[name] = value(Wildcards(**wildcards), **more)
    return {name: value for name, value in found.items() if value is not None}


def test_trainings_ask_for_a_gpu_for_each_process(tmp_path: Path) -> None:
    wiring = paper(tmp_path)
    assert asked(wiring, "train", model="m1-7b-23k") == {"mem_mb": 64000, "runtime": 1440, **ONE, "gpu": 8}
    several = {"slurm_partition": "gpu", "nodes": 2, "gres": "gpu:8", "mpi": "srun", "tasks": 2, "tasks_per_gpu": 0}
    assert asked(wiring, "train", model="m1-32b-1k") == {"mem_mb": 200000, "runtime": 1440, **several}


@pytest.mark.parametrize(("model", "gpus"), [("m1-7b-1k", 8), ("m1-32b-1k", 8), ("32b", 8)])
def test_answers_ask_for_the_product_of_tensor_and_data_parallelism(model: str, gpus: int, tmp_path: Path) -> None:
    wiring = paper(tmp_path)
    options = wiring.recipes[model]["serve"]["options"]
    assert options["tp"] * options["dp"] == gpus
    assert asked(wiring, "infer", model=model).items() >= {**ONE, "gpu": gpus}.items()
    options |= {"tp": 2, "dp": 1}  # a user with two cards
    assert asked(wiring, "infer", model=model)["gpu"] == 2
    wiring.recipes[model]["serve"] |= {"engine": "openai", "options": {"base_url": "http://gpu7:30000/v1"}}
    elsewhere = asked(wiring, "infer", model=model)
    assert "gpu" not in elsewhere
    assert elsewhere["slurm_partition"] == "cpu"


def test_stages_of_a_model_may_ask_for_other_memory_and_time(tmp_path: Path) -> None:
    wiring = paper(tmp_path)
    assert (
        asked(wiring, "train", model="m1-7b-1k")["runtime"],
        asked(wiring, "infer", model="m1-7b-1k")["runtime"],
    ) == (1440, 480)
    wiring.recipes["m1-7b-1k"]["resources"] = {"threads": 8, "mem_mb": 64000, "train": {"mem_mb": 500000}}
    assert (asked(wiring, "train", model="m1-7b-1k")["mem_mb"], asked(wiring, "infer", model="m1-7b-1k")["mem_mb"]) == (
        500000,
        64000,
    )
    assert asked(wiring, "train", model="m1-7b-1k")["runtime"] == 60
    assert wiring.threads("train")(Wildcards(model="m1-7b-1k")) == 8


def test_a_type_of_gpu_is_asked_for_with_gpus_only(tmp_path: Path) -> None:
    wiring = paper(tmp_path, gpu_type="h100")
    assert asked(wiring, "train", model="m1-7b-1k").items() >= {"gpu": 8, "gpu_model": "h100"}.items()
    assert asked(wiring, "train", model="m1-32b-1k")["gres"] == "gpu:h100:8"
    assert "gpu_model" not in asked(wiring, "train", model="m1-32b-1k")
    screening = asked(wiring, "screen", base="32b", shard="1", shards="48")
    assert screening == {"mem_mb": 100000, "runtime": 180, **ONE, "gpu": 1, "gpu_model": "h100"}


def test_memory_grows_with_each_attempt_and_time_up_to_the_longest(tmp_path: Path) -> None:
    wiring = paper(tmp_path, longest="2000")
    found = [asked(wiring, "train", attempt=attempt, model="m1-7b-1k") for attempt in (1, 2, 3)]
    assert [(one["mem_mb"], one["runtime"]) for one in found] == [(64000, 1440), (128000, 2000), (192000, 2000)]


def test_the_embedded_worlds_models_need_no_gpu_and_without_a_cluster_nothing_is_said_of_partitions() -> None:
    wiring = Wiring(load())
    without = {"mem_mb": 2000, "runtime": 60, "nodes": 1}
    assert asked(wiring, "train", model="m1-small-1k") == without
    assert asked(wiring, "infer", model="small") == without
    assert asked(wiring, "screen", base="large") == without


def test_what_only_joins_its_shards_asks_for_no_gpu(tmp_path: Path) -> None:
    wiring = paper(tmp_path)
    assert wiring.config["screen"]["shards"] > 1
    assert "gpu" not in asked(wiring, "screen", base="7b")
    assert asked(wiring, "screen", base="7b", shard="3", shards="48")["gpu"] == 1
    wiring.recipes["m1-7b-1k"]["serve"]["shards"] = 16
    assert "gpu" not in asked(wiring, "infer", model="m1-7b-1k")
    assert asked(wiring, "infer", model="m1-7b-1k", shard="3", shards="16")["gpu"] == 8
