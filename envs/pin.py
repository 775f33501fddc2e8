"""Pin the environments of this folder whole: what their packages need in turn, and the hash of each wheel (``make
pins``).

The packages above :data:`MARK` are chosen by hand. Everything has the version of requirements.txt and constraints.txt,
where it is in them; what only some machines need (torch's libraries for GPUs) has a marker.
``tests/layout/test_envs.py`` holds them all together."""

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
"""What an environment may be made on."""
OWN = {"sglang": MACHINES[:2]}
"""Environments whose packages exclude the core's versions, and their machines."""

Machine = tuple[str, str]
"""``sys_platform`` and ``platform_machine``."""


def resolved(names: list[str], constrained: bool) -> list[dict[str, Any]]:
    """Packages as a lock file (PEP 751) has them, for all machines."""
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
    """Whether a machine needs what has this marker."""
    version = f"{PYTHON[0]}.{PYTHON[1]}"
    python = {
        "python_version": version,
        "python_full_version": f"{version}.9",
        "implementation_name": "cpython",
        "os_name": "posix",
    }
    return not marker or Marker(marker).evaluate({**python, "sys_platform": machine[0], "platform_machine": machine[1]})


def fits(wheel: dict[str, Any], machine: Machine) -> bool:
    """Whether a wheel is for this Python on a machine."""
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
    """A marker for some of all machines."""
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
    """A package as pip reads it: version, marker where not every machine needs it, hashes; empty where none does."""
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
    """An environment's file, pinned anew.

    Args:
        own: its machines, where its versions are its own.
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
