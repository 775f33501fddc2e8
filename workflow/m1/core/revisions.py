"""The commits behind moving revisions such as ``main``, in ``config/revisions.lock.yaml``: hub name to revision to
commit.

A commit is written once, by ``python -m m1 pin``, which looks at what the hub's cache holds; it is then what every job
takes. It is no param of a job: that ``main`` has become the commit that it was reruns nothing. Who wants another one
gives it as ``revision`` in the configuration, which reruns what is built on it.
"""

import re
from pathlib import Path
from typing import Any

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


def cached_commit(hub: str, revision: str | None, kind: str) -> str | None:
    """The commit that a revision was when it was last fetched to this machine; None where it was not.

    Args:
        kind: ``model`` or ``dataset``.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=hub, repo_type=kind)
    reference = folder / "refs" / (revision or "main")
    return reference.read_text(encoding="utf-8").strip() if reference.is_file() else None


def moving(places: list[tuple[str, dict[str, Any]]]) -> set[tuple[str, str, str]]:
    """Kind, hub name and revision of the places whose revision is no commit.

    Args:
        places: ``model`` or ``dataset``, and what the configuration says of it.
    """
    asked = {
        (kind, one["hub"], one.get("revision") or "main")
        for kind, one in places
        if one.get("hub") and not one.get("path")
    }
    return {(kind, hub, revision) for kind, hub, revision in asked if not COMMIT.fullmatch(revision)}
