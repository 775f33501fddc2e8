"""Write one offline page of the whole run: the answer, tables that sort, figures, and a reader of single questions.

The page holds everything that it shows, and its security policy forbids it the network. What a model wrote never
becomes markup: the texts are in compressed blocks, which the script inflates when a question is opened and inserts as
text only. Scores are columns of small integers, so that the script filters a hundred thousand of them at once
(docs/compare.md).

A *reading* is one model on one question: its thinking, its answers at every (budget, forced), and their scores (3.3,
B.3).
"""

import base64
import csv
import gzip
import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd

from m1.core import records
from m1.core.errors import UserError, run
from m1.core.files import check_output, from_csv_cell, read_json, write_text
from m1.core.progress import Progress, say
from m1.core.records import LETTERS, Prediction, Question, Rollout, Score
from m1.report.answer import answer, claim_rows
from m1.report.files import (
    add_own_benchmarks,
    find_manifest,
    parser,
    read_benchmarks,
    read_decoder,
    write_step_manifest,
)
from m1.report.scores import read_scores
from m1.report.settings import Model, Shown
from m1.report.typeset import layout

CAPTIONS = Path(__file__).parents[2] / "report"  # folder of `{name}.rst`; Snakemake's report shows the same captions
PARTS = CAPTIONS / "page"  # folder of the page's template, style and script
BLOCK = 400_000  # bytes of uncompressed text in a block; a browser inflates one in a few milliseconds
ELEMENT = '<script type="text/plain" id="{name}">{content}</script>'
NOWHERE = 0xFFFFFFFF  # number of the block of a reading whose text is left out
PLACE = 11  # characters that the place of a reading takes at most: eight bytes in base64
THERE, CORRECT, ENDED = 1, 2, 4  # bits of a score's state
FIELDS = ("ended", "thinking_tokens", "letter", "rule")  # of a score, beyond those that every step reads
READING = 10_000  # approximate characters of the page that the texts of a long reading take
LEADING = [
    *("verdict", "published", "label", "column", "accuracy", "published_accuracy", "accuracy_a", "accuracy_b"),
    *("difference", "difference_low", "difference_high", "why"),
]
"""Columns of comparisons that come first on the page, so that they are seen without scrolling."""

Setting = tuple[int, int]  # thinking budget in tokens, and how many times `Wait` was forced
Key = tuple[str, str, str]  # benchmark, question id and model: a reading


@dataclass
class Reading:
    """The texts of one model on one question."""

    scored: dict[Setting, Score] = field(default_factory=dict)
    answers: dict[Setting, str] = field(default_factory=dict)
    thinking: list[str] = field(default_factory=list)  # in parts, each up to where a budget of the run cuts
    forced: list[str] = field(default_factory=list)  # what follows `Wait`, in parts, each up to the end of a count
    shown: dict[Setting, tuple[int, int]] = field(default_factory=dict)  # how many parts of both a setting includes

    def text(self, settings: Sequence[Setting]) -> bytes:
        """The texts as JSON, in which equal answers are stored once."""
        distinct: dict[tuple[str, str], int] = {}
        given, shown = [], []
        for setting in settings:
            score = self.scored.get(setting)
            answer = (self.answers.get(setting, ""), score.extracted) if score else None
            given.append(distinct.setdefault(answer, len(distinct)) if answer else -1)
            shown.append(self.shown.get(setting, (0, 0)))
        value = {"thinking": self.thinking, "forced": self.forced, "shown": shown}
        return _json(value | {"answers": list(distinct), "given": given}).encode()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def gather(scores: Iterable[Score], predictions: Iterable[Prediction]) -> dict[Key, Reading]:
    """The readings of all scores, with the answers that were scored.

    Raises:
        UserError: a prediction has no score.
    """
    readings: dict[Key, Reading] = {}
    for score in scores:
        reading = readings.setdefault((score.benchmark, score.question_id, score.model), Reading())
        reading.scored[score.budget, score.forced] = score
    for prediction in predictions:
        setting = (prediction.budget, prediction.forced)
        reading = readings.get((prediction.benchmark, prediction.question_id, prediction.model), Reading())
        if setting not in reading.scored:
            who = f"question {prediction.question_id}, model {prediction.model!r}"
            remedy = "pass the scores of these predictions"
            raise UserError(f"--predictions: {who}, has no score at {setting}; {remedy}")
        reading.answers[setting] = prediction.answer
    return readings


def pieces(decode: Callable[[Sequence[int]], str], ids: Sequence[int], cuts: Sequence[int]) -> list[str]:
    """The text of token ids up to the last cut, in parts.

    Args:
        decode: token ids to text.
        ids: token ids.
        cuts: token counts at which the text is cut, ascending. Several tokens can make up one character; a cut inside
            such a character moves before it.
    """
    whole = decode(ids[: cuts[-1]]) if cuts else ""
    found, done = [], 0
    known, at = 0, 0  # so many first tokens are known to give so many first characters of the whole text
    for cut in cuts[:-1]:
        context = ids[max(0, known - 1) : known]  # because some tokenizers drop a blank before the first token
        part = decode([*context, *ids[known:cut]]).removeprefix(decode(context))
        if whole.startswith(part, at) and not part.endswith("\ufffd"):
            known, at = cut, at + len(part)
            same = at
        else:  # the cut is inside a character, or the decoded whole differs from the sum of the decoded parts
            before = decode(ids[:cut]).rstrip("\ufffd")
            same = len(before)
            if not whole.startswith(before):
                same = next(i for i, (a, b) in enumerate(zip(before + "\0", whole + "\1")) if a != b)
        end = max(done, same)
        found.append(whole[done:end])
        done = end
    return [*found, whole[done:]] if cuts else []


def add_thinking(reading: Reading, rollout: Rollout, decode: Callable[[Sequence[int]], str]) -> None:
    """Decode the thinking of a reading, and what was forced, in parts."""
    lengths = {setting: len(rollout.thinking(*setting)) for setting in reading.scored}
    cuts = sorted({length for (_, forced), length in lengths.items() if not forced and length})
    reading.thinking = pieces(decode, rollout.thinking_ids, cuts)
    forced = sorted(setting for setting in lengths if setting[1])
    begins = min(len(rollout.thinking_ids), forced[0][0]) if forced else 0
    ends = sorted({lengths[setting] for setting in forced if lengths[setting] > begins})
    if ends:
        chain = rollout.thinking(*max(forced, key=lambda setting: lengths[setting]))
        reading.forced = pieces(decode, chain, [begins, *ends])[1:]
    for setting, length in lengths.items():
        reading.shown[setting] = bisect_right(cuts, length), bisect_right(ends, length) if setting[1] else 0


def compress(data: bytes) -> str:
    """Gzip in base64; the same data always give the same text."""
    return base64.b64encode(gzip.compress(data, compresslevel=6, mtime=0)).decode()


def text_order(state: np.ndarray) -> list[int]:
    """Numbers of readings by priority, for when not all texts fit: scores that change with the thinking, then incorrect
    ones, then the others. Readings of equal priority follow the hash of their number, which prefers no benchmark or
    model.

    Args:
        state: bits of each score, readings by settings.
    """
    correct, absent = state & CORRECT > 0, state & THERE == 0
    ever, always = correct.any(axis=1), (correct | absent).all(axis=1)
    ranks = np.select([ever & ~always, ~ever], [0, 1], 2).tolist()
    return sorted(range(len(ranks)), key=lambda number: (ranks[number], hashlib.sha256(str(number).encode()).digest()))


def blocks(
    order: Sequence[int], read: Callable[[Sequence[int]], Sequence[bytes]], limit: float
) -> tuple[list[str], dict[int, tuple[int, int]]]:
    """Texts of readings in compressed blocks of at most ``limit`` characters in total.

    Args:
        order: numbers of the readings, by priority.
        read: numbers to texts. Each call goes through the files of the run, so it is asked for few texts beyond those
            that fit.

    Returns:
        The blocks, and the place of each reading that fits: number of its block, number in the block.
    """
    found: list[str] = []
    places: dict[int, tuple[int, int]] = {}
    left = limit

    def texts() -> Iterator[tuple[int, bytes]]:
        done, count = 0, int(limit / READING) + 100
        while part := order[done : done + count]:
            yield from zip(part, read(part), strict=True)
            done += len(part)
            if left < limit:  # as many as fit if they are as long as the first ones, and a few more
                count = int(1.1 * done * left / (limit - left)) + 100

    for members in _split_into_blocks(texts()):
        block = compress(b"[" + b",".join(text for _, text in members) + b"]")
        left -= len(ELEMENT) + len(block)
        if left < 0:
            break
        places |= {number: (len(found), place) for place, (number, _) in enumerate(members)}
        found.append(block)
    return found, places


def _split_into_blocks(texts: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Group neighbouring texts up to :data:`BLOCK` bytes; a longer text is a block of its own."""
    members: list[tuple[int, bytes]] = []
    size = 0
    for number, text in texts:
        if members and size + len(text) > BLOCK:
            yield members
            members, size = [], 0
        members.append((number, text))
        size += len(text)
    if members:
        yield members


def score_columns(scores: pd.DataFrame, row: np.ndarray, column: np.ndarray) -> tuple[list[str], dict[str, np.ndarray]]:
    """The scores as arrays with a row per reading and a column per setting.

    Args:
        scores: with :data:`FIELDS`.
        row, column: number of the reading and of the setting of each score.

    Returns:
        The rules that decided, in the order of the readings; and the arrays: ``tokens`` of thinking, ``state`` (bits),
        ``letter`` (1 for A, 0 for none) and ``rule`` (its number).

    Raises:
        UserError: a letter is no letter of an option.
    """
    letter = pd.Index(["", *LETTERS]).get_indexer(scores["letter"])
    if (letter < 0).any():
        raise UserError(f"--scores: field 'letter': {scores['letter'][letter < 0].iloc[0]!r} is no letter of an option")
    order = row.argsort(kind="stable")
    rule = np.empty(len(scores), int)
    rule[order], rules = pd.factorize(scores["rule"].to_numpy()[order])
    correct, ended = (scores[name].to_numpy(dtype="u1") for name in ("correct", "ended"))
    state = THERE | CORRECT * correct | ENDED * ended
    kinds = {"tokens": "<u4", "state": "u1", "letter": "u1", "rule": "u1"}
    values = (scores["thinking_tokens"], state, letter, rule)
    shape = (row.max(initial=-1) + 1, column.max(initial=-1) + 1)
    arrays = {name: np.zeros(shape, kind) for name, kind in kinds.items()}
    for name, value in zip(arrays, values, strict=True):
        arrays[name][row, column] = value
    return list(rules), arrays


def pack(arrays: Mapping[str, np.ndarray]) -> tuple[list[list[Any]], str]:
    """Name, JavaScript type and length of each array, and the bytes of all, compressed. The widest types come first, so
    that all are aligned."""
    kinds = {4: "Uint32Array", 1: "Uint8Array"}
    ordered = sorted(arrays.items(), key=lambda item: -item[1].itemsize)
    layout = [[name, kinds[array.itemsize], array.size] for name, array in ordered]
    return layout, compress(b"".join(array.tobytes() for _, array in ordered))


def table(path: Path) -> list[list[str]]:
    """The rows of a CSV table, headings first; a :class:`UserError` where the file cannot be read."""
    try:
        check_output(path)
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [[from_csv_cell(text) for text in row] for row in csv.reader(stream)]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: not readable as CSV: {error}") from error
    if not rows:
        raise UserError(f"{path}: empty, without headings. Delete it, and the next run makes it again.")
    return rows


def table_facts(name: str, rows: list[list[str]], benchmarks: str | Path, shown: Shown) -> dict[str, Any]:
    """A table as the script draws it.

    Tables 1 and 2 have the paper's layout: groups of rows, spanning headings, our models in bold, shades of green. In
    other tables with verdicts, the columns of :data:`LEADING` come first. In ``compare.csv``, the rows that a model of
    this run stands for come first.

    Args:
        name: of the table.
        rows: from :func:`table`.
        benchmarks: ``resources/paper/benchmarks.csv``.
        shown: what the report shows.
    """
    facts: dict[str, Any] = read_caption(name)
    heads, *body = rows
    if name in shown.accuracy_tables:
        made = layout(name, pd.DataFrame(body, columns=heads), benchmarks, shown)
        facts |= {
            "caption": " ".join(filter(None, [f"{facts['label']}.", made.caption, made.shading])),
            "rows": [[made.first, *made.columns], *([row.name, *row.cells] for row in made.rows)],
            "groups": [[group, len(members)] for group, members in made.groups.items()],
            "spans": [[text, len(list(columns))] for text, columns in groupby(made.spans)],
            "own": [int(row.bold) for row in made.rows],
            "shades": [row.shades for row in made.rows],
        }
        return facts
    if name == "claims":
        return facts | {"rows": claim_rows(rows)}
    if name == "compare":
        body.sort(key=lambda row: not row[heads.index("model")])
    return facts | {"rows": lead_with_verdict([heads, *body])}


def lead_with_verdict(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The rows of a table, with the columns in :data:`LEADING` first where it has verdicts."""
    heads = rows[0]
    first = [heads.index(name) for name in LEADING if name in heads] if "verdict" in heads else []
    order = [*first, *(at for at in range(len(heads)) if at not in first)]
    return [[row[at] for at in order] for row in rows]


def picture(path: Path) -> str:
    """A PNG file in base64; a :class:`UserError` where it cannot be read."""
    try:
        return base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise UserError(f"{path}: not readable: {error.strerror}") from error


def read_caption(name: str) -> dict[str, str]:
    """Name, label and caption of a table or figure. The caption is that of Snakemake's report, without its marks; the
    label is its part in bold, such as ``**Table 1.**``. Without a caption, the label is the name."""
    file = CAPTIONS / f"{name}.rst"
    text = " ".join(file.read_text(encoding="utf-8").split()) if file.is_file() else ""
    label = re.match(r"\*\*(.+?)\.?\*\*", text)
    return {"name": name, "label": label[1] if label else name, "caption": re.sub(r"\*\*|``", "", text)}


def steps(manifests: Sequence[Path]) -> tuple[list[list[str]], dict[str, str]]:
    """The steps that made the results: a row for each manifest, headings first; and the versions of each package.

    Raises:
        UserError: a file is no manifest of this workflow.
    """
    rows = [["step", "commit", "edits", "counts", "seconds"]]
    packages: dict[str, set[str]] = {}
    for path in manifests:
        file, made = find_manifest(path)
        manifest = read_json(file)
        try:
            by, numbers = manifest["made_by"], manifest["counts"].items()
            counts = [f"{name.replace('_', ' ')} {n:,}" for name, n in numbers if isinstance(n, int | float)]
            edited = {True: "yes", False: "no", None: "unknown"}[by["dirty"]]
            row = [f"{made.parent.name} {made.name}", (by["commit"] or "unknown")[:9], edited, " · ".join(counts)]
            rows.append([*row, f"{manifest['seconds']:.0f}"])
            for package, version in by["packages"].items():
                packages.setdefault(package, set()).add(version)
        except (KeyError, TypeError) as error:
            remedy = "Delete it, and the next run makes it again"
            raise UserError(f"{file}: no manifest of this workflow ({error!r}). {remedy}.") from None
    return rows, {package: ", ".join(sorted(packages[package])) for package in sorted(packages)}


def page(facts: Mapping[str, Any], data: Mapping[str, str]) -> str:
    """The page: template, style and script of :data:`PARTS`, and the run's data.

    Args:
        facts: what the script reads first. It is written as JSON in which no string can end the element.
        data: element to its content in base64, which has no character with a meaning in HTML.
    """
    style, script = ((PARTS / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    plain = re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", _json(facts))
    elements = [f'<script type="application/json" id="facts">{plain}</script>']
    elements += [ELEMENT.format(name=name, content=content) for name, content in data.items()]
    css, js = (base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (style, script))
    template = Template((PARTS / "template.html").read_text(encoding="utf-8"))
    return template.substitute(style=style, script=script, data="\n".join(elements), css_hash=css, js_hash=js)


@dataclass(frozen=True)
class Source:
    """Where the texts of a run's readings are."""

    folder: Path  # of the results
    models: Sequence[Model]
    scores: Sequence[str | Path]  # files
    prefix: str = ""  # before the models' names on the page

    def read(self, keys: Sequence[Key]) -> dict[Key, Reading]:
        """Read those of the given readings that are of this run, by their keys on the page.

        Raises:
            UserError: a file or a tokenizer is missing or damaged; a prediction has no score.
        """
        own = [(*key[:2], key[2].removeprefix(self.prefix)) for key in keys if key[2].startswith(self.prefix)]
        read = {key[2] for key in own}
        models = [model for model in self.models if model.key in read]
        predictions = [self.folder / "infer" / model.key / "predictions.parquet" for model in models]
        readings = gather(
            chain.from_iterable(records.stream_readings(path, Score, own) for path in self.scores),
            chain.from_iterable(records.stream_readings(path, Prediction, own) for path in predictions),
        )
        self._add_thinking(models, readings)
        return {(*key[:2], self.prefix + key[2]): reading for key, reading in readings.items()}

    def _add_thinking(self, models: Sequence[Model], readings: Mapping[Key, Reading]) -> None:
        """Add the thinking to the readings of models that have rollouts."""
        decoders = {one.key: read_decoder(self.folder / one.tokenizer) for one in models if one.tokenizer is not None}
        with Progress("page", sum(model in decoders for _, _, model in readings), "readings decoded") as progress:
            for model, decode in decoders.items():
                path = self.folder / "infer" / model / "rollouts.parquet"
                for rollout in records.stream_readings(path, Rollout, readings):
                    add_thinking(readings[rollout.benchmark, rollout.question_id, rollout.model], rollout, decode)
                    progress.advance()


def read_questions(paths: Sequence[Path], read: Collection[tuple[str, str]]) -> dict[tuple[str, str], Question]:
    """The questions that a model has read, by benchmark (the name of the file) and id, in the order of the files.

    Raises:
        UserError: a question is in none of the files.
    """
    found = {(path.stem, question.id): question for path in paths for question in records.read(path, Question)}
    if missing := sorted(set(read) - set(found)):
        benchmark, first = missing[0]
        raise UserError(f"benchmarks: {len(missing)} scored questions are in no file, the first {first} of {benchmark}")
    return {key: question for key, question in found.items() if key in read}


def scored_questions(scores: pd.DataFrame) -> set[tuple[str, str]]:
    """Benchmark and id of each scored question."""
    return set(scores[["benchmark", "question_id"]].drop_duplicates().itertuples(index=False, name=None))


@dataclass(frozen=True)
class Content:
    """Readings as the page holds them, without their texts."""

    keys: list[Key]  # of the readings, in the order of the page
    settings: list[Setting]
    order: list[int]  # numbers of the readings, by the priority of their texts
    facts: dict[str, Any]  # settings, rules and layout of the arrays, which the script reads first
    data: dict[str, str]  # element to content: questions and scores


def arrange(
    scores: pd.DataFrame,
    asked: Mapping[tuple[str, str], Question],
    benchmarks: Sequence[str],
    models: Sequence[str],
    opened: Mapping[Key, Setting] | None = None,
) -> Content:
    """Bring the readings and their questions into the order of the page.

    Args:
        scores: with :data:`FIELDS`.
        asked: from :func:`read_questions`.
        benchmarks, models: keys, in order.
        opened: the setting at which each reading opens; by default its largest budget.
    """
    questions = sorted(asked, key=lambda key: benchmarks.index(key[0]))
    number = {key: place for place, key in enumerate(questions)}
    group = scores.groupby(["benchmark", "question_id"], sort=False).ngroup().to_numpy()
    _, first = np.unique(group, return_index=True)
    names = (scores[name].iloc[first] for name in ("benchmark", "question_id"))
    question = np.array([number[key] for key in zip(*names)], int)[group]
    model = pd.Index(models).get_indexer(scores["model"])
    readings, row = np.unique(question * len(models) + model, return_inverse=True)
    which, by = np.divmod(readings, max(1, len(models)))
    keys = [(*questions[q], models[m]) for q, m in zip(which, by)]

    pairs = scores[["forced", "budget"]].drop_duplicates().sort_values(["forced", "budget"])
    every = [(int(budget), int(forced)) for forced, budget in pairs.to_numpy()]
    column = scores.groupby(["forced", "budget"]).ngroup().to_numpy()
    rules, arrays = score_columns(scores, row, column)
    more = {} if opened is None else {"opened": np.array([every.index(opened[key]) for key in keys], "u1")}
    layout, scored = pack({"question": which.astype("<u4"), **arrays, "model": by.astype("<u4"), **more})
    texts = [
        [*key, q.source, q.context, q.stem, q.options, LETTERS.index(q.answer)]
        for key in questions
        for q in [asked[key]]
    ]
    data = {"questions": compress(json.dumps(texts, ensure_ascii=False).encode()), "scored": scored}
    facts = {"settings": every, "rules": rules, "layout": layout}
    return Content(keys, every, text_order(arrays["state"]), facts, data)


def add_texts(
    facts: Mapping[str, Any], data: dict[str, str], content: Content, sources: Sequence[Source], megabytes: float
) -> int:
    """Add texts of readings to the data of a page until it has the given size in MB, and return the number of these
    readings."""

    def read(numbers: Sequence[int]) -> list[bytes]:
        keys = [content.keys[number] for number in numbers]
        found = {key: reading for source in sources for key, reading in source.read(keys).items()}
        return [found.pop(key).text(content.settings) for key in keys]

    rows = len(content.keys)
    room = 1e6 * megabytes - len(page(facts, data).encode()) - PLACE * rows
    found, places = blocks(content.order, read, room)
    where = np.array([places.get(row, (NOWHERE, 0)) for row in range(rows)], "<u4").reshape(-1, 2)
    data["places"] = compress(where.tobytes())
    data.update((f"block-{number}", block) for number, block in enumerate(found))
    return len(places)


def check_predictions(folder: Path, models: Sequence[Model], scores: pd.DataFrame) -> int:
    """Number of predictions; a :class:`UserError` where a model has another number of scores."""
    scored, total = scores["model"].value_counts(), 0
    for model in models:
        path = folder / "infer" / model.key / "predictions.parquet"
        with records.open_parquet(path) as file:
            count = file.metadata.num_rows
        if count != (found := scored.get(model.key, 0)):
            remedy = "pass the scores of these predictions"
            raise UserError(
                f"{path}: {count:,} predictions, but --scores has {found:,} of model {model.key!r}; {remedy}"
            )
        total += count
    return total


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page."""
    options = parser(__doc__, "shown", "manifest", "scores", "benchmarks", output="HTML").parse_args(argv)
    shown, folder = Shown.load(options.shown), options.shown.parent
    scores = read_scores(options.scores, FIELDS)
    headings = add_own_benchmarks(read_benchmarks(options.benchmarks), scores["benchmark"].unique())
    model_order = [model.key for model in shown.models]
    if strays := sorted(set(scores["model"].unique()) - set(model_order)):
        raise UserError(f"--scores: model {strays[0]!r} has no label in {options.shown}")
    predictions = check_predictions(folder, shown.models, scores)
    asked = read_questions(
        [folder / "benchmarks" / f"{key}.parquet" for key in shown.benchmarks], scored_questions(scores)
    )
    content = arrange(scores, asked, list(headings), model_order)
    del scores  # frees memory: from here on only texts are read

    made, versions = steps([folder / file for one in shown.manifests for file in one.files])
    tables = {name: table(folder / f"{name}.csv") for name in shown.page_tables}
    facts = {
        "answer": answer(tables, shown.note or shown.remark),
        "remark": shown.note,
        "models": [{"model": model.key, "label": model.label} for model in shown.models],
        "benchmarks": [{"key": key, "label": label} for key, label in headings.items()],
        **content.facts,
        "tables": [table_facts(name, rows, options.benchmarks, shown) for name, rows in tables.items()],
        "figures": [read_caption(name) for name in shown.page_figures],
        "steps": made,
        "versions": versions,
        "megabytes": shown.page_megabytes,
    }
    data = {f"figure-{number}": picture(folder / f"{name}.png") for number, name in enumerate(shown.page_figures)}
    data |= content.data
    sources = [Source(folder, shown.models, options.scores)]
    held = add_texts(facts, data, content, sources, shown.page_megabytes)
    write_text(options.output, page(facts, data))
    told = [f"{predictions:,} predictions", f"{len(asked):,} questions"]
    told += [f"texts of {held:,} of {len(content.keys):,} readings"]
    told += [f"{len(shown.page_tables)} tables", f"{len(shown.page_figures)} figures"]
    write_step_manifest(options)
    say("page", f"{', '.join(told)}: {options.output}, {Path(options.output).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main)
