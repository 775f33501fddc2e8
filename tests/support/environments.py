"""What packages need in turn, from what is installed here; shared by the test of envs/ and the stand-in for conda."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OF_TORCH = re.compile("nvidia-|cuda-|triton$|setuptools$")
"""What torch brings, where its build is for GPUs, and what it asks for in any version: these need not be here, or not
as pinned."""


def pins(lines: Iterable[str]) -> dict[str, str]:
    """Map canonical package names to versions, from lines ``name==version``."""
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines if "==" in line)}


def listed(environment: Path) -> list[str]:
    """Return the packages that a conda environment's file installs with pip."""
    content = yaml.safe_load(environment.read_text(encoding="utf-8"))
    found: list[str] = next(part["pip"] for part in content["dependencies"] if isinstance(part, dict))
    return found


def provided(environment: Path) -> dict[str, str]:
    """Return the pins of a conda environment's file, without hashes and markers."""
    return pins(line.partition(" ")[0] for line in listed(environment))


def needed(names: Iterable[str]) -> dict[str, Distribution]:
    """Some packages and all that they need, by canonical name, as installed here. What is not installed is not needed
    on this platform."""
    found: dict[str, Distribution] = {}
    waiting: list[tuple[str, frozenset[str]]] = [(name, frozenset()) for name in names]
    seen = set()
    while waiting:
        name, extras = waiting.pop()
        if (canonicalize_name(name), extras) in seen:
            continue
        seen.add((canonicalize_name(name), extras))
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        found[canonicalize_name(name)] = package
        for requirement in map(Requirement, package.requires or []):
            if requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in {"", *extras}
            ):
                waiting.append((requirement.name, frozenset(requirement.extras)))
    return found
