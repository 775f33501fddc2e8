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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from m1.report.paragraphs import Block, draw, shorten, shorten_tokens
from m1.report.scores import read_scores
from m1.report.settings import Model, Shown

FIGURES = ("figure4", "figure5", "figure8")
READ = ["ended", "thinking_tokens", "letter", "rule"]  # fields of the scores, beside what every step reads of them
MOST_SIMILAR = "most similar option"  # the scorer's rule of an answer that names no option (m1.score.match)
PLACE = ["benchmark", "question_id"]
COLUMNS = [
    *("rule", "rank", "figure", "model", *PLACE, "budget", "forced_correct", "forced_incorrect"),
    *("letter_correct", "letter_incorrect", "thinking_correct", "thinking_incorrect"),
    *("named", "stays_incorrect", "ended"),
]
"""Of ``cases.csv``. ``named``: the answers name an option; ``ended``: the incorrect thinking ended by itself;
``thinking_…`` is in tokens. For ``longest_incorrect``, ``letter_correct`` and ``thinking_correct`` are those of the
other model that thinks longest."""
INCORRECT = {"letter": "letter_incorrect", "thinking_tokens": "thinking_incorrect", "forced": "forced_incorrect"}
"""Columns of the score that is incorrect."""


def longest_incorrect(scored: pd.DataFrame, budget: int) -> pd.DataFrame:
    """Questions on which the model that thinks longest is incorrect and all others are correct (Figure 4), ranked.

    Args:
        scored: from :func:`order_scores`, of two models or more.
        budget: in thinking tokens, without forcing.
    """
    rows = scored[(scored["budget"] == budget) & (scored["forced"] == 0) & (scored["rule"] != TOO_LONG)]
    rows = rows.sort_values([*PLACE, "thinking_tokens"], kind="stable")
    rows = rows.assign(named=rows["rule"] != MOST_SIMILAR)
    by = rows.groupby(PLACE, observed=True)
    rows = rows.assign(
        all_there=by["model"].transform("size") == scored["model"].nunique(),
        incorrect=by["model"].transform("size") - by["correct"].transform("sum"),
        named=by["named"].transform("all"),
        thinking_correct=by["thinking_tokens"].shift(),
        letter_correct=by["letter"].shift(),
    )
    last = rows.groupby(PLACE, observed=True).tail(1)
    last = last.assign(excess=last["thinking_tokens"] - last["thinking_correct"])
    found = last[last["all_there"] & (last["incorrect"] == 1) & ~last["correct"] & (last["excess"] > 0)]
    ranks = {"named": False, "ended": False, "excess": False, "model": True} | dict.fromkeys(PLACE, True)
    return _rank(found.drop(columns="forced"), "longest_incorrect", ranks)


def forced_incorrect(scored: pd.DataFrame, budget: int) -> pd.DataFrame:
    """Answers that were correct unforced, and incorrect after forcing (Figures 5 and 8), ranked; a row for each
    question and model.

    ``forced_incorrect`` is the smallest forced count with an incorrect answer, ``forced_correct`` the next smaller
    count scored, correct as all before.

    Args:
        scored: as in :func:`longest_incorrect`.
        budget: that it is forced in, in thinking tokens.
    """
    rows = scored[(scored["budget"] == budget) & (scored["rule"] != TOO_LONG)].sort_values(
        ["model", *PLACE, "forced"], kind="stable"
    )
    keys = [rows[name] for name in ("model", *PLACE)]
    named, so_far = rows["rule"] != MOST_SIMILAR, rows["correct"].groupby(keys, observed=True).cummin()
    by = rows.assign(named=named, correct_so_far=so_far).groupby(keys, observed=True)
    correct_later = rows["correct"][::-1].groupby([key[::-1] for key in keys], observed=True).cummax()[::-1]
    turned = (by["forced"].transform("min") == 0) & by["correct_so_far"].shift(fill_value=False) & ~rows["correct"]
    before = by[["forced", "letter", "thinking_tokens"]].shift()
    rows[["forced_correct", "letter_correct", "thinking_correct"]] = before
    rows = rows.assign(named=named & by["named"].shift(fill_value=False), stays_incorrect=~correct_later)
    ranks = {"named": False, "stays_incorrect": False} | dict.fromkeys(
        ["forced", "thinking_tokens", "model", *PLACE], True
    )
    return _rank(rows[turned], "forced_incorrect", ranks)


def _rank(found: pd.DataFrame, rule: str, ranks: Mapping[str, bool]) -> pd.DataFrame:
    """Cases as :data:`COLUMNS`, sorted by the columns of ``ranks``, ascending where it is true."""
    found = found.sort_values(list(ranks), ascending=list(ranks.values())).rename(columns=INCORRECT)
    found = found.assign(rule=rule, rank=range(1, len(found) + 1), figure="").reindex(columns=COLUMNS)
    counts = ["forced_correct", "forced_incorrect", "thinking_correct", "thinking_incorrect"]
    kinds = dict.fromkeys(counts, "Int64") | dict.fromkeys(["named", "stays_incorrect", "ended"], "boolean")
    return found.reset_index(drop=True).astype({**kinds, "model": str, "benchmark": str})


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


CORRECT, WRONG, QUIET = style.COLOURS[3], style.COLOURS[6], "0.94"
THINKING, SHORT, STEM = 1100, 500, 1600
"""Characters of one stretch of thinking, of an answer or option, and of the question, before the middle is left out."""
SPACE = Block("", size=3)
NO_TEXT = "(The thinking is not among the published results.)"


@dataclass(frozen=True)
class Sources:
    """Where the texts of cases are; rows are read when a case is drawn."""

    folder: Path  # of the results: questions, predictions, rollouts and tokenizers lie below it
    models: Mapping[str, Model]  # models of the figures, by key
    benchmarks: Mapping[str, str]  # benchmark to its heading

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
        raise UserError(f"{path}: none on {where}, which is scored. Give the scores of these predictions.")

    def rollout(self, case: Mapping[str, Any], model: str, forced: int, tokens: int) -> Rollout | None:
        """The thinking; None where it is not to be had. ``tokens`` is how long it was scored to be."""
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
        """Parts of a model's thinking from token ids, their middle left out where they are long."""
        decode = read_decoder(self.folder / (self.models[model].tokenizer or model))
        return [shorten_tokens(part, decode, THINKING) for part in parts]


def _head(title: str, case: Mapping[str, Any], sources: Sources, found: int) -> list[Block]:
    question = sources.question(case)
    benchmark = sources.benchmarks.get(case["benchmark"], case["benchmark"])
    which = f"{benchmark}, question {case['question_id']}. Case {case['rank']} of {found:,} found by the rule."
    stem = [Block(shorten(text, STEM), shade=QUIET) for text in (question.context, question.stem) if text]
    edge, options = Block("", shade=QUIET, size=2), []
    for letter, text in zip(LETTERS, question.options):
        right, line = letter == question.answer, f"{letter}. {shorten(text, SHORT)}"
        if right:
            line += " \N{HEAVY CHECK MARK}"
        options.append(Block(line, bold=right, colour=CORRECT if right else "0.1", shade=QUIET, pad=0.1))
    heading = [Block(title, bold=True, size=9), Block(which, colour=style.MUTED, size=6.5)]
    return [*heading, edge, *stem, *options, edge, SPACE]


def _thinking_blocks(how: str, text: str, answer: str, scored: Mapping[str, Any]) -> list[Block]:
    """Thinking, the answer after it, and whether that is correct: in words and by a sign, so that it shows in grey,
    too."""
    verdict, colour = ("correct \N{HEAVY CHECK MARK}", CORRECT)
    if not scored["correct"]:
        verdict, colour = ("incorrect \N{HEAVY BALLOT X}", WRONG)
    why = f"  (the {MOST_SIMILAR}; the answer names none)" if scored["rule"] == MOST_SIMILAR else ""
    return [
        Block(how, bold=True, size=8),
        Block(shorten(text.strip(), 2 * THINKING), bar=colour),
        Block("\N{RIGHTWARDS ARROW} " + shorten(answer.strip(), SHORT), bar=colour),
        Block(f"{scored['letter'] or 'no option'}, {verdict}{why}", bold=True, colour=colour, bar=colour),
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
        blocks += _thinking_blocks(how, text, sources.answer(case, model, 0), row)
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
            blocks += [Block(turn, bold=True, colour=WRONG, shade="0.88", size=7.5), SPACE]
        often = f"Forced {forced}\N{MULTIPLICATION SIGN}" if forced < budget else "Forced until the budget is used up"
        how = f"{often if forced else 'Not forced'}: {row['thinking_tokens']:,} tokens of thinking"
        blocks += _thinking_blocks(how, text, sources.answer(case, model, forced), row)
    stays, back = "It stays incorrect however often it is forced.", "It comes back to the right answer later."
    return [*blocks, Block(stays if case["stays_incorrect"] else back), SPACE]


def draw_figure(name: str, cases: pd.DataFrame, scored: pd.DataFrame, sources: Sources, note: str) -> Figure:
    """Figure 4, 5 or 8 (``name`` as in the column ``figure``), or that this run has no such case; ``note`` is printed
    at the foot."""
    title, make_blocks = "Forced thinking that turns correct into incorrect", forced_blocks
    if name == "figure4":
        title, make_blocks = "Longer thinking that stays incorrect", longest_blocks
    blocks = [Block(title, bold=True, size=9), Block("No such case in this run.")]
    for case in cases[cases["figure"] == name].to_dict("records"):
        same = [scored[key] == case[key] for key in (*PLACE, "budget")]
        found = int((cases["rule"] == case["rule"]).sum())
        blocks = make_blocks(case, scored[same[0] & same[1] & same[2]], sources, found)
    return draw([*blocks, Block(note, colour=style.MUTED, size=6.5)])


def order_scores(found: pd.DataFrame, models: Sequence[str], benchmarks: Sequence[str]) -> pd.DataFrame:
    """Scores of the models; models and benchmarks are categories in the given order, this run's own benchmarks last."""
    order = list(add_own_benchmarks(dict.fromkeys(benchmarks, ""), found["benchmark"]))
    found = found[found["model"].isin(models)]
    return found.assign(
        model=pd.Categorical(found["model"], models, ordered=True),
        benchmark=pd.Categorical(found["benchmark"], order, ordered=True),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Find all cases and draw the first ones."""
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
