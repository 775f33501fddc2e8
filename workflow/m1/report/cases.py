"""Figures 4, 5 and 8: failure cases, found by rule and drawn with their text (5, "Failure cases").

- ``longest_incorrect`` (Figure 4): at the largest budget, one model thinks longer than every other model of the figures
  and is incorrect, and all others are correct. Thinking that ended by itself ranks before thinking that was cut. Then
  the model that thinks longest relative to the others ranks first.
- ``forced_incorrect`` (Figures 5 and 8): within the forced budget, a model is correct unforced and incorrect after some
  number of forced ``Wait``s. Cases that stay incorrect at every larger number rank before those that come back. Then
  the fewest ``Wait``s until the turn rank first, then the shortest thinking.

A figure only draws a case whose correct answers are stated: in a box, or by "the answer is". Other correct answers may
be luck, because the scorer took the most similar option or a letter in passing. If no case is stated, the figure says
so. Among the stated cases, those whose incorrect answer names an option rank first. Ties are broken by model, benchmark
(in the order of Table 1) and question. Figures 4 and 5 draw the first case of each rule. Figure 8 draws the first
``forced_incorrect`` case on another question, of another model if there is one. ``cases.csv`` lists all cases.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from m1.core import records, style
from m1.core.errors import UserError, run
from m1.core.progress import say
from m1.core.records import LETTERS, TOO_LONG, Prediction, Question, Rollout
from m1.report.files import (
    FIGURE,
    add_own_benchmarks,
    parser,
    read_benchmarks,
    read_decoder,
    write_csv,
    write_step_manifest,
)
from m1.report.paragraphs import NOTE, Block, draw, height, shorten, shorten_tokens
from m1.report.scores import read_scores
from m1.report.settings import Model, Shown

FIGURES = ("figure4", "figure5", "figure8")
READ = ["ended", "thinking_tokens", "letter", "rule"]  # fields of the scores, beside what every step reads of them
MOST_SIMILAR = "most similar option"  # the scorer's rule of an answer that names no option (m1.score.match)
STATED = ("boxed letter", "boxed letter and text", "boxed text", "answer is")
"""The scorer's rules of an answer that states an option, by every protocol."""
PLACE = ["benchmark", "question_id"]
COLUMNS = [
    *("rule", "rank", "figure", "model", *PLACE, "budget", "forced_correct", "forced_incorrect"),
    *("letter_correct", "letter_incorrect", "thinking_correct", "thinking_incorrect"),
    *("stated", "named", "stays_incorrect", "ended"),
]
"""Columns of ``cases.csv``. ``stated``: every correct answer is :data:`STATED`. ``named``: the incorrect answer names
an option. ``ended``: the incorrect thinking ended by itself. ``thinking_…`` is in tokens. For ``longest_incorrect``,
``letter_correct`` and ``thinking_correct`` belong to the other model that thinks longest."""
INCORRECT = {"letter": "letter_incorrect", "thinking_tokens": "thinking_incorrect", "forced": "forced_incorrect"}
"""Columns of the score that is incorrect."""


def longest_incorrect(scored: pd.DataFrame, budget: int) -> pd.DataFrame:
    """Questions on which the model that thinks longest is incorrect and all others are correct (Figure 4), ranked.

    Args:
        scored: from :func:`order_scores`, of at least two models.
        budget: thinking tokens, without forcing.
    """
    rows = scored[(scored["budget"] == budget) & (scored["forced"] == 0) & (scored["rule"] != TOO_LONG)]
    rows = rows.sort_values([*PLACE, "thinking_tokens"], kind="stable")
    rows = _mark_rules(rows)
    by = rows.groupby(PLACE, observed=True)
    rows = rows.assign(
        all_there=by["model"].transform("size") == scored["model"].nunique(),
        incorrect=by["model"].transform("size") - by["correct"].transform("sum"),
        stated=by["stated"].transform("sum") == by["correct"].transform("sum"),
        thinking_correct=by["thinking_tokens"].shift(),
        letter_correct=by["letter"].shift(),
    )
    last = rows.groupby(PLACE, observed=True).tail(1)
    last = last.assign(excess=last["thinking_tokens"] - last["thinking_correct"])
    found = last[last["all_there"] & (last["incorrect"] == 1) & ~last["correct"] & (last["excess"] > 0)]
    ranks = dict.fromkeys(["stated", "named", "ended", "excess"], False) | dict.fromkeys(["model", *PLACE], True)
    return _rank(found.drop(columns="forced"), "longest_incorrect", ranks)


def forced_incorrect(scored: pd.DataFrame, budget: int) -> pd.DataFrame:
    """Answers that were correct unforced and incorrect after forcing (Figures 5 and 8), ranked. There is one row for
    each question and model.

    ``forced_incorrect`` is the smallest forced count with an incorrect answer. ``forced_correct`` is the next smaller
    count; its answer is correct, and so are all before it.

    Args:
        scored: as in :func:`longest_incorrect`.
        budget: the forced budget, in thinking tokens.
    """
    rows = scored[(scored["budget"] == budget) & (scored["rule"] != TOO_LONG)].sort_values(
        ["model", *PLACE, "forced"], kind="stable"
    )
    keys = [rows[name] for name in ("model", *PLACE)]
    so_far = rows["correct"].groupby(keys, observed=True).cummin()
    rows = _mark_rules(rows)
    by = rows.assign(correct_so_far=so_far).groupby(keys, observed=True)
    correct_later = rows["correct"][::-1].groupby([key[::-1] for key in keys], observed=True).cummax()[::-1]
    turned = (by["forced"].transform("min") == 0) & by["correct_so_far"].shift(fill_value=False) & ~rows["correct"]
    before = by[["forced", "letter", "thinking_tokens"]].shift()
    rows[["forced_correct", "letter_correct", "thinking_correct"]] = before
    rows = rows.assign(stated=by["stated"].shift(fill_value=False), stays_incorrect=~correct_later)
    ascending = dict.fromkeys(["forced", "thinking_tokens", "model", *PLACE], True)
    return _rank(
        rows[turned], "forced_incorrect", dict.fromkeys(["stated", "named", "stays_incorrect"], False) | ascending
    )


def _mark_rules(rows: pd.DataFrame) -> pd.DataFrame:
    """Scores with ``stated`` (correct and :data:`STATED`) and ``named`` (the answer names an option)."""
    stated = rows["correct"] & rows["rule"].isin(STATED)
    return rows.assign(stated=stated, named=(rows["rule"] != MOST_SIMILAR) & (rows["letter"] != ""))


def _rank(found: pd.DataFrame, rule: str, ranks: Mapping[str, bool]) -> pd.DataFrame:
    """Cases as :data:`COLUMNS`, sorted by the columns of ``ranks``, ascending where it is true."""
    found = found.sort_values(list(ranks), ascending=list(ranks.values())).rename(columns=INCORRECT)
    found = found.assign(rule=rule, rank=range(1, len(found) + 1), figure="").reindex(columns=COLUMNS)
    counts = ["forced_correct", "forced_incorrect", "thinking_correct", "thinking_incorrect"]
    kinds = dict.fromkeys(counts, "Int64") | dict.fromkeys(["stated", "named", "stays_incorrect", "ended"], "boolean")
    return found.reset_index(drop=True).astype({**kinds, "model": str, "benchmark": str})


def choose(longest: pd.DataFrame, forced: pd.DataFrame) -> pd.DataFrame:
    """All cases. The column ``figure`` names the figure that draws a case; only stated cases have one."""
    longest, forced = longest.copy(), forced.copy()
    longest.loc[longest.index[longest["stated"]][:1], "figure"] = "figure4"
    stated = forced[forced["stated"]]
    for first in stated[:1].to_dict("records"):
        others = stated[(stated[PLACE] != [first[name] for name in PLACE]).any(axis=1)]
        another = others[others["model"] != first["model"]]
        forced.loc[stated.index[0], "figure"] = "figure5"
        forced.loc[(another if len(another) else others).index[:1], "figure"] = "figure8"
    return pd.concat([longest, forced], ignore_index=True)


CORRECT, WRONG, QUIET = "#00684C", "#A34700", "0.94"  # dark enough to be read as text, also on the shade
TALLEST = 9.0  # inches; a page of the paper holds no more
SHARES = tuple(0.85**step for step in range(16))
"""Texts are shortened to the largest share of :class:`Limits` with which the figure fits a page."""
SPACE = Block("", size=3)
NO_TEXT = "(The thinking is not among the published results.)"
NONE_STATED = (
    "Such cases in this run: {found:,}. In none of them do all correct answers state their option (in a box, or by "
    "“the answer is”). The scorer took the option that was most similar or mentioned, which may be luck. cases.csv "
    "lists them."
)


@dataclass(frozen=True)
class Limits:
    """Characters of a text before its middle is left out."""

    thinking: int = 1100  # half of the whole thinking; one part of two
    short: int = 500  # an answer or option
    stem: int = 1600  # the question

    def share(self, share: float) -> "Limits":
        return Limits(*(int(share * limit) for limit in (self.thinking, self.short, self.stem)))


@dataclass(frozen=True)
class Sources:
    """Where the texts of cases are. Only the rows of cases that are drawn are read."""

    folder: Path  # of the results: questions, predictions, rollouts and tokenizers lie below it
    models: Mapping[str, Model]  # models of the figures, by key
    benchmarks: Mapping[str, str]  # benchmark to its heading
    limits: Limits = Limits()

    def question(self, case: Mapping[str, Any]) -> Question:
        path, identity = self.folder / "benchmarks" / f"{case['benchmark']}.parquet", case["question_id"]
        if rows := records.read(path, Question, {"id": identity}):
            return rows[0]
        raise UserError(f"{path}: no question {identity}, which is scored. Delete it to have it made again.")

    def answer(self, case: Mapping[str, Any], model: str, forced: int) -> str:
        where = {name: case[name] for name in PLACE} | {"budget": case["budget"], "forced": forced}
        path = self.folder / "infer" / model / "predictions.parquet"
        if rows := records.read(path, Prediction, where):
            return rows[0].answer
        raise UserError(f"{path}: no answer on {where}, which is scored. Give the scores of these predictions.")

    def rollout(self, case: Mapping[str, Any], model: str, forced: int, tokens: int) -> Rollout | None:
        """The thinking; None where the run has none. ``tokens`` is its length according to the scores."""
        if self.models[model].tokenizer is None:
            return None
        path = self.folder / "infer" / model / "rollouts.parquet"
        rows = records.read(path, Rollout, {name: case[name] for name in PLACE})
        if rows and len(rows[0].thinking(case["budget"], forced)) == tokens:
            return rows[0]
        where = f"{case['benchmark']}, question {case['question_id']}"
        raise UserError(
            f"{path}: not the thinking that was scored on {where}. Give rollouts and scores of the same run."
        )

    def text(self, model: str, *parts: Sequence[int]) -> list[str]:
        """Parts of a model's thinking from token ids. The middle of long parts is left out."""
        decode = read_decoder(self.folder / (self.models[model].tokenizer or model))
        return [shorten_tokens(part, decode, self.limits.thinking) for part in parts]


def _head(title: str, case: Mapping[str, Any], sources: Sources, found: int) -> list[Block]:
    question = sources.question(case)
    benchmark = sources.benchmarks.get(case["benchmark"], case["benchmark"])
    which = f"{benchmark}, question {case['question_id']}. Case {case['rank']} of {found:,} found by the rule."
    stem = [
        Block(shorten(text, sources.limits.stem), shade=QUIET) for text in (question.context, question.stem) if text
    ]
    edge, options = Block("", shade=QUIET, size=2), []
    for letter, text in zip(LETTERS, question.options):
        right, line = letter == question.answer, f"{letter}. {shorten(text, sources.limits.short)}"
        if right:
            line += " \N{HEAVY CHECK MARK}"
        options.append(Block(line, bold=right, colour=CORRECT if right else "0.1", shade=QUIET, pad=0.1))
    heading = [Block(title, bold=True, size=7.5), Block(which, colour=style.MUTED, size=NOTE)]
    return [*heading, edge, *stem, *options, edge, SPACE]


def _thinking_blocks(how: str, text: str, answer: str, scored: Mapping[str, Any], limits: Limits) -> list[Block]:
    """Thinking, the answer after it, and whether that is correct. Words and a sign say it, because colours do not show
    in grey."""
    verdict, colour = f"{scored['letter'] or 'no option'}, correct \N{HEAVY CHECK MARK}", CORRECT
    if not scored["correct"]:
        verdict, colour = f"{scored['letter'] or 'no option'}, incorrect \N{HEAVY BALLOT X}", WRONG
        if scored["rule"] == MOST_SIMILAR:
            verdict += f"  (The answer names no option; {scored['letter']} is the most similar.)"
    return [
        Block(how, bold=True, size=7),
        Block(shorten(text.strip(), 2 * limits.thinking), bar=colour),
        Block("\N{RIGHTWARDS ARROW} " + shorten(answer.strip(), limits.short), bar=colour),
        Block(verdict, bold=True, colour=colour, bar=colour),
        SPACE,
    ]


def longest_blocks(case: Mapping[str, Any], here: pd.DataFrame, sources: Sources, found: int) -> list[Block]:
    """Figure 4: the models' thinking on one question, the longest first.

    Args:
        case: a row of :func:`longest_incorrect`.
        here: scores on its question at its budget.
        found: how many cases there are.
    """
    title = f"{sources.models[case['model']].label} thinks longest and is incorrect; the others are correct"
    blocks = _head(title, case, sources, found)
    longest_first = here[here["forced"] == 0].sort_values("thinking_tokens", ascending=False, kind="stable")
    for row in longest_first.to_dict("records"):
        model, tokens = row["model"], row["thinking_tokens"]
        rollout = sources.rollout(case, model, 0, tokens)
        text = sources.text(model, rollout.thinking(case["budget"]))[0] if rollout else NO_TEXT
        end = "ended by itself" if row["ended"] else f"cut by the budget of {case['budget']:,}"
        how = f"{sources.models[model].label}: {tokens:,} tokens of thinking, {end}"
        blocks += _thinking_blocks(how, text, sources.answer(case, model, 0), row, sources.limits)
    return blocks


def forced_blocks(case: Mapping[str, Any], here: pd.DataFrame, sources: Sources, found: int) -> list[Block]:
    """Figures 5 and 8: one model's thinking before and after the forced ``Wait`` at which its answer turned.

    Args: as in :func:`longest_blocks`; ``case`` is a row of :func:`forced_incorrect`.
    """
    model, budget = case["model"], case["budget"]
    before, after = int(case["forced_correct"]), int(case["forced_incorrect"])
    title = f"{sources.models[model].label}: forced thinking turns correct into incorrect"
    blocks = _head(title, case, sources, found)
    texts, following = [NO_TEXT, NO_TEXT], ""
    if rollout := sources.rollout(case, model, after, case["thinking_incorrect"]):
        whole = rollout.thinking(budget, after)
        waits = [place for place in rollout.waits if place < len(whole)]
        texts = sources.text(model, whole[: waits[before]], whole[waits[before] :])
        if len(waits) > before + 1:
            following = f", the first of {len(waits) - before} up to the next answer"
    turn = f"\N{BLACK DOWN-POINTING TRIANGLE} Forced “Wait” {before + 1}{following}: here the answer turns"
    rows = here[here["model"] == model].set_index("forced", drop=False).to_dict("index")
    for forced, text in zip((before, after), texts, strict=True):
        row = rows[forced]
        if forced == after:
            blocks += [Block(turn, bold=True, colour=WRONG, shade="0.88", size=7), SPACE]
        often = f"Forced {forced}\N{MULTIPLICATION SIGN}" if forced < budget else "Forced until the budget is used up"
        how = f"{often if forced else 'Not forced'}: {row['thinking_tokens']:,} tokens of thinking"
        blocks += _thinking_blocks(how, text, sources.answer(case, model, forced), row, sources.limits)
    stays, back = "It stays incorrect however often it is forced.", "It comes back to the right answer later."
    return [*blocks, Block(stays if case["stays_incorrect"] else back), SPACE]


def draw_figure(name: str, cases: pd.DataFrame, scored: pd.DataFrame, sources: Sources, note: str) -> Figure:
    """Figure 4, 5 or 8, at most :data:`TALLEST`; where no case is drawn, the figure says why.

    Args:
        name: of the figure, as in the column ``figure``.
        cases: from :func:`choose`.
        scored: from :func:`order_scores`.
        sources: of the texts.
        note: printed at the foot; empty for none.
    """
    title, rule, make_blocks = "Forced thinking that turns correct into incorrect", "forced_incorrect", forced_blocks
    if name == "figure4":
        title, rule, make_blocks = "Longer thinking that stays incorrect", "longest_incorrect", longest_blocks
    same_rule = cases[cases["rule"] == rule]
    found, foot = len(same_rule), [Block(note, colour=style.MUTED, size=NOTE)] if note else []
    for case in cases[cases["figure"] == name].to_dict("records"):
        same = [scored[key] == case[key] for key in (*PLACE, "budget")]
        here = scored[same[0] & same[1] & same[2]]
        for share in SHARES:
            blocks = make_blocks(case, here, replace(sources, limits=Limits().share(share)), found) + foot
            if height(blocks) <= TALLEST:
                break
        return draw(blocks)
    why = "No such case in this run." if not found else "No such case on another question in this run."
    if found and not same_rule["stated"].any():
        why = NONE_STATED.format(found=found)
    return draw([Block(title, bold=True, size=7.5), Block(why), *foot])


def order_scores(found: pd.DataFrame, models: Sequence[str], benchmarks: Sequence[str]) -> pd.DataFrame:
    """Scores of the models, with models and benchmarks as categories in the given order. This run's own benchmarks come
    last."""
    order = list(add_own_benchmarks(dict.fromkeys(benchmarks, ""), found["benchmark"].unique()))
    kinds = found[["model", "benchmark"]].astype("category")
    model = kinds["model"].cat.set_categories(models, ordered=True)
    benchmark = kinds["benchmark"].cat.set_categories(order, ordered=True)
    return found.assign(model=model, benchmark=benchmark).dropna(subset="model")  # leaves out other models


def main(argv: Sequence[str] | None = None) -> None:
    """Find all cases and draw the first ones that are stated."""
    figures = dict.fromkeys(FIGURES, FIGURE)
    options = parser(
        __doc__, "shown", "manifest", "scores", "benchmarks", table="CSV to write: all cases", **figures
    ).parse_args(argv)
    shown, benchmarks = Shown.load(options.shown), read_benchmarks(options.benchmarks)
    scored = order_scores(read_scores(options.scores, READ), shown.figures, list(benchmarks))
    longest = longest_incorrect(scored, max(shown.budgets))
    forced = forced_incorrect(scored, shown.forced_budget)
    cases = choose(longest, forced)
    write_csv(cases, options.table)
    sources = Sources(options.shown.parent, {model.key: model for model in shown.figure_models}, benchmarks)
    with style.plt.rc_context(style.PLACED):
        for figure in FIGURES:
            style.save(draw_figure(figure, cases, scored, sources, shown.note), getattr(options, figure))
    done = f"{len(longest):,} longest and incorrect, {len(forced):,} turned incorrect by force"
    write_step_manifest(options)
    say("cases", f"{len(scored):,} scores -> {done}: {options.table}")


if __name__ == "__main__":
    run(main)
