"""Write files atomically, and record and check their hashes; write the manifest beside each costly result.

A result is either whole or absent, whenever its writer is killed.
"""

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
"""Files that this process has written since its last manifest; the next manifest lists them with their hashes."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` for a file or folder; rename it to ``path`` on success, else delete it.

    Leftovers of a killed writer are removed first. Each path must have one writer at a time; Snakemake guarantees it.

    Raises:
        UserError: the file cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    remove(partial)
    try:
        make_folder(path.parent)
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
    """Do :func:`replacing` for the folder of a model or tokenizer, and write its :func:`identity_file` as well.

    Rules depend on this file and not on the folder, which Snakemake compares by time alone. If the caller has
    ``known`` the identity, tens of gigabytes are not read again.
    """
    with replacing(path) as folder:
        yield folder
        identity_file(path).unlink(missing_ok=True)  # a kill leaves a folder without one, never with another's
    write_text(identity_file(path), (known or _identity(Path(path))) + "\n")


def identity_file(model: str | Path) -> Path:
    """The file that records a model's identity; it lies beside the model's folder and is written after it."""
    return Path(model).with_name(f"{Path(model).name}.sha256")


def recorded_identity(model: str | Path) -> str:
    """The identity that a model had when it was written; an empty text if none is recorded."""
    recorded = identity_file(model)
    return recorded.read_text(encoding="utf-8", errors="replace").strip() if recorded.is_file() else ""


def remove(path: Path) -> None:
    """Delete a file, a link or a whole folder; errors are ignored."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder and its missing parents, and flush their names to the disk, as :func:`fsync` says."""
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    for part in reversed(missing):
        part.mkdir(mode=mode, exist_ok=True)
        with suppress(PermissionError):  # a folder that may be written to but not read cannot be flushed
            fsync(part.parent)
    folder.mkdir(exist_ok=True)


def fsync(path: Path) -> None:
    """Flush a file to the disk, or a folder's list of names; without the latter, a power cut could lose a new file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Flush a file, or everything in a folder, to the disk, before its final name says that it is complete."""
    for part in [path, *path.rglob("*")] if path.is_dir() else [path]:
        if part.is_file() or part.is_dir():
            fsync(part)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def csv_cell(value: Any) -> Any:
    """A value as a cell of a CSV that people open in a spreadsheet.

    A text that the spreadsheet would run as a formula gets a leading ``'``. Control characters become their codes.
    Numbers stay as they are, also as texts with a sign (``+0.27``, ``-2.3 [-3.1, -1.5]``).
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_csv_cell(text: str) -> str:
    """Undo :func:`csv_cell`, except for control characters."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text, 1) else text


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically; keys keep their order."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not readable as JSON: {error}") from error


def parse_json(text: str) -> Any:
    """Parse JSON that others wrote.

    Raises:
        ValueError: the text is not JSON, is nested too deeply, or an object has a key twice, so that one value would be
            lost. Blanks around a key do not make it another key.
    """
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
    """SHA-256 of a JSON value in canonical form (sorted keys, no blanks), in hexadecimal."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def sha256_files(paths: Sequence[Path], folder: Path) -> dict[str, str]:
    """SHA-256 of files by their path in ``folder``. Eight threads read at a time, because weights have gigabytes."""
    with ThreadPoolExecutor(8) as pool:
        return dict(zip((str(path.relative_to(folder)) for path in paths), pool.map(sha256_file, paths)))


def model_identity(folder: str | Path) -> str:
    """SHA-256 over everything that decides a model's answers: its weights, configuration and tokenizer files.

    It is part of the key of everything generated with the model, so equal weights never generate twice. Every job that
    loads a model computes it once, so weights that changed after they were written are never used.

    Raises:
        UserError: the folder holds no model, or not the model that its :func:`identity_file` records.
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
    """Compare a file with its hash in the manifest beside it, if there is one.

    Raises:
        UserError: the file has changed since it was written.
    """
    path = Path(path)
    for manifest in sorted(path.parent.glob("*.json"), key=lambda one: (not path.name.startswith(one.stem), one.name)):
        if wanted := outputs_of(manifest).get(path.name):
            if (found := sha256_file(path)) != wanted:
                other = f"its SHA-256 is {found}, and {manifest} says {wanted}"
                raise UserError(f"{path}: changed or damaged since it was written: {other}. {REMEDY}")
            return


def adopt(results: Path) -> list[Path]:
    """Accept all files and models below a folder as they are (``make adopt``); returns those that had changed.

    Manifests and identity files get their present hashes, and each such manifest lists them under ``adopted``.
    """
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
    """The output files that a manifest lists, by name, with their SHA-256; empty if the file is no manifest."""
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
    """Write the manifest of a result: the code that made it, its inputs, settings, counts and seconds.

    The manifest lists the files that this process has written into its folder since the last manifest, with their
    SHA-256. Readers of these files compare the hashes (:func:`check_output`).

    Args:
        path: the manifest.
        inputs: files by name; recorded with their SHA-256 (a model folder with its identity).
        settings: the step's settings, as JSON values.
        counts: numbers in and out of the step.
        started: ``time.time()`` at the start.
        known: hashes of inputs that the step has computed already.
        published: file of the authors' counts, to be recorded beside those found.
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
    """The Git commit, whether the working tree had changes (``dirty``), and versions of packages that decide results.

    Outside of a clone, commit and ``dirty`` are None.
    """

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
