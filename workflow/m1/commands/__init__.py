"""The commands that a person types: ``python -m m1 COMMAND``."""

import urllib.error
import urllib.request
from argparse import ArgumentParser
from pathlib import Path


def add_configfile(parser: ArgumentParser) -> None:
    """Add the flag ``--configfile FILE …`` to a command; the default is no file."""
    parser.add_argument(
        "--configfile",
        nargs="*",
        default=[],
        type=Path,
        metavar="FILE",
        help="configuration files, merged into the default one in this order, as by Snakemake's --configfile",
    )


def silence(address: str, seconds: float) -> str:
    """Why a server does not answer within some seconds; an empty text if it answers, with whatever status."""
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=seconds).close()
    except urllib.error.HTTPError:
        return ""
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
    return ""
