"""The command ``m1`` (``python -m m1 COMMAND``).

Each step of the workflow is a module that also runs by hand: ``python -m m1.distill.traces --help``
(docs/architecture.md).
"""

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from m1.core.errors import plain_output, run

COMMANDS = {
    "doctor": "what this machine lacks for a configuration",
    "plan": "calls, tokens, dollars and hours that a configuration will need",
    "fit": "the most telling reproduction that fits some cards, hours, dollars and disk, as an overlay",
    "check-data": "whether the data sets of a configuration are there and are the expected ones",
    "check-cluster": "what of a configuration would fail on a cluster",
    "crate": "a finished run as a Workflow Run RO-Crate",
    "compare-runs": "two runs side by side: what differs, paired differences, curves, changed questions",
    "launch": "run Snakemake, also after a run that was killed",
    "store": "count, check, move and mend the store of calls and generations",
    "pin": "write down the commits of what came from the hub by a moving revision",
    "reference": "write what is made from the schema of the configuration",
}
"""Command to what it does; each is the ``main`` of a module in :mod:`m1.commands`, imported only when it is called."""


def dispatch(argv: Sequence[str] | None = None) -> None:
    """Run the command that the first word names, with the others."""
    words = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        prog="m1", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, meaning in COMMANDS.items():
        commands.add_parser(name, help=meaning, add_help=False)
    name = parser.parse_args(words[:1]).command
    module = importlib.import_module(f"m1.commands.{name.replace('-', '_')}")
    with nullcontext() if name == "launch" else plain_output():  # Snakemake has colours of its own
        module.main(words[1:])


def main() -> None:
    """Entry point of the console command."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is no error
    run(dispatch)


if __name__ == "__main__":
    main()
