"""One page of the whole run, to open offline: tables that sort, figures, and a reader of single questions.

The page holds everything it shows and its security policy forbids it the network. What a model wrote never is markup:
texts are in compressed blocks, inflated when a question is opened, and reach the page as text only. Judgements are
columns of small integers, so that a hundred thousand of them filter at once; see ``docs/report.md``.

A *reading* is one model on one question: its thinking, its answers at every (budget, forced) and what was made of them
(3.3, B.3).
"""

from __future__ import annotations

import argparse
import base64
import csv
import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from m1.core import records
from m1.core.errors import UserError, run
from m1.core.files import read_json, write_text
from m1.core.progress import Progress, say
from m1.core.records import LETTERS, Prediction, Question, Rollout, Score
from m1.report import inputs
from m1.report.inputs import read_decoder
from m1.report.settings import HELP, Model, Shown

CAPTIONS = Path(__file__).parents[2] / "report"
"""Folder of the captions, ``{name}.rst``, which Snakemake's report shows as well."""
PARTS = CAPTIONS / "page"
"""Folder of the page's template, style and script."""
BLOCK = 400_000
"""Bytes of text, uncompressed, in a block: one is inflated in a few milliseconds."""
ELEMENT = '<script type="text/plain" id="{name}">{content}</script>'
NOWHERE = 0xFFFFFFFF
"""Block of a reading whose text is left out."""
PLACE = 11
"""Characters that a reading's place takes at most: eight bytes in base64."""
THERE, CORRECT, ENDED = 1, 2, 4
"""Bits of a score's state."""
FLIPPED, WRONG, ALWAYS_RIGHT = range(3)
"""In this order texts are kept when not all fit: of verdicts that change with the thinking, then of incorrect ones."""

Setting = tuple[int, int]
"""Thinking budget in tokens, and how many times ``Wait`` was forced."""
Key = tuple[str, str, str]
"""Benchmark, question id and model: a reading."""


@dataclass
class Reading:
    """One model on one question."""

    scored: dict[Setting, Score] = field(default_factory=dict)
    answers: dict[Setting, str] = field(default_factory=dict)
    thinking: list[str] = field(default_factory=list)
    """The thinking, cut where a budget of the run cuts it."""
    forced: list[str] = field(default_factory=list)
    """What followed it when ``Wait`` was forced, cut where a forced count of the run ends."""
    shown: dict[Setting, tuple[int, int]] = field(default_factory=dict)
    """How many parts of ``thinking`` and of ``forced`` a setting had."""

    @property
    def rank(self) -> int:
        """How soon its text is kept: :data:`FLIPPED`, :data:`WRONG` or :data:`ALWAYS_RIGHT`."""
        verdicts = {score.correct for score in self.scored.values()}
        return FLIPPED if len(verdicts) > 1 else ALWAYS_RIGHT if True in verdicts else WRONG

    def text(self, settings: Sequence[Setting]) -> bytes:
        """Its texts as JSON; answers that are equal are there once."""
        distinct: dict[tuple[str, str], int] = {}
        given, shown = [], []
        for setting in settings:
            score = self.scored.get(setting)
            answer = (self.answers.get(setting, ""), score.extracted) if score else None
            given.append(distinct.setdefault(answer, len(distinct)) if answer else -1)
            shown.append(self.shown.get(setting, (0, 0)))
        value = {
            "thinking": self.thinking,
            "forced": self.forced,
            "shown": shown,
            "answers": list(distinct),
            "given": given,
        }
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def gather(scores: Sequence[Score], predictions: Sequence[Prediction]) -> dict[Key, Reading]:
    """Readings of all scores, with the answers that were scored.

    Raises:
        UserError: a score is there twice, or a prediction has none.
    """
    readings: dict[Key, Reading] = {}
    for score in scores:
        scored = readings.setdefault((score.benchmark, score.question_id, score.model), Reading()).scored
        setting = (score.budget, score.forced)
        if setting in scored:
            raise UserError(
                f"--scores: question {score.question_id}, model {score.model!r}, is scored twice at {setting}"
            )
        scored[setting] = score
    for prediction in predictions:
        setting = (prediction.budget, prediction.forced)
        reading = readings.get((prediction.benchmark, prediction.question_id, prediction.model))
        if reading is None or setting not in reading.scored:
            raise UserError(
                f"--predictions: question {prediction.question_id}, model {prediction.model!r}, has no "
                f"score at {setting}; "
                "pass the scores that were made of these predictions"
            )
        reading.answers[setting] = prediction.answer
    return readings


def pieces(decode: Callable[[Sequence[int]], str], ids: Sequence[int], cuts: Sequence[int]) -> list[str]:
    """The text of token ids, cut at token counts (ascending); the parts put together are the text of
    ``ids[:cuts[-1]]``.

    A cut inside a character that several tokens make up goes before that character.
    """
    whole = decode(ids[: cuts[-1]]) if cuts else ""
    found, done = [], 0
    for cut in cuts[:-1]:
        before = decode(ids[:cut]).rstrip("\ufffd")
        same = (
            len(before)
            if whole.startswith(before)
            else next(i for i, (a, b) in enumerate(zip(before + "\0", whole + "\1")) if a != b)
        )
        found.append(whole[done : max(done, same)])
        done = max(done, same)
    return [*found, whole[done:]] if cuts else []


def add_thinking(reading: Reading, rollout: Rollout, decode: Callable[[Sequence[int]], str]) -> None:
    """Decode a reading's thinking, and what was forced, in parts."""
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
        reading.shown[setting] = (
            sum(cut <= length for cut in cuts),
            sum(end <= length for end in ends) if setting[1] else 0,
        )


def compress(data: bytes) -> str:
    """Gzip in base64, the same each time."""
    return base64.b64encode(gzip.compress(data, compresslevel=6, mtime=0)).decode()


def blocks(
    readings: Sequence[Reading], settings: Sequence[Setting], limit: float
) -> tuple[list[str], dict[int, tuple[int, int]]]:
    """Texts of readings in compressed blocks of at most ``limit`` characters in all.

    Returns:
        The blocks, and the place of each reading that is in one: number of the block, number in the block. Readings are
        taken by :attr:`Reading.rank`; among equals, in an order that follows no benchmark or model (the hash of their
        number).
    """
    order = sorted(
        range(len(readings)), key=lambda number: (readings[number].rank, hashlib.sha256(str(number).encode()).digest())
    )
    found: list[str] = []
    places: dict[int, tuple[int, int]] = {}
    for members in _split_into_blocks([(number, readings[number].text(settings)) for number in order]):
        block = compress(b"[" + b",".join(text for _, text in members) + b"]")
        limit -= len(ELEMENT) + len(block)
        if limit < 0:
            break
        places |= {number: (len(found), place) for place, (number, _) in enumerate(members)}
        found.append(block)
    return found, places


def _split_into_blocks(texts: Sequence[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Neighbours together as long as they are no more than :data:`BLOCK` bytes; a longer text stays alone."""
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


def score_columns(
    keys: Sequence[Key],
    readings: Mapping[Key, Reading],
    settings: Sequence[Setting],
    questions: Mapping[tuple[str, str], int],
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Scores as columns.

    Args:
        keys: of the readings, in order.
        readings: by key.
        settings: of the run, in order.
        questions: benchmark and id to number.

    Returns:
        The rules that decided, and arrays: per reading its ``question`` (number); per reading and setting ``tokens`` of
        thinking, ``state`` (bits), ``letter`` (1 for A, 0 for none) and ``rule`` (number).
    """
    number = {setting: i for i, setting in enumerate(settings)}
    rules: dict[str, int] = {}
    shape = (len(keys), len(settings))
    tokens, state = np.zeros(shape, "<u4"), np.zeros(shape, "u1")
    letter, rule = np.zeros(shape, "u1"), np.zeros(shape, "u1")
    for row, key in enumerate(keys):
        for setting, score in readings[key].scored.items():
            at = row, number[setting]
            tokens[at] = score.thinking_tokens
            state[at] = THERE | CORRECT * score.correct | ENDED * score.ended
            letter[at] = LETTERS.index(score.letter) + 1 if score.letter else 0
            rule[at] = rules.setdefault(score.rule, len(rules))
    question = np.array([questions[key[:2]] for key in keys], "<u4")
    return list(rules), {"question": question, "tokens": tokens, "state": state, "letter": letter, "rule": rule}


def pack(arrays: Mapping[str, np.ndarray]) -> tuple[list[list[Any]], str]:
    """Name, type in the page and length of each array, and their bytes, compressed; the widest come first, so that all
    are aligned."""
    kinds = {4: "Uint32Array", 1: "Uint8Array"}
    ordered = sorted(arrays.items(), key=lambda item: -item[1].itemsize)
    return [[name, kinds[array.itemsize], array.size] for name, array in ordered], compress(
        b"".join(array.tobytes() for _, array in ordered)
    )


def table(path: Path) -> list[list[str]]:
    """A CSV table as it is written, headings first."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: not readable as CSV: {error}") from error
    if not rows:
        raise UserError(f"{path}: empty; a table has headings. Delete it to have it made again.")
    return rows


def picture(path: Path) -> str:
    """A PNG file in base64."""
    try:
        return base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise UserError(f"{path}: not readable: {error.strerror}") from error


def read_caption(name: str) -> dict[str, str]:
    """Name, label and caption of a table or figure; the caption is that of Snakemake's report, without its marks.

    The label is what the caption has in bold, ``**Table 1.**``; without a caption, the name.
    """
    file = CAPTIONS / f"{name}.rst"
    text = " ".join(file.read_text(encoding="utf-8").split()) if file.is_file() else ""
    label = re.match(r"\*\*(.+?)\.?\*\*", text)
    return {"name": name, "label": label[1] if label else name, "caption": re.sub(r"\*\*|``", "", text)}


def steps(manifests: Sequence[Path]) -> list[list[str]]:
    """What made what is shown: a row for each manifest, headings first."""
    rows = [["step", "commit", "edits", "counts", "seconds"]]
    for path in manifests:
        manifest = read_json(path)
        try:
            made = manifest["made_by"]
            counts = [
                f"{name.replace('_', ' ')} {count:,}"
                for name, count in manifest["counts"].items()
                if isinstance(count, int | float)
            ]
            step = (
                f"{path.parent.parent.name} {path.parent.name}"
                if path.stem == "manifest"
                else f"{path.parent.name} {path.stem}"
            )
            edited = {True: "yes", False: "no", None: "unknown"}[made["dirty"]]
            rows.append(
                [step, (made["commit"] or "unknown")[:9], edited, " · ".join(counts), f"{manifest['seconds']:.0f}"]
            )
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{path}: no manifest of this workflow ({error!r}). Delete it to have it made again."
            ) from None
    return rows


def versions(manifests: Sequence[Path]) -> dict[str, str]:
    """Package to the versions that the manifests name."""
    found: dict[str, set[str]] = {}
    for path in manifests:
        for package, version in read_json(path)["made_by"]["packages"].items():
            found.setdefault(package, set()).add(version)
    return {package: ", ".join(sorted(found[package])) for package in sorted(found)}


def page(facts: Mapping[str, Any], data: Mapping[str, str]) -> str:
    """The page: template, style and script of :data:`PARTS` around the run's data.

    Args:
        facts: JSON that the script reads first; whatever its strings hold, they cannot end their element.
        data: element to content in base64, which has no character that means anything in HTML.
    """
    style, script = ((PARTS / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    plain = json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
    plain = re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", plain)
    elements = [f'<script type="application/json" id="facts">{plain}</script>']
    elements += [ELEMENT.format(name=name, content=content) for name, content in data.items()]
    css, js = (base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (style, script))
    template = Template((PARTS / "template.html").read_text(encoding="utf-8"))
    return template.substitute(style=style, script=script, data="\n".join(elements), css_hash=css, js_hash=js)


def read_thinking(folder: Path, models: Sequence[Model], readings: Mapping[Key, Reading]) -> None:
    """Give readings their thinking, from the rollouts of the models that have some.

    Raises:
        UserError: a model's tokenizer is not there, or there is no score of a rollout.
    """
    decoders = {model.key: read_decoder(folder / model.tokenizer) for model in models if model.tokenizer is not None}
    with Progress("page", sum(model in decoders for _, _, model in readings), "readings decoded") as progress:
        for model, decode in decoders.items():
            path = folder / "infer" / model / "rollouts.parquet"
            for rollout in records.stream(path, Rollout):
                reading = readings.get((rollout.benchmark, rollout.question_id, rollout.model))
                if reading is None:
                    raise UserError(
                        f"{path}: question {rollout.question_id}, model {rollout.model!r}, has no score; pass "
                        "all --scores"
                    )
                add_thinking(reading, rollout, decode)
                progress.advance()


def read_questions(paths: Sequence[Path], readings: Mapping[Key, Reading]) -> dict[tuple[str, str], Question]:
    """Questions that a model has read, by benchmark (the name of the file) and id, in the order of the files.

    Raises:
        UserError: a scored question is in none of the files.
    """
    read = {key[:2] for key in readings}
    found = {(path.stem, question.id): question for path in paths for question in records.read(path, Question)}
    if missing := sorted(read - set(found)):
        raise UserError(
            f"benchmarks: {len(missing)} scored questions are in no file, the first {missing[0][1]} of {missing[0][0]}"
        )
    return {key: question for key, question in found.items() if key in read}


def build(options: argparse.Namespace) -> tuple[str, str]:
    """The page of the files that the options name, and what there is to say of it."""
    shown, folder = Shown.load(options.shown), options.shown.parent
    paths = [folder / "infer" / model.key / "predictions.parquet" for model in shown.models]
    predictions = [row for path in paths for row in records.read(path, Prediction)]
    readings = gather(inputs.scores(options.scores), predictions)
    headings = inputs.add_own_benchmarks(
        inputs.benchmarks(options.benchmarks), (benchmark for benchmark, _, _ in readings)
    )
    model_order = {model.key: number for number, model in enumerate(shown.models)}
    benchmark_order = {benchmark: number for number, benchmark in enumerate(headings)}
    for _, _, model in readings:
        if model not in model_order:
            raise UserError(f"--scores: model {model!r} has no label in {options.shown}")
    asked = read_questions([folder / "benchmarks" / f"{key}.parquet" for key in shown.benchmarks], readings)
    read_thinking(folder, shown.models, readings)

    questions = {key: number for number, key in enumerate(sorted(asked, key=lambda key: benchmark_order[key[0]]))}
    keys = sorted(readings, key=lambda key: (questions[key[:2]], model_order[key[2]]))
    every = sorted(
        {setting for reading in readings.values() for setting in reading.scored}, key=lambda setting: setting[::-1]
    )
    rules, arrays = score_columns(keys, readings, every, questions)
    arrays["model"] = np.array([model_order[key[2]] for key in keys], "<u4")
    layout, scored = pack(arrays)
    manifests = [folder / file for one in shown.manifests for file in one.files]
    manifests = [path / "manifest.json" if path.is_dir() else path for path in manifests]
    facts = {
        "remark": shown.note,
        "models": [{"model": model.key, "label": model.label} for model in shown.models],
        "benchmarks": [{"key": key, "label": label} for key, label in headings.items()],
        "settings": every,
        "rules": rules,
        "layout": layout,
        "tables": [{**read_caption(name), "rows": table(folder / f"{name}.csv")} for name in shown.page_tables],
        "figures": [read_caption(name) for name in shown.page_figures],
        "steps": steps(manifests),
        "versions": versions(manifests),
        "megabytes": shown.page_megabytes,
    }
    texts = [
        [*key, q.source, q.context, q.stem, q.options, LETTERS.index(q.answer)]
        for key in questions
        for q in [asked[key]]
    ]
    data = {f"figure-{number}": picture(folder / f"{name}.png") for number, name in enumerate(shown.page_figures)}
    data |= {"questions": compress(json.dumps(texts, ensure_ascii=False).encode()), "scored": scored}
    room = 1e6 * shown.page_megabytes - len(page(facts, data).encode()) - PLACE * len(keys)
    found, places = blocks([readings[key] for key in keys], every, room)
    where = np.array([places.get(row, (NOWHERE, 0)) for row in range(len(keys))], "<u4").reshape(-1, 2)
    data["places"] = compress(where.tobytes())
    data |= {f"block-{number}": block for number, block in enumerate(found)}
    return page(facts, data), (
        f"{len(predictions):,} predictions, {len(asked):,} questions, texts of {len(places):,} of "
        f"{len(keys):,} readings, "
        f"{len(shown.page_tables)} tables, {len(shown.page_figures)} figures"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shown", type=Path, required=True, help=HELP)
    parser.add_argument("--scores", nargs="+", required=True, help="scores, any number of models in each file")
    parser.add_argument(
        "--benchmarks", required=True, help="resources/paper/benchmarks.csv: keys and headings, in order"
    )
    parser.add_argument("--output", required=True, type=Path, help="HTML")
    options = parser.parse_args(argv)
    html, told = build(options)
    write_text(options.output, html)
    say("page", f"{told}: {options.output}, {options.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main)
