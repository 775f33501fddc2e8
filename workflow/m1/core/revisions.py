"""The commits behind moving revisions such as ``main``, in ``config/revisions.lock.yaml``: hub name to revision to
commit.

A commit is written once, by ``python -m m1 pin``, which looks at what the hub's cache holds; it is then what every job
takes. It is no param of a job: that ``main`` has become the commit that it was reruns nothing. Who wants another one
gives it as ``revision`` in the configuration, which reruns what is built on it.
"""

import re

from m1.core.errors import UserError, first_line
from m1.core.places import locate

LOCK = "config/revisions.lock.yaml"
COMMIT = re.compile("[0-9a-f]{40}")
Lock = dict[str, dict[str, str]]


def read_lock() -> Lock:
    """The lock; empty where there is none.

    Raises:
        UserError: it is damaged; says where.
    """
    import yaml

    path = locate(LOCK)
    if not path.exists():
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        wrong = [name for name, commits in found.items() if not all(map(COMMIT.fullmatch, commits.values()))]
    except (OSError, yaml.YAMLError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path}: not readable as hub name to revision to commit: {first_line(error)}. Correct it, or delete it."
        ) from None
    if wrong:
        raise UserError(f"{path}: {wrong[0]}: forty hexadecimal digits are needed for each revision. Correct it.")
    return found


def pinned(hub: str, revision: str | None) -> str | None:
    """The commit that the lock has for a revision, else the revision itself.

    Args:
        revision: branch, tag or commit; None for ``main``.
    """
    return read_lock().get(hub, {}).get(revision or "main", revision)
