"""What the rules of pools and benchmarks see."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from m1.wiring.pools import PoolsRules
from runs import demo_run, wildcards


def test_pools_from_the_hub_have_no_input_file() -> None:
    run, pool = demo_run(), wildcards(pool="medqa")
    assert PoolsRules(run).source_file("pool")(pool) == ["results/world/pools/medqa.jsonl"]
    run = demo_run()
    run.config["pools"]["medqa"] |= {"path": None, "hub": "a/b"}
    assert PoolsRules(run).source_file("pool")(pool) == []


@pytest.mark.parametrize("optional", [True, False])
def test_only_an_optional_benchmark_may_lack_its_file(optional: bool, tmp_path: Path) -> None:
    run, path = demo_run(), tmp_path / "gpqa.jsonl"
    run.config["benchmarks"]["gpqa"] |= {"path": str(path), "optional": optional}
    files, benchmark = PoolsRules(run).source_file("benchmark"), wildcards(benchmark="gpqa")
    if optional:
        assert files(benchmark) == []
    else:
        with pytest.raises(SystemExit, match=r"gpqa\.jsonl: No such file or directory; correct the path, or bring"):
            files(benchmark)
    path.touch()
    assert files(benchmark) == [str(path)]


def test_a_set_is_told_its_source_and_the_seed() -> None:
    rules = PoolsRules(demo_run())
    settings = json.loads(rules.collect("pool")(wildcards(pool="medqa")))
    source = rules.config["pools"]["medqa"]
    assert {key: settings[key] for key in ("path", "layout", "limit", "seed")} == {
        "path": source["path"],
        "layout": source["layout"],
        "limit": source["limit"],
        "seed": rules.config["seed"],
    }


def test_cores_decide_nothing() -> None:
    rules = PoolsRules(demo_run())
    assert "processes" in rules.config["merge"]
    for settings in (rules.merge(wildcards()), rules.audit(wildcards())):
        assert "processes" not in json.loads(settings)
    assert json.loads(rules.audit(wildcards()))["thresholds"] == rules.config["audit"]["thresholds"]
