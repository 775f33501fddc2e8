"""Read a published set of records: a local file, one file on the Hugging Face hub, or a data set there through
``datasets`` (3.1, B.1)."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from m1.core.errors import UserError
from m1.core.progress import say
from m1.core.revisions import pinned
from m1.core.settings import Source

FORMATS = (".jsonl", ".json", ".csv", ".parquet")
ATTEMPTS, WAIT = 4, 2.0
"""A download is tried so often, each time with the hub client's own short retries; seconds before the second try,
doubled each time."""

T = TypeVar("T")


class Unreachable(UserError):
    """The hub does not answer, or only with errors of its own; whether the set is there is not known."""


class Missing(UserError):
    """The set is not there to be read: no file, no such set on the hub, or no access to it."""


def read(source: Source, name: str, attempts: int = ATTEMPTS) -> tuple[str, list[Any]]:
    """Records of one source, as published.

    Args:
        source: where it is, and what it must be.
        name: of the entry, for messages.
        attempts: tries of a download whose connection fails.

    Returns:
        The place to name in messages, and the records.

    Raises:
        Missing: there is nothing to read, with how to get it where the entry's ``obtain`` says so.
        Unreachable: the hub does not answer.
        UserError: what is there cannot be read, or is not what the entry says.
    """
    try:
        place, rows = _read(source, name, attempts)
    except Missing as error:
        raise Missing(f"{error} To get it: {source.obtain}" if source.obtain else str(error)) from error
    if source.where:
        rows = [
            row
            for row in rows
            if isinstance(row, dict) and all(row.get(field) in among for field, among in source.where.items())
        ]
        place += " where " + " and ".join(
            f"{field} is {' or '.join(map(str, among))}" for field, among in source.where.items()
        )
    check_rows(place, name, len(rows), source.rows)
    return place, rows


def read_lists(source: Source, name: str) -> tuple[str, dict[str, list[Any]]]:
    """All lists of a JSON file that is an object of lists, in the file's order.

    Args:
        source: a local file, or one file on the hub.
        name: of the entry, for messages.

    Returns:
        The place to name in messages, and the lists.

    Raises:
        Missing, Unreachable, UserError: as :func:`read`; the file is no object of lists.
    """
    hub, file = source.hub, source.file
    if source.path is None and (hub is None or file is None):
        raise Missing(f"{name}: it has neither a local `path`, nor a `hub` name with a `file`.")
    place = source.path or f"{hub}/{file}"
    path = source.path or _download(name, place, ATTEMPTS, lambda: _hub_file(str(hub), str(file), source.revision))
    content = read_bytes(path, source.checksum)
    try:
        lists = json.loads(content)
    except ValueError as error:
        raise UserError(f"{path}: not readable as .json: {error}") from error
    if not isinstance(lists, dict) or not all(isinstance(rows, list) for rows in lists.values()):
        raise UserError(f"{path}: an object of lists is needed, one for each set; see `sets` of the entry {name}.")
    return place, lists


def read_bytes(path: str | Path, checksum: str | None = None) -> bytes:
    """Bytes of a local file.

    Raises:
        Missing: no such file.
        UserError: it cannot be read, or has another checksum.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise Missing(f"{path}: no such file. Correct the entry's `path`, or set it to null and give `hub`.") from None
    except OSError as error:
        raise UserError(f"{path}: not readable: {error}") from error
    if checksum is not None:
        check_sum(Path(path), content, checksum)
    return content


def check_rows(place: str, name: str, found: int, expected: int | None) -> None:
    """Compare the number of records with the one expected, if any.

    Raises:
        UserError: they differ; says how to accept what is there.
    """
    if expected is not None and found != expected:
        raise UserError(
            f"{place}: {found:,} records, but {expected:,} are expected of {name}. "
            f"Check that it is the correct one; to accept what is there, set its `rows` to {found} or null."
        )


def _read(source: Source, name: str, attempts: int) -> tuple[str, list[Any]]:
    hub, file, revision = source.hub, source.file, source.revision
    if source.path is not None:
        path = Path(source.path)
        return str(path), read_local(path, source.key, source.checksum)
    if hub is None:
        raise Missing(f"{name}: it has neither a local `path` nor a `hub` name.")
    if file is not None:
        place = f"{hub}/{file}"
        path = _download(name, place, attempts, lambda: _hub_file(hub, file, revision))
        return place, read_local(path, source.key, source.checksum)
    if source.split is None:
        raise UserError(f"{name}: `split` is null; give the split of {hub} to read, for example train.")
    if source.checksum is not None:
        raise UserError(
            f"{name}: `checksum` is of a file; give the `file` of {hub} too, or pin its `revision` and "
            "set `checksum` to null."
        )
    config, split, key = source.config, source.split, source.key
    place = f"{hub} (config {config}, split {split}, revision {revision})"
    return place, _download(name, place, attempts, lambda: _hub_split(hub, config, split, revision, key))


def read_local(path: str | Path, key: str | None = None, checksum: str | None = None) -> list[Any]:
    """Records of a local file: JSON Lines, JSON (a list; with ``key``, that one of an object of lists), CSV (each also
    ``.gz``), Parquet.

    Plain readers, and not ``datasets``: they name the line that is wrong, Arrow's schema inference would fill the
    letters that a question lacks with None, and importing ``datasets`` takes a second.

    Raises:
        Missing: no such file.
        UserError: names the file, the line where there is one, and what was found; another checksum.
    """
    path = Path(path)
    kinds = [suffix for suffix in path.suffixes[-2:] if suffix in FORMATS]
    if not kinds:
        raise UserError(f"{path}: unknown kind of file; {', '.join(FORMATS)} can be read, the first three also as .gz.")
    if key is not None and kinds[-1] != ".json":
        raise UserError(f"{path}: `key` names a list inside a .json file; set it to null for a {kinds[-1]} file.")
    try:
        content = read_bytes(path, checksum)
        if kinds[-1] == ".parquet":
            import pyarrow.parquet as pq

            return pq.read_table(io.BytesIO(content)).to_pylist()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
        if kinds[-1] == ".csv":
            return list(csv.DictReader(io.StringIO(text, newline="")))
        return _json_list(path, text, key) if kinds[-1] == ".json" else _json_lines(path, text)
    except (OSError, EOFError, ValueError, csv.Error) as error:  # damaged gzip, not UTF-8, not Parquet
        raise UserError(f"{path}: not readable as {kinds[-1]}: {error}") from error


def check_sum(path: Path, content: bytes, expected: str) -> None:
    """Compare a file's content with ``md5:`` or ``sha256:`` and a hexadecimal digest.

    Raises:
        UserError: another digest, or another kind of one.
    """
    kind, _, digest = expected.partition(":")
    if kind not in ("md5", "sha256"):
        raise UserError(f"{path}: checksum is {expected!r}; it must begin with md5: or sha256:")
    found = hashlib.new(kind, content, usedforsecurity=False).hexdigest()
    if found != digest.lower():
        raise UserError(
            f"{path}: its {kind} is {found}, but {digest} is expected. Get the file again (delete it, "
            "if it came from the hub); "
            f"to accept what is there, set the entry's `checksum` to {kind}:{found} or null."
        )


def _json_lines(path: Path, text: str) -> list[Any]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise UserError(f"{path}: line {number}: not a JSON record: {error}") from None
    return rows


def _json_list(path: Path, text: str, key: str | None) -> list[Any]:
    value = json.loads(text)
    if key is not None:
        if not isinstance(value, dict):
            raise UserError(
                f"{path}: an object of lists is needed for the entry's `key`; there is a {type(value).__name__}."
            )
        if key not in value:
            raise Missing(f"{path}: no list {key!r}; there is {', '.join(value)}. Correct the entry's `key`.")
        value = value[key]
    if not isinstance(value, list):
        there = (
            f"an object with {', '.join(value)}: set the entry's `key` to one of them"
            if isinstance(value, dict)
            else type(value).__name__
        )
        raise UserError(f"{path}: a list of records is needed; there is {there}.")
    return value


def _hub_file(hub: str, file: str, revision: str | None) -> Path:
    """One file of a data set's repository, in the hub client's cache: it gets its name there when it is whole, not
    before."""
    import huggingface_hub  # only where the hub is asked

    return Path(huggingface_hub.hf_hub_download(hub, file, repo_type="dataset", revision=pinned(hub, revision)))


def _hub_split(hub: str, config: str | None, split: str, revision: str | None, key: str | None) -> list[Any]:
    import datasets  # seconds: only where the hub is asked

    inside = {"field": key} if key is not None else {}
    return datasets.load_dataset(hub, config, split=split, revision=pinned(hub, revision), **inside).to_list()


def _download(name: str, place: str, attempts: int, fetch: Callable[[], T]) -> T:
    """What ``fetch`` returns; tried again, after longer and longer waits, where the connection or the server failed."""
    for attempt in range(1, attempts + 1):
        try:
            return fetch()
        except Exception as error:  # the libraries raise many kinds, from connection errors to ValueError
            causes = list(_causes(error))
            reason = _sentence(error)
            if _is_missing(causes):
                raise Missing(f"{name}: {place} cannot be had from the hub: {reason}") from error
            if not _is_transient(causes):
                raise UserError(
                    f"{name}: {place} cannot be loaded from the hub: {reason} Correct the entry, or download "
                    "the file and give its `path`."
                ) from error
            reason = _sentence(causes[-1])  # the first only says to check the connection
            if attempt == attempts or _is_offline(causes):
                raise Unreachable(
                    f"{name}: {place} cannot be loaded from the hub (tried {attempt} times): {reason} "
                    "Check the network and run again, or download the file and give its `path`."
                ) from error
            wait = WAIT * 2 ** (attempt - 1)
            say("pools", f"{name}: {place}: {reason} Trying again in {wait:.0f} s ({attempt + 1} of {attempts}).")
            time.sleep(wait)
    raise ValueError(f"attempts is {attempts}; at least one is needed")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from: the libraries wrap the status of the answer in errors of their own."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        yield following
        seen.add(id(following))
        following = following.__cause__ or following.__context__


def _is_missing(causes: Sequence[BaseException]) -> bool:
    """Whether the hub said that the set or file is not there (404), or not for this user (401, 403: gated, or no such
    name)."""
    if any(
        type(cause).__name__ == "DatasetNotFoundError" for cause in causes
    ):  # of `datasets`, which drops the hub's own error
        return True
    return next((status for status in map(_status, causes) if status), None) in (401, 403, 404, 451)


def _is_transient(causes: Sequence[BaseException]) -> bool:
    """Whether trying again can help: no connection, a connection cut, a time limit, or a server that is in trouble or
    asks to wait."""
    from httpx2 import TransportError  # of the hub's client

    return any(
        isinstance(cause, TransportError | ConnectionError | TimeoutError)
        or (_status(cause) or 0) in (408, 429, *range(500, 600))
        for cause in causes
    )


def _is_offline(causes: Sequence[BaseException]) -> bool:
    """Whether the hub was not asked at all, because HF_HUB_OFFLINE is set; only the cache was looked into."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    return any(isinstance(cause, OfflineModeIsEnabled) for cause in causes)


def _status(error: BaseException) -> int | None:
    """The HTTP status of an answer that the hub's client turned into an error."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _sentence(error: BaseException) -> str:
    """The error's message in one line, ending in a full stop."""
    text = " ".join(str(error).split()) or type(error).__name__
    return f"{text.rstrip('.')}."
