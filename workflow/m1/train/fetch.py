"""Link a base model or a published checkpoint, from the hub or a folder, into the results.

Files are linked and not copied, because a model of 32B has 65 GB.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from m1.core.errors import UserError, first_line, run
from m1.core.files import replacing_model
from m1.core.progress import say
from m1.core.revisions import pinned
from m1.train.settings import FetchSettings


def find(name: str, settings: FetchSettings) -> Path:
    """The folder of a model: a local one, or the hub's snapshot in the cache, which is downloaded if needed.

    Raises:
        UserError: the folder does not exist, or the hub does not provide the model.
    """
    if settings.path is not None:
        folder = Path(settings.path)
        if not folder.is_dir():
            raise UserError(f"{name}.path: no folder {folder}; correct the path, or name a model on the hub (`hub`)")
        return folder
    if settings.hub is None:
        raise UserError(f"{name}: give one of hub and path")
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    hub, revision = settings.hub, settings.revision
    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
    try:
        return Path(huggingface_hub.snapshot_download(hub, revision=pinned(hub, revision), allow_patterns=patterns))
    except HFValidationError as error:
        raise UserError(f"{name}.hub: {hub!r} is no model id: {error}") from None
    except Exception as error:  # of several libraries; all mean that the model did not come
        found = f"{hub} at revision {revision or 'main'} could not be had from the hub ({first_line(error)})"
        raise UserError(f"{name}: {found}; check id, network and access, or give a `path`") from None


def main(argv: Sequence[str] | None = None) -> None:
    """Make a folder of links to the files of one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="key in the configuration, such as bases.7b or screen/models.7b")
    either = "JSON: path, or hub and revision"
    parser.add_argument("--settings", required=True, type=FetchSettings.from_json, help=either)
    parser.add_argument("--output", required=True, type=Path, help="folder of the model")
    arguments = parser.parse_args(argv)
    name = arguments.name.replace("/", ".")
    source = find(name, arguments.settings).resolve()
    # Hidden files are left out: Snakemake could not write its .snakemake_timestamp through a link.
    files = [file for file in sorted(source.glob("[!.]*")) if file.is_file()]
    if not (source / "config.json").is_file() or not any(file.suffix in {".safetensors", ".bin"} for file in files):
        raise UserError(f"{name}: {source} holds no model in Hugging Face format (config.json and weights are needed)")
    inside = not Path(arguments.settings.path or "/").is_absolute()
    with replacing_model(arguments.output) as folder:
        folder.mkdir()
        for file in files:  # a relative source is linked relatively, so that a copy of the working directory works
            (folder / file.name).symlink_to(os.path.relpath(file, folder) if inside else file)
    say(name, f"{len(files)} files of {source}")


if __name__ == "__main__":
    run(main)
