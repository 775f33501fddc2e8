"""The environments: their pins are those of requirements.txt, and each holds what the modules of its rules import."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from environments import OF_TORCH, listed, needed, pins, provided
from imports import PACKAGE, dependencies
from m1.core.fingerprint import fingerprint
from packaging.utils import canonicalize_name
from rules import rules

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = sorted(path for path in (ROOT / "envs").glob("*.yaml") if path.stem != "sglang")
"""Those of rules; SGLang's pins exclude the core's, and only :data:`ELSEWHERE` runs in it."""
ELSEWHERE = {"m1.engines.sglang_worker"}
LAUNCHED = {"m1.train.launch": "m1.train.sft"}
"""What a module starts that decides nothing itself: the rule carries the fingerprint of the one that does."""
SNAKEMAKES_OWN = "report_rulegraph"
"""The rule that runs Snakemake itself, and so what the rule files import."""
COMES_WITH = {
    "httpx2": {"huggingface-hub", "openai"},
    "packaging": {"transformers"},
    "yaml": {"pyyaml", "transformers"},
}
"""Modules of packages that come with any of others."""

FILES = ("constraints.txt", "requirements.txt")
REQUIRED = pins(line for name in FILES for line in (ROOT / name).read_text(encoding="utf-8").splitlines())


def steps() -> dict[str, tuple[Path, str]]:
    """Name of each rule that runs a module of ours to its environment and that module."""
    found = {}
    for name, rule in rules().items():
        if rule.command and name != SNAKEMAKES_OWN:
            assert rule.environment, f"{name}: no environment"
            assert rule.step, f"{name}: no module"
            assert "python -m {params.code.module} " in rule.command, f"{name}: runs something else"
            found[name] = rule.environment, rule.step.module
    return found


def third_party(module: str, at_once: bool = False) -> set[str]:
    """Packages outside the standard library that a module of ours names in imports; those for type checkers only are
    left out.

    Args:
        at_once: only imports that importing the module runs, not those inside its functions.
    """
    path = PACKAGE.joinpath(*module.split(".")[1:])
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8"))
    checked = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    unused = {inner for node in checked for inner in ast.walk(node)}
    names = set()
    for node in tree.body if at_once else ast.walk(tree):
        if node in unused:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"m1"}


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda path: path.stem)
def test_pins_are_those_of_the_requirements(environment: Path) -> None:
    found = provided(environment)
    assert {name: version for name, version in found.items() if not OF_TORCH.match(name)} == {
        name: REQUIRED.get(name) for name in found if not OF_TORCH.match(name)
    }


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda path: path.stem)
def test_all_that_an_environment_installs_is_pinned(environment: Path) -> None:
    pinned, installed = set(provided(environment)), set(needed(provided(environment)))
    assert not installed - pinned, "pins of what its packages need are lacking; make pins"
    assert not {name for name in pinned - installed if not OF_TORCH.match(name)}, (
        "pins of what nothing needs; make pins"
    )


def test_everything_has_hashes_and_the_same_in_all_environments() -> None:
    """Pip checks all hashes or none: one without would keep an environment from being made."""
    lines: dict[str, set[str]] = {}
    for environment in (ROOT / "envs").glob("*.yaml"):
        for line in listed(environment):
            assert re.fullmatch(r"[\w.-]+==[\w.]+( ; [\w '=]+)?( --hash=sha256:[0-9a-f]{64})+", line), (
                f"{environment}: {line}; make pins"
            )
            if environment in ENVIRONMENTS:
                lines.setdefault(line.partition(" ")[0], set()).add(line)
    assert not [name for name, found in lines.items() if len(found) > 1]
    assert len([name for name in lines if OF_TORCH.match(name)]) > 15, "CUDA's libraries are pinned, too"


def test_an_environment_holds_what_its_rules_import() -> None:
    lacking: dict[str, set[str]] = {}
    for environment, module in set(steps().values()):
        run = dependencies(module) | dependencies(LAUNCHED.get(module, module))
        wanted = {package for inner in run - ELSEWHERE for package in third_party(inner)}
        pinned = set(provided(environment))
        if missing := {
            name for name in wanted if not pinned & ({canonicalize_name(name)} | COMES_WITH.get(name, set()))
        }:
            lacking.setdefault(environment.name, set()).update(missing)
    assert not lacking
    assert {environment for environment, _ in steps().values()} == set(ENVIRONMENTS) - {ROOT / "envs/workflow.yaml"}


def test_snakemakes_own_environment_holds_what_the_rule_files_import_at_once() -> None:
    """In a process of its own, whose modules are those that Snakemake loads."""
    code = "import sys; from rules import rules; rules(); print(*(name for name in sys.modules if name[:3] == 'm1.'))"
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT / "workflow"), str(ROOT / "tests/support")])}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | paths, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    assert "m1.wiring.config" in loaded
    at_once = {package for name in loaded for package in third_party(name, at_once=True)}
    assert at_once - {"yaml"} == {"jsonschema"}  # yaml comes with Snakemake
    assert {"snakemake", "jsonschema"} <= set(provided(ROOT / "envs/workflow.yaml"))
    assert rules()[SNAKEMAKES_OWN].environment == ROOT / "envs/workflow.yaml"


def test_the_teachers_environment_holds_what_the_embedded_server_imports() -> None:
    wanted = {package for inner in dependencies("m1.world.server") for package in third_party(inner)}
    assert wanted <= set(provided(ROOT / "envs/teacher.yaml"))


def test_a_rule_carries_the_fingerprint_of_the_module_it_runs() -> None:
    """Or of the one that this starts."""
    carried = {name: rule.step.fingerprint for name, rule in rules().items() if rule.step}
    assert carried == {name: fingerprint(LAUNCHED.get(module, module)) for name, (_, module) in steps().items()}
    assert len(carried) > 40


def test_a_rule_is_named_as_its_stage_its_log_and_its_benchmark() -> None:
    for name, (_, module) in steps().items():
        rule = rules()[name]
        assert name.split("_")[0] == module.split(".")[1]
        for ending, paths in (("log", rule.log), ("tsv", [rule.benchmark])):
            assert [bool(re.fullmatch(rf"logs/{name}(/.+)?\.{ending}", str(path))) for path in paths] == [True], name
