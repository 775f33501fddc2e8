"""What a person types: ``python -m m1 COMMAND``."""

from __future__ import annotations

import urllib.error
import urllib.request
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


def silence(address: str, seconds: float) -> str:
    """Why a server does not answer within some seconds; empty where it does, with whatever status."""
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=seconds).close()
    except urllib.error.HTTPError:
        return ""
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
    return ""
