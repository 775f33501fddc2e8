"""The most telling reproduction that fits: within what was given, never less for more, and the same again."""

from __future__ import annotations

import itertools
import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from m1.commands import claim_power, fit, kept
from m1.commands.cards import cards, find_card, named_card, parse_cards
from m1.commands.fit_choose import Answer, Question, choose
from m1.commands.fit_menu import Machine
from m1.commands.fit_overlay import KEYS, overlay_text
from m1.commands.fit_table import table
from m1.commands.plan import Plan, make_plan
from m1.core.errors import UserError
from m1.core.places import locate
from m1.wiring.config import load
from project import Project

ROOT = Path(__file__).parents[2]
CLAIMS = tuple(claim_power.claims()["id"])
SHORT = ROOT / "tests/configs/short.yaml"


def question(tmp_path: Path, gpus: str = "1x24", kind: str = "cards", **given: Any) -> Question:
    """What is asked: eight hours on some cards, unless ``given``."""
    nodes, count, card = parse_cards(gpus)
    machine = Machine(nodes, count, card, 4, 8.0, 0.0, 500.0)
    files = tuple(map(locate, fit.FILES[kind]))
    return Question(kind, replace(machine, **given), CLAIMS, "results/mine", tmp_path / "mine.yaml", None, files)


def spent(plan: Plan, nodes: int) -> tuple[float, float]:
    """Hours and dollars of what a plan has left, its jobs on so many nodes, as the choice reckons them."""
    single = [step for step in plan.gpus if not step.there]
    chain: dict[str, float] = {}
    for step in single:
        chain[step.step.split()[1]] = chain.get(step.step.split()[1], 0.0) + (step.hours or 0.0) * step.jobs
    minutes = sum(step.minutes or 0.0 for step in plan.cpus if not step.there)
    hours = sum(chain.values()) / nodes + (1 - 1 / nodes) * max(chain.values(), default=0.0) + minutes / 60
    return hours + sum(step.hours for step in plan.steps), sum(step.dollars for step in plan.steps)


def planned(asked: Question, answer: Answer) -> tuple[float, float]:
    """Hours and dollars of the overlay's own plan."""
    asked.output.write_text(overlay_text(asked, answer, "test"), encoding="utf-8")
    return spent(make_plan(load([*asked.files, asked.output])), asked.machine.nodes)


RANDOM = random.Random(5)
MACHINES = [
    (
        RANDOM.choice(["1x24", "1x48", "2x80", "8x80:H100", "4x40", "2x8x80:A100", "3x24", "1x141:H200"]),
        {
            "hours": RANDOM.choice([2.0, 6.0, 20.0, 100.0]),
            "dollars": RANDOM.choice([0.0, 30.0, 2000.0]),
            "disk": RANDOM.choice([60.0, 400.0, 5000.0]),
        },
    )
    for _ in range(12)
]


@pytest.mark.slow
@pytest.mark.parametrize(("gpus", "given"), MACHINES)
def test_the_plan_is_within_what_was_given(tmp_path: Path, gpus: str, given: dict[str, float]) -> None:
    asked = question(tmp_path, gpus, **given)
    answer = choose(asked)
    hours, dollars = planned(asked, answer)
    assert hours <= asked.machine.hours * 1.001
    assert dollars <= asked.machine.dollars * 1.001
    assert answer.choice.hours == pytest.approx(hours, rel=0.05, abs=0.02)
    assert answer.choice.disk <= asked.machine.disk


@pytest.mark.slow
@pytest.mark.parametrize(("gpus", "given"), MACHINES[:4])
def test_more_of_anything_never_gives_less(tmp_path: Path, gpus: str, given: dict[str, float]) -> None:
    asked = question(tmp_path, gpus, **given)
    answer = choose(asked)
    for name in ("hours", "dollars", "disk"):
        more = replace(asked, machine=replace(asked.machine, **{name: 2 * getattr(asked.machine, name) + 10}))
        assert choose(more).choice.score >= answer.choice.score, name
    nodes, _, card = parse_cards(gpus)
    assert card is not None
    larger = replace(card, memory=2 * card.memory)
    assert choose(replace(asked, machine=replace(asked.machine, card=larger))).choice.score >= answer.choice.score
    assert choose(replace(asked, machine=replace(asked.machine, nodes=2 * nodes))).choice.score >= answer.choice.score


def test_one_card_of_24_gb_tells_what_its_models_can(tmp_path: Path) -> None:
    """Eight hours: the 7B models answer, those of 32B do not fit, and no claim that needs one is told."""
    asked = replace(question(tmp_path), claims=("huatuogpt-7b", "capacity-gain", "sota-accuracy", "filtered", "m1k"))
    answer = choose(asked)
    assert planned(asked, answer)[0] <= 8
    told = set(answer.choice.told)
    assert told == {"huatuogpt-7b", "sota-accuracy", "m1k"}
    text = "\n".join(table(asked, answer))
    assert "out of reach here: m1-32B-1K" in text
    assert "+4 hours" in text
    assert "modelled" in text
    again = overlay_text(asked, choose(asked), "test")
    assert again == asked.output.read_text()


def test_a_claim_counts_only_if_its_models_answer_here(tmp_path: Path) -> None:
    asked = replace(question(tmp_path, hours=3.0), claims=("huatuogpt-7b",))
    choice = choose(asked).choice
    assert {"m1-7b-23k", "huatuogpt-o1-7b"} <= {part.model for part in choice.parts}
    assert choice.told == ("huatuogpt-7b",)


def test_without_a_card_the_laptop_s_model_is_fitted_to_the_hours(tmp_path: Path) -> None:
    hours, sizes = [], []
    for given in (0.5, 2.0):
        asked = question(tmp_path, "0", "cores", hours=given)
        answer = choose(asked)
        hours.append(planned(asked, answer)[0])
        sizes.append(answer.choice.size.limit or 10**6)
        assert not answer.choice.told
        assert "no claim" in "\n".join(table(asked, answer))
    assert hours[0] <= 0.5 < hours[1] <= 2.0
    assert sizes[0] < sizes[1]


def test_the_world_is_fitted_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # what a run of this folder has left would be free
    asked = replace(question(tmp_path, "0", "world", hours=0.2), files=(SHORT,))
    answer = choose(asked)
    assert planned(asked, answer)[0] == pytest.approx(answer.choice.hours, rel=0.01)
    made = load([SHORT, asked.output])
    assert made["report"]["table1"]["models"] == [part.model for part in answer.choice.parts if part.table1]


def test_offline_only_what_is_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First nothing is; then the sets and one base are in the hub's cache, and nothing else can be chosen."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    asked = replace(question(tmp_path, offline=True), claims=("7b-1k-gains",))
    with pytest.raises(UserError, match=r"--offline: not on this machine: m1_eval_data, m1k_tokenized.*make fetch"):
        choose(asked)
    config = load(asked.files)
    sets = {"m1_eval_data", "m1k_tokenized", "m23k_tokenized"}
    sets |= {entry for part, entry in config["read_from"].items() if part.startswith("pools.")}
    names = [f"datasets--{config['data'][entry]['hub']}" for entry in sets] + ["models--Qwen/Qwen2.5-7B-Instruct"]
    for name in names:
        folder = tmp_path / name.replace("/", "--") / "refs"
        folder.mkdir(parents=True)
        for revision in ("main", *(config["data"][entry]["revision"] for entry in sets)):
            (folder / revision).write_text("0" * 40)
    answer = choose(asked)
    assert {part.model for part in answer.choice.parts} == {"7b", "7b-cot", "m1-7b-1k"}
    assert {part.way for part in answer.choice.parts} == {"as it is", "LoRA"}
    assert answer.choice.told == ("7b-1k-gains",)
    assert answer.menu.lacking["huatuogpt-o1-7b"] == "is not on this machine"


def test_a_finished_run_takes_the_model_s_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What took three times as long as modelled is reckoned so; the next overlay fits, and the guess is closer."""
    monkeypatch.chdir(tmp_path)
    asked = question(tmp_path, "0", "cores", hours=1.0)
    first = choose(asked)
    planned(asked, first)
    for part in first.choice.parts:
        for kind, hours in (("infer", part.answering[first.choice.size]), ("train", part.training)):
            if hours:
                manifest = tmp_path / "results/mine" / kind / part.model / "manifest.json"
                manifest.parent.mkdir(parents=True)
                counts = {"answer_tokens": 1, "generated_now": 1}
                manifest.write_text(json.dumps({"seconds": 3 * 3600 * hours, "counts": counts}))
    second = choose(asked)
    assert second.made.slower == pytest.approx({"train": 3.0, "infer": 3.0})
    assert second.choice.hours <= 1.0
    assert (second.choice.size.limit or 10**6) < (first.choice.size.limit or 10**6)


def test_what_the_store_has_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a run, a fraction of its hours is enough for the same; other answers, and other trainings, are not free."""
    asked = replace(question(tmp_path, "1x80:H100", hours=24.0), claims=("7b-1k-gains", "sota-accuracy"))
    first = choose(asked)
    planned(asked, first)
    earlier = load([*asked.files, asked.output])
    names = [part.model for part in first.choice.parts]
    assert first.choice.told == asked.claims

    def leave(**other: Any) -> None:
        """The store has all models and answers of the run, but for ``other`` ones."""
        found = {}
        for name in names:
            recipe, limits = earlier["recipes"][name], dict.fromkeys(earlier["benchmarks"])
            subset = recipe["sft"]["subset"] if "sft" in recipe else None
            entry, size = earlier["published"]["subsets"].get(subset), earlier["subsets"].get(subset, {}).get("size")
            checkpoint = earlier["published"]["checkpoints"].get(name)
            one = kept.Kept(recipe, checkpoint, entry, size, not checkpoint, 1.0, limits)
            found[name] = replace(one, **other)
        monkeypatch.setattr(kept, "models", lambda run: found)

    little = replace(asked, machine=replace(asked.machine, hours=0.1))
    assert len(choose(little).choice.told) < 2
    leave()
    again = choose(little).choice
    assert again.told == asked.claims
    assert again.size == first.choice.size
    assert again.hours < 0.01
    for other in (
        {"samples": 999},
        {"subset": None},
        {"answered": 0.1},
        {"limits": dict.fromkeys(earlier["benchmarks"], 100)},
    ):
        leave(**other)
        assert choose(little).choice.told != asked.claims, other


def test_released_answers_are_shown_but_tell_nothing(tmp_path: Path) -> None:
    """32B's answers as the authors released them fill its row of Table 1, where all questions are asked; a model that
    can be computed here is."""
    own = tmp_path / "released.yaml"
    results = {
        name: [{"from": "m1_results", "file": f"{name}-{budget}.json", "budget": budget} for budget in (2048, 8192)]
        for name in ("m1-32b-1k", "m1-7b-1k")
    }
    own.write_text(yaml.safe_dump({"published": {"results": results}, "report": {"figures": ["m1-7b-23k"]}}))
    asked = question(tmp_path, hours=24.0)
    asked = replace(asked, files=(*asked.files, own), claims=("capacity-gain", "7b-1k-gains"))
    answer = choose(asked)
    planned(asked, answer)
    ways = {part.model: part.way for part in answer.choice.parts}
    assert ways["m1-32b-1k"] == "released"
    assert ways["m1-7b-1k"] in ("published", "LoRA")
    assert answer.choice.told == ("7b-1k-gains",)
    text = "\n".join(table(asked, answer))
    assert "not computed here, so that no claim rests on it: m1-32b-1k" in text
    assert "not computed here, so that no claim rests on it: m1-32b-1k" in asked.output.read_text()
    made = load([*asked.files, asked.output])
    assert list(made["published"]["results"]) == ["m1-32b-1k"]
    assert "m1-32b-1k" in made["report"]["table1"]["models"]
    assert not any("32b" in step.step for step in make_plan(made).gpus)
    few = choose(replace(asked, machine=replace(asked.machine, hours=2.0)))
    assert few.choice.size.limit
    assert "m1-32b-1k" not in {part.model for part in few.choice.parts}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--hours 0", "--hours: 0 is not above 0"),
        ("--hours 8 --gpus 1x24GB", "--gpus: '1x24GB' is no number of cards; write [NODESx]COUNTxGB[:TYPE]"),
        ("--hours 8 --gpus 1x24:RTX5000", "--gpus: no card 'RTX5000' in resources/cards.csv; give one of RTX-3090"),
        (
            "--hours 8 --gpus 1x8 --claims m1k",
            "no model can be had: 7b takes 18 GB to answer, and all cards",
        ),
        ("--hours 0.001 --gpus 1x24 --claims m1k", "--hours: nothing fits"),
        (
            "--hours 8 --gpus 1x24 --claims knowlege",
            "--claims: no claim 'knowlege' in resources/paper/claims.csv; did you",
        ),
        ("--hours 8 --gpus 8x80 --dollars 100", "--dollars 100: TEACHER_API_KEY and OPENAI_API_KEY not set: no key"),
        ("--hours 8 --gpus 1x24 --data nowhere", "--data: nowhere: no such folder"),
        ("--hours 8 --gpus 1x24 --dollars -1", "--dollars: -1 is less than nothing"),
        (
            "--hours 8 --gpus 1x24 --disk 0 --claims m1k",
            "--disk: nothing fits: 7b alone, on the fewest questions, takes about 14 GB",
        ),
        ("--hours 8 --gpus 0 --dollars 20", "--dollars 20: without a card nothing is paid for"),
    ],
)
def test_what_cannot_be_is_said(words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in KEYS.values():
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(fit, "gpus_here", lambda: "0")
    with pytest.raises(UserError) as error:
        fit.main([*words.split(), "--output", str(tmp_path / "mine.yaml")])
    assert said in str(error.value)
    assert not (tmp_path / "mine.yaml").exists()


def test_a_card_by_memory_is_the_least_of_all_that_have_it() -> None:
    """So more memory is never slower; a kind that is named is itself."""
    found = [find_card(str(memory), "test") for memory in (8, 24, 40, 48, 80, 141, 500)]
    for less, more in itertools.pairwise(found):
        assert less.operations <= more.operations
        assert less.bandwidth <= more.bandwidth
    assert find_card("h100", "test") == cards()["H100"]
    assert find_card("24", "test").operations == cards()["RTX-3090"].operations


@pytest.mark.parametrize(
    ("device", "gibibytes", "kind"),
    [
        ("NVIDIA H100 80GB HBM3", 79.6, "H100"),
        ("NVIDIA H100 PCIe", 79.6, "H100-PCIE"),
        ("NVIDIA A100-SXM4-40GB", 40.0, "A100-40"),
        ("NVIDIA A100 80GB PCIe", 80.0, "A100"),
        ("NVIDIA GeForce RTX 4090", 23.99, "RTX-4090"),
        ("NVIDIA L40S", 44.99, "L40S"),
        ("NVIDIA H100 NVL", 93.6, None),
        ("NVIDIA A10G", 22.5, None),
    ],
)
def test_the_cards_of_this_machine_are_known_by_name(
    device: str, gibibytes: float, kind: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = named_card(device, gibibytes)
    assert (found and found.name) == kind
    monkeypatch.setattr(fit, "named_gpus", lambda: [(gibibytes, device)] * 2)
    nodes, count, card = parse_cards(fit.gpus_here())
    assert (nodes, count) == (1, 2)
    assert card is not None
    assert card.memory == round(gibibytes)
    if found:
        assert (card.name, card.operations) == (kind, found.operations)


def test_chances_rise_with_the_questions() -> None:
    sizes = {row.column: row.n for row in claim_power.paper()["benchmarks"].itertuples()}
    few = tuple((column, min(100, n)) for column, n in sizes.items())
    budgets = (128, 256, 512, 1024, 2048, 4096, 8192)
    whole = {one.claim: one for one in claim_power.powers(tuple(sizes.items()), budgets, 42, CLAIMS)}
    part = {one.claim: one for one in claim_power.powers(few, budgets, 42, CLAIMS)}
    for claim in ("knowledge", "huatuogpt-7b", "scale", "challenging"):
        assert part[claim].chance < 0.8 <= whole[claim].chance
        assert part[claim].half_width > whole[claim].half_width
    assert whole["sota"].chance < 0.1  # 60.32 against 60.30
    assert whole["forcing"].chance is None  # the paper prints no number of Figure 3
    assert whole["collected"].half_width is None


def test_changes_of_recipes_are_laid_over_them(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"

    def recipe(changes: dict[str, Any]) -> dict[str, Any]:
        own.write_text(yaml.safe_dump({"recipes": changes}))
        found: dict[str, Any] = load([own])["recipes"]["m1-small-1k"]
        return found

    plain = recipe({})
    assert recipe({"m1-small-1k": {"serve": {"batch": 7}}}) == plain | {"serve": plain["serve"] | {"batch": 7}}
    assert recipe({"m1-small-1k": {"ablation": None}})["ablation"] is None
    with pytest.raises(UserError, match=r"recipes\.m1-small-1k: .*unknown key 'bach'"):
        recipe({"m1-small-1k": {"serve": {"bach": 7}}})
    with pytest.raises(UserError, match=r"recipes\.m1-smal-1k: no recipe .*did you mean"):
        recipe({"m1-smal-1k": {}})


PAGE = (ROOT / "docs/fit.md").read_text(encoding="utf-8")
BLOCKS = r"```\nmake fit ([^\n]*)\n```\n\n```\n(.*?)\n```\n\n```yaml\n(.*?)\n```"
SITUATIONS = re.findall(BLOCKS, PAGE[PAGE.index("## Five situations") :], re.DOTALL)


def test_the_page_has_five_situations() -> None:
    assert len(SITUATIONS) == 5


def holds(part: str, whole: str) -> bool:
    """Whether the lines of a part are lines of the whole, in their order; ``…`` stands for what is left out."""
    rest = iter(whole.splitlines())
    return all(line in rest for line in part.splitlines() if line != "…")


@pytest.mark.slow
@pytest.mark.parametrize(("given", "printed", "overlay"), SITUATIONS)
def test_the_page_s_situations_are_what_the_command_says(
    given: str,
    printed: str,
    overlay: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where another one is right now, run the command, and put what it says on the page."""
    for key in KEYS.values():
        monkeypatch.setenv(key, "set")
    words = [word for pair in given.split() for word in (f"--{pair.partition('=')[0].lower()}", pair.partition("=")[2])]
    project = Project.of_repository(tmp_path)
    monkeypatch.chdir(project.folder)
    fit.main(words)
    said = capsys.readouterr().out
    assert holds(printed, said)
    made = (project.folder / "config/overlays/mine.yaml").read_text()
    assert holds(overlay, made)
    files = re.findall(r'make plan CONFIG="(.*)"', made)[0].split()
    limits = {name.lower(): float(value) for name, value in re.findall(r"(HOURS|DOLLARS)=(\d+)", given)}
    hours, dollars = spent(make_plan(load([*map(Path, files)])), 2 if "2x8x80" in given else 1)
    assert hours <= limits["hours"]
    assert float(re.findall(r"Together: ([\d.]+) h", said)[0]) == pytest.approx(hours, rel=0.1, abs=0.1)
    assert dollars <= limits.get("dollars", 0.0)
    assert "infer_sweep" in project.dry_run("all", *files)
