"""Look up the commits that moving revisions such as ``main`` are pinned to, in ``config/revisions.lock.yaml``.

The file maps hub name to revision to commit. ``python -m m1 pin`` writes each commit once, from what the hub's cache
holds, and every job then uses that commit. The commit is no param of a job, so pinning reruns nothing.
"""

import re

from m1.core.errors import UserError, first_line
from m1.core.places import locate

LOCK = "config/revisions.lock.yaml"
COMMIT = re.compile("[0-9a-f]{40}")
Lock = dict[str, dict[str, str]]


def read_lock() -> Lock:
    """Read the lock file; empty if there is none.

    Raises:
        UserError: the file is damaged.
    """
    import yaml

    path = locate(LOCK)
    if not path.exists():
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        wrong = [name for name, commits in found.items() if not all(map(COMMIT.fullmatch, commits.values()))]
    except (OSError, yaml.YAMLError, AttributeError, TypeError) as error:
        found = f"not readable as hub name to revision to commit: {first_line(error)}"
        raise UserError(f"{path}: {found}. Correct it, or delete it.") from None
    if wrong:
        raise UserError(f"{path}: {wrong[0]}: forty hexadecimal digits are needed for each revision. Correct it.")
    return found


def pinned(hub: str, revision: str | None) -> str | None:
    """The commit that a revision (branch, tag or commit; None for ``main``) is pinned to, else the revision itself."""
    return read_lock().get(hub, {}).get(revision or "main", revision)
