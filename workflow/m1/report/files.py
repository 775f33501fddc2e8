"""What the steps of the report share: flags, and reading and writing tables, columns of records and tokenizers."""

import argparse
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from m1.core.errors import UserError
from m1.core.files import WRITTEN, check_output, csv_cell, from_csv_cell, replacing, write_manifest
from m1.core.records import open_parquet

BESIDE = "its folder also holds the files that it names"
FLAGS: dict[str, dict[str, Any]] = {
    "shown": {"type": Path, "help": f"shown.json, which the rule report_shown writes; {BESIDE}"},
    "scores": {"nargs": "+", "help": "files of scores, each of one or more models"},
    "manifest": {
        "required": False,
        "help": "JSON to write: inputs, and hashes of the tables; default: none",
    },
    "benchmarks": {"help": "resources/paper/benchmarks.csv: keys and headings of the benchmarks, in order"},
}
"""Flags that several steps have."""
FIGURE = {"nargs": "+", "help": "files to write: .pdf, .png"}  # a flag that names a figure
POINTS = "resources/paper/figure1.csv: the points of the paper's Figure 1"  # help of a flag


def add_flags(command: argparse.ArgumentParser, *shared: str, **own: str | dict[str, Any]) -> None:
    """Add flags to a command; a flag is required unless its settings say otherwise.

    Args:
        command: to add to.
        shared: names of flags in :data:`FLAGS`.
        own: further flags by name: the help, or the keyword arguments of ``add_argument``.
    """
    for flag, settings in ({flag: FLAGS[flag] for flag in shared} | own).items():
        described = {"help": settings} if isinstance(settings, str) else settings
        command.add_argument(f"--{flag}", **{"required": True} | described)


def write_step_manifest(options: argparse.Namespace) -> None:
    """Write the manifest of a step, if its flags ask for one. Its inputs are the files that its flags name and that it
    has not written."""
    if options.manifest is None:
        return
    named = [path for found in vars(options).values() for path in (found if isinstance(found, list) else [found])]
    files = [path for path in named if isinstance(path, str | Path) and Path(path).is_file()]
    inputs = {str(path): path for path in files if Path(path) not in WRITTEN}
    write_manifest(options.manifest, inputs=inputs, settings=None, counts={}, started=options.started)


def parser(about: str | None, *shared: str, **own: str | dict[str, Any]) -> argparse.ArgumentParser:
    """The command line of a step: the module's docstring as description, and flags as in :func:`add_flags`."""
    found = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.set_defaults(started=time.time())
    add_flags(found, *shared, **own)
    return found


def read_csv(path: str | Path, columns: Iterable[str] = (), text: bool = False) -> pd.DataFrame:
    """Read a CSV table with these columns, and perhaps others; with ``text``, every cell stays as it is written. A file
    that is missing or not readable, or lacks a column, is a :class:`UserError`."""
    try:
        check_output(path)
        frame = pd.read_csv(path, dtype=str, keep_default_na=False) if text else pd.read_csv(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not readable as CSV: {error}") from error
    frame = frame.map(lambda value: from_csv_cell(value) if isinstance(value, str) else value)
    _require(path, columns, frame.columns)
    return frame


def _require(path: str | Path, names: Iterable[str], there: Iterable[str]) -> None:
    if missing := [name for name in names if name not in there]:
        raise UserError(f"{path}: no column {', '.join(missing)}; it has {', '.join(there)}")


def write_csv(
    table: pd.DataFrame,
    path: str | Path,
    formats: Mapping[str, str] | None = None,
    fraction: str = "{:.2f}",
    missing: str = "",
) -> None:
    """Write a table as CSV, atomically, with texts guarded by :func:`m1.core.files.csv_cell`.

    ``formats`` has the format of a column's fractional numbers, and ``fraction`` that of other columns; ``missing``
    stands for NaN.
    """
    table = table.copy()
    for name in table.select_dtypes("float"):
        form = (formats or {}).get(name, fraction)
        table[name] = table[name].map(form.format, na_action="ignore").astype(object)
    table = table.map(csv_cell).rename(columns=csv_cell)
    with replacing(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n", na_rep=missing)


def read_benchmarks(path: str | Path) -> dict[str, str]:
    """Benchmark key to column heading, in the order of Table 1."""
    frame = read_csv(path, ["key", "column"])
    return dict(zip(frame["key"], frame["column"]))


def add_own_benchmarks(headings: Mapping[str, str], found: Iterable[str]) -> dict[str, str]:
    """Key to heading: ``headings``, then other keys in ``found`` (a user's own benchmarks), as they are."""
    return {**headings, **{key: key for key in sorted(set(found) - set(headings))}}


def read_columns(path: str | Path, names: Sequence[str]) -> list[list[str]]:
    """Read only the named columns of a file of records of any kind."""
    with open_parquet(path) as file:
        _require(path, names, file.schema_arrow.names)
        read = file.read(list(names))
    return [read.column(name).to_pylist() for name in names]


def find_manifest(path: Path) -> tuple[Path, Path]:
    """The file of a manifest, given itself or its folder with a ``manifest.json``, and the path (without suffix) of the
    artifact that it describes."""
    file = path / "manifest.json" if path.is_dir() else path
    return file, file.parent if file.name == "manifest.json" else file.with_suffix("")


def read_decoder(folder: Path) -> Callable[[Sequence[int]], str]:
    """A function from token ids to text, by the tokenizer in a model's folder; a :class:`UserError` if there is none.
    Special tokens stay visible."""
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        raise UserError(f"{file}: no such file; the thinking of a model needs its tokenizer")
    tokenizer = Tokenizer.from_file(str(file))
    return lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=False))
