"""The steps of every stage: their modules move and their functions are renamed without another fingerprint, and no edit
of what they do goes unseen."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from imports import PACKAGE
from m1.core import fingerprint as module

STEPS = {
    "m1.world.build": "_write_lines",
    "m1.pools.merge": "without_options",
    "m1.screen.hard": "lost_classes",
    "m1.distill.traces": "teacher_prompt",
    "m1.select.sample": "correct_samples",
    "m1.train.sft": "encode_all",
    "m1.infer.sweep": "shares",
    "m1.score.predictions": "_to_score",
    "m1.report.tables": "sample_domains",
}
"""A step of each stage, and a function of its module."""
SHARED = {"m1.core.chat": "stop_ids", "m1.core.records": "distinct_ids", "m1.engines.cached": "CachedEngine"}
"""Modules that many steps share, and a function or class of each."""
EDITS = {
    "a constant": ("m1.pools.merge", "pools/similar.py", "SLACK = ", "SLACK = 2 * "),
    "an operator": ("m1.screen.hard", "screen/hard.py", "if count >= smallest", "if count > smallest"),
    "a called function": ("m1.distill.traces", "core/curation.py", "extract_boxed(answer)", "str(answer)"),
    "a function called by what is called": ("m1.score.predictions", "core/answers.py", "text.rfind(", "text.find("),
    "a default": ("m1.infer.sweep", "engines/protocol.py", "temperature: float = 0.0", "temperature: float = 0.1"),
    "the order of arguments": ("m1.select.sample", "core/draws.py", "_take(tree, generator)", "_take(generator, tree)"),
    "a decorator": (
        "m1.train.sft",
        "train/trainer.py",
        "@dataclass(frozen=True)\nclass RunInfo",
        "@dataclass\nclass RunInfo",
    ),
    "a field": ("m1.report.tables", "report/settings.py", "    remark: str", "    remarks: str"),
    "a method": ("m1.infer.sweep", "infer/settings.py", "{0, *self.forced_counts}", "{*self.forced_counts}"),
    "a number of the world": ("m1.world.build", "world/questions.py", "LETTERS[correct]", "LETTERS[0]"),
}
"""What is edited: the step that must see it, the file, the old and the new text."""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package, to edit."""
    copy = shutil.copytree(PACKAGE, tmp_path / "m1", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "PACKAGE", copy)
    module._kept.cache_clear()
    yield copy
    module._kept.cache_clear()


def fresh(name: str) -> str:
    module._kept.cache_clear()
    return module.fingerprint(name)


def fresh_steps() -> dict[str, str]:
    """The fingerprints of all steps, of sources that are parsed once."""
    module._kept.cache_clear()
    return {step: module.fingerprint(step) for step in STEPS}


def rewrite(package: Path, pattern: str, replacement: str | Callable[[re.Match[str]], str]) -> int:
    """Replace a pattern in all sources; how often it stood there."""
    total = 0
    for path in package.rglob("*.py"):
        text, count = re.subn(pattern, replacement, path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        path.write_text(text, encoding="utf-8")
        total += count
    return total


def move(package: Path, name: str) -> str:
    """Give a module another name and place, and correct its import lines; the new name."""
    _, room, own = name.split(".")
    moved = f"m1.{room}.elsewhere.other_{own}"
    (package / room / "elsewhere").mkdir(exist_ok=True)
    (package / room / "elsewhere/__init__.py").write_text('"""Moved."""\n')
    package.joinpath(room, f"{own}.py").rename(package.joinpath(room, "elsewhere", f"other_{own}.py"))

    def correct(line: re.Match[str]) -> str:
        others = ", ".join(name for name in line[2].split(", ") if name != own)
        first = f"{line[1]}from m1.{room}.elsewhere import other_{own} as {own}"
        return f"{first}\n{line[1]}from m1.{room} import {others}" if others else first

    rewrite(package, rf"^(\s*)from m1\.{room} import ((?:\w+, )*{own}(?:, \w+)*)$", correct)
    rewrite(package, rf"\bm1\.{room}\.{own}\b", moved)
    return moved


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_is_moved_and_renamed_is_the_same(package: Path, name: str) -> None:
    before = fresh(name)
    assert rewrite(package, rf"\b{STEPS[name]}\b", f"{STEPS[name]}_by_another_name") > 1
    moved = move(package, name)
    assert fresh(moved) == before


@pytest.mark.parametrize("name", SHARED)
def test_what_steps_share_moves_without_them(package: Path, name: str) -> None:
    before = fresh_steps()
    assert rewrite(package, rf"\b{SHARED[name]}\b", f"{SHARED[name]}Renamed") > 1
    _, room, own = name.split(".")
    package.joinpath(room, f"{own}.py").rename(package.joinpath(room, f"other_{own}.py"))
    rewrite(package, rf"\bm1\.{room}\.{own}\b", f"m1.{room}.other_{own}")
    rewrite(
        package,
        rf"^(\s*)from m1\.{room} import ((?:\w+, )*){own}\b(.*)$",
        rf"\1from m1.{room} import \2other_{own} as {own}\3",
    )
    assert fresh_steps() == before


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_of_what_a_step_does_is_seen(package: Path, edit: str) -> None:
    step, file, old, new = EDITS[edit]
    before = fresh(step)
    text = (package / file).read_text(encoding="utf-8")
    assert old in text
    (package / file).write_text(text.replace(old, new), encoding="utf-8")
    assert fresh(step) != before


def test_messages_and_comments_are_not(package: Path) -> None:
    before = fresh_steps()
    assert rewrite(package, r"(?<=UserError\()(?=f?\")", '"Another message: " ') > 50
    rewrite(package, r"^(\s*)(def \w+)", r"\1# A comment.\n\1\2")
    assert fresh_steps() == before


def test_nor_is_how_fingerprints_are_made(package: Path) -> None:
    """A training asks for its own, under which the store keeps its model."""
    before = fresh("m1.train.sft")
    file = package / "core/fingerprint.py"
    text = file.read_text(encoding="utf-8")
    assert "classes = 0" in text
    file.write_text(text.replace("classes = 0", "classes = 1"), encoding="utf-8")
    assert fresh("m1.train.sft") == before
