"""Files that are whole or not there: atomic writes, JSON, hashes, and the manifests beside what cost something."""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from m1.core.counts import beside_published
from m1.core.errors import UserError, printable

_FORMULA = re.compile(r"[=+@\t\n-]|\\u000d")
_NUMBER = re.compile(r"[-+]?[\d.]+%?(?: ?[\[(][-+\d., %]+[\])])?")

WRITTEN: dict[Path, None] = {}
"""What this process has written since its last manifest, which lists it."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to (a file or a folder); rename it to ``path`` on success, else delete it.

    What a killed writer left there is removed first. An artifact has one writer at a time: Snakemake sees to that.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    remove(partial)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        sync(partial)
        if partial.is_dir() and path.exists():
            shutil.rmtree(path)
        os.replace(partial, path)
        fsync(path.parent)
        WRITTEN[path] = None
    except OSError as error:
        if error.errno is None:  # a library's own error, such as a model that it cannot read, not the disk's
            raise
        remedy = "Free space or correct the permissions and run again."
        raise UserError(f"{path}: cannot be written: {error.strerror or error}. {remedy}") from error
    finally:
        remove(partial)


@contextmanager
def replacing_model(path: str | Path, known: str | None = None) -> Iterator[Path]:
    """As :func:`replacing`, for the folder of a model or a tokenizer, and beside it the :func:`identity_file`.

    Snakemake compares files by content, but folders by time alone. What is made from a folder goes by this file, so
    that a copy of the results that did not keep the times trains nothing again. An identity that is ``known`` already
    is not computed: tens of gigabytes are not read twice.
    """
    with replacing(path) as folder:
        yield folder
        identity_file(path).unlink(missing_ok=True)  # a kill leaves a folder without one, never with another's
    write_text(identity_file(path), (known or _identity(Path(path))) + "\n")


def identity_file(model: str | Path) -> Path:
    """The file with a model's identity, beside its folder and written after it."""
    return Path(model).with_name(f"{Path(model).name}.sha256")


def recorded_identity(model: str | Path) -> str:
    """The identity that a model had when it was written; empty where none is recorded."""
    recorded = identity_file(model)
    return recorded.read_text(encoding="utf-8", errors="replace").strip() if recorded.is_file() else ""


def remove(path: Path) -> None:
    """Delete a file, a link or a whole folder, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing: for their owner and, as the umask has it, the group only."""
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    for part in reversed(missing):
        part.mkdir(mode=0o770, exist_ok=True)
    folder.mkdir(exist_ok=True)


def fsync(path: Path) -> None:
    """Bring a file to the disk, or the names in a folder, else a power cut could forget that of a new file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Bring a file, or all of a folder, to the disk, before a name or a mark says that it is whole."""
    for part in [path, *path.rglob("*")] if path.is_dir() else [path]:
        if part.is_file() or part.is_dir():
            fsync(part)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def csv_cell(value: Any) -> Any:
    """A value as a cell of a CSV for people: a text that a spreadsheet would take for a formula begins with ``'``.

    Control characters become their codes. Numbers stay, also as a text with a sign (``+0.27``, ``-2.3 [-3.1, -1.5]``).
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_csv_cell(text: str) -> str:
    """A cell as it was before :func:`csv_cell`, but for control characters."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text, 1) else text


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically, keys in the given order."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read JSON, or say which file is broken and where."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not readable as JSON: {error}") from error


def parse_json(text: str) -> Any:
    """JSON that others wrote; a :class:`ValueError` also where a key of an object stands twice (one value would
    vanish; blanks around it make no other key), and where it is nested too deeply to be read."""
    try:
        return json.loads(text, object_pairs_hook=_keys_once)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len({*map(str.strip, found)}) < len(pairs):
        key, count = Counter(key.strip() for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"key {key!r} stands {count} times in one object")
    return found


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in its canonical form, in hexadecimal."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def sha256_files(paths: Sequence[Path], folder: Path) -> dict[str, str]:
    """Name in a folder to SHA-256 of its files; several are read at a time, as weights are many gigabytes."""
    with ThreadPoolExecutor(8) as pool:
        return dict(zip((str(path.relative_to(folder)) for path in paths), pool.map(sha256_file, paths)))


def model_identity(folder: str | Path) -> str:
    """SHA-256 over what decides a model's answers: its weights, configuration and tokenizer files.

    The key of everything that is generated with the model, so that equal weights are never paid for twice. Every job
    that loads a model reads it once for this, so that weights which are no longer those that were written are not used.

    Raises:
        UserError: no model is there, or it is not that of its :func:`identity_file`.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        remedy = "Check `bases` in the config, or delete the folder to have it made again."
        raise UserError(f"{folder}: no model here (config.json is missing). {remedy}")
    found, wanted = _identity(folder), recorded_identity(folder)
    if identity_file(folder).is_file() and wanted != found:
        known = f"its files have the identity {found}, but {identity_file(folder)} says {wanted}"
        raise UserError(f"{folder}: changed or damaged since it was written: {known}. {REMEDY}")
    return found


def _identity(folder: Path) -> str:
    kinds = {".safetensors", ".bin", ".json", ".jinja", ".txt", ".model"}
    kept = [p for p in sorted(folder.iterdir()) if p.suffix in kinds and p.name != "manifest.json"]
    return digest(list(sha256_files(kept, folder).items()))


REMEDY = "Delete it to have it made again; `make adopt` takes it as it is."


def check_output(path: str | Path) -> None:
    """Compare a file with the hash that the manifest of the step that made it holds, if there is one beside it.

    Raises:
        UserError: the file is another than was written; names both.
    """
    path = Path(path)
    for manifest in sorted(path.parent.glob("*.json"), key=lambda one: (not path.name.startswith(one.stem), one.name)):
        if wanted := outputs_of(manifest).get(path.name):
            if (found := sha256_file(path)) != wanted:
                other = f"its SHA-256 is {found}, and {manifest} says {wanted}"
                raise UserError(f"{path}: changed or damaged since it was written: {other}. {REMEDY}")
            return


def adopt(results: Path) -> list[Path]:
    """Take files and models below a folder as they are: manifests and identities get the hashes of those that were
    changed since they were written, and a manifest says so. Returns what was changed."""
    changed: list[Path] = []
    for manifest in sorted(results.rglob("*.json")):
        outputs = outputs_of(manifest)
        found = sha256_files([file for name in outputs if (file := manifest.parent / name).is_file()], manifest.parent)
        if other := [name for name, value in found.items() if value != outputs[name]]:
            facts = read_json(manifest)
            adopted = sorted({*facts.get("adopted", []), *other})
            write_json(manifest, facts | {"outputs": outputs | found, "adopted": adopted})
            changed += [manifest.parent / name for name in other]
    for recorded in sorted(results.rglob("*.sha256")):
        model = recorded.with_suffix("")
        if model.is_dir() and recorded_identity(model) != (identity := _identity(model)):
            write_text(recorded, identity + "\n")
            changed.append(model)
    return changed


def outputs_of(manifest: Path) -> dict[str, str]:
    """Names of the files that a manifest says it is of, and their SHA-256; none if it is no manifest."""
    with suppress(OSError, ValueError):
        found = json.loads(manifest.read_text(encoding="utf-8"))
        outputs = found.get("outputs") if isinstance(found, dict) else None
        return outputs if isinstance(outputs, dict) else {}
    return {}


def write_manifest(
    path: str | Path,
    *,
    inputs: Mapping[str, str | Path],
    settings: Any,
    counts: Mapping[str, Any],
    started: float,
    known: Mapping[str, str] | None = None,
    published: str | Path | None = None,
    **more: Any,
) -> None:
    """Write the manifest of an artifact: what made it, from what, and what it cost.

    What this process has written beside it since its last manifest is listed with its SHA-256, which those who read
    these files compare (:func:`check_output`).

    Args:
        inputs: name to file; recorded with its SHA-256 (a model folder by its identity).
        counts: numbers in and out of the step.
        started: ``time.time()`` at the start, for the seconds (wall clock).
        known: hashes of inputs that the step has computed already; a model of tens of gigabytes is not read twice.
        published: file of the counts that the authors published, where they are to stand beside those found.
        more: further facts, for example tokens and dollars.
    """
    hashes = {}
    for name, file in inputs.items():
        found = (known or {}).get(name) or (model_identity(file) if Path(file).is_dir() else sha256_file(file))
        hashes[name] = {"path": str(file), "sha256": found}
    others = set(map(Path, inputs.values()))
    made = [file for file in WRITTEN if file.parent == Path(path).parent and file.is_file() and file not in others]
    facts = {"made_by": provenance(), "inputs": hashes, "outputs": sha256_files(made, Path(path).parent)}
    facts |= {"settings": settings, "counts": dict(counts)}
    if published and (beside := beside_published(published, path, counts)):
        facts["published"] = beside
    write_json(path, {**facts, **more, "seconds": round(time.time() - started, 2)})
    WRITTEN.clear()


def provenance() -> dict[str, Any]:
    """Commit, whether the tree was dirty, and the versions of the packages that decide results."""

    def git(*command: str) -> str | None:
        here = Path(__file__).parent
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(["git", *command], cwd=here, capture_output=True, text=True, timeout=10, check=True)
            return done.stdout.strip()
        return None

    versions = {}
    for package in ("torch", "transformers", "trl", "datasets", "tokenizers", "openai", "pandas", "snakemake"):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    changed = git("status", "--porcelain", "--untracked-files=no")
    dirty = None if changed is None else bool(changed)
    return {"commit": git("rev-parse", "HEAD"), "dirty": dirty, "packages": versions}
