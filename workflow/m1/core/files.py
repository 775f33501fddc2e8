"""Files that are whole or not there: atomic writes, JSON, hashes, and the manifests beside what cost something."""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from m1.core.counts import beside_published
from m1.core.errors import UserError, printable

_FORMULA = re.compile(r"[=+@\t\n-]|\\u000d")
_NUMBER = re.compile(r"[-+]?[\d.]+%?(?: ?[\[(][-+\d., %]+[\])])?")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to (a file or a folder); rename it to ``path`` on success, else delete it.

    What a killed writer left there is removed first. An artifact has one writer at a time: Snakemake sees to that.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    _remove(partial)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if partial.is_dir() and path.exists():
            shutil.rmtree(path)
        os.replace(partial, path)
    except OSError as error:
        if error.errno is None:  # a library's own error, such as a model that it cannot read, not the disk's
            raise
        remedy = "Free space or correct the permissions and run again."
        raise UserError(f"{path}: cannot be written: {error.strerror or error}. {remedy}") from error
    finally:
        _remove(partial)


@contextmanager
def replacing_model(path: str | Path, known: str | None = None) -> Iterator[Path]:
    """As :func:`replacing`, for the folder of a model or a tokenizer, and beside it the :func:`identity_file`.

    Snakemake compares files by content, but folders by time alone. What is made from a folder goes by this file, so
    that a copy of the results that did not keep the times trains nothing again. An identity that is ``known`` already
    is not computed: tens of gigabytes are not read twice.
    """
    with replacing(path) as folder:
        yield folder
    write_text(identity_file(path), (known or _identity(Path(path))) + "\n")


def identity_file(model: str | Path) -> Path:
    """The file with a model's identity, beside its folder and written after it."""
    return Path(model).with_name(f"{Path(model).name}.sha256")


def _remove(path: Path) -> None:
    if path.is_dir():
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


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, else a power cut could forget that of a new file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in its canonical form, in hexadecimal."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def model_identity(folder: str | Path) -> str:
    """SHA-256 over what decides a model's answers: its weights, configuration and tokenizer files.

    The key of everything that is generated with the model, so that equal weights are never paid for twice.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        remedy = "Check `bases` in the config, or delete the folder to have it made again."
        raise UserError(f"{folder}: no model here (config.json is missing). {remedy}")
    return _identity(folder)


def _identity(folder: Path) -> str:
    kinds = {".safetensors", ".bin", ".json", ".jinja", ".txt", ".model"}
    kept = [p for p in sorted(folder.iterdir()) if p.suffix in kinds and p.name != "manifest.json"]
    return digest([(p.name, sha256_file(p)) for p in kept])


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
    facts = {"made_by": provenance(), "inputs": hashes, "settings": settings, "counts": dict(counts)}
    if published and (beside := beside_published(published, path, counts)):
        facts["published"] = beside
    write_json(path, {**facts, **more, "seconds": round(time.time() - started, 2)})


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
