"""What packages need in turn, from what is installed here; shared by the test of envs/ and the stand-in for conda."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def pins(lines: Iterable[str]) -> dict[str, str]:
    """Package to version, of lines ``name==version``."""
    return dict(line.split("==") for line in lines if "==" in line)


def provided(environment: Path) -> dict[str, str]:
    """The pins of a conda environment's file."""
    content = yaml.safe_load(environment.read_text(encoding="utf-8"))
    return pins(next(part["pip"] for part in content["dependencies"] if isinstance(part, dict)))


def needed(names: Iterable[str]) -> dict[str, Distribution]:
    """Some packages and all that they need, by canonical name, as installed here. What is not installed is not needed on this platform."""
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
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                waiting.append((requirement.name, frozenset(requirement.extras)))
    return found
