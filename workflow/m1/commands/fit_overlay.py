"""The overlay of a choice, and what its plan takes; part of ``python -m m1 fit``."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from m1.commands.fit_choose import Answer, Question, local_sets
from m1.commands.fit_menu import Part, Size
from m1.commands.fit_table import source_lines

KEYS = {"teacher": "TEACHER_API_KEY", "labeller": "OPENAI_API_KEY"}
"""Variables for the providers' keys, by the provider, where the configuration names none."""


def overlay(question: Question, answer: Answer) -> dict[str, Any]:
    """The configuration of a choice, to be laid over the question's files."""
    config, machine, choice, size = answer.run.config, question.machine, answer.choice, answer.choice.size
    parts, paid = choice.parts, {source.name for source in choice.sources}
    found: dict[str, Any] = {"pathvars": {"results": question.results, "logs": f"logs/{Path(question.results).name}"}}
    if machine.card is not None:
        found["cluster"] = {"card": machine.card.name}
    # Copies: what two models share would become an anchor in YAML.
    if changes := {part.model: deepcopy(part.changes) for part in parts if part.changes}:
        found["recipes"] = changes
    if question.data is not None:
        found["data"] = local_sets(config, question.data)
    if size.limit is not None:
        found["benchmarks"] = {name: {"limit": size.limit} for name in config["benchmarks"] if name not in size.whole}
    if question.kind == "cards":
        found |= _taken(config, parts, paid) | _paid(answer, paid)
    taken = [part.model for part in parts if part.released]
    if computed := [name for name in config["published"]["results"] if name not in taken]:
        found["published"] = found.get("published", {}) | {"results": dict.fromkeys(computed)}
    if samples := min((part.samples for part in parts if part.samples), default=None):
        found["subsets"] = {"m1k": {"size": samples}}
    found["thinking"] = {key: size.thinking(config["thinking"])[key] for key in ("budgets", "forced", "forced_budget")}
    return found | {"report": _report(config, parts, size)}


def _taken(config: Mapping[str, Any], parts: Sequence[Part], paid: set[str]) -> dict[str, Any]:
    """What is taken as published, and the sets of traces that are not made."""
    published: dict[str, Any] = {}
    if "hard" not in paid:
        published["subsets"] = {"m1k": "m1k_tokenized", "m23k": "m23k_tokenized"}
    checkpoints = {part.model: part.model.replace("-", "_") for part in parts if part.way == "published"}
    if checkpoints:
        published["checkpoints"] = checkpoints
    unmade = [
        name for name, one in config["subsets"].items() if name not in ("m1k", "m23k") and one["traces"] not in paid
    ]
    found: dict[str, Any] = {"published": published} if published else {}
    if unpaid := [name for name in config["distill"] if name not in {"hard", *paid}]:
        found["distill"] = dict.fromkeys(unpaid)
    if unmade:
        found["subsets"] = dict.fromkeys(unmade)
    return found


def _paid(answer: Answer, paid: set[str]) -> dict[str, Any]:
    """The providers, with limits that are the plan's own dollars and a tenth more, and the screening's cards."""
    found: dict[str, Any] = {}
    config = answer.run.config
    called = ["teacher"] if paid else []
    called += ["labeller"] if "hard" in paid else []
    for name in called:
        if config[name]["api_key_env"] is None:
            found[name] = {"api_key_env": KEYS[name]}
    if "hard" in paid and (serve := answer.menu.screening):
        found["screen"] = {"shards": 1, "serve": serve}
    return found


def _report(config: Mapping[str, Any], parts: Sequence[Part], size: Size) -> dict[str, Any]:
    budget = config["report"]["table1"]["budget"]
    shown = {"models": [part.model for part in parts if part.table1 or part.released] or [parts[0].model]}
    found: dict[str, Any] = {"table1": shown | ({} if budget == "best" else {"budget": max(size.budgets)})}
    ablations = [part for part in parts if any(row.startswith("table2/") for row in part.rows)]
    shared = set.intersection(*(set(part.budgets or size.budgets) for part in ablations)) if ablations else set()
    found["table2"] = None
    if len(ablations) > 1 and shared:
        budget = config["report"].get("table2", {}).get("budget")
        found["table2"] = {"models": [part.model for part in ablations]}
        found["table2"] |= {} if budget in shared else {"budget": max(shared)}
    found["figures"] = [part.model for part in parts if part.thinks]
    if size.limit is not None:
        found["note"] = f"{size.said.capitalize()}."
    if config["report"]["remark"]:
        found["remark"] = size.said
    return found


def overlay_text(question: Question, answer: Answer, command: str) -> str:
    """The overlay as a file to read."""
    head = [
        "# yaml-language-server: $schema=../../workflow/schemas/overlay.schema.json",
        f"# Made by: {command}",
        *(f"# {line}" for line in source_lines(answer)),
        f"# Told: {', '.join(answer.choice.told) or 'no claim'}.",
        "#",
        *(f"#   {line}" for line in commands(question)),
        "",
    ]
    body = yaml.safe_dump(overlay(question, answer), sort_keys=False, default_flow_style=None, width=150)
    return "\n".join(head) + "\n" + body


def commands(question: Question) -> list[str]:
    """What to type next."""
    files = " ".join(map(str, [*question.files, question.output]))
    return [f'make plan CONFIG="{files}"', f'make paper CONFIG="{files}"']
