"""Pin all packages of the conda environments in this folder, with the hashes of their wheels (``make pins``).

The packages above :data:`MARK` are chosen by hand; those below are their dependencies, which ``uv`` resolves. Packages
have the versions of requirements.txt and constraints.txt if they are listed there. A package that only some machines
need, such as torch's libraries for GPUs, has a marker. ``tests/layout/test_envs.py`` checks that all of these agree.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

HERE = Path(__file__).parent
MARK = "      # what these need in turn\n"
PYTHON = (3, 11)
MACHINES = [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")]
"""The machines that the environments are pinned for."""
OWN = {"sglang": MACHINES[:2]}
"""Environments that conflict with our pins, so that they have versions of their own, and the machines they run on."""

Machine = tuple[str, str]
"""``sys_platform`` and ``platform_machine``."""


def resolved(names: list[str], constrained: bool) -> list[dict[str, Any]]:
    """Resolve packages and their dependencies with ``uv``, for all machines at once.

    Args:
        names: requirements, such as ``torch`` or ``torch==2.8.0``.
        constrained: whether versions must agree with requirements.txt and constraints.txt.

    Returns:
        The entries ``packages`` of a lock file (PEP 751).
    """
    command = [
        "uv",
        "pip",
        "compile",
        "-",
        "--quiet",
        "--no-config",
        "--universal",
        f"--python-version={PYTHON[0]}.{PYTHON[1]}",
    ]
    command += [
        "--format=pylock.toml",
        *(["--constraints=constraints.txt", "--constraints=requirements.txt"] if constrained else []),
    ]
    if not shutil.which("uv"):
        sys.exit("uv: not found; install it: pip install uv")
    done = subprocess.run(command, input="\n".join(names), capture_output=True, text=True, cwd=HERE.parent)
    if done.returncode:
        sys.exit(f"{', '.join(names)}: uv finds no versions that go together:\n{done.stderr}")
    found: list[dict[str, Any]] = tomllib.loads(done.stdout)["packages"]
    return found


def holds(marker: str, machine: Machine) -> bool:
    """Whether a machine needs a package that has this marker (PEP 508); every machine does if the marker is empty."""
    version = f"{PYTHON[0]}.{PYTHON[1]}"
    python = {
        "python_version": version,
        "python_full_version": f"{version}.9",
        "implementation_name": "cpython",
        "os_name": "posix",
    }
    return not marker or Marker(marker).evaluate({**python, "sys_platform": machine[0], "platform_machine": machine[1]})


def fits(wheel: dict[str, Any], machine: Machine) -> bool:
    """Whether a wheel can be installed for :data:`PYTHON` on a machine."""
    system = {"linux": "manylinux", "darwin": "macosx"}[machine[0]]
    for tag in parse_wheel_filename(wheel["url"].rpartition("/")[2])[3]:
        version = re.fullmatch(r"(?:cp|py)3(\d*)", tag.interpreter)
        python = version and (
            version[1] == str(PYTHON[1]) if tag.abi.startswith("cp") else int(version[1] or 0) <= PYTHON[1]
        )
        here = tag.platform.startswith(system) and tag.platform.endswith((machine[1], "universal2"))
        if python and (tag.platform == "any" or here):
            return True
    return False


def where(needing: list[Machine], machines: list[Machine]) -> str:
    """Build the shortest marker that is true on the machines in ``needing`` and false on the others."""
    parts = []
    for system in dict(machines):
        here, all_here = ([machine for platform, machine in some if platform == system] for some in (needing, machines))
        if here:
            parts += (
                [f"sys_platform == '{system}'"]
                if here == all_here
                else [f"platform_machine == '{one}'" for one in here]
            )
    return " or ".join(parts)


def line(package: dict[str, Any], machines: list[Machine]) -> str:
    """Write a package as a line for pip, with its version, a marker if not every machine needs it, and its hashes.

    A source distribution stands in for wheels that are missing. The line is empty if no machine needs the package.
    """
    needing = [machine for machine in machines if holds(package.get("marker", ""), machine)]
    if not needing:
        return ""
    wheels = [wheel for wheel in package.get("wheels", []) if any(fits(wheel, machine) for machine in needing)]
    lacking = [machine for machine in needing if not any(fits(wheel, machine) for wheel in wheels)]
    files = [*wheels, *([package["sdist"]] if lacking and "sdist" in package else [])]
    if lacking and "sdist" not in package:
        sys.exit(f"{package['name']} {package['version']}: no wheel for {lacking}")
    marker = "" if needing == machines else f" ; {where(needing, machines)}"
    return f"{package['name']}=={package['version']}{marker} " + " ".join(
        f"--hash=sha256:{one['hashes']['sha256']}" for one in files
    )


def pinned(text: str, own: list[Machine] | None) -> Iterator[str]:
    """Yield the parts of an environment's file, with all its packages pinned anew.

    Args:
        text: the file as it is.
        own: the machines of an environment that has versions of its own (:data:`OWN`); None for the others.
    """
    head, _, _ = text.partition(MARK)
    above, listing, by_hand = head.partition("  - pip:\n")
    requirements = [Requirement(one.removeprefix("      - ").partition(" ")[0]) for one in by_hand.splitlines()]
    asked: list[str] = [canonicalize_name(one.name) for one in requirements]
    packages = resolved(list(map(str, requirements)) if own else asked, own is None)
    lines = {True: "", False: ""}
    for package in sorted(packages, key=lambda one: asked.index(one["name"]) if one["name"] in asked else len(asked)):
        if said := line(package, own or MACHINES):
            lines[package["name"] in asked] += f"      - {said}\n"
    yield from (above, listing, lines[True], MARK, lines[False])


if __name__ == "__main__":
    for environment in sorted(HERE.glob("*.yaml")):
        text = "".join(pinned(environment.read_text(encoding="utf-8"), OWN.get(environment.stem)))
        environment.write_text(text, encoding="utf-8")
