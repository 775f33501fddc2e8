"""Read a published set of records from a local file, a file on the Hugging Face hub, or a data set there (3.1, B.1)."""

import gzip
import hashlib
import io
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, TypeVar

from m1.core.errors import UserError
from m1.core.files import parse_json
from m1.core.progress import say
from m1.core.revisions import pinned
from m1.core.settings import Source
from m1.core.tables import check_headings, csv_rows, decode

FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
ATTEMPTS = 4  # attempts of a download, each with the hub client's own short retries
WAIT = 2.0  # seconds before the second attempt, doubled each time
# Largest size of an unpacked set, in bytes. The paper's largest set has some hundred million, so more is a mistake or a
# decompression bomb, which would otherwise fill the memory before any message.
UNPACKED = 4 * 10**9
PART = 256  # rows of a Parquet file that are measured together
ROW = 64  # smallest size of a row as a Python object, in bytes
EVERY = "*"  # this `key` reads all lists of the file, and adds the list's name to each record as `source`

T = TypeVar("T")


class Unreachable(UserError):
    """The hub does not answer, or only with errors of its own, so it is not known whether the set exists."""


class Missing(UserError):
    """The set cannot be had: there is no such file, no such set on the hub, or no access to it."""


def read(source: Source, name: str, attempts: int = ATTEMPTS) -> tuple[str, list[Any]]:
    """Read one source, an entry of ``data``.

    Returns:
        The place of the source, for messages, and its records as published.

    Raises:
        Missing: there is nothing to read; the message repeats the entry's ``obtain``, which says how to get the set.
        Unreachable: the hub does not answer.
        UserError: the set cannot be read, or is not what the entry says.
    """
    try:
        place, rows = _read(source, name, attempts)
    except Missing as error:
        raise Missing(f"{error} To get it: {source.obtain}" if source.obtain else str(error)) from error
    if source.where:
        where = source.where.items()
        kept = [
            row
            for row in rows
            if isinstance(row, dict) and all(any(same(row.get(field), one) for one in among) for field, among in where)
        ]
        place += " where " + " and ".join(f"{field} is {' or '.join(map(str, among))}" for field, among in where)
        if rows and not kept:
            raise UserError(f"{place}: none of {len(rows):,} records. {_values(rows, source.where)} Correct `where`.")
        rows = kept
    check_rows(place, name, len(rows), source.rows)
    return place, rows


def same(found: Any, wanted: Any) -> bool:
    """Whether a record's value equals a value of ``where``.

    Two texts are compared as they are. Numbers, true and false are compared by their meaning, because the cells of a
    CSV hold them as texts.
    """
    if isinstance(found, str) and isinstance(wanted, str):
        return found == wanted
    if isinstance(found, bool) or isinstance(wanted, bool):
        return str(found).strip().casefold() == str(wanted).strip().casefold()
    return bool(_number(found) == _number(wanted))


def _number(value: Any) -> Any:
    """The number that a text stands for; any other value as it is."""
    for kind in (int, float) if isinstance(value, str) else ():
        with suppress(ValueError):
            return kind(value)
    return value


def _values(rows: Sequence[Any], where: Iterable[str]) -> str:
    """The end of a message about ``where``: for each of its fields, some values that the records hold there."""
    said = []
    for field in where:
        held = list(dict.fromkeys(str(row[field])[:40] for row in rows if isinstance(row, dict) and field in row))
        more = ", …" if len(held) > 8 else ""
        said.append(f"{field!r} holds {', '.join(held[:8])}{more}." if held else f"No record has a field {field!r}.")
    return " ".join(said)


def check_rows(place: str, name: str, found: int, expected: int | None) -> None:
    """Raise a :class:`UserError`, with the way to accept it, if the number of records is not the expected one."""
    if expected is not None and found != expected:
        remedy = f"Check that it is the correct one; to accept what is there, set its `rows` to {found} or null."
        raise UserError(f"{place}: {found:,} records, but {expected:,} are expected of {name}. {remedy}")


def _read(source: Source, name: str, attempts: int) -> tuple[str, list[Any]]:
    hub, config, split, file, revision = source.hub, source.config, source.split, source.file, source.revision
    if source.path is not None:
        return str(Path(source.path)), read_local(source.path, source.key, source.checksum)
    if hub is None:
        raise Missing(f"{name}: it has neither a local `path` nor a `hub` name.")
    if file is not None:
        if Path(file).is_absolute() or ".." in Path(file).parts:
            raise UserError(f"{name}: file {file!r} is outside of {hub}; give its path within the repository.")

        def download() -> str:
            """Download the file into the hub client's cache, which names it only when it is complete."""
            import huggingface_hub  # only where the hub is asked

            return huggingface_hub.hf_hub_download(hub, file, repo_type="dataset", revision=pinned(hub, revision))

        place = f"{hub}/{file}"
        return place, read_local(_try(name, place, attempts, download), source.key, source.checksum)
    if split is None:
        raise UserError(f"{name}: `split` is null; give the split of {hub} to read, for example train.")
    if source.checksum is not None:
        remedy = f"give the `file` of {hub} too, or pin its `revision` and set `checksum` to null."
        raise UserError(f"{name}: `checksum` is of a file; {remedy}")

    def load() -> list[Any]:
        import datasets  # takes seconds, so it is imported only if the hub is asked

        inside = {"field": source.key} if source.key is not None else {}
        found = datasets.load_dataset(hub, config, split=split, revision=pinned(hub, revision), **inside)
        check_size(place, [found.data.nbytes])
        return list(found.to_list())

    place = f"{hub} (config {config}, split {split}, revision {revision})"
    return place, _try(name, place, attempts, load)


def read_local(path: str | Path, key: str | None = None, checksum: str | None = None) -> list[Any]:
    """Read the records of a local file: JSON Lines, JSON, CSV or Parquet; all but the last may be gzipped.

    A JSON file holds a list or, with ``key``, an object of lists. The readers are plain ones, and not ``datasets``:
    they name the wrong line, Arrow's schema inference would fill letters that a question lacks with None, and importing
    ``datasets`` takes a second.

    Raises:
        Missing: there is no such file.
        UserError: the file cannot be read, or has another checksum.
    """
    path = Path(path)
    kinds = [suffix for suffix in path.suffixes[-2:] if suffix in FORMATS]
    if not kinds:
        known = f"{', '.join(FORMATS)} can be read, all but the last also as .gz."
        raise UserError(f"{path}: unknown kind of file; {known}")
    if key is not None and kinds[-1] != ".json":
        raise UserError(f"{path}: `key` names a list inside a .json file; set it to null for a {kinds[-1]} file.")
    try:
        content = path.read_bytes()
        if checksum is not None:
            check_sum(path, content, checksum)
        if kinds[-1] == ".parquet":
            import pyarrow.parquet as pq

            check_size(path, parquet_sizes(content))
            table = pq.ParquetFile(io.BytesIO(content)).read()
            check_headings(path, [*enumerate(table.column_names, 1)])
            return table.to_pylist()
        if path.suffix == ".gz":
            check_size(path, gzip_sizes(content))
            content = gzip.decompress(content)
        if kinds[-1] in (".csv", ".tsv"):
            return csv_rows(path, content)
        text = decode(path, content)
        return _json_list(path, text, key) if kinds[-1] == ".json" else _json_lines(path, text)
    except FileNotFoundError:
        raise Missing(f"{path}: no such file. Correct the entry's `path`, or set it to null and give `hub`.") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:  # damaged gzip, not UTF-8, not Parquet
        raise UserError(f"{path}: not readable as {kinds[-1]}: {error}") from error


def check_size(path: Path | str, sizes: Iterable[int]) -> None:
    """Raise a :class:`UserError` as soon as the sizes of a file's parts (bytes) add up to over :data:`UNPACKED`."""
    if any(total > UNPACKED for total in accumulate(sizes)):
        found = f"it unpacks to more than {UNPACKED / 1e9:g} GB, which no set of questions has"
        remedy = "Check where it is from; take the records that are wanted out of it, into a file of your own."
        raise UserError(f"{path}: {found}. {remedy}")


def gzip_sizes(content: bytes) -> Iterator[int]:
    """The sizes, in bytes, of the unpacked parts of a gzip file."""
    with gzip.open(io.BytesIO(content)) as stream:
        while part := stream.read(2**20):
            yield len(part)


def parquet_sizes(content: bytes) -> Iterator[int]:
    """The sizes, in bytes, that a Parquet file unpacks to: first what it declares, then what each part of rows holds.

    Each row also counts as a Python object. Texts are measured in their dictionaries, without being written out.
    """
    import pyarrow.parquet as pq

    file = pq.ParquetFile(io.BytesIO(content))
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    declared = sum(group.total_byte_size for group in groups)
    yield declared
    yield ROW * file.metadata.num_rows - declared
    columns = [file.schema.column(number) for number in range(len(file.schema))]
    texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    for part in pq.ParquetFile(io.BytesIO(content), read_dictionary=texts).iter_batches(PART):
        yield sum(map(_unpacked, part.columns))


def _unpacked(array: Any) -> int:
    """The size, in bytes, of an Arrow array if the texts of its dictionaries were written out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(array.type):
        return pc.sum(pc.binary_length(array.dictionary).take(array.indices)).as_py() or 0
    if pa.types.is_struct(array.type):
        return sum(map(_unpacked, array.flatten()))
    if pa.types.is_map(array.type):
        return _unpacked(array.keys) + _unpacked(array.items)
    return _unpacked(array.flatten()) if pa.types.is_nested(array.type) else int(array.nbytes)


def check_sum(path: Path, content: bytes, expected: str) -> None:
    """Raise a :class:`UserError` if a file's content does not have the digest ``md5:…`` or ``sha256:…``."""
    kind, _, digest = expected.partition(":")
    if kind not in ("md5", "sha256"):
        raise UserError(f"{path}: checksum is {expected!r}; it must begin with md5: or sha256:")
    found = hashlib.new(kind, content, usedforsecurity=False).hexdigest()
    if found != digest.lower():
        remedy = f"to accept what is there, set the entry's `checksum` to {kind}:{found} or null."
        again = "Get the file again (delete it, if it came from the hub)"
        raise UserError(f"{path}: its {kind} is {found}, but {digest} is expected. {again}; {remedy}")


def _json_lines(path: Path, text: str) -> list[Any]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append(parse_json(line))
            except ValueError as error:
                raise UserError(f"{path}: line {number}: not a JSON record: {error}") from None
    return rows


def _json_list(path: Path, text: str, key: str | None) -> list[Any]:
    value = parse_json(text)
    if key is not None:
        if not isinstance(value, dict):
            there = type(value).__name__
            raise UserError(f"{path}: an object of lists is needed for the entry's `key`; there is a {there}.")
        if key == EVERY:
            return [row | {"source": name} for name in value for row in _records(path, value, name)]
        if key not in value:
            raise Missing(f"{path}: no list {key!r}; there is {', '.join(value)}. Correct the entry's `key`.")
        value = value[key]
    if isinstance(value, dict):
        there = f"an object with {', '.join(value)}: set the entry's `key` to one of them"
        raise UserError(f"{path}: a list of records is needed; there is {there}.")
    if not isinstance(value, list):
        raise UserError(f"{path}: a list of records is needed; there is {type(value).__name__}.")
    return value


def _records(path: Path, lists: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """One list of an object of lists; its records must be objects."""
    rows = lists[name]
    if not isinstance(rows, list):
        raise UserError(f"{path}: {name}: a list of records is needed; there is {type(rows).__name__}.")
    if wrong := [number for number, row in enumerate(rows) if not isinstance(row, dict)]:
        raise UserError(f"{path}: {name}: record {wrong[0]} (from 0) is no object with fields. Correct the record.")
    return rows


def _try(name: str, place: str, attempts: int, fetch: Callable[[], T]) -> T:
    """Call ``fetch``; if the connection or the server fails, try again after a wait that doubles each time."""
    for attempt in range(1, attempts + 1):
        try:
            return fetch()
        except Exception as error:  # the libraries raise many kinds, from connection errors to ValueError
            causes = _causes(error)
            fault, reason = _fault(causes), _sentence(error)
            if fault == "missing":
                raise Missing(f"{name}: {place} cannot be had from the hub: {reason}") from error
            failed = f"{name}: {place} cannot be loaded from the hub"
            remedy = "or download the file and give its `path`."
            if fault == "other":
                raise UserError(f"{failed}: {reason} Correct the entry, {remedy}") from error
            reason = _sentence(causes[-1])  # the outermost error only says to check the connection
            if fault == "offline" or attempt == attempts:
                remedy = f"Check the network and run again, {remedy}"
                raise Unreachable(f"{failed} (tried {attempt} times): {reason} {remedy}") from error
            wait = WAIT * 2 ** (attempt - 1)
            say("pools", f"{name}: {place}: {reason} Trying again in {wait:.0f} s ({attempt + 1} of {attempts}).")
            time.sleep(wait)
    raise ValueError(f"attempts is {attempts}; at least one is needed")


def _causes(error: BaseException) -> list[BaseException]:
    """An error and all errors that it was raised from; libraries wrap the server's status in errors of their own."""
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in found:
        found.append(following)
        following = following.__cause__ or following.__context__
    return found


def _fault(causes: Sequence[BaseException]) -> Literal["missing", "offline", "transient", "other"]:
    """Classify an error of the hub's client or of ``datasets``.

    ``missing``: the hub answered that the set or file does not exist, or not for this user. ``offline``: HF_HUB_OFFLINE
    is set, so only the cache was searched. ``transient``: another attempt may help.
    """
    from httpx2 import TransportError  # of the hub's client
    from huggingface_hub.errors import OfflineModeIsEnabled

    statuses = [getattr(getattr(cause, "response", None), "status_code", None) or 0 for cause in causes]
    names = {type(cause).__name__ for cause in causes}
    if "DatasetNotFoundError" in names or next(filter(None, statuses), 0) in (401, 403, 404, 451):
        return "missing"  # DatasetNotFoundError goes by its name, because `datasets` drops the hub's own error
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        return "offline"
    cut = any(isinstance(cause, TransportError | ConnectionError | TimeoutError) for cause in causes)
    busy = any(status in (408, 429, *range(500, 600)) for status in statuses)
    return "transient" if cut or busy else "other"


def _sentence(error: BaseException) -> str:
    """An error's message on one line, with a full stop at its end."""
    text = " ".join(str(error).split()) or type(error).__name__
    return f"{text.rstrip('.')}."
