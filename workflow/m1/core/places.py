"""Where files are that the workflow comes with.

The workflow runs in any folder. Its source (package, rules, resources, report) stays where it is; results, logs, store
and scratch are in the working directory, and the configuration, whose files default to those of the source.
"""

import os
import re
import stat
import tempfile
from pathlib import Path

from m1.core.errors import UserError

ROOM = 10**6
"""Bytes that a folder must take to count as one that can be written."""
SOURCE = Path(__file__).resolve().parents[3]


def source_file(name: str) -> str:
    """A file of the source, from the working directory: in another clone it has the same path, and reruns nothing.

    Raises:
        UserError: it is not there. Snakemake does not look at the inputs of a step that is done.
    """
    if fault := unreadable(SOURCE / name):
        raise UserError(f"{SOURCE / name}: {fault}; the workflow comes with it: git checkout -- {name}")
    return os.path.relpath(SOURCE / name)


def locate(name: str) -> Path:
    """A file of the working directory or, where it is not there, of the source."""
    return Path(name) if Path(name).exists() else SOURCE / name


def nearest_folder(place: Path) -> Path:
    """A folder, or the one above it that is there."""
    return next(part for part in (place, *place.absolute().parents) if part.is_dir())


def refusal(place: Path) -> str:
    """Why nothing can be written into a folder, or into the one above it that is there; empty where something can.

    Tried, not looked up: permissions say nothing of a disk that is full or read-only, and do not bind root.
    """
    try:
        with tempfile.TemporaryFile(dir=nearest_folder(place)) as file:
            file.write(bytes(ROOM))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or str(error)
    return ""


def unreadable(path: str | Path, folder: bool = False) -> str:
    """Why a file, or a ``folder``, cannot be read; empty where it can."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        link = f" (it is a link to {os.readlink(path)})" if os.path.islink(path) else ""
        return f"{error.strerror or error}{link}"
    if folder != stat.S_ISDIR(mode):
        return "a file, where a folder is needed" if folder else "a folder, where a file is needed"
    return "" if os.access(path, os.R_OK | (os.X_OK if folder else 0)) else "Permission denied"


def special_characters(path: str) -> str:
    """Characters of a path that a shell or Snakemake takes for something else, as words; empty where there are none."""
    found = dict.fromkeys(re.findall(r"[^\w./@%+=:,~-]", path))
    return ", ".join("a blank" if one == " " else repr(one) for one in found)


def misplaced_source() -> str:
    """Why the workflow cannot run from where its source is, with the remedy; empty where it can.

    A blank in the path of a clone does no harm while the clone is the working directory.
    """
    if found := " and ".join(sorted(set("{}:") & set(str(SOURCE)))):
        return f"{SOURCE}: Snakemake and Python take {found} in a path for something else; move the clone"
    if found := special_characters(os.path.relpath(SOURCE)):
        return f"{SOURCE}: its path holds {found}, so the workflow runs only in that folder itself; move the clone"
    return ""
