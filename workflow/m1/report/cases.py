"""Figures 4, 5 and 8: failure cases, found by rule, drawn with their text (5, "Failure cases").

- ``longest_incorrect`` (Figure 4): at the largest budget one model thinks longer than every other model of the figures
  and is incorrect, and all others are correct. Ranked: thinking that ended by itself before thinking that was cut;
  then by how many tokens longer it is, most first.
- ``forced_incorrect`` (Figures 5 and 8): within the forced budget a model is correct unforced, and incorrect after some
  number of forced ``Wait``s. Ranked: incorrect at every larger number, too, before those that come back; then fewest
  ``Wait``s until the turn; then shortest thinking.

Before all that go cases whose answers name an option, before those with an answer that was only matched to the most
similar one, correct or incorrect by luck. What is still equal goes by model, benchmark (in the order of Table 1) and
question. Figures 4 and 5 draw the first of each, Figure 8 the first ``forced_incorrect`` on another question, of
another model if there is one. ``cases.csv`` has them all.
"""

from __future__ import annotations

import argparse
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import LoadFlags
from matplotlib.patches import Rectangle

from m1.core import records, style
from m1.core.errors import UserError, run
from m1.core.files import replacing
from m1.core.progress import say
from m1.core.records import LETTERS, Prediction, Question, Rollout
from m1.report import inputs
from m1.report.inputs import read_decoder
from m1.report.settings import HELP, Model, Shown

FIGURES = ("figure4", "figure5", "figure8")
READ = [
    "question_id",
    "benchmark",
    "model",
    "budget",
    "forced",
    "ended",
    "thinking_tokens",
    "letter",
    "correct",
    "rule",
]
MOST_SIMILAR = "most similar option"
"""The scorer's rule of an answer that names no option (:mod:`m1.score.match`)."""
PLACE = ["benchmark", "question_id"]
COLUMNS = [
    "rule",
    "rank",
    "figure",
    "model",
    *PLACE,
    "budget",
    "forced_correct",
    "forced_incorrect",
    "letter_correct",
    "letter_incorrect",
]
COLUMNS += ["thinking_correct", "thinking_incorrect", "named", "stays_incorrect", "ended"]
"""Of ``cases.csv``. ``named``: the answers name an option; ``ended``: the incorrect thinking ended by itself;
``thinking_…`` is in tokens. For ``longest_incorrect``, ``letter_correct`` and ``thinking_correct`` are those of the
other model that thinks longest."""


def longest_incorrect(scored: pd.DataFrame, budget: int) -> pd.DataFrame:
    """Questions on which the model that thinks longest is incorrect and all others are correct (Figure 4), ranked.

    Args:
        scored: columns :data:`READ` of two models or more; ``model`` and ``benchmark`` are ordered categories.
        budget: in thinking tokens, without forcing.
    """
    rows = scored[(scored["budget"] == budget) & (scored["forced"] == 0)].sort_values(
        [*PLACE, "thinking_tokens"], kind="stable"
    )
    rows = rows.assign(named=_names_option(rows))
    by = rows.groupby(PLACE, observed=True)
    models = scored["model"].nunique()
    last = rows.assign(
        models=by["model"].transform("size"),
        models_correct=by["correct"].transform("sum"),
        other=by["thinking_tokens"].shift(),
    )
    last = (
        last.assign(letter_correct=by["letter"].shift(), named=by["named"].transform("all"))
        .groupby(PLACE, observed=True)
        .tail(1)
    )
    found = last[
        (last["models"] == models)
        & (last["models_correct"] == models - 1)
        & ~last["correct"]
        & (last["thinking_tokens"] > last["other"])
    ]
    found = found.assign(excess=found["thinking_tokens"] - found["other"], thinking_correct=found["other"])
    found = found.sort_values(
        ["named", "ended", "excess", "model", *PLACE], ascending=[False, False, False, True, True, True]
    )
    found = found.rename(columns={"letter": "letter_incorrect", "thinking_tokens": "thinking_incorrect"})
    return _rank(found, "longest_incorrect")


def forced_incorrect(scored: pd.DataFrame, budget: int) -> pd.DataFrame:
    """Answers that were correct unforced, and incorrect after forcing (Figures 5 and 8), ranked; a row for each
    question and model.

    ``forced_incorrect`` is the smallest forced count with an incorrect answer, ``forced_correct`` the next smaller
    count scored, correct as all before.

    Args:
        scored: as in :func:`longest_incorrect`.
        budget: that it is forced in, in thinking tokens.
    """
    rows = scored[scored["budget"] == budget].sort_values(["model", *PLACE, "forced"], kind="stable")
    keys = [rows[name] for name in ("model", *PLACE)]
    rows = rows.assign(named=_names_option(rows), correct_so_far=rows["correct"].groupby(keys, observed=True).cummin())
    by = rows.groupby(keys, observed=True)
    rows = rows.assign(
        unforced=by["forced"].transform("min") == 0,
        correct_before=by["correct_so_far"].shift(fill_value=False),
        correct_later=rows["correct"][::-1].groupby([key[::-1] for key in keys], observed=True).cummax()[::-1],
        named=rows["named"] & by["named"].shift(fill_value=False),
        **{
            f"{name}_correct": by[of].shift()
            for name, of in (("forced", "forced"), ("letter", "letter"), ("thinking", "thinking_tokens"))
        },
    )
    found = rows[rows["unforced"] & rows["correct_before"] & ~rows["correct"]]
    found = found.assign(stays_incorrect=~found["correct_later"])
    found = found.sort_values(
        ["named", "stays_incorrect", "forced", "thinking_tokens", "model", *PLACE],
        ascending=[False, False, True, True, True, True, True],
    )
    found = found.rename(
        columns={"letter": "letter_incorrect", "thinking_tokens": "thinking_incorrect", "forced": "forced_incorrect"}
    )
    return _rank(found, "forced_incorrect")


def _names_option(rows: pd.DataFrame) -> pd.Series:
    """Whether each answer named an option."""
    return rows["rule"] != MOST_SIMILAR


def _rank(found: pd.DataFrame, rule: str) -> pd.DataFrame:
    found = (
        found.assign(rule=rule, rank=range(1, len(found) + 1), figure="")
        .reindex(columns=COLUMNS)
        .reset_index(drop=True)
    )
    kinds = {
        "Int64": ["forced_correct", "forced_incorrect", "thinking_correct", "thinking_incorrect"],
        "boolean": ["named", "stays_incorrect", "ended"],
    }
    return found.astype(
        {name: kind for kind, names in kinds.items() for name in names} | {"model": str, "benchmark": str}
    )


def choose(longest: pd.DataFrame, forced: pd.DataFrame) -> pd.DataFrame:
    """All cases, with the figure that draws each in ``figure``."""
    longest, forced = longest.copy(), forced.copy()
    longest.loc[:0, "figure"] = "figure4"
    if len(forced):
        first = forced.iloc[0]
        others = forced[(forced["question_id"] != first["question_id"]) | (forced["benchmark"] != first["benchmark"])]
        another = others[others["model"] != first["model"]]
        forced.loc[0, "figure"] = "figure5"
        forced.loc[(another if len(another) else others).index[:1], "figure"] = "figure8"
    return pd.concat([longest, forced], ignore_index=True)


# Text that any reader of PDF can show, whatever a model wrote.

LEFT_OUT = "[… {count:,} {unit} left out …]"
MISSING = "\N{WHITE SQUARE}"
INVISIBLE = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
"""Unicode's categories of what is no printed character: control and bidirectional marks, private use, surrogates."""


@cache
def _font(bold: bool) -> Any:
    return font_manager.get_font(
        font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal"))
    )


@cache
def _advance(character: str, bold: bool) -> float:
    """Width of a character in ems."""
    font = _font(bold)
    font.set_size(100, 72)
    return float(font.load_char(ord(character), flags=LoadFlags.NO_HINTING).linearHoriAdvance) / 65536 / 100


@cache
def _known() -> frozenset[int]:
    return frozenset(_font(False).get_charmap()) & frozenset(_font(True).get_charmap())


def printable(text: str) -> str:
    """Text of characters that the font has: others are a white square, invisible ones are gone, tabs are spaces; line
    ends stay."""

    def replace(character: str) -> str:
        if character == "\n":
            return character
        if unicodedata.category(character) in INVISIBLE:
            return ""
        return character if ord(character) in _known() else MISSING

    return "".join(map(replace, text.replace("\t", "    ")))


def shorten(text: str, limit: int) -> str:
    """At most about ``limit`` characters: the middle of a longer text is left out, which it says."""
    if len(text) <= limit:
        return text
    head, tail = limit * 3 // 5, limit * 2 // 5
    return (
        f"{text[:head]} {LEFT_OUT.format(count=len(text) - head - tail, unit='characters')} {text[len(text) - tail :]}"
    )


def shorten_tokens(ids: Sequence[int], decode: Callable[[Sequence[int]], str], limit: int) -> str:
    """The text of tokens, at most about ``limit`` characters: whole tokens of its middle are left out, which it says,
    counted."""
    ids = list(ids)
    if len(text := decode(ids)) <= limit:
        return text
    head = bisect_right(range(len(ids)), limit * 3 // 5, key=lambda count: len(decode(ids[:count]))) - 1
    tail = (
        bisect_right(range(len(ids) - head), limit * 2 // 5, key=lambda count: len(decode(ids[len(ids) - count :]))) - 1
    )
    left_out = LEFT_OUT.format(count=len(ids) - head - tail, unit="tokens")
    return f"{decode(ids[:head])} {left_out} {decode(ids[len(ids) - tail :])}"


def wrap(text: str, width: float, bold: bool = False) -> list[str]:
    """Lines of a printable text that are no wider than ``width``, in ems; a word that is wider is broken."""
    lines = []
    for paragraph in text.strip("\n").split("\n"):
        line, used = "", 0.0
        for word in paragraph.split(" "):
            need = sum(_advance(character, bold) for character in word)
            space = _advance(" ", bold) if line else 0.0
            if line and used + space + need > width:
                lines.append(line)
                line, used, space = "", 0.0, 0.0
            if need <= width:
                line, used = f"{line} {word}" if space else word, used + space + need
                continue
            for character in word:
                wide = _advance(character, bold)
                if used + wide > width:
                    lines.append(line)
                    line, used = "", 0.0
                line, used = line + character, used + wide
        lines.append(line)
    return [
        line for i, line in enumerate(lines) if line.strip() or (i and lines[i - 1].strip())
    ]  # one empty line at a time


@dataclass(frozen=True)
class Block:
    """A paragraph of a figure."""

    text: str
    bold: bool = False
    colour: str = "0.1"
    shade: str = "white"
    """Behind it."""
    bar: str = ""
    """Colour of the bar at its left; empty for none."""
    size: float = 7.0
    """Points."""
    pad: float = 0.5
    """Lines of room above and below, together."""


WIDTH, MARGIN, INNER = 7.0, 0.15, 0.12
"""Inches: the figure, its margin, the room left and right of text."""
CORRECT, WRONG, QUIET = style.COLOURS[3], style.COLOURS[6], "0.94"
THINKING, SHORT = 1100, 500
"""Characters of one stretch of thinking, and of an answer or option, before the middle is left out."""
STEM = 1600


def draw(blocks: Sequence[Block]) -> Figure:
    """Paragraphs below each other. Made within ``plt.rc_context(style.PLACED)``."""
    placed: list[tuple[float, float, Block, list[str]]] = []
    y = MARGIN
    for block in blocks:
        lines = wrap(printable(block.text), (WIDTH - 2 * MARGIN - 2 * INNER) * 72 / block.size, block.bold) or [""]
        height = (1.32 * len(lines) + block.pad) * block.size / 72
        placed.append((y, height, block, lines))
        y += height
    figure = style.plt.figure(figsize=(WIDTH, y + MARGIN))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(y + MARGIN, 0))
    axes.set_axis_off()
    for top, height, block, lines in placed:
        axes.add_patch(Rectangle((MARGIN, top), WIDTH - 2 * MARGIN, height, facecolor=block.shade, linewidth=0))
        if block.bar:
            axes.add_patch(Rectangle((MARGIN, top), 0.04, height, facecolor=block.bar, linewidth=0))
        for number, line in enumerate(lines):
            middle = top + (block.pad / 2 + 1.32 * (number + 0.5)) * block.size / 72
            weight = "bold" if block.bold else "normal"
            axes.text(
                MARGIN + INNER,
                middle,
                line,
                fontsize=block.size,
                color=block.colour,
                fontweight=weight,
                va="center_baseline",
                parse_math=False,
            )
    return figure


@dataclass(frozen=True)
class Sources:
    """Where the texts of cases are; rows are read when a case is drawn."""

    folder: Path
    """Of the results: questions, predictions, rollouts and tokenizers lie below it."""
    models: Mapping[str, Model]
    """Models of the figures, by key."""
    benchmarks: Mapping[str, str]
    """Benchmark to its heading."""

    def question(self, case: Mapping[str, Any]) -> Question:
        path = self.folder / "benchmarks" / f"{case['benchmark']}.parquet"
        rows = records.read(path, Question, {"id": case["question_id"]})
        if not rows:
            raise UserError(
                f"{path}: no question {case['question_id']}, which is scored. Delete it to have it made again."
            )
        return rows[0]

    def prediction(self, case: Mapping[str, Any], model: str, forced: int) -> Prediction:
        where = {name: case[name] for name in PLACE} | {"budget": case["budget"], "forced": forced}
        path = self.folder / "infer" / model / "predictions.parquet"
        rows = records.read(path, Prediction, where)
        if not rows:
            raise UserError(f"{path}: none on {where}, which is scored. Give the scores of these predictions.")
        return rows[0]

    def rollout(self, case: Mapping[str, Any], model: str, forced: int, tokens: int) -> Rollout | None:
        """The thinking; None where it is not to be had. ``tokens`` is how long it was scored to be."""
        if self.models[model].tokenizer is None:
            return None
        path = self.folder / "infer" / model / "rollouts.parquet"
        rows = records.read(path, Rollout, {name: case[name] for name in PLACE})
        if not rows or len(rows[0].thinking(case["budget"], forced)) != tokens:
            raise UserError(
                f"{path}: not the thinking that was scored on {case['benchmark']}, question {case['question_id']}. "
                "Give rollouts and scores of the same run."
            )
        return rows[0]

    def decode(self, model: str) -> Callable[[Sequence[int]], str]:
        """From token ids to text, special tokens as text too."""
        return read_decoder(self.folder / (self.models[model].tokenizer or model))


SPACE = Block("", size=3)


def _foot(note: str) -> Block:
    return Block(note, colour=style.MUTED, size=6.5)


NO_TEXT = "(The thinking is not among the published results.)"


def _head(title: str, case: Mapping[str, Any], question: Question, sources: Sources, found: int) -> list[Block]:
    benchmark = sources.benchmarks.get(case["benchmark"], case["benchmark"])
    which = f"{benchmark}, question {case['question_id']}. Case {case['rank']} of {found:,} found by the rule."
    stem = [Block(shorten(text, STEM), shade=QUIET) for text in (question.context, question.stem) if text]
    edge = Block("", shade=QUIET, size=2)
    options = [
        Block(
            f"{letter}. {shorten(text, SHORT)}" + (" \N{HEAVY CHECK MARK}" if letter == question.answer else ""),
            bold=letter == question.answer,
            colour=CORRECT if letter == question.answer else "0.1",
            shade=QUIET,
            pad=0.1,
        )
        for letter, text in zip(LETTERS, question.options)
    ]
    return [
        Block(title, bold=True, size=9),
        Block(which, colour=style.MUTED, size=6.5),
        edge,
        *stem,
        *options,
        edge,
        SPACE,
    ]


def _thinking_blocks(text: str, answer: str, scored: Mapping[str, Any]) -> list[Block]:
    """Thinking, the answer after it, and whether that is correct: in words and by a sign, so that it shows in grey,
    too."""
    verdict, colour = (
        ("correct \N{HEAVY CHECK MARK}", CORRECT) if scored["correct"] else ("incorrect \N{HEAVY BALLOT X}", WRONG)
    )
    why = f"  (the {MOST_SIMILAR}; the answer names none)" if scored["rule"] == MOST_SIMILAR else ""
    return [
        Block(shorten(text.strip(), 2 * THINKING), bar=colour),
        Block("\N{RIGHTWARDS ARROW} " + shorten(answer.strip(), SHORT), bar=colour),
        Block(f"{scored['letter'] or 'no option'}, {verdict}{why}", bold=True, colour=colour, bar=colour),
        SPACE,
    ]


def _scores_of_case(scored: pd.DataFrame, case: Mapping[str, Any]) -> pd.DataFrame:
    """Scores on the question of a case at its budget."""
    same = [scored[name] == case[name] for name in (*PLACE, "budget")]
    return scored[same[0] & same[1] & same[2]]


def draw_longest(case: Mapping[str, Any], scored: pd.DataFrame, sources: Sources, found: int, note: str) -> Figure:
    """Figure 4: the models' thinking on one question, the longest first.

    Args:
        case: a row of :func:`longest_incorrect`.
        found: how many cases there are.
        note: printed at the foot; empty for none.
    """
    question = sources.question(case)
    title = f"{sources.models[case['model']].label} thinks longest and is incorrect; the others are correct"
    blocks = _head(title, case, question, sources, found)
    here = _scores_of_case(scored, case)
    here = here[here["forced"] == 0]
    for row in here.sort_values("thinking_tokens", ascending=False, kind="stable").to_dict("records"):
        model = row["model"]
        rollout = sources.rollout(case, model, 0, row["thinking_tokens"])
        thinking = (
            shorten_tokens(rollout.thinking(case["budget"]), sources.decode(model), THINKING) if rollout else NO_TEXT
        )
        how = "ended by itself" if row["ended"] else f"cut by the budget of {case['budget']:,}"
        blocks += [
            Block(
                f"{sources.models[model].label}: {row['thinking_tokens']:,} tokens of thinking, {how}",
                bold=True,
                size=8,
            ),
            *_thinking_blocks(thinking, sources.prediction(case, model, 0).answer, row),
        ]
    return draw([*blocks, _foot(note)])


def draw_forced(case: Mapping[str, Any], scored: pd.DataFrame, sources: Sources, found: int, note: str) -> Figure:
    """Figures 5 and 8: one model's thinking before and after the forced ``Wait`` at which its answer turned.

    Args: as in :func:`draw_longest`; ``case`` is a row of :func:`forced_incorrect`.
    """
    question, model = sources.question(case), case["model"]
    before, after = int(case["forced_correct"]), int(case["forced_incorrect"])
    title = f"{sources.models[model].label}: forced thinking turns correct into incorrect"
    blocks = _head(title, case, question, sources, found)
    rollout = sources.rollout(case, model, after, case["thinking_incorrect"])
    following = ""
    if rollout:
        whole, decode = rollout.thinking(case["budget"], after), sources.decode(model)
        waits = [place for place in rollout.waits if place < len(whole)]
        texts = [shorten_tokens(part, decode, THINKING) for part in (whole[: waits[before]], whole[waits[before] :])]
        if len(waits) > before + 1:
            following = f", the first of {len(waits) - before} up to the next answer"
    else:
        texts = [NO_TEXT, NO_TEXT]
    turn = f"\N{BLACK DOWN-POINTING TRIANGLE} Forced “Wait” {before + 1}{following}: here the answer turns"
    stays = (
        "It stays incorrect however often it is forced."
        if case["stays_incorrect"]
        else "It comes back to the right answer later."
    )
    here = _scores_of_case(scored, case)
    rows = here[here["model"] == model].set_index("forced", drop=False).to_dict("index")
    for forced, text in zip((before, after), texts, strict=True):
        row = rows[forced]
        if forced == after:
            blocks += [Block(turn, bold=True, colour=WRONG, shade="0.88", size=7.5), SPACE]
        often = (
            f"Forced {forced}\N{MULTIPLICATION SIGN}"
            if forced < case["budget"]
            else "Forced until the budget is used up"
        )
        blocks.append(
            Block(
                f"{often if forced else 'Not forced'}: {row['thinking_tokens']:,} tokens of thinking", bold=True, size=8
            )
        )
        blocks += _thinking_blocks(text, sources.prediction(case, model, forced).answer, row)
    return draw([*blocks, Block(stays), SPACE, _foot(note)])


def no_case(title: str, note: str) -> Figure:
    """A figure for a run that has no such case."""
    return draw([Block(title, bold=True, size=9), Block("No such case in this run."), _foot(note)])


def read_scores(paths: Sequence[str], models: Sequence[str], benchmarks: Sequence[str]) -> pd.DataFrame:
    """Columns :data:`READ` of the models' scores; models and benchmarks ordered as given, this run's own benchmarks
    last."""
    frame = pd.concat(
        [pd.DataFrame(dict(zip(READ, inputs.read_columns(path, READ)))) for path in paths], ignore_index=True
    )
    order = list(inputs.add_own_benchmarks(dict.fromkeys(benchmarks, ""), frame["benchmark"]))
    frame = frame[frame["model"].isin(models)]
    return frame.assign(
        model=pd.Categorical(frame["model"], models, ordered=True),
        benchmark=pd.Categorical(frame["benchmark"], order, ordered=True),
    )


def draw_figure(name: str, cases: pd.DataFrame, scored: pd.DataFrame, sources: Sources, note: str) -> Figure:
    """Figure 4, 5 or 8 (``name`` as in the column ``figure``), or that this run has no such case."""
    rows = cases[cases["figure"] == name].to_dict("records")
    if not rows:
        longest = name == "figure4"
        title = (
            "Longer thinking that stays incorrect" if longest else "Forced thinking that turns correct into incorrect"
        )
        return no_case(title, note)
    draw_case = draw_longest if name == "figure4" else draw_forced
    found = int((cases["rule"] == rows[0]["rule"]).sum())
    return draw_case(rows[0], scored, sources, found, note)


def main(argv: Sequence[str] | None = None) -> None:
    """Find all cases and draw the first ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shown", type=Path, required=True, help=HELP)
    parser.add_argument("--scores", nargs="+", required=True, help="scores, any number of models in each file")
    parser.add_argument(
        "--benchmarks", required=True, help="resources/paper/benchmarks.csv: keys and headings, in order"
    )
    parser.add_argument("--table", required=True, help="CSV to write: all cases")
    for figure in FIGURES:
        parser.add_argument(f"--{figure}", nargs="+", required=True, help="files to write: .pdf, .png")
    options = parser.parse_args(argv)
    shown = Shown.load(options.shown)
    benchmarks = inputs.benchmarks(options.benchmarks)
    scored = read_scores(options.scores, shown.figures, list(benchmarks))
    longest = longest_incorrect(scored, max(shown.budgets))
    forced = forced_incorrect(scored, shown.forced_budget)
    cases = choose(longest, forced)
    with replacing(options.table) as partial:
        cases.to_csv(partial, index=False, lineterminator="\n")
    sources = Sources(options.shown.parent, {model.key: model for model in shown.figure_models}, benchmarks)
    with style.plt.rc_context(style.PLACED):
        for figure in FIGURES:
            style.save(draw_figure(figure, cases, scored, sources, shown.note), getattr(options, figure))
    say(
        "cases",
        f"{len(scored):,} scores -> {len(longest):,} longest and incorrect, {len(forced):,} turned incorrect "
        f"by force: {options.table}",
    )


if __name__ == "__main__":
    run(main)
