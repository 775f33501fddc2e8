"""What a person types: ``python -m m1 COMMAND``."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path


def add_configfile(parser: ArgumentParser) -> None:
    """Let a command take ``--configfile FILE …``: paths, none by default."""
    parser.add_argument(
        "--configfile",
        nargs="*",
        default=[],
        type=Path,
        help="laid over the default configuration, as Snakemake's --configfile",
    )
