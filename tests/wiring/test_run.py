"""What a configuration computes: models, sets and providers, and what comes from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from m1.wiring.config import load
from m1.wiring.run import NOWHERE, LocalSources, Run, any_name
from runs import ROOT, demo, demo_run, published_run


def test_any_name_matches_names_and_nothing_else() -> None:
    pattern = any_name(["m1k", "a.b", "m1"])
    found = [bool(re.fullmatch(pattern, name)) for name in ("m1k", "m1", "a.b", "axb", "m1k2", "")]
    assert found == [True, True, True, False, False, False]


def test_without_names_nothing_matches() -> None:
    assert not any(re.search(any_name([]), text) for text in ("", "a", "(?!)"))


def test_a_base_may_be_pretrained_in_the_world() -> None:
    run = demo_run(bases=demo()["bases"] | {"mine": {"path": "/models/mine"}, "7b": {"hub": "a/b"}})
    assert {name: run.world_model("bases", name) for name in run.config["bases"]} == {
        "small": ["results/world/models/small"],
        "large": ["results/world/models/large"],
        "mine": [],
        "7b": [],
    }
    assert run.world_model("screen/models", "small") == ["results/world/models/small"]


def test_every_model_thinks_or_answers_directly() -> None:
    run = demo_run()
    assert sorted(run.thinking + run.direct) == sorted(run.recipes)
    assert not set(run.thinking) & set(run.direct)


@pytest.mark.parametrize("make", [demo_run, published_run])
def test_every_artifact_has_one_rule_that_makes_it(make: Callable[[], Run]) -> None:
    run = make()
    for here, published, everything in (
        (run.drawn_subsets, run.published["subsets"], run.config["subsets"]),
        (run.trained_here, run.published["checkpoints"], run.own_weights),
        ([*run.sweep_models, *run.direct], run.published["results"], run.recipes),
    ):
        assert sorted([*here, *published]) == sorted(everything)
    assert sorted([*run.sweep_models, *run.direct]) == sorted(run.evaluated_here)


def test_a_model_without_training_is_its_base() -> None:
    assert demo_run().weights("small-cot") == "<results>/bases/small"
    assert demo_run().weights("m1-small-1k") == "<results>/train/m1-small-1k"


def test_files_that_the_teachers_server_reads_are_inputs() -> None:
    run = demo_run()
    teacher = run.config["teacher"]
    assert run.server_files(teacher) == ["results/world/facts.json"]
    assert run.server_files(teacher | {"serve": None}) == []


def test_only_steps_of_this_run_call_providers() -> None:
    steps = {"<results>/distill/hard.json", "<results>/distill/random_1k.json", "<results>/distill/random_23k.json"}
    assert set(demo_run().http_steps()) == steps | {"<results>/select/domains.json"}
    assert set(demo_run().called_providers()) == {"teacher", "labeller"}
    published = dict.fromkeys(demo()["subsets"], "m1k_tokenized")
    nothing = demo_run(published=demo()["published"] | {"subsets": published})
    assert nothing.http_steps() == []
    assert nothing.called_providers() == {}
    assert nothing.screening_models == {}


def test_a_screening_model_behind_a_url_is_called() -> None:
    run = demo_run(screen=demo()["screen"] | {"providers": {"api": demo()["teacher"]}})
    assert "<results>/screen/api.json" in run.http_steps()
    assert "screen.providers.api" in run.called_providers()


def test_what_is_fetched_is_all_that_a_run_needs_from_elsewhere(tmp_path: Path) -> None:
    """With m1K, its checkpoint and its results as published, pools are counted in Table 3 still, and a base's tokenizer
    in Figure 8a."""
    published = {"subsets": {"m1k": "m1k_tokenized", "m23k": "m23k_tokenized"}, "checkpoints": {"m1-7b-1k": "m1_7b_1k"}}
    overlay = tmp_path / "mine.yaml"
    report = {"table1": {"models": ["m1-7b-1k"]}, "table2": None, "figures": ["m1-7b-1k"]}
    overlay.write_text(yaml.safe_dump({"published": published, "models": ["m1-7b-1k"], "report": report}))
    run = Run(load([ROOT / "config/paper.yaml", overlay]))
    assert run.bases == []
    fetched = {path.removeprefix("<results>/") for path in run.hub_targets()}
    assert {
        "pools/medqa.parquet",
        "bases/7b",
        "train/m1-7b-1k",
        "select/m1k.parquet",
        "benchmarks/nejm.parquet",
    } <= fetched


def test_published_answers_beside_a_model_are_fetched_with_what_the_model_needs() -> None:
    files = [
        {"from": "m1_results", "file": "a.json", "budget": 2048},
        {"from": "m1_results", "path": "b", "budget": 128},
    ]
    plain, run = (
        Run(load([ROOT / "config/paper.yaml"], [f"published={json.dumps(one)}"]))
        for one in ({}, {"beside": {"m1-7b-1k": files}})
    )
    assert set(run.hub_targets()) - set(plain.hub_targets()) == {"<results>/published/m1-7b-1k/predictions.parquet"}
    assert set(plain.hub_targets()) < set(run.hub_targets())
    hub, local = run.hub_sources()["published/m1-7b-1k/predictions.parquet"]
    assert (hub["hub"], hub["path"]) == ("UCSC-VLAA/m1-results", None)
    assert local["path"] == "b"


def test_random_sets_are_drawn_from_the_raw_pools_as_released_only() -> None:
    assert demo_run().collection == ["<results>/pools/merged.parquet"]
    run = Run(load([ROOT / "config/paper.yaml"]))
    assert run.collection == [f"<results>/pools/{name}.parquet" for name in ("medqa", "pubmedqa", "headqa", "medmcqa")]
    assert (run.config["draws"], demo_run().config["draws"]) == ("released", "exact")


def test_the_second_decontamination_is_against_the_evaluation_file_or_the_benchmarks() -> None:
    run = Run(load([ROOT / "config/paper.yaml"]))
    assert run.evaluation_files == ["<results>/evaluation.parquet"]
    assert "<results>/evaluation.parquet" in run.hub_targets()
    run = Run(load([ROOT / "config/paper.yaml"], ["published={evaluation: null}"]))
    assert run.evaluation_files == run.benchmarks


def test_counts_are_compared_where_the_pools_are_the_papers() -> None:
    paper = ROOT / "config/paper.yaml"
    assert [Path(file).name for file in Run(load([paper])).published_counts] == ["counts.csv"]
    assert Run(load([paper], ["pools={medqa: {limit: 10}}"])).published_counts == []
    assert Run(load([paper], ["pools={headqa: null}"])).published_counts == []
    assert demo_run().published_counts == []


def test_teacher_and_labeller_of_the_paper_have_no_temperature_of_ours() -> None:
    config = load([ROOT / "config/paper.yaml"])
    assert (config["teacher"]["temperature"], config["labeller"]["temperature"]) == (None, None)
    assert config["labeller"]["model"] == "gpt-4o-2024-11-20"


LOCAL = {
    "a pool": ({"data": {"medqa_train": {"path": "gone"}}}, "pools/medqa.parquet", "data.medqa_train.path"),
    "the evaluation file": (
        {"data": {"m1_eval_data": {"path": "gone"}}, "published": {"evaluation": "m1_eval_data"}},
        "evaluation.parquet",
        "data.m1_eval_data.path",
    ),
    "a benchmark of the evaluation file": (
        {"data": {"m1_eval_data": {"path": "gone"}}, "published": {"evaluation": "m1_eval_data"}},
        "benchmarks/medqa.parquet",
        "data.m1_eval_data.path",
    ),
    "a published subset": (
        {"data": {"m1k_tokenized": {"path": "gone"}}, "published": {"subsets": {"m1k": "m1k_tokenized"}}},
        "select/m1k.parquet",
        "data.m1k_tokenized.path",
    ),
    "a published checkpoint": (
        {"data": {"m1_7b_1k": {"path": "gone"}}, "published": {"checkpoints": {"m1-7b-1k": "m1_7b_1k"}}},
        "train/m1-7b-1k",
        "data.m1_7b_1k.path",
    ),
    "published results": (
        {"published": {"results": {"m1-7b-23k": [{"from": "m1_results", "path": "gone", "budget": 2048}]}}},
        "infer/m1-7b-23k/predictions.parquet",
        "published.results.m1-7b-23k.0.path",
    ),
    "published results of an entry": (
        {
            "data": {"m1_results": {"path": "gone"}},
            "published": {"beside": {"m1-7b-1k": [{"from": "m1_results", "budget": 2048}]}},
        },
        "published/m1-7b-1k/predictions.parquet",
        "data.m1_results.path",
    ),
    "a base": ({"bases": {"7b": {"path": "gone", "hub": None}}}, "bases/7b", "bases.7b.path"),
    "a screening model": (
        {"screen": {"models": {"7b": {"path": "gone", "hub": None}}}},
        "screen/models/7b",
        "screen.models.7b.path",
    ),
    "notes of the labeller": ({"labeller": {"notes": "gone"}}, "select/domains.parquet", "labeller.notes"),
}


def local(tmp_path: Path, **changes: Any) -> LocalSources:
    """Sources of the paper's configuration, whose results are in a temporary folder."""
    folders = {"results": str(tmp_path / "results"), "logs": str(tmp_path / "logs")}
    report = {"figures": ["m1-7b-1k"], "table1": {"models": ["m1-7b-1k", "m1-7b-23k"]}}
    given = {"pathvars": folders, "report": report} | changes
    words = [f"{key}={json.dumps(value)}" for key, value in given.items()]
    return LocalSources(load([ROOT / "config/paper.yaml"], words))


@pytest.mark.parametrize("case", LOCAL)
def test_a_source_that_is_not_here_ends_the_plan_unless_results_were_adopted_without_it(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, place, key = LOCAL[case]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        local(tmp_path, **changes).files(place)
    assert f"error: {key}: gone: No such file or directory; correct the path" in str(stopped.value)
    assert "make adopt" not in str(stopped.value), "nothing was made of it"
    local(tmp_path, **changes).adopt()
    assert not list(tmp_path.iterdir()), "there are no results to take"
    (tmp_path / "results").mkdir()
    local(tmp_path, **changes).adopt()
    assert local(tmp_path, **changes).files(place) == ["gone"]
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert f"adopted.json: results were taken without {key} (gone)" in said.err


def test_what_was_adopted_without_one_file_is_not_taken_without_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "results/select/domains.parquet"
    made.parent.mkdir(parents=True)
    made.touch()
    for name in ("a", "b"):
        notes = {"labeller": {"notes": str(tmp_path / name)}}
        with pytest.raises(SystemExit, match=f"{name}: No such file .* to keep {made} without it, `make adopt`"):
            local(tmp_path, **notes).files("select/domains.parquet")
        local(tmp_path, **notes).adopt()
    assert capsys.readouterr().err == ""
    for name in ("a", "b"):
        assert local(tmp_path, labeller={"notes": str(tmp_path / name)}).files("select/domains.parquet")


def test_a_damaged_note_of_what_was_adopted_ends_the_plan(tmp_path: Path) -> None:
    """Any other exception would pass Snakemake unsaid."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results/adopted.json").write_text("{")
    with pytest.raises(SystemExit, match=r"adopted\.json: .*; delete it, and `make adopt` again"):
        local(tmp_path, labeller={"notes": "gone"}).files("select/domains.parquet")


def test_the_graph_of_a_plan_from_nothing_needs_no_source() -> None:
    """Figure 2 is drawn of adopted results, too."""
    words = ["labeller={notes: gone}", f"pathvars={{results: {NOWHERE}}}"]
    found = load([ROOT / "config/paper.yaml"], words)
    assert LocalSources(found).files("select/domains.parquet") == []


def test_where_everything_is_here_nothing_is_noted(tmp_path: Path) -> None:
    local(tmp_path).adopt()
    assert not list(tmp_path.iterdir())


def test_what_a_rule_makes_need_not_be_here_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = demo_run().config
    monkeypatch.chdir(tmp_path)
    assert LocalSources(config).files("pools/medqa.parquet") == ["results/world/pools/medqa.jsonl"]
    with pytest.raises(SystemExit, match=r"data\.world_medqa_train\.path: results/world/pools/medqa\.jsonl: No"):
        LocalSources(config, makes=lambda path: False).files("pools/medqa.parquet")
