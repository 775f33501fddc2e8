"""``settings.csv`` of two runs: what differs between them in configuration, code and data, from the manifests beside
their artifacts. Folders and seconds, which change no result, have one line each."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from m1.core.errors import UserError
from m1.core.files import read_json, recorded_identity
from m1.report.files import find_manifest
from m1.report.settings import Shown

COLUMNS = ["part", "step", "key", "a", "b", "what"]
ARCHITECTURE = ("model_type", "hidden_size", "num_hidden_layers", "vocab_size", "torch_dtype", "dtype")
"""Keys of a base's ``config.json`` that distinguish it from another base."""
WORDS = {"base": "base weights", "model": "weights", "tokenizer": "tokenizer", "subset": "training samples"}
"""Name of an input to what it is."""
NAMED = 3  # a line names so many steps, and counts the others
LONGEST = 200  # characters of a value


@dataclass(frozen=True)
class Step:
    """What the manifest of one artifact says."""

    commit: str
    packages: Mapping[str, str]
    settings: Mapping[str, Any]  # by dotted path
    ran: Mapping[str, Any]  # on what it was computed, by dotted path
    inputs: Mapping[str, tuple[str, str]]  # name to path and SHA-256
    outputs: Mapping[str, str]  # name to SHA-256
    seconds: float


Name = tuple[str, str]
"""Rule and artifact."""


def read_steps(folder: Path, shown: Shown) -> dict[Name, Step | None]:
    """What the manifests of a run say, in the order of the paper; None for one that is missing, as in a copy without
    weights.

    Raises:
        UserError: a file is no manifest of this workflow.
    """
    found: dict[Name, Step | None] = {}
    for one in shown.manifests:
        for name in one.files:
            file, artifact = find_manifest(folder / name)
            path = PurePath(name)
            short = path.parent.name if path.name == "manifest.json" else path.stem if path.suffix else path.name
            found[one.rule, short] = _read_step(file, artifact) if file.is_file() else None
    return found


def _read_step(file: Path, artifact: Path) -> Step:
    manifest = read_json(file)
    try:
        by = manifest["made_by"]
        commit = (by["commit"] or "unknown")[:9] + (" with edits" if by["dirty"] else "")
        inputs = {_shorten(name): (one["path"], one["sha256"]) for name, one in manifest["inputs"].items()}
        outputs = dict(manifest["outputs"])
        if identity := recorded_identity(artifact):
            outputs["weights"] = identity
        settings, ran = dict(flatten(manifest["settings"])), dict(flatten(manifest.get("ran", {})))
        return Step(commit, dict(by["packages"]), settings, ran, inputs, outputs, float(manifest["seconds"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        remedy = "Delete it, and the next run makes it again"
        raise UserError(f"{file}: no manifest of this workflow ({error!r}). {remedy}.") from None


def _shorten(name: str) -> str:
    """The name of an input, with each path in it reduced to its last part."""
    return re.sub(r"\S*/", "", name)


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted path. The objects of a list are numbered only if they have a key in common."""
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        names = [name for part in value for name in part]
        parts = (
            dict(enumerate(value)) if len({*names}) < len(names) else {"": {k: v for p in value for k, v in p.items()}}
        )
        for number, part in parts.items():
            yield from flatten(part, ".".join(filter(None, (path, str(number)))))
    elif isinstance(value, dict) and value:
        for name, part in value.items():
            yield from flatten(part, f"{path}.{name}" if path else name)
    elif path:
        yield path, value


def differences(first: tuple[Path, Shown], second: tuple[Path, Shown], questions: pd.DataFrame) -> pd.DataFrame:
    """What differs between two runs.

    Args:
        first, second: their folders and what they show.
        questions: from :func:`count_questions`.

    Returns:
        :data:`COLUMNS`: ``part`` is configuration, data, code or elsewhere; ``step`` the rule and its artifacts;
        ``key`` a dotted path; ``a`` and ``b`` the values of both runs; ``what`` an explanation.
    """
    one, other = (read_steps(folder, shown) for folder, shown in (first, second))
    both = [(name, one[name], other[name]) for name in one if name in other]
    pairs = [(name, a, b) for name, a, b in both if a is not None and b is not None]
    lines = [*_report_lines(first[1], second[1]), *_base_lines(first[0], second[0]), *_setting_lines(pairs)]
    lines += [*_question_lines(questions), *_input_lines(pairs)]
    lines += [*_one_sided_lines(one, other), *_code_lines(one, other), *_elsewhere_lines(pairs, one, other)]
    return pd.DataFrame(lines, columns=COLUMNS)


Line = tuple[str, str, str, str, str, str]
Pairs = list[tuple[Name, Step, Step]]


def show(value: Any) -> str:
    """A value as the text of a cell."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _steps(names: Iterable[Name]) -> str:
    """Steps of one rule as text: the rule and its artifacts."""
    names = list(dict.fromkeys(names))
    shown = ", ".join(artifact for _, artifact in names[:NAMED])
    return f"{names[0][0]} {shown}" + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def same_place(a: Any, b: Any) -> bool:
    """Whether two values differ only in where files or folders lie: they are paths, or lists of paths, whose last parts
    are equal."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(one == other or same_place(one, other) for one, other in zip(a, b))
    texts = isinstance(a, str) and isinstance(b, str) and "/" in a + b
    return texts and PurePath(a).name == PurePath(b).name


def _report_lines(first: Shown, second: Shown) -> Iterator[Line]:
    """What the reports show otherwise, as far as it concerns what is computed or chosen."""

    def facts(shown: Shown) -> dict[str, Any]:
        found: dict[str, Any] = {"models": sorted(model.key for model in shown.models), "figures": list(shown.figures)}
        for table, rows in shown.accuracy_tables.items():
            found |= {f"{table}.{row.model}.budget": row.budget for row in rows}
        names = ("benchmarks", "budgets", "forced", "forced_budget", "seed")
        return found | {name: getattr(shown, name) for name in names}

    one, other = facts(first), facts(second)
    for key in dict.fromkeys([*one, *other]):
        if one.get(key) != other.get(key):
            a, b = ("" if value is None else show(value) for value in (one.get(key), other.get(key)))
            yield "configuration", "report_shown", key, a, b, "what the report shows"


def _setting_lines(pairs: Pairs) -> Iterator[Line]:
    """Settings that differ, those of several artifacts of a rule in one line where both values are the same."""
    found: dict[tuple[str, str, str, str, str], list[Name]] = defaultdict(list)
    for name, one, other in pairs:
        for part, what in (("settings", "setting"), ("ran", "as it was computed")):
            a, b = getattr(one, part), getattr(other, part)
            # A step that took everything from the store says nothing of how it ran.
            for key in dict.fromkeys([*a, *b]) if part == "settings" else [key for key in a if key in b]:
                values = a.get(key), b.get(key)
                if values[0] != values[1] and not same_place(*values):
                    shown = [show(side[key]) if key in side else "" for side in (a, b)]
                    found[name[0], f"{part}.{key}", shown[0], shown[1], what].append(name)
    for (_, key, a, b, what), names in found.items():
        yield "configuration", _steps(names), key, a, b, what


def _base_lines(first: Path, second: Path) -> Iterator[Line]:
    """Bases with other weights, and how their architectures differ."""
    for folder in sorted((first / "bases").glob("*")):
        other = second / "bases" / folder.name
        if not (folder.is_dir() and other.is_dir()):
            continue
        mine, theirs = recorded_identity(folder), recorded_identity(other)
        if mine and theirs and mine != theirs:
            yield "data", f"base {folder.name}", "weights", mine[:12], theirs[:12], "other base weights"
        files = [base / "config.json" for base in (folder, other)]
        a, b = (read_json(file) if file.is_file() else {} for file in files)
        for key in ARCHITECTURE:
            if a and b and a.get(key) != b.get(key):
                yield "configuration", f"base {folder.name}", key, show(a.get(key)), show(b.get(key)), "architecture"


def count_questions(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Questions of each benchmark that both runs asked: ``a``, ``b`` and ``both``, by benchmark.

    Args:
        first, second: scores, with ``benchmark`` and ``question_id``.
    """
    asked = [scores[["benchmark", "question_id"]].drop_duplicates() for scores in (first, second)]
    counted = {name: one.groupby("benchmark").size() for name, one in zip("ab", asked)}
    counted["both"] = asked[0].merge(asked[1]).groupby("benchmark").size()
    return pd.DataFrame(counted).fillna(0).astype(int)


def _question_lines(questions: pd.DataFrame) -> Iterator[Line]:
    for key, a, b, both in questions.itertuples():
        if a > both or b > both:
            what = f"other questions: {both:,} in both, {a - both:,} only in A, {b - both:,} only in B"
            yield "data", f"benchmark {key}", "questions", f"{a:,}", f"{b:,}", what


def _input_lines(pairs: Pairs) -> Iterator[Line]:
    """Inputs that differ, by rule and input; and outputs that differ although settings and inputs are equal."""
    found: dict[tuple[str, str, str], list[tuple[Name, str, str]]] = defaultdict(list)
    for name, one, other in pairs:
        a, b = ({key: sha for key, (_, sha) in step.inputs.items()} for step in (one, other))
        changed = [key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]
        for key in changed:
            what = f"other {WORDS.get(key, key)}"
            found[name[0], f"inputs.{key}", what].append((name, a.get(key, "none"), b.get(key, "none")))
        if not changed and _alike(one, other):
            for key in one.outputs.keys() & other.outputs.keys():
                sides = one.outputs[key], other.outputs[key]
                if sides[0] != sides[1]:
                    what = "another result from the same settings and inputs: other code, packages or hardware"
                    found[name[0], "outputs", what].append((name, *sides))
    for (_, key, what), steps in found.items():
        values = {(mine[:12], theirs[:12]) for _, mine, theirs in steps}
        shown = values.pop() if len(values) == 1 else (f"{len(steps)} files", f"{len(steps)} other files")
        yield "data", _steps(name for name, _, _ in steps), key, *shown, what


def _alike(one: Step, other: Step) -> bool:
    """Whether the settings of two steps are the same, except for where files lie."""
    keys = one.settings.keys() | other.settings.keys()
    values = [(one.settings.get(key), other.settings.get(key)) for key in keys]
    return all(a == b or same_place(a, b) for a, b in values)


def _one_sided_lines(one: Mapping[Name, Step | None], other: Mapping[Name, Step | None]) -> Iterator[Line]:
    """Steps that only one run has, by rule; and manifests that one lacks, as a copy without weights does."""
    for rule in dict.fromkeys(name[0] for name in [*one, *other]):
        mine, theirs = ([name for name in side if name[0] == rule] for side in (one, other))
        only = [[name for name in side if name not in rest] for side, rest in ((mine, other), (theirs, one))]
        if any(only):
            a, b = (", ".join(artifact for _, artifact in names) for names in only)
            yield "configuration", rule, "artifacts", show(a), show(b), "in one run only"
        sides = ((one, other, mine), (other, one, theirs))
        lost = [[name for name in names if side[name] is None and rest.get(name)] for side, rest, names in sides]
        if any(lost):
            a, b = (", ".join(artifact for _, artifact in names) for names in lost)
            yield "elsewhere", rule, "manifest", show(a), show(b), "no manifest there: not compared"


def _code_lines(one: Mapping[Name, Step | None], other: Mapping[Name, Step | None]) -> Iterator[Line]:
    """Commits and versions of packages that differ, each in one line for the whole run."""
    sides = [[step for step in steps.values() if step is not None] for steps in (one, other)]
    commits = [", ".join(sorted({step.commit for step in side})) for side in sides]
    if commits[0] != commits[1]:
        yield "code", "all", "commit", show(commits[0]), show(commits[1]), "of this package"
    packages = sorted({name for side in sides for step in side for name in step.packages})
    for package in packages:
        a, b = (", ".join(sorted({step.packages.get(package, "none") for step in side})) for side in sides)
        if a != b:
            yield "code", "all", f"packages.{package}", a, b, "version"


def _elsewhere_lines(
    pairs: Pairs, one: Mapping[Name, Step | None], other: Mapping[Name, Step | None]
) -> Iterator[Line]:
    """One line about where files lie, and one about how long the steps took."""
    paths = [
        (a.settings[key], b.settings[key])
        for _, a, b in pairs
        for key in a.settings
        if key in b.settings and a.settings[key] != b.settings[key] and same_place(a.settings[key], b.settings[key])
    ]
    paths += [
        (a.inputs[key][0], b.inputs[key][0])
        for _, a, b in pairs
        for key in a.inputs
        if key in b.inputs and a.inputs[key][0] != b.inputs[key][0]
    ]
    if paths:
        yield "elsewhere", "all", "paths", show(paths[0][0]), show(paths[0][1]), f"the first of {len(paths)} paths"
    seconds = [sum(step.seconds for step in steps.values() if step is not None) for steps in (one, other)]
    if seconds[0] != seconds[1]:
        yield "elsewhere", "all", "seconds", f"{seconds[0]:.0f}", f"{seconds[1]:.0f}", "in all steps together"
