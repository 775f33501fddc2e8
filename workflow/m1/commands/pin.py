"""Record the commits of models and data sets that came from the hub by a moving revision such as main.

`make fetch` does this at its end. Entries of config/revisions.lock.yaml are never changed, because results were made
with them.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml

from m1.commands import add_configfile
from m1.core.files import write_text
from m1.core.progress import say
from m1.core.revisions import COMMIT, LOCK, read_lock
from m1.wiring.config import load
from m1.wiring.run import Run

HEAD = """# What moving revisions were when they were fetched; jobs take these commits.
# Written by `make fetch`, which never changes a line.
"""


def unpinned(run: Run) -> set[tuple[str, str, str]]:
    """What comes from the hub by a moving revision without an entry in the lock: kind (``model``, ``dataset``), name on
    the hub, and revision."""
    lock, found = read_lock(), set()
    for made, sources in run.hub_sources().items():
        kind = "dataset" if made.endswith(".parquet") else "model"
        for source in sources:
            hub, revision = source["hub"], source.get("revision") or "main"
            moves = hub and not source.get("path") and not COMMIT.fullmatch(revision)
            if moves and revision not in lock.get(hub, {}):
                found.add((kind, hub, revision))
    return found


def cached_commit(kind: str, hub: str, revision: str) -> str | None:
    """The commit of a revision when it was last fetched to this machine; None if it never was."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=hub, repo_type=kind)
    reference = folder / "refs" / revision
    return reference.read_text(encoding="utf-8").strip() if reference.is_file() else None


def main(argv: Sequence[str] | None = None) -> None:
    """Complete the lock from the hub's cache, and report what the cache does not hold."""
    parser = argparse.ArgumentParser(prog="m1 pin", description=__doc__)
    add_configfile(parser)
    run = Run(load(parser.parse_args(argv).configfile))
    lock, absent, added = read_lock(), [], 0
    for kind, hub, revision in sorted(unpinned(run)):
        if commit := cached_commit(kind, hub, revision):
            lock.setdefault(hub, {})[revision] = commit
            added += 1
        else:
            absent.append(f"{hub} at {revision}")
    if added:
        Path(LOCK).parent.mkdir(exist_ok=True)
        write_text(LOCK, HEAD + yaml.safe_dump(lock, default_flow_style=False))
    missing = f"; not fetched yet, so not pinned: {', '.join(absent)}" if absent else ""
    say("pin", f"{added} revisions written to {LOCK}, {sum(map(len, lock.values()))} in it{missing}")
