"""Look after stores of calls and generations: count, check, move and mend what is in them (docs/architecture.md)."""

import argparse
import gzip
import json
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from m1.core.errors import UserError
from m1.core.files import replacing
from m1.core.progress import align_columns
from m1.core.segments import (
    Line,
    Tally,
    accept_losses,
    accepted_losses,
    is_segment,
    listed_counts,
    scan,
    segment_paths,
    without_number,
)
from m1.core.store import Store

SHOWN = 20  # how many refused lines of an import are named one by one
Action = Callable[[argparse.Namespace], None]
Price = tuple[float, float]  # dollars per million tokens of the prompt, and of thinking and answer


def stores(paths: Iterable[Path]) -> list[Path]:
    """The stores in some folders: each folder with segments, and such folders one level below.

    Raises:
        UserError: a folder holds no store.
    """
    found: list[Path] = []
    for path in paths:
        inside = [path, *sorted(part for part in path.glob("*") if part.is_dir())]
        these = [folder for folder in inside if folder.is_dir() and (segment_paths(folder) or listed_counts(folder))]
        if not these:
            wanted = "a folder with segments *.jsonl, or one of such folders"
            raise UserError(f"{path}: no store here ({wanted}). Correct the path.")
        found += these
    return found


@dataclass
class Row:
    """The content of a store for one model: a row of the table. Our models' generations name no model."""

    store: str
    model: str
    records: int = 0
    refused: int = 0
    finish: dict[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    thinking_tokens: int = 0
    answer_tokens: int = 0
    generated_tokens: int = 0
    uncounted: int = 0  # answers without a usable count of tokens; they enter no sum of tokens or dollars
    dollars: float | None = None  # None if no price is known
    bytes: int = 0


def count(folder: Path, prices: dict[str, Price]) -> list[Row]:
    """Count what is in a store, by model; prices are by the model that answered, or by the store's folder name."""
    from m1.client.completion import REFUSED, Completion

    rows: dict[str, Row] = {}
    with Store(folder) as store:
        for key in store:
            line = store.line(key) or b""
            value = json.loads(line)["value"]
            generated = isinstance(value, dict) and "token_ids" in value
            reason, model, completion = "", "", None
            if generated:
                reason = str(value.get("finish_reason") or "")
            else:
                try:
                    completion = Completion.from_value(key, value)
                    reason, model = completion.finish_reason, completion.served
                except ValueError:
                    reason = "no answer"
            row = rows.setdefault(model, Row(folder.name, model))
            row.records += 1
            row.bytes += len(line)
            if reason == REFUSED:
                row.refused += 1
                continue
            row.finish[reason or "none"] = row.finish.get(reason or "none", 0) + 1
            if generated:
                row.generated_tokens += len(value["token_ids"])
            if completion is None:
                continue
            row.uncounted += completion.at_most is not None
            row.prompt_tokens += completion.prompt_tokens
            row.thinking_tokens += completion.thinking_tokens
            row.answer_tokens += completion.answer_tokens
            if price := prices.get(model) or prices.get(folder.name):
                cost = (completion.prompt_tokens * price[0] + completion.completion_tokens * price[1]) / 1e6
                row.dollars = (row.dollars or 0.0) + cost
    return sorted(rows.values(), key=lambda row: row.model)


def folder_facts(folder: Path) -> dict[str, Any]:
    """Segments and bytes of a store's folder, when the oldest segment was begun and the newest was written (Unix
    seconds), and the calls whose answers were lost or taken back, with their tokens."""
    from m1.client.ledger import Beside

    with Store(folder) as store:
        beside, _ = Beside.read(store)
    segments = segment_paths(folder)
    facts = [path.stat() for path in segments]
    begun = [
        int(name) // 10**9 if (name := path.name.partition("-")[0]).isdigit() else int(fact.st_mtime)
        for path, fact in zip(segments, facts)
    ]
    size, newest = sum(fact.st_size for fact in facts), int(max((fact.st_mtime for fact in facts), default=0))
    others = {"lost": asdict(beside.lost), "taken_back": asdict(beside.taken_back)}
    return {"segments": len(segments), "bytes": size, "oldest": min(begun, default=0), "newest": newest, **others}


def stats(arguments: argparse.Namespace) -> None:
    prices = dict(arguments.price)
    if arguments.configfile is not None:
        prices = {**config_prices(arguments.configfile), **prices}
    folders = stores(arguments.folders)
    with redirect_stdout(sys.stderr):  # messages about damage are no part of the table
        rows = [row for folder in folders for row in count(folder, prices)]
        facts = {str(folder): folder_facts(folder) for folder in folders}
    if arguments.json:
        print(json.dumps({"models": [asdict(row) for row in rows], "stores": facts}, indent=2))
        return
    numbers = [one.name for one in fields(Row) if one.type is int and one.name != "bytes"]
    total = Row("sum", "", **{name: sum(getattr(row, name) for row in rows) for name in [*numbers, "bytes"]})
    total.dollars = sum(row.dollars or 0.0 for row in rows) if any(row.dollars is not None for row in rows) else None
    total.finish = dict(sum((Counter(row.finish) for row in rows), Counter()))
    short = (name.removesuffix("_tokens") for name in numbers)
    header = ["store", "model", *short, "dollars", "MB", "finish reasons"]

    def cells(row: Row) -> list[str]:
        counts = [f"{getattr(row, name):,}" for name in numbers]
        dollars = "-" if row.dollars is None else f"{row.dollars:,.2f}"
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in sorted(row.finish.items()))
        return [row.store, row.model or "-", *counts, dollars, f"{row.bytes / 1e6:,.1f}", reasons]

    for line in align_columns([header, *map(cells, [*rows, total])], left={0, 1, 11}):
        print(line)
    for name, fact in facts.items():
        begun, written = (time.strftime("%Y-%m-%d %H:%M", time.localtime(fact[at])) for at in ("oldest", "newest"))
        print(f"{name}: {fact['segments']:,} segments, {fact['bytes'] / 1e6:,.1f} MB, {begun} to {written}")
        for kind, what in (("lost", "lost on the way, at most"), ("taken_back", "taken back, with")):
            if (tally := fact[kind])["calls"]:
                tokens = f"{tally['prompt_tokens']:,} + {tally['completion_tokens']:,} tokens (prompt, completion)"
                print(f"{name}: {tally['calls']:,} calls {what} {tokens}: in no row above")


def config_prices(overlays: Sequence[Path]) -> dict[str, Price]:
    """Prices of a configuration's providers, by the name of the store's folder that holds their calls."""
    from m1.wiring.config import load

    config = load(overlays)
    providers = {"teacher": config["teacher"], "labeller": config["labeller"]}
    providers |= {f"screen-{name}": provider for name, provider in config["screen"]["providers"].items()}
    return {folder: (provider["price_prompt"], provider["price_completion"]) for folder, provider in providers.items()}


Faults = dict[str, list[tuple[str, int]]]
"""The faults of each segment: a line of text, and the number of records that the fault costs."""


def find_faults(folder: Path, store: Store, counts: Counter[str]) -> Faults:
    """Check every line of every segment, and compare their numbers with the lists of segments.

    ``counts`` gets the numbers of ``sound``, ``taken back`` and ``damaged`` lines, and of ``missing`` records.
    """
    listed = listed_counts(folder)  # before the segments, to which another process may add now
    paths = [path for path in segment_paths(folder) if is_segment(path)]
    faults = {path.name: list(_segment_faults(path, listed.get(path.name), store, counts)) for path in paths}
    for name in sorted(listed.keys() - faults.keys()):
        if listed[name]:
            gone = f"{folder / name}: gone, with {listed[name]:,} records; put it back from a copy"
            faults[name] = [(gone, listed[name])]
            counts["missing"] += listed[name]
    return faults


def _segment_faults(path: Path, listed: int | None, store: Store, counts: Counter[str]) -> Iterator[tuple[str, int]]:
    tally, unsound, numbered = Tally(), list[Line](), False

    def stretch(records: int, where: str) -> Iterator[tuple[str, int]]:
        """Report a stretch of ``records`` records, of which only damaged lines, or nothing, are left."""
        for line in unsound:
            mended, state = line.key in store, "damaged" if line.finished else "unfinished"
            remedy = "asked again since" if mended else "it is asked again when needed"
            counts["damaged"] += 1
            yield f"{_place(path, line)}: {state}; {remedy}", 0 if mended or records <= 0 else 1
            records -= 1
        unsound.clear()
        if records > 0:
            counts["missing"] += records
            yield f"{path}: {where}: {records:,} record{'s' * (records > 1)} missing", records

    with open(path, "rb") as stream:
        for line in scan(stream):
            between, _ = tally.add(line) if line.finished else (0, 0)
            if not line.sound or not line.finished:
                unsound.append(line)
                continue
            numbered = line.number is not None
            yield from stretch(between, f"before byte {line.offset}")
            counts["taken back" if line.forgets else "sound"] += 1
    behind = tally.records if listed is None else listed
    if unsound and not (last := unsound[-1]).finished:
        crashed = last.content.endswith(b"\0")  # a crash may leave zeros behind the last acknowledged record
        if crashed or (listed is not None and listed <= tally.records + tally.damaged):
            unsound.pop()
            if last.content.strip(b"\0"):
                state = "unfinished: in the writing, or its process was stopped; nothing that was kept is lost"
                yield f"{_place(path, last)}: {state}", 0
    yield from stretch(max(behind - tally.records, len(unsound)), f"at its end, of {behind:,}")
    if numbered and listed is None:
        yield f"{path}: not listed (.{path.name}.count is missing): what is cut off its end would not be noticed", 0


def _place(path: Path, line: Line) -> str:
    return f"{path}: byte {line.offset}, key {line.key or '(unreadable)'}"


def verify(arguments: argparse.Namespace) -> None:
    """Check that every record of every segment is sound and none is missing; print file, byte and key of each fault.

    Raises:
        UserError: a record is lost: no sound record has its key, and the owner has not accepted the loss.
    """
    lost = 0
    for folder in stores(arguments.folders):
        counts: Counter[str] = Counter()
        with Store(folder) as store:
            faults, accepted = find_faults(folder, store, counts), accepted_losses(folder)
        for name, found in faults.items():
            for text, _ in found:
                print(text)
            missed = sum(records for _, records in found)
            lost += max(0, missed - accepted.get(name, 0))
        for path in sorted({*folder.glob("*.jsonl")} - {folder / name for name in faults}):
            print(f"{path}: no segment of a store; passed over")
        parts = [f"{counts['sound']:,} sound records ({len(store):,} in force)"]
        names = {"taken back": "taken back", "damaged": "damaged or unfinished", "missing": "missing"}
        parts += [f"{counts[key]:,} {name}" for key, name in names.items() if counts[key]]
        print(f"{folder}: {', '.join(parts)}")
    if lost:
        records = f"{lost:,} record{'s' * (lost > 1)}"
        raise UserError(
            f"{records} lost. The others are used as before; what is lost is asked again by the next run. Put files "
            "back from a copy, or accept the loss: python -m m1 store forget --lost FOLDER"
        )


def export(arguments: argparse.Namespace) -> None:
    """Copy the valid records of a store into one file or another store, without their numbers in the segments."""
    destination = arguments.destination
    to_file = destination.name.endswith((".jsonl", ".jsonl.gz"))
    if to_file and destination.exists():
        raise UserError(f"{destination}: exists already. Give another name, or remove it.")
    exported = 0

    def select(store: Store) -> Iterator[tuple[str, bytes]]:
        nonlocal exported
        for key in store:
            line = store.line(key) or b""
            value = json.loads(line)["value"] if arguments.model or arguments.skip_refused else {}
            value = value if isinstance(value, dict) else {}
            others = arguments.model and value.get("served") != arguments.model
            if not (others or (arguments.skip_refused and "refused" in value)):
                exported += 1
                yield key, without_number(line)

    folder = _single_store(arguments.folder)
    with Store(folder) as store:
        if not to_file:
            _copy(select(store), destination)
        else:
            with replacing(destination) as partial, open(partial, "wb") as raw:
                # The header has no name and no time, so that equal stores give equal bytes.
                stream = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if destination.suffix == ".gz" else raw
                for _, line in select(store):
                    stream.write(line)
                if stream is not raw:
                    stream.close()
    print(f"{exported:,} of {len(store):,} records of {folder} → {destination}")


def _single_store(folder: Path) -> Path:
    found = stores([folder])
    if len(found) > 1:
        raise UserError(f"{folder}: {len(found)} stores are in it. Give one of them: {', '.join(map(str, found))}.")
    return found[0]


def _copy(lines: Iterable[tuple[str, bytes]], folder: Path) -> tuple[int, int]:
    """Put records into a store, 500 at a time; returns how many were new, and how many it had already."""
    new = had = 0
    with Store(folder) as store:
        waiting: dict[str, Any] = {}

        def flush() -> None:
            store.put_many(waiting.items())
            waiting.clear()

        for key, line in lines:
            if key in store or key in waiting:
                had += 1
                continue
            new += 1
            waiting[key] = json.loads(line)["value"]
            if len(waiting) >= 500:
                flush()
        flush()
    return new, had


def import_(arguments: argparse.Namespace) -> None:
    """Import records from exports or other stores; keys that the store has already keep their values.

    Raises:
        UserError: lines were refused; each was printed with its number, and the sound ones are imported.
    """
    refused = 0

    def sound_lines(source: Path) -> Iterator[tuple[str, bytes]]:
        nonlocal refused
        for number, key, line in _lines(source):
            if line is None:
                refused += 1
                if refused <= SHOWN:
                    print(f"{source}: line {number}: {key}; refused")
            else:
                yield key, line

    for source in arguments.sources:
        before = refused
        place = _single_store(source) if source.is_dir() else source
        new, had = _copy(sound_lines(place), arguments.folder)
        counts = f"{new:,} records taken over, {had:,} were there already, {refused - before:,} refused"
        print(f"{source}: {counts} → {arguments.folder}")
    if refused:
        lines = f"{refused:,} line{'s' * (refused > 1)}"
        raise UserError(f"{lines} refused: damaged on the way. Export again; the sound ones are taken over.")


def _lines(path: Path) -> Iterator[tuple[int, str, bytes | None]]:
    """Yield number, key and line of the records of a store, export or segment.

    For a damaged line, the key is a description of the damage, and the line is None.
    """
    if path.is_dir():
        with Store(path) as store:
            yield from ((number, key, store.line(key)) for number, key in enumerate(store, start=1))
        return
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as stream:
            for number, line in enumerate(scan(stream), start=1):
                if not line.sound:
                    yield number, "no record" if not line.key else f"damaged (key {line.key})", None
                elif not line.forgets:
                    yield number, line.key, line.content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield number + 1, f"the compressed file is damaged or cut here ({error})", None
    except OSError as error:
        problem = error.strerror or error
        raise UserError(f"{path}: cannot be read: {problem}. Correct the path and run again.") from error


def forget(arguments: argparse.Namespace) -> None:
    """Take back records of refused calls or of some keys, so that they are asked again; or accept lost records.

    The cost of a call whose answer is taken back still counts towards ``max_dollars``.

    Raises:
        UserError: no store has a record of a key.
    """
    from m1.client.ledger import SpendingJournal

    unknown = set(arguments.key)
    for folder in stores(arguments.folders):
        with Store(folder) as store, store.lock():
            if arguments.lost:
                faults = find_faults(folder, store, Counter())
                lost = {name: sum(records for _, records in found) for name, found in faults.items()}
                accept_losses(folder, lost)
                print(f"{folder}: {sum(lost.values()):,} lost records are accepted and no longer reported")
                continue
            keys = [key for key in arguments.key if key in store]
            if arguments.refused:
                keys = [key for key in store if isinstance(value := store.get(key), dict) and "refused" in value]
            if keys:
                journal = SpendingJournal(store)
                for key in keys:
                    journal.take_back(key, store.get(key))
                journal.close(strict=True)
            store.forget(keys)
        unknown -= set(keys)
        what = "refused calls" if arguments.refused else "records"
        if keys or arguments.refused:
            print(f"{folder}: {len(keys):,} {what} taken back; they are asked again when needed")
    if unknown:
        folders = ", ".join(map(str, arguments.folders))
        raise UserError(
            f"{folders}: no record of key {', '.join(sorted(unknown))}. Give the key in full, as the message named it."
        )


def _price(text: str) -> tuple[str, Price]:
    model, _, numbers = text.rpartition("=")
    with suppress(ValueError):
        prompt, completion = map(float, numbers.split(","))
        if model and prompt >= 0 and completion >= 0:
            return model, (prompt, completion)
    raise argparse.ArgumentTypeError(f"{text!r}: MODEL=PROMPT,COMPLETION is needed, in dollars for a million tokens")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="m1 store", description=__doc__)
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    folders = argparse.ArgumentParser(add_help=False)
    folders.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a store, or a folder of stores")
    one = argparse.ArgumentParser(add_help=False)
    one.add_argument("folder", type=Path, metavar="FOLDER", help="a store")

    def add(action: Action, given: argparse.ArgumentParser, text: str) -> argparse.ArgumentParser:
        name, described = action.__name__.rstrip("_"), f"{text[0].upper()}{text[1:]}."
        parser = actions.add_parser(name, parents=[given], help=text, description=described)
        parser.set_defaults(action=action)
        return parser

    counting = add(stats, folders, "count records, tokens and dollars by model")
    text, form = "price of a model in dollars per million tokens; may be repeated", "MODEL=PROMPT,COMPLETION"
    counting.add_argument("--price", action="append", default=[], type=_price, metavar=form, help=text)
    overlays = "take the prices of a configuration; the files are laid over the default one"
    counting.add_argument("--configfile", nargs="*", type=Path, metavar="FILE", help=overlays)
    counting.add_argument("--json", action="store_true", help="print the counts as JSON")
    add(verify, folders, "check every record; the exit code is 1 if one is lost")
    exporting = add(export, one, "copy the valid records into a file or another store")
    places = "NAME.jsonl.gz, NAME.jsonl, or the folder of another store"
    exporting.add_argument("destination", type=Path, metavar="DESTINATION", help=places)
    exporting.add_argument("--model", help="copy only the calls that this model answered (the provider's name for it)")
    exporting.add_argument("--skip-refused", action="store_true", help="leave out calls that were refused")
    importing = add(import_, one, "import records; keys that the store has already keep their values")
    importing.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help="exports, segments, or stores")
    forgetting = add(forget, folders, "take records back, so that they are asked again")
    which = forgetting.add_mutually_exclusive_group(required=True)
    which.add_argument("--refused", action="store_true", help="take back the records of refused calls")
    which.add_argument("--key", action="append", default=[], help="take back the record of this key; may be repeated")
    which.add_argument("--lost", action="store_true", help="accept lost records, so that they are no longer reported")

    arguments = parser.parse_args(argv)
    arguments.action(arguments)
