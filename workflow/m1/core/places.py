"""Find files of the workflow's source and of the working directory.

The workflow runs in any folder. Its source (package, rules, resources, report) stays where it is. Results, logs, store
and scratch are in the working directory. Configuration files come from the working directory or else the source.
"""

import os
import re
import stat
import tempfile
from pathlib import Path

from m1.core.errors import UserError

ROOM = 10**6
"""Bytes that must fit into a folder for it to count as writable."""
SOURCE = Path(__file__).resolve().parents[3]


def source_file(name: str) -> str:
    """The path of a file of the workflow's source, relative to the working directory.

    The relative path is the same in another clone, so a move of the clone reruns nothing.

    Raises:
        UserError: the file cannot be read. Snakemake would not notice, as it ignores the inputs of finished steps.
    """
    if fault := unreadable(SOURCE / name):
        raise UserError(f"{SOURCE / name}: {fault}; the workflow comes with it: git checkout -- {name}")
    return os.path.relpath(SOURCE / name)


def locate(name: str) -> Path:
    """The path of a file in the working directory or, if it is not there, in the workflow's source."""
    return Path(name) if Path(name).exists() else SOURCE / name


def nearest_folder(place: Path) -> Path:
    """The folder itself if it exists, else its nearest parent that exists."""
    return next(part for part in (place, *place.absolute().parents) if part.is_dir())


def refusal(place: Path) -> str:
    """Why a folder (or its nearest existing parent) cannot be written to; an empty text if it can.

    The function writes a temporary file, because permissions do not show a disk that is full or read-only, and do not
    bind root.
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
    """Why a file, or a folder if ``folder`` is set, cannot be read; an empty text if it can."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        link = f" (it is a link to {os.readlink(path)})" if os.path.islink(path) else ""
        return f"{error.strerror or error}{link}"
    if folder != stat.S_ISDIR(mode):
        return "a file, where a folder is needed" if folder else "a folder, where a file is needed"
    if not (folder or stat.S_ISREG(mode)):  # a pipe, as of <(…), can be read only once, and Snakemake would wait for it
        return "a pipe, a socket or a device, where a file is needed"
    return "" if os.access(path, os.R_OK | (os.X_OK if folder else 0)) else "Permission denied"


def special_characters(path: str) -> str:
    """The characters of a path that a shell or Snakemake would interpret, in words; an empty text if there are none."""
    found = dict.fromkeys(re.findall(r"[^\w./@%+=:,~-]", path))
    return ", ".join("a blank" if one == " " else repr(one) for one in found)


def misplaced_source() -> str:
    """Why the workflow cannot run from the place of its source, with the remedy; an empty text if it can.

    A blank in the path of a clone does no harm while the clone is the working directory, as paths are relative.
    """
    if found := " and ".join(sorted(set("{}:") & set(str(SOURCE)))):
        return f"{SOURCE}: Snakemake and Python take {found} in a path for something else; move the clone"
    if found := special_characters(os.path.relpath(SOURCE)):
        return f"{SOURCE}: its path holds {found}, so the workflow runs only in that folder itself; move the clone"
    return ""
