"""Run a command of the package: python -m m1 COMMAND. Each command explains itself: python -m m1 COMMAND --help.

Each step of the workflow is a module that also runs by hand: python -m m1.distill.traces --help
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
    "doctor": "check what this machine lacks for a configuration",
    "plan": "estimate the calls, tokens, dollars and hours that a configuration needs",
    "fit": "find the most telling reproduction that fits your cards, hours, dollars and disk, as an overlay",
    "check-data": "check that the data sets of a configuration exist and are the expected ones",
    "check-cluster": "check what of a configuration would fail on a cluster",
    "crate": "pack a finished run into a Workflow Run RO-Crate",
    "compare-runs": "compare two runs: settings, paired differences, curves, changed questions",
    "launch": "run Snakemake, also after a run that was killed",
    "store": "count, check, move and mend stores of calls and generations",
    "pin": "record the commits of models and data sets that came from the hub by a moving revision",
    "reference": "write the files that are generated from the configuration's schema",
}
"""Commands and what they do. Each is the ``main`` of a module in :mod:`m1.commands`, imported only when called."""


def dispatch(argv: Sequence[str] | None = None) -> None:
    """Run the command that the first word names, with the remaining words as its arguments."""
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
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end quietly when the reader of a pipe, such as `head`, has ended
    run(dispatch)


if __name__ == "__main__":
    main()
