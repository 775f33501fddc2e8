"""The configuration: what is refused and how it is said, defaults, references, overlays."""

from __future__ import annotations

import copy
import functools
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from m1.core.errors import UserError
from m1.wiring import config, yaml_text
from m1.wiring.check import check
from m1.wiring.schema import config_schema

ROOT = Path(__file__).parents[2]
DEFAULT = functools.reduce(config.merge, [config.read(path) for path in config.default_files()])
FULL = config.merge(DEFAULT, config.read(ROOT / "config/overlays/demo-full.yaml"))
"""With the ablations of Table 2."""
SCHEMA = config_schema()


def changed(path: str, value: Any, of: dict[str, Any] = DEFAULT) -> dict[str, Any]:
    """A copy of the default configuration with another value at ``a/b/c``."""
    result = copy.deepcopy(of)
    *way, last = path.split("/")
    inner = result
    for key in way:
        inner = inner.setdefault(key, {})
    inner[last] = value
    return result


def without(path: str, of: dict[str, Any] = DEFAULT) -> dict[str, Any]:
    result = copy.deepcopy(of)
    *way, last = path.split("/")
    inner = result
    for key in way:
        inner = inner[key]
    del inner[last]
    return result


def prepared(changes: dict[str, Any]) -> dict[str, Any]:
    return config.prepare(changes)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with recipes of its own, to edit."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "config/models"
    folder.mkdir(parents=True)
    for recipe in (ROOT / "config/models").glob("*.yaml"):
        (folder / recipe.name).write_text(recipe.read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path


def test_the_default_is_right_and_complete() -> None:
    found = prepared(copy.deepcopy(DEFAULT))
    assert list(found["recipes"]) == found["models"] == DEFAULT["report"]["table1"]["models"]
    assert found["pools"]["medqa"]["path"] == "results/world/pools/medqa.jsonl"
    assert found["benchmarks"]["nejm"]["path"] == "results/world/benchmarks/nejm.jsonl"
    assert found["labeller"]["rule"] is None
    assert found["subsets"]["m23k"]["size"] is None
    assert found["recipes"]["m1-small-1k"]["thinking"] == DEFAULT["thinking"]


def test_the_default_is_not_changed_by_checking_it() -> None:
    given = copy.deepcopy(DEFAULT)
    first = prepared(given)
    assert given == DEFAULT
    assert prepared(given) == first


def test_the_path_of_results_is_written_into_the_teachers_arguments() -> None:
    found = prepared(changed("pathvars/results", "elsewhere"))
    assert found["teacher"]["serve"][:3] == ["m1.world.server", "--facts", "elsewhere/world/facts.json"]
    assert found["pools"]["medqa"]["path"] == "elsewhere/world/pools/medqa.jsonl"


def test_another_place_for_results_is_the_same_teacher() -> None:
    assert (
        prepared(changed("pathvars/results", "elsewhere"))["teacher"]["model"] == prepared(DEFAULT)["teacher"]["model"]
    )


def test_a_teacher_with_other_arguments_has_another_name() -> None:
    other = changed("teacher/serve", [*DEFAULT["teacher"]["serve"][:-1], "0.5"])
    assert prepared(other)["teacher"]["model"] != prepared(DEFAULT)["teacher"]["model"]


def test_a_part_of_a_recipe_overrides_the_thinking_of_all() -> None:
    thinking = prepared(FULL)["recipes"]["small-random-1k"]["thinking"]
    assert thinking == {**DEFAULT["thinking"], "budgets": [128], "forced": []}


def test_an_overlay_swaps_a_base_in_one_line() -> None:
    overlay = yaml.safe_load("{bases: {small: {hub: a/b, revision: main, path: null}}}")
    assert prepared(config.merge(DEFAULT, overlay))["bases"]["small"] == {"hub": "a/b", "revision": "main"}
    overlay = yaml.safe_load("{screen: {models: {small: {hub: a/b, path: null}}}}")
    assert prepared(config.merge(DEFAULT, overlay))["screen"]["models"]["small"]["hub"] == "a/b"


def test_an_overlay_takes_parts_out_with_null() -> None:
    found = prepared(changed("benchmarks/gpqa", None))
    assert "gpqa" not in found["benchmarks"]
    assert len(found["benchmarks"]) == 9


def test_an_entry_says_where_a_pool_is_and_the_pool_what_is_taken() -> None:
    part = {"seed": 0, "take": "first", "size": 500}
    given = changed("pools/pubmedqa", {"from": "pubmedqa_labeled", "part": part})
    found = prepared(given)["pools"]["pubmedqa"]
    entry = DEFAULT["data"]["pubmedqa_labeled"]
    assert (found["hub"], found["layout"], found["rows"]) == (entry["hub"], "pubmedqa", 1000)
    assert found["part"] == part
    assert not found["shuffle_options"]


def test_one_evaluation_file_takes_the_place_of_its_benchmarks_only() -> None:
    given = changed(
        "published/evaluation", "m1_eval_data", changed("benchmarks/mine", {"from": "world_medqa", "limit": 3})
    )
    found = prepared(given)
    entry = DEFAULT["data"]["m1_eval_data"]
    for name, place in entry["sets"].items():
        source = found["benchmarks"][name]
        assert (source["file"], source["checksum"], source["key"]) == (entry["file"], entry["checksum"], place["key"])
        assert found["read_from"][f"benchmarks.{name}"] == f"m1_eval_data: {place['key']}"
    assert found["benchmarks"]["mine"]["path"] == "results/world/benchmarks/medqa.jsonl"


def test_published_results_have_the_budgets_that_they_have() -> None:
    results = [
        {"from": "m1_results", "budget": budget, "forced": forced} for budget, forced in ((192, 0), (64, 0), (192, 2))
    ]
    given = changed("published/results", {"small-random-1k": results}, changed("report/table2/budget", 192, FULL))
    given["report"]["table2"]["models"] = ["small-random-1k"]
    thinking = prepared(given)["recipes"]["small-random-1k"]["thinking"]
    assert (thinking["budgets"], thinking["forced"]) == ([64, 192], [2])


def beside(*files: dict[str, Any], model: str = "m1-small-1k", of: dict[str, Any] = DEFAULT) -> dict[str, Any]:
    """The configuration with published answers beside a model's own; a file is one of budget 192 with these changes."""
    whole = [{"from": "m1_results", "file": "a.json", "budget": 192} | file for file in files or ({},)]
    return changed("published/beside", {model: whole}, of)


def test_published_answers_beside_a_model_change_nothing_of_it() -> None:
    plain, found = prepared(copy.deepcopy(FULL)), prepared(beside({}, {"budget": 64}, of=FULL))
    assert [one["forced"] for one in found["published"]["beside"]["m1-small-1k"]] == [0, 0]
    assert plain["published"]["beside"] == {}
    found["published"]["beside"] = {}
    assert found == plain


def test_published_answers_beside_are_of_budgets_that_the_models_cells_have() -> None:
    at_once = prepared(beside({"budget": 0}, model="small"))
    assert at_once["published"]["beside"]["small"][0]["budget"] == 0
    in_table2 = prepared(beside({"budget": 128}, model="small-random-1k", of=FULL))
    assert in_table2["published"]["beside"]["small-random-1k"][0]["budget"] == 128
    with pytest.raises(UserError, match=r"budget 192 is none that its cells of Tables 1 and 2 are compared at \(128\)"):
        prepared(beside(model="small-random-1k", of=FULL))
    beyond = changed("thinking/budgets", [192, 16384])
    with pytest.raises(UserError, match=r"budget 16384 is none that its cells of .* are compared at \(192\)"):
        prepared(beside({"budget": 16384}, of=beyond))


def test_paths_of_published_answers_are_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    given = beside({"path": "~/a.json"})
    given = changed(
        "published/results", {"m1-large-1k": [{"from": "m1_results", "path": "$HOME/b", "budget": 192}]}, given
    )
    given["report"]["figures"] = ["m1-small-1k"]
    found = prepared(given)["published"]
    assert found["beside"]["m1-small-1k"][0]["path"] == "/home/me/a.json"
    assert found["results"]["m1-large-1k"][0]["path"] == "/home/me/b"
    with pytest.raises(
        UserError, match=r"published\.beside\.m1-small-1k\.0\.path: \$NONE/a: the environment variable NONE"
    ):
        prepared(beside({"path": "$NONE/a"}))


HOMELY = [
    ("~/big", "/home/me/big"),
    ("$BIG/m1", "/big/m1"),
    ("${BIG}/a b", "/big/a b"),
    ("a/../b/", "a/../b/"),
    ("a~b/$", "a~b/$"),
]


@pytest.mark.parametrize(("path", "full"), HOMELY)
@pytest.mark.parametrize(
    "key", ["scratch", "store", "data/medqa_test/path", "bases/small/path", "screen/models/small/path"]
)
def test_home_and_variables_are_written_out_in_paths(
    monkeypatch: pytest.MonkeyPatch, key: str, path: str, full: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("BIG", "/big")
    given = changed(key, path)
    found = functools.reduce(lambda part, name: part[name], key.split("/"), prepared(given))
    assert (found, given) == (full, changed(key, path))


@pytest.mark.parametrize("key", ["scratch", "data/medqa_test/path", "bases/small/path", "pathvars/logs"])
def test_a_variable_that_is_not_set_is_said(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.delenv("BIG", raising=False)
    with pytest.raises(UserError) as refusal:
        prepared(changed(key, "/a/${BIG}/b"))
    assert str(refusal.value).startswith(
        f"{key.replace('/', '.')}: /a/${{BIG}}/b: the environment variable BIG is not set"
    )


def test_results_are_where_snakemake_puts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    with pytest.raises(
        UserError, match=r"pathvars\.results: ~/r: Snakemake takes it as it stands; write it out: /home/me/r"
    ):
        prepared(changed("pathvars/results", "~/r"))
    with pytest.raises(UserError, match="scratch: ~nobody-there/a: there is no such user"):
        prepared(changed("scratch", "~nobody-there/a"))


UNUSABLE = [  # folders and files that would fail in the first job, or in Snakemake, without a word of the key
    *((key, "a {b}", "holds '{' and '}'") for key in ("pathvars/results", "store", "scratch", "data/medqa_test/path")),
    *((key, "a\nb", r"holds '\n'") for key in ("pathvars/logs", "store", "bases/small/path", "runs/a")),
    *((key, "-a", "holds '-' at its beginning") for key in ("pathvars/logs", "store", "scratch", "labeller/notes")),
    *(("pathvars/results", path, "is the working directory itself") for path in (".", "./", ".//.")),
    *(("pathvars/results", f"a{one}b", f"holds {one!r}") for one in "'#&*?[\\;"),
    *((key, "", "'' should be non-empty") for key in ("pathvars/results", "pathvars/logs", "store", "scratch")),
]
USABLE = [*("a b/", "./a", "a'b", 'a"b', "a#b", "a%20b", "$5", "a$", "ä/Ω", "..", "../a", "/a//b/", "a*b", "a:b", "~")]


@pytest.mark.parametrize(("key", "path", "said"), UNUSABLE)
def test_a_path_that_cannot_be_used_is_refused_with_the_character(key: str, path: str, said: str) -> None:
    with pytest.raises(UserError) as refusal:
        prepared(changed(key, path))
    assert key.replace("/", ".") in str(refusal.value)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("path", USABLE)
def test_other_paths_are_taken(path: str) -> None:
    for key in ("store", "scratch", "data/medqa_test/path", "labeller/notes"):
        prepared(changed(key, path))
    if path in ("a%20b", "ä/Ω", "..", "../a", "/a//b/", "a:b"):
        assert prepared(changed("pathvars/results", path))["pathvars"]["results"] == str(Path(path))


SECRET = "sk-live-ABCDEFGH12345678ijklmnop"
KEYS = {
    "in place of a variable": ("teacher/api_key_env", SECRET),
    "without its form": ("teacher/api_key_env", "ABCDEFGH12345678ijklmnop"),
    "in a list": ("teacher/api_key_env", [SECRET]),
    "in a query": ("teacher/base_url", f"http://127.0.0.1:9/v1?api_key={SECRET}"),
    "as a password": ("labeller/base_url", f"https://me:{SECRET}@host/v1"),
    "in a field": ("teacher/extra", {"api_key": SECRET}),
    "in a header": ("teacher/extra", {"headers": {"Authorization": SECRET}}),
    "in place of fields": ("teacher/extra", "ABCDEFGH12345678ijklmnop"),
    "of a screening provider": ("screen/providers", {"api": {"api_key_env": SECRET}}),
    "of a server": (
        "screen/serve",
        {"engine": "openai", "options": {"base_url": f"http://gpu7:1/v1?k={SECRET}", "api_key_env": "KEY"}},
    ),
    "anywhere else": ("teacher/model", SECRET),
    "as a key of the configuration": (SECRET, 1),
    "of no known name": ("teacher/api_key", SECRET),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_key_in_the_configuration_is_refused_and_not_shown(case: str) -> None:
    with pytest.raises(UserError) as refusal:
        prepared(changed(*KEYS[case]))
    assert "ABCDEFGH" not in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert KEYS[case][0].split("/")[0] in str(refusal.value) or case.startswith("as a key")


def test_a_key_in_a_recipe_is_refused_and_not_shown(folder: Path) -> None:
    path = folder / "config/models/small.yaml"
    serve = f"serve: {{engine: openai, dtype: float32, batch: 1, options: {{base_url: 'http://h/v1?key={SECRET}'}}}}"
    text = path.read_text(encoding="utf-8")
    path.write_text("\n".join([*(line for line in text.splitlines() if not line.startswith("serve")), serve]))
    with pytest.raises(
        UserError, match=r"^config/models/small\.yaml: serve\.options\.base_url: it holds a query"
    ) as refusal:
        prepared(DEFAULT)
    assert "ABCDEFGH" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: !!python/object/apply:os.system ['touch pwned']\n", "line 1, column 7; write the value itself"),
        ("seed: !mine 1\n", "line 1, column 7; write the value itself; tags (!…) are not read"),
        (
            f'teacher:\n  api_key_env: "{SECRET}\nseed: 1\n',
            "while scanning a quoted scalar found unexpected end of stream",
        ),
    ],
)
def test_what_is_no_plain_yaml_is_one_line_without_the_text(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as refusal:
        config.read(tmp_path / "mine.yaml")
    assert str(refusal.value).startswith(f"{tmp_path}/mine.yaml: not readable as YAML: ")
    assert said in str(refusal.value)
    assert "ABCDEFGH" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


CLIMBING = {
    "benchmark": ("benchmarks", {"../../x": {"from": "medqa_test"}}),
    "absolute": ("benchmarks", {"/tmp/x": {"from": "medqa_test"}}),
    "pool": ("pools", {"../../x": {"from": "medqa_train"}}),
    "base": ("bases", {"../../x": {"hub": "a/b"}}),
    "data": ("data", {"../../x": {"hub": "a/b"}}),
    "set": ("distill/../../x", {"size": 1, "share": 0.8}),
    "subset": ("subsets", {"../../x": {"traces": "hard", "rule": "all"}}),
    "screening model": ("screen/models", {"../../x": {"hub": "a/b"}}),
    "screening provider": ("screen/providers", {"../../x": {}}),
    "model of the world": ("world/models", {"../../x": {}}),
    "recipe": ("models", ["../../x"]),
    "model of a table": ("report/table1/models", ["../../x"]),
    "command": ("benchmarks", {"x; touch pwned": {"from": "medqa_test"}}),
    "too long": ("benchmarks", {"x" * 101: {"from": "medqa_test"}}),
    "line end": ("benchmarks", {"x\n": {"from": "medqa_test"}}),
}


@pytest.mark.parametrize("case", CLIMBING)
def test_a_name_that_would_leave_its_folder_is_refused(case: str) -> None:
    path, value = CLIMBING[case]
    given = changed(path, value) if case != "set" else changed("distill", {"hard": {}, "../../x": value})
    with pytest.raises(UserError, match=r"the name '.*' becomes a file's; letters, digits, `_`, `\.` and `-`"):
        prepared(given)


TAKEN = {
    "pools.merged": ("pools", {"merged": {"from": "medqa_train"}}),
    "pools.leaks": ("pools", {"leaks": {"from": "medqa_train"}}),
    "subsets.domains": ("subsets", {"domains": {"traces": "hard", "rule": "all"}}),
    "distill.a.questions": ("distill", {"hard": {}, "a.questions": {"size": 1, "share": 0.8}}),
    "distill.a.dropped": ("distill", {"hard": {}, "a.dropped": {"size": 1, "share": 0.8}}),
    "screen.models.hard": ("screen/models", {"hard": {"hub": "a/b"}}),
}


@pytest.mark.parametrize("key", TAKEN)
def test_a_name_whose_file_another_rule_makes_is_refused(key: str) -> None:
    with pytest.raises(UserError, match=rf"^{re.escape(key)}: the name is taken by a file of the results; give it"):
        prepared(changed(*TAKEN[key]))


@pytest.mark.parametrize("file", ["../../x.json", "/etc/passwd", "a/../../x.json", "~/x.json", ".."])
def test_a_file_that_would_leave_its_repository_is_refused(file: str) -> None:
    for path, value in (
        ("published/results", {"m1-small-1k": [{"from": "m1_results", "file": file, "budget": 1}]}),
        ("data/mine", {"hub": "a/b", "file": file}),
    ):
        with pytest.raises(UserError, match=r"file: .* does not match .* \(a file within a repository\)"):
            prepared(changed(path, value))


SGLANG = {"engine": "sglang", "dtype": "bfloat16", "batch": 8}
REFUSED = {
    "deterministic answers without the name of what computes attention": (
        changed("screen/serve", SGLANG | {"options": {"deterministic": True}}),
        "screen.serve.options: `deterministic` needs `attention_backend`, because SGLang's own choice depends on the",
    ),
    "unknown key": (changed("sead", 1), "configuration: unknown key 'sead'; did you mean 'seed'?"),
    "unknown key inside": (
        changed("merge/treshold", 1),
        "configuration: unknown key 'treshold' in merge; did you mean 'threshold'?",
    ),
    "unknown key in a named part": (
        changed("pools/medqa/form", "a"),
        "configuration: unknown key 'form' in pools.medqa; did you mean 'from'?",
    ),
    "unknown key in an entry": (
        changed("data/medqa_test/pth", "a"),
        "configuration: unknown key 'pth' in data.medqa_test; did you mean 'path'?",
    ),
    "checksum of no kind": (
        changed("data/medqa_test/checksum", "abc"),
        "configuration: data.medqa_test.checksum: 'abc' does not match",
    ),
    "unknown key like none": (
        changed("screen/zzz", 1),
        "configuration: unknown key 'zzz' in screen; known are models, prompt,",
    ),
    "missing key": (without("seed"), "configuration: top level: key 'seed' is missing"),
    "missing key inside": (without("teacher/max_tokens"), "configuration: teacher: key 'max_tokens' is missing"),
    "wrong kind": (changed("seed", "x"), "configuration: seed: 'x' is not of type 'integer'"),
    "out of range": (
        changed("merge/threshold", 101),
        "configuration: merge.threshold: 101 is greater than the maximum of 100",
    ),
    "no world": (without("world"), "world: key is missing, yet data.world_medqa_train is made by it"),
    "unknown model": (changed("models", ["smal"]), "models: no recipe config/models/smal.yaml; did you mean 'small'?"),
    "unknown model of the world": (
        changed("screen/models/small/path", "<results>/world/models/smal"),
        "screen.models.small.path: world.models: there is no 'smal'; did you mean 'small'?",
    ),
    "no screening model": (changed("screen/models", {}), "screen.models: there is none, and none in screen.providers"),
    "unknown traces": (
        changed("subsets/m1k/traces", "hrd"),
        "subsets.m1k.traces: there is no 'hrd'; did you mean 'hard'?",
    ),
    "unknown like": (
        changed("subsets/random_23k/like", "m24k", FULL),
        "subsets.random_23k.like: there is no 'm24k'; did you mean 'm23k'?",
    ),
    "unknown like of a draw": (
        changed("distill/random_23k/like", "m24k", FULL),
        "distill.random_23k.like: there is no 'm24k'",
    ),
    "draw without a size": (without("distill/random_1k/size", FULL), "distill.random_1k: give one of size and like"),
    "draw without a share": (without("distill/random_1k/share", FULL), "distill.random_1k: key 'share' is missing"),
    "base of two kinds": (
        changed("bases/small/hub", "a/b"),
        "bases.small: both path (results/world/models/small) and hub (a/b) are given, perhaps one "
        "of them by another file; "
        "take one out by null, as in {hub: a/b, path: null}",
    ),
    "base of no kind": (changed("bases/mine", {}), "bases.mine: give one of hub and path"),
    "unknown entry of a pool": (
        changed("pools/medqa/from", "medqa_trian"),
        "pools.medqa.from: there is no 'medqa_trian'; did you mean 'medqa_train'?",
    ),
    "entry without a layout": (
        changed("benchmarks/nejm/from", "m1_7b_1k"),
        "data.m1_7b_1k: key 'layout' is missing; benchmarks.nejm needs it",
    ),
    "unknown evaluation": (
        changed("published/evaluation", "m1_eval"),
        "published.evaluation: there is no 'm1_eval'; did you mean 'm1_eval_data'?",
    ),
    "evaluation of one set": (changed("published/evaluation", "medqa_test"), "data.medqa_test: key 'sets' is missing"),
    "unknown subset that is published": (
        changed("published/subsets", {"m2k": "m1k_tokenized"}),
        "published.subsets: there is no 'm2k'",
    ),
    "subset of a benchmark": (
        changed("published/subsets", {"m1k": "medqa_test"}),
        "data.medqa_test: key 'sources' is missing",
    ),
    "unknown checkpoint": (
        changed("published/checkpoints", {"m1-small-1k": "m1_7b_2k"}),
        "published.checkpoints.m1-small-1k: there is no 'm1_7b_2k'",
    ),
    "checkpoint of a base": (
        changed("published/checkpoints", {"small": "m1_7b_1k"}),
        "published.checkpoints.small: its recipe has no 'sft'",
    ),
    "results of an unknown model": (
        changed("published/results", {"m1-smal-1k": [{"from": "m1_results", "budget": 1}]}),
        "published.results: there is no 'm1-smal-1k'; did you mean 'm1-small-1k'?",
    ),
    "results without a budget": (
        changed("published/results", {"m1-small-1k": [{"from": "m1_results"}]}),
        "configuration: published.results.m1-small-1k.0: key 'budget' is missing",
    ),
    "results that lack a table's budget": (
        changed("published/results", {"m1-small-1k": [{"from": "m1_results", "budget": 64}]}),
        "report.table1.budget: 192 is not among the budgets of m1-small-1k: [64]",
    ),
    "answers beside an unknown model": (
        beside(model="m1-smal-1k"),
        "published.beside: there is no 'm1-smal-1k'; did you mean 'm1-small-1k'?",
    ),
    "answers beside a model that is published itself": (
        changed("published/results", {"m1-small-1k": [{"from": "m1_results", "budget": 192}]}, beside()),
        "published.beside.m1-small-1k: published.results.m1-small-1k takes its answers as published; "
        "they would be compared with themselves; remove one of the two",
    ),
    "answers beside from an unknown entry": (
        beside({"from": "m1_result"}),
        "published.beside.m1-small-1k: there is no 'm1_result'; did you mean 'm1_results'?",
    ),
    "answers beside from an entry of one set": (
        beside({"from": "medqa_test"}),
        "data.medqa_test: key 'sets' is missing; published.beside.m1-small-1k needs it",
    ),
    "answers beside of no benchmark": (
        beside(of=changed("data/m1_results/sets", {"hle": {"key": "HumanityLastExam"}})),
        "published.beside.m1-small-1k: its `sets` in data name no benchmark of this run; take it out",
    ),
    "answers beside without a budget": (
        changed("published/beside", {"m1-small-1k": [{"from": "m1_results"}]}),
        "configuration: published.beside.m1-small-1k.0: key 'budget' is missing",
    ),
    "answers beside at a budget of no cell": (
        beside({}, {"budget": 100}),
        "published.beside.m1-small-1k: budget 100 is none that its cells of Tables 1 and 2 are compared at (",
    ),
    "answers beside at one budget twice": (
        beside({}, {"file": "b.json"}),
        "published.beside.m1-small-1k: budget 192 is there twice; give each one file",
    ),
    "answers beside that are forced": (
        beside({}, {"forced": 2}),
        "published.beside.m1-small-1k: forced is 2, but no cell of Tables 1 and 2 is forced; take this file out",
    ),
    "answers beside a model of no table": (
        beside(of=changed("report/table1/models", ["small"])),
        "published.beside.m1-small-1k: no cell of this model is compared with a published one",
    ),
    "unknown set beside the subsets": (
        changed("report/figure8a/beside", {"s1K": "s1"}),
        "report.figure8a.beside.s1K: there is no 's1'; did you mean 's1k'?",
    ),
    "set beside the subsets without a layout": (
        changed("report/figure8a/beside", {"s1K": "medqa_test"}),
        "data.medqa_test: key 'sources' is missing; report.figure8a.beside.s1K needs it",
    ),
    "set beside the subsets under a label of theirs": (
        changed("report/figure8a/beside", {"m1K": "s1k"}),
        "report.figure8a.beside.m1K: s1k is a subset of this run, or its label is taken",
    ),
    "unknown base of Figure 8a": (changed("report/figure8a/base", "smal"), "report.figure8a.base: there is no 'smal'"),
    "unknown model in a table": (
        changed("report/table1/models", ["larg"]),
        "report.table1.models: no recipe config/models/larg.yaml; did you mean 'large'?",
    ),
    "budget of a table": (
        changed("report/table1/budget", 100),
        "report.table1.budget: 100 is not among the budgets of m1-small-1k",
    ),
    "best budget in Table 2": (
        changed("report/table2/budget", "best", FULL),
        "configuration: report.table2.budget: 'best'",
    ),
    "no budget that the paper's rows are chosen from": (
        changed("thinking/budgets", [16384]) | {"report": changed("report/table1/budget", "best")["report"]},
        "report.table1: m1-small-1k has no budget up to 8,192, only [16384]",
    ),
    "model without an ablation": (
        changed("report/table2/models", ["m1-large-1k"], FULL),
        "report.table2.models: config/models/m1-large-1k.yaml has no 'ablation'",
    ),
    "unknown model in the figures": (
        changed("report/figures", ["m1-smal-1k"]),
        "report.figures: no recipe config/models/m1-smal-1k.yaml; did you mean 'm1-small-1k'?",
    ),
    "model that does not think in the figures": (
        changed("report/figures", ["small"]),
        "report.figures: small does not think",
    ),
    "figures of a model with budgets of its own": (
        changed("report/figures", ["small-random-1k"], FULL),
        "report.figures: small-random-1k lacks budgets [16, 32, 48, 64, 96, 192]",
    ),
    "unknown server": (changed("teacher/serve", ["m1.nothing"]), "serve: there is no module m1.nothing in the package"),
    "base that a recipe needs": (without("bases/large"), "there is no 'large'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_said(case: str) -> None:
    given, said = REFUSED[case]
    with pytest.raises(UserError) as refusal:
        prepared(given)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "learning_rate",
            "learning_rte",
            "unknown key 'learning_rte' in sft; did you mean 'learning_rate'?",
        ),
        (
            "base: small",
            "base: smal",
            "config/models/m1-small-1k.yaml: base: there is no 'smal'; did you mean 'small'?",
        ),
        (
            "subset: m1k",
            "subset: m1kk",
            "config/models/m1-small-1k.yaml: sft.subset: there is no 'm1kk'; did you mean 'm1k'?",
        ),
        (
            "serve:",
            "train: {attention: auto}\nserve:",
            "train.attention: 'auto' is not one of ['sdpa', 'eager', 'flash_",
        ),
        (
            "serve:",
            "train: {strategy: fsdp3}\nserve:",
            "train.strategy: config/accelerate/fsdp3.yaml: No such file or directory; did you mean 'fsdp2'?",
        ),
        ("serve:", "train: {processes: 3}\nserve:", "sft.batch_size: 8 samples cannot be shared among 3 processes"),
        ("seed: 42}", "seed: 42, lora: {r: 0, alpha: 16}}", "sft.lora.r: 0 is less than the minimum of 1"),
        ("seed: 42}", "seed: 42, lora: {r: 1025, alpha: 16}}", "sft.lora.r: 1025 is greater than the maximum of 1024"),
        ("seed: 42}", "seed: 42, lora: {r: 1.5, alpha: 16}}", "sft.lora.r: 1.5 is not of type 'integer'"),
        (
            "seed: 42}",
            "seed: 42, lora: {r: 8, alpha: 0}}",
            "sft.lora.alpha: 0 is less than the minimum of 1",
        ),
        ("seed: 42}", "seed: 42, lora: {r: 8, alpha: 16, dropout: 1}}", "sft.lora.dropout: 1 is greater than"),
        ("seed: 42}", "seed: 42, lora: {r: 8, alpha: 16, targets: []}}", "sft.lora.targets: [] should be non-empty"),
        ("seed: 42}", "seed: 42, lora: {r: 8}}", "sft.lora: key 'alpha' is missing"),
        ("prompt: thinking", "prompt: think", "config/models/m1-small-1k.yaml: prompt: 'think_bare' is not one of"),
        ("label: m1-small-1K", "", "config/models/m1-small-1k.yaml: top level: key 'label' is missing"),
        ("label: m1-small-1K", "label: [", "config/models/m1-small-1k.yaml: not readable as YAML"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_said(folder: Path, old: str, new: str, said: str) -> None:
    path = folder / "config/models/m1-small-1k.yaml"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError) as refusal:
        prepared(DEFAULT)
    assert said in str(refusal.value)


def test_an_empty_recipe_is_said(folder: Path) -> None:
    (folder / "config/models/small.yaml").write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"config/models/small\.yaml: "):
        prepared(DEFAULT)


def test_a_recipe_that_cannot_be_read_is_said(folder: Path) -> None:
    path = folder / "config/models/small.yaml"
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"config/models/small\.yaml: not readable as YAML: .*directory"):
        prepared(DEFAULT)


OWN_WEIGHTS = {"label": "Mine", "base": {"hub": "a/b", "revision": "main"}, "prompt": "plain"}


def write_recipe(folder: Path, name: str, **changes: Any) -> None:
    """A baseline of one's own."""
    serve = {"engine": "transformers", "dtype": "float32", "batch": 8}
    path = folder / f"config/models/{name}.yaml"
    path.write_text(yaml.safe_dump({**OWN_WEIGHTS, "serve": serve, **changes}), encoding="utf-8")


def test_a_recipe_brings_its_weights(folder: Path) -> None:
    write_recipe(folder, "mine")
    found = prepared(changed("report/table1/models", ["small", "mine"]))
    assert found["recipes"]["mine"]["base"] == "mine"
    assert found["bases"]["mine"] == OWN_WEIGHTS["base"]
    write_recipe(folder, "mine", base={"path": "<results>/../weights"})
    assert prepared(changed("models", ["mine"]))["bases"]["mine"] == {"path": "results/../weights"}


def test_weights_of_a_recipe_are_checked(folder: Path) -> None:
    write_recipe(folder, "mine", base={"hub": "a/b", "revison": "main"})
    with pytest.raises(UserError, match=r"config/models/mine\.yaml: base: "):
        prepared(changed("models", ["mine"]))
    write_recipe(folder, "mine", base={})
    with pytest.raises(UserError, match=r"bases\.mine: give one of hub and path"):
        prepared(changed("models", ["mine"]))
    write_recipe(folder, "small")
    with pytest.raises(UserError, match=r"small\.yaml: base: weights are given here and in bases\.small; remove one"):
        prepared(DEFAULT)


def test_what_is_computed_follows_from_the_report() -> None:
    given = changed("report/table1/models", ["large"])
    given["report"]["figures"] = ["m1-small-23k", "m1-small-1k"]
    assert prepared(given)["models"] == ["large", "m1-small-23k", "m1-small-1k"]
    assert prepared(given | {"models": ["small", "large"]})["models"] == [
        "large",
        "m1-small-23k",
        "m1-small-1k",
        "small",
    ]


def test_published_rows_are_those_whose_base_is_there(folder: Path) -> None:
    """A new file among the recipes is a row of Table 1; of the embedded world's, which stand for the same rows, only
    those whose base is left."""
    write_recipe(folder, "mine", published="Med42-8B")
    paper = config.merge(DEFAULT, config.read(ROOT / "config/paper.yaml"))
    paper["report"]["table1"]["models"] = "published"
    models = prepared(paper)["report"]["table1"]["models"]
    assert models[models.index("med42-8b") + 1] == "mine"
    assert len(models) == 26
    assert not {"small", "large", "m1-small-1k", "0.5b"} & set(models)


@pytest.mark.parametrize(
    "overlay",
    sorted([*(ROOT / "config").glob("*.yaml"), *(ROOT / "tests/configs").glob("*.yaml")]),
    ids=lambda p: p.name,
)
def test_every_overlay_in_the_repository_is_correct(overlay: Path) -> None:
    assert prepared(config.merge(DEFAULT, yaml.safe_load(overlay.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("overlay", ["7b-published", "extrapolated", "one-card-7b", "one-gpu", "whole-table1"])
def test_every_overlay_over_the_papers_configuration_is_correct(overlay: str) -> None:
    assert config.load([ROOT / "config/paper.yaml", ROOT / f"config/overlays/{overlay}.yaml"])


def test_every_default_of_the_schema_is_itself_allowed() -> None:
    """A default that the schema refuses would be found by nobody, because defaults are written in after the check."""
    complete = config.with_defaults(config.drop_nulls(DEFAULT), SCHEMA)
    check(complete, SCHEMA, "configuration with defaults")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\nbenchmarks:\n  a: 1\nbenchmarks:\n  b: 2\n", "key 'benchmarks' stands twice, in lines 2 and 4"),
        ("data:\n  mine:\n    path: a\n    rows: 1\n    path: b\n", "key 'path' stands twice, in lines 3 and 5"),
        ("data: {mine: {path: a, path: b}}\n", "key 'path' stands twice, in line 1"),
        ("lists:\n- {a: 1}\n- {b: 1,\n   'b': 1}\n", "key 'b' stands twice, in lines 3 and 4"),
        ("benchmarks: {2024: {from: a}, '2024': {from: b}}\n", "key '2024' stands twice, in line 1; put both into one"),
        ("merge: {<<: {ngram: 1},\n  <<: {ngram: 2}}\n", "key '<<' stands twice, in lines 1 and 2; put both into one"),
        ("seed: 1\nmerge: {<<: {ngram: 1, ngram: 2}}\n", "key 'ngram' stands twice, in line 2; put both into one"),
        ('{"seed": 1,\n "seed": 2}', "key 'seed' stands twice, in lines 1 and 2; put both into one"),
        ("benchmarks:\n  ~: {from: mine}\n", "line 2: key ~: the name must be a text"),
        (
            "benchmarks:\n  null: {from: mine}\n",
            "line 2: key null: the name must be a text; write it in quotes: 'null'",
        ),
        ("? [a, b]\n: 1\n", "line 1: key a sequence: the name must be a text"),
        ("[" * 1500, "not readable as YAML: "),
        ("[" * 10**6, "not readable as YAML: nested too deeply"),
        ("- " * 10**6, "not readable as YAML: nested too deeply"),
        ("seed: !!python/object/apply:os.system [echo]\n", "not readable as YAML: could not determine a constructor"),
        (
            "teacher: {extra: {a: !!binary aGVsbG8=}}\n",
            "not a configuration: Object of type bytes is not JSON",
        ),
        ("teacher: {extra: {a: !!timestamp 2024-01-01}}\n", "not a configuration: Object of type date is not JSON"),
        (
            "teacher: {extra: {!!binary aGVsbG8=: 1}}\n",
            "not a configuration: keys must be str, int, float, bool",
        ),
        ("seed: !!bool maybe\n", "not a configuration: 'maybe'; it may hold texts, numbers, true, false, null, lists"),
        ("teacher: {extra: &a {b: *a}}\n", "not a configuration: Circular reference detected; it may hold texts"),
        ("thinking: {budgets: &a [*a]}\n", "not a configuration: Circular reference detected; it may hold texts"),
        ('{"report": {"note": "\\ud83d"}}', "not a configuration: 'utf-8' codec can't encode character '\\ud83d'"),
        (
            "seed:\t1\n",
            "not readable as YAML: while scanning for the next token found character '\\t' that cannot",
        ),
    ],
)
def test_a_file_whose_keys_would_be_lost_or_changed_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as refusal:
        config.read(path)
    assert str(refusal.value).startswith(f"{path}: {said}")
    assert "\n" not in str(refusal.value)


def test_json_is_read_as_json_writes_it(tmp_path: Path) -> None:
    given = {"report": {"note": "an emoji 😀, ä, \t, /", "figure8a": {"subsets": {"m1K 😀": "m1k"}}}, "seed": 1}
    (tmp_path / "mine.json").write_text(json.dumps(given, indent="\t"))
    assert config.read(tmp_path / "mine.json") == given


def test_a_pipe_is_refused_because_a_run_reads_it_several_times(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=r"pipe: a pipe, a socket or a device, where a file is needed; it is read sev"):
        config.read(tmp_path / "pipe")


def test_equal_keys_in_different_places_and_aliases_are_right(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    base = "base: &base {a: 1, b: &b {a: 1}}\n"
    path.write_text(f"{base}more: {{<<: *base, a: 2, '2024': *b}}\nmost: {{<<: [*base, *b], c: 3}}\n")
    expected = {"a": 1, "b": {"a": 1}}
    assert config.read(path) == {
        "base": expected,
        "more": expected | {"a": 2, "2024": {"a": 1}},
        "most": expected | {"c": 3},
    }


def test_a_key_that_stands_twice_in_a_recipe_is_said(folder: Path) -> None:
    path = folder / "config/models/m1-small-1k.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines, "label: another"]), encoding="utf-8")
    first = next(number for number, line in enumerate(lines, 1) if line.startswith("label:"))
    both = f"in lines {first} and {len(lines) + 1}"
    with pytest.raises(UserError, match=rf"config/models/m1-small-1k\.yaml: key 'label' stands twice, {both}"):
        prepared(DEFAULT)


@pytest.mark.parametrize("key", [2024, 1.5, True, None])
def test_a_name_that_is_no_text_is_refused_whoever_has_read_it(key: Any) -> None:
    given = copy.deepcopy(DEFAULT)
    given["benchmarks"][key] = {"from": "world_medqa"}
    with pytest.raises(
        UserError, match=f"configuration: benchmarks.{key}: the name must be a text; write it in quotes"
    ):
        prepared(given)
    given["benchmarks"][f"{key}"] = given["benchmarks"].pop(key)
    assert prepared(given)["benchmarks"][f"{key}"]["path"] == "results/world/benchmarks/medqa.jsonl"


LEARNING_RATE, MODELS = "world/models/small/learning_rate", "report/table1/models"
TYPED = [  # what a person types after `key:` in a file or after `=` on the command line, and what it is
    (LEARNING_RATE, "1e-5", 1e-5),
    (LEARNING_RATE, "1E-05", 1e-5),
    (LEARNING_RATE, "1.5e-5", 1.5e-5),
    (LEARNING_RATE, "+.5", 0.5),
    (LEARNING_RATE, "5.", 5.0),
    (LEARNING_RATE, "1_000", 1000),
    ("seed", "1e5", 100000),
    ("seed", "1E+5", 100000),
    ("seed", "42.0", 42),
    ("seed", "0x10", 16),
    ("world/entities", "+1_000", 1000),
    ("thinking/budgets", "[192, 1e3]", [192, 1000]),
    ("report/table1/budget", "192", 192),
    ("report/table1/budget", "1.92e2", 192),
    ("cluster/longest", "600", 600),
    (
        "teacher/extra",
        "{top_p: 1e-1, day: 2024-01-01, name: '1e5'}",
        {"top_p": 0.1, "day": "2024-01-01", "name": "1e5"},
    ),
    *((key, word, word) for key in ("store", "bases/small/revision") for word in ("2024", "1e3", "0x10", "012")),
    *((key, word, word) for key in ("store", "bases/small/revision") for word in ("no", "on", "2024-01-01", "12:30")),
    ("store", "'null'", "null"),
    ("data/medqa_test/split", "~", None),
    ("data/medqa_test/split", "no", "no"),
    ("data/medqa_test/where", "{year: [2016, no, 1e3]}", {"year": [2016, False, 1000.0]}),
]
NO_NUMBER = "write a number in decimal digits, without quotes"
MISTYPED = [
    (LEARNING_RATE, "1e400", "1e400: a finite number is needed"),
    (LEARNING_RATE, ".inf", ".inf: a finite number is needed"),
    (LEARNING_RATE, "-.Inf", "-.Inf: a finite number is needed"),
    (LEARNING_RATE, ".nan", ".nan: a finite number is needed"),
    (LEARNING_RATE, "nan", f"{LEARNING_RATE}: 'nan' is not of type 'number'; {NO_NUMBER}"),
    (LEARNING_RATE, "1.5.5", f"{LEARNING_RATE}: '1.5.5' is not of type 'number'; {NO_NUMBER}"),
    (LEARNING_RATE, "1,5", "unknown key '5' in world.models.small"),
    ("seed", "-1_000", "seed: -1000 is less than the minimum of 0"),
    ("seed", "1e10", "seed: 10000000000 is greater than the maximum of 4294967295"),
    ("world/models/small/seed", "-1", "world.models.small.seed: -1 is less than the minimum of 0"),
    ("seed", "'42'", f"seed: '42' is not of type 'integer'; {NO_NUMBER}"),
    ("seed", "0o17", f"seed: '0o17' is not of type 'integer'; {NO_NUMBER}"),
    ("seed", "012", f"seed: '012' is not of type 'integer'; {NO_NUMBER}"),
    ("seed", "12:30", f"seed: '12:30' is not of type 'integer'; {NO_NUMBER}"),
    ("seed", "2024-13-01", f"seed: '2024-13-01' is not of type 'integer'; {NO_NUMBER}"),
    ("seed", "1.5", "seed: 1.5 is not of type 'integer'"),
    ("seed", "yes", "seed: True is not of type 'integer'"),
    ("seed", ".inf", "seed: inf is not of type 'integer'"),
    ("store", "null", "store: null is no string; a name stands in quotes: 'null'"),
    (MODELS, "[null]", f"{MODELS}/0: null is no string; a name stands in quotes: 'null'"),
    (MODELS, "[2024]", "no recipe config/models/2024.yaml"),
    (MODELS, "[2024-01-01]", "no recipe config/models/2024-01-01.yaml"),
    ("models", "[1e3, no]", "no recipe config/models/1e3.yaml"),
    ("benchmarks/medqa/from", "no", "benchmarks.medqa.from: there is no 'no'"),
    ("subsets/m1k/traces", "1e3", "subsets.m1k.traces: there is no '1e3'"),
    ("merge", "{threshold: 90, threshold: 91}", "key 'threshold' stands twice, in line"),
    ("sft", "{epochs: 1}", "unknown key 'sft'"),
    ("train", "{per_device: 1}", "unknown key 'train'"),
]


def loaded(way: str, path: str, typed: str, folder: Path) -> dict[str, Any]:
    """The configuration with what is typed at ``a/b/c``, in a file or on the command line."""
    key, *inner = path.split("/")
    text = "".join(f"{{{name}: " for name in inner) + typed + "}" * len(inner)
    if way == "words":
        return config.load(words=[f"{key}={text}"])
    (folder / "mine.yaml").write_text(f"seed: 7\n{key}: {text}\n".removeprefix("seed: 7\n" if key == "seed" else ""))
    return config.load([folder / "mine.yaml"])


@pytest.mark.parametrize("way", ["file", "words"])
@pytest.mark.parametrize(("path", "typed", "meant"), TYPED)
def test_what_a_person_types_is_what_the_key_wants(
    path: str, typed: str, meant: Any, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "check_names", lambda _: None)  # budgets of one key go with those of others
    found = functools.reduce(lambda part, name: part[name], path.split("/"), loaded(way, path, typed, tmp_path))
    assert json.dumps(found) == json.dumps(meant), "equal, and of one type"


@pytest.mark.parametrize("way", ["file", "words"])
@pytest.mark.parametrize(("path", "typed", "said"), MISTYPED)
def test_what_the_key_does_not_want_is_said(path: str, typed: str, said: str, way: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refusal:
        loaded(way, path, typed, tmp_path)
    message = str(refusal.value)
    assert said.replace("/", ".") in message or said in message
    assert "\n" not in message
    if "finite" in said:
        assert message.startswith(f"{tmp_path}/mine.yaml: line 2: " if way == "file" else "--config world: line 1: ")


def test_a_word_that_is_no_yaml_is_a_text_and_words_are_laid_over_one_another() -> None:
    assert config.read_words(["store=@a: b", "scratch=", "report={note: 'a: b'}", "report={remark: it's}"]) == {
        "store": "@a: b",
        "scratch": None,
        "report": {"note": "a: b", "remark": "it's"},
    }


@pytest.mark.parametrize("name", ["2024", "1e3", "1.5", "no", "on", "2024-05-01", "0x10", "012", "'null'"])
def test_names_that_yaml_takes_for_something_else(name: str, folder: Path) -> None:
    """As keys, as values, in lists, and as the name of a recipe's file."""
    text = name.strip("'")
    write_recipe(folder, text, base="small", seeds=None)
    overlay = f"benchmarks: {{{name}: {{from: {name}}}}}\ndata: {{{name}: {{layout: eval, path: a.csv}}}}\n"
    overlay += f"bases: {{{name}: {{hub: a/b, revision: {name}}}}}\npools: {{{name}: {{from: {name}}}}}\n"
    overlay += f"subsets: {{{name}: {{traces: {name}, rule: all}}}}\ndistill: {{{name}: {{size: 1, share: 1e-1}}}}\n"
    overlay += (
        f"models: [{name}]\nreport: {{table1: {{models: [small, {name}]}}, figure8a: {{subsets: {{a: {name}}}}}}}\n"
    )
    (folder / "mine.yaml").write_text(overlay, encoding="utf-8")
    found = config.load([folder / "mine.yaml"])
    assert found["benchmarks"][text]["path"] == found["pools"][text]["path"] == "a.csv"
    assert found["bases"][text]["revision"] == found["subsets"][text]["traces"] == text
    assert text in found["models"]
    assert found["recipes"][text]["label"] == "Mine"


def test_numbers_and_names_in_a_recipe(folder: Path) -> None:
    path = folder / "config/models/m1-small-1k.yaml"
    text = path.read_text(encoding="utf-8")
    before = prepared(DEFAULT)["recipes"]["m1-small-1k"]
    for old, new in {"weight_decay: 1.0e-4": "weight_decay: 1e-4", "epochs: 10": "epochs: 1e1"}.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    text = text.replace("label: m1-small-1K", "label: 2024")
    path.write_text(text, encoding="utf-8")
    assert json.dumps(prepared(DEFAULT)["recipes"]["m1-small-1k"]) == json.dumps(before | {"label": "2024"})
    path.write_text(text.replace("weight_decay: 1e-4", "weight_decay: .inf"), encoding="utf-8")
    with pytest.raises(UserError, match=r"config/models/m1-small-1k\.yaml: line \d+: \.inf: a finite number is needed"):
        prepared(DEFAULT)


FILES = sorted([*(ROOT / "config").rglob("*.yaml"), *(ROOT / "tests/configs").glob("*.yaml")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_in_the_repository_is_what_any_yaml_library_reads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by the slow reader: else a machine without the C library would run the costly steps again."""
    schema = SCHEMA["$defs"]["recipe"] if path.parent.name == "models" else SCHEMA
    found = json.dumps(yaml_text.read_yaml(path, "", schema))
    assert found == json.dumps(yaml.safe_load(path.read_text(encoding="utf-8")))
    monkeypatch.setattr(yaml_text, "FastLoader", yaml_text.Loader)
    assert json.dumps(yaml_text.read_yaml(path, "", schema)) == found
