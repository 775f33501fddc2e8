"""Write down the commits of what came from the hub by a moving revision such as ``main`` (``make fetch`` does it last).

What is in ``config/revisions.lock.yaml`` stays as it is: results were made with it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml

from m1.commands import add_configfile
from m1.core.files import write_text
from m1.core.progress import say
from m1.core.revisions import LOCK, cached_commit, moving, read_lock
from m1.wiring.config import load
from m1.wiring.run import Run

HEAD = """# What moving revisions were when they were fetched; jobs take these commits.
# Written by `make fetch`, which never changes a line.
"""


def unpinned(run: Run) -> set[tuple[str, str, str]]:
    """Kind, hub name and revision of what the lock does not have."""
    lock, found = read_lock(), run.hub_sources().items()
    places = [
        ("dataset" if Path(name).suffix == ".parquet" else "model", one) for name, sources in found for one in sources
    ]
    return {one for one in moving(places) if one[2] not in lock.get(one[1], {})}


def main(argv: Sequence[str] | None = None) -> None:
    """Complete the lock by what the hub's cache holds, and say what it does not."""
    parser = argparse.ArgumentParser(prog="m1 pin", description=__doc__)
    add_configfile(parser)
    run = Run(load(parser.parse_args(argv).configfile))
    lock, absent, added = read_lock(), [], 0
    for kind, hub, revision in sorted(unpinned(run)):
        if commit := cached_commit(hub, revision, kind):
            lock.setdefault(hub, {})[revision] = commit
            added += 1
        else:
            absent.append(f"{hub} at {revision}")
    if added:
        Path(LOCK).parent.mkdir(exist_ok=True)
        write_text(LOCK, HEAD + yaml.safe_dump(lock, default_flow_style=False))
    missing = f"; not fetched yet, so not pinned: {', '.join(absent)}" if absent else ""
    say("pin", f"{added} revisions written to {LOCK}, {sum(map(len, lock.values()))} in it{missing}")
