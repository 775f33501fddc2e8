"""Every row of Tables 1 and 2 and every curve of Figures 1 and 3, as the authors' commands have it.

``resources/paper/commands.csv`` is read off their makefiles. Here each recipe is held to it by what reaches the engine:
the prompt, decoded; the tokens that stop it; its limits.
"""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Template
from m1.core.records import Question
from m1.core.store import Store
from m1.engines.cached import CachedEngine, Generation, Request, answer_directly
from m1.engines.schedule import Job
from m1.infer.settings import AnswerSettings, SweepSettings
from m1.wiring.config import load
from m1.wiring.infer import InferRules
from m1.wiring.run import Run
from runs import wildcards
from sweeps import swept
from templates import tokenizer_of

ROOT = Path(__file__).parents[2]
ROWS = list(csv.DictReader((ROOT / "resources/paper/commands.csv").open(encoding="utf-8")))
QUESTION = Question("q", "medqa", "Which drug?", None, ("aspirin", "heparin"), "A")
FILES = [ROOT / "config/paper.yaml", ROOT / "config/overlays/whole-table1.yaml"]


@cache
def paper() -> Run:
    """The paper's run with all of Table 1."""
    return Run(load(FILES))


class Recording:
    """An engine that ends everything at once, and remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def generate(self, requests: Iterable[Request], done: Any) -> None:
        waiting = deque(requests)
        while waiting:
            self.requests.append(waiting.popleft())
            waiting += done(self.requests[-1], Generation((7, 8), "stop"))


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split()]


def unescaped(text: str) -> str:
    return text.replace("\\n", "\n")


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['shown']} {row['row']}" for row in ROWS])
def test_a_recipe_is_what_the_authors_ran(row: dict[str, str], tmp_path: Path) -> None:
    run, name = paper(), row["recipe"]
    recipe, rules = run.recipes[name], InferRules(run)
    hubs = {entry["hub"] for entry in run.config["data"].values()}
    if row["generation_prefix"]:  # trained here; the authors' own weights are in the registry
        assert row["model"] in hubs
    else:
        base = recipe["base"]
        assert row["model"] == (run.config["bases"][base] if isinstance(base, str) else base)["hub"]
    assert row["tokenizer"] == (recipe["tokenizer"] or {"hub": ""})["hub"]
    options = recipe["serve"]["options"]
    assert (options["tp"], options["dp"]) == (int(row["tp"]), int(row["dp"]))

    tokenizer = tokenizer_of("qwen2.5" if "qwen" in row["model"].lower() or row["generation_prefix"] else "llama3")
    user = unescaped(row["user_turn"]).replace("{question}", "Which drug?")
    user = user.replace("{options}", "A. aspirin\nB. heparin")
    rendered = Template(tokenizer.chat_template).render(
        messages=[{"role": "user", "content": user}], bos_token=tokenizer.bos_token, add_generation_prompt=True
    )
    begun = rendered + unescaped(row["generation_prefix"])
    engine = Recording()
    with Store(tmp_path) as store:
        cached = CachedEngine(lambda: engine, name, store, "test")
        if row["generation_prefix"]:
            thinking = SweepSettings.from_json(rules.sweep(wildcards(model=name)))
            swept(cached, tokenizer, [("medqa", QUESTION)], name, thinking)
            first, *_, last = engine.requests
            limits = set(numbers(row["thinking_limits"]))
            assert limits == {budget for budget, _ in thinking.conditions if budget <= max(limits)} & limits
            assert limits <= set(thinking.budgets)
            assert first.max_tokens == max(thinking.budgets)
            assert last.max_tokens == thinking.answer_limit == int(row["answer_limit"])
            if row["forced"]:
                assert [0, *thinking.forced_counts] == numbers(row["forced"])
                assert thinking.forced_budget == int(row["forced_limit"])
            for request in engine.requests:
                assert tokenizer.decode(request.prompt).startswith(begun), "at every budget and every forced count"
        else:
            asked = AnswerSettings.from_json(rules.answer(wildcards(model=name)))
            ways = {"own_stop": asked.stop == "released", "bos": asked.bos == "released"}
            work = partial(
                answer_directly,
                tokenizer=tokenizer,
                question=QUESTION,
                style=asked.prompt,
                limit=asked.answer_limit,
                **ways,
            )
            cached.run([Job(1, work)], 1, lambda answer: None)
            (first,) = engine.requests
            assert first.max_tokens == asked.answer_limit == int(row["answer_limit"])
    assert tokenizer.decode(first.prompt) == begun
    ends = {tokenizer.eos_token, "<|endoftext|>"}  # of the model itself
    stops = {tokenizer.decode([token]) for token in first.stop}
    assert set(row["stop"].split()) <= stops
    assert stops <= {*row["stop"].split(), *(ends if row["stop"] else ())}


def test_every_row_of_the_tables_and_every_curve_is_there() -> None:
    shown: dict[str, list[str]] = {}
    for row in ROWS:
        shown.setdefault(row["shown"], []).append(row["recipe"])
    report = paper().config["report"]
    assert sorted(shown["table1"]) == sorted(report["table1"]["models"])
    assert shown["table2"] == report["table2"]["models"]
    assert shown["figure1"] == shown["figure3"] == report["figures"]


def test_teacher_and_filters_get_the_instruction_first() -> None:
    config = paper().config
    assert (config["screen"]["prompt"], config["screen"]["answer_limit"]) == ("first", 4000)
    assert config["teacher"]["max_tokens"] == 8000


def test_the_papers_generation_is_as_released_and_new_work_is_exact() -> None:
    assert set(paper().config["generation"].values()) == {"released"}
    assert set(load([])["generation"].values()) == {"exact"}
    assert json.loads(InferRules(paper()).answer(wildcards(model="7b")))["stop"] == "released"
