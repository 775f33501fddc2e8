"""Where files are that the workflow comes with.

The workflow runs in any folder. Its source (package, rules, resources, report) stays where it is; results, logs, store
and scratch are in the working directory, and the configuration, whose files default to those of the source.
"""

import os
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3]


def source_file(name: str) -> str:
    """A file of the source, from the working directory: in another clone it has the same path, and reruns nothing."""
    return os.path.relpath(SOURCE / name)


def locate(name: str) -> Path:
    """A file of the working directory or, where it is not there, of the source."""
    return Path(name) if Path(name).exists() else SOURCE / name
