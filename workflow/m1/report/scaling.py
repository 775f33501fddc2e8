"""Numbers for what the paper says about longer thinking (4.2, 4.3): ``scaling.csv`` and ``best_budget.csv``.

``scaling.csv`` has accuracy, cut thinking, and turns from correct to incorrect and back, at every budget and forced
count. ``best_budget.csv`` has the budget and the forced count with the best accuracy, with intervals, and says from
where more does harm. docs/statistics.md says what the tests answer and what they do not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import beta

from m1.core.errors import UserError, run
from m1.core.progress import say
from m1.report.files import parser, read_benchmarks, write_csv, write_step_manifest
from m1.report.scores import column_headings, read_scores, rows_of_model
from m1.report.settings import Shown
from m1.report.statistics import LEVEL, P, bootstrap_p, generator, holm, mcnemar_p, percentiles, wilson

DRAWS = 10_000  # bootstrap draws of the questions
NOWHERE = "nowhere"
ALL, AVERAGE = "all", "average"
"""``all`` weighs all questions alike; ``average`` weighs all benchmarks alike."""
Setting = tuple[int, int]  # thinking budget in tokens, number of forced `Wait`s


@dataclass(frozen=True)
class Sweep:
    """One model's outcomes: arrays of questions by settings, the latter in the order of ``settings``."""

    settings: list[Setting]
    benchmark: np.ndarray  # key of the benchmark of each question
    correct: np.ndarray
    tokens: np.ndarray  # of thinking
    cut: np.ndarray  # whether the budget cut the thinking


def sweep(frame: pd.DataFrame, model: str) -> Sweep:
    """One model's outcomes, from scores with ``thinking_tokens`` and ``ended``; a :class:`UserError` if there are none,
    or if a question lacks a setting that another has."""
    rows = rows_of_model(frame, model)
    wide = rows.set_index(["benchmark", "question_id", "budget", "forced"])[["correct", "thinking_tokens", "ended"]]
    wide = wide.unstack(["budget", "forced"]).sort_index(axis=1)
    settings = [(int(budget), int(forced)) for budget, forced in wide["correct"].columns]
    gaps = wide["correct"].isna()
    if gaps.to_numpy().any():
        row = int(gaps.any(axis=1).to_numpy().argmax())
        budget, forced = settings[int(gaps.iloc[row].to_numpy().argmax())]
        benchmark, question = wide.index[row]
        raise UserError(
            f"scores: model {model!r} on {benchmark}: question {question} has none at budget {budget} with {forced} "
            "forced, which others have. Turns from correct to incorrect need every question at every setting. Score "
            "the model's predictions again."
        )
    fields = {"correct": bool, "thinking_tokens": float, "ended": bool}
    correct, tokens, ended = (wide[name].to_numpy().astype(kind) for name, kind in fields.items())
    return Sweep(settings, wide.index.get_level_values(0).to_numpy(), correct, tokens, ~ended)


def previous_setting(setting: Setting, settings: Sequence[Setting]) -> Setting | None:
    """The setting to compare with: a forced one with the next smaller count in its budget, an unforced one with the
    next smaller budget."""
    budget, forced = setting
    smaller = [(b, f) for b, f in settings if (b == budget and f < forced if forced else b < budget and f == 0)]
    return max(smaller, default=None)


def within_benchmarks(values: np.ndarray, benchmark: np.ndarray) -> np.ndarray:
    """Values of questions (rows) less the mean of their benchmark.

    Hard benchmarks have longer thinking and fewer correct answers. Without this, the two would correlate over all
    benchmarks even if they do not within any.
    """
    frame = pd.DataFrame(values.astype(float))
    return (frame - frame.groupby(benchmark).transform("mean")).to_numpy()


def length_and_outcome(tokens: np.ndarray, correct: np.ndarray, benchmarks: int) -> tuple[float, float]:
    """Point-biserial correlation of thinking tokens with being correct, and its p, which is that of the tokens in a
    regression with a constant for each benchmark. Both arrays are from :func:`within_benchmarks`, where each mean took
    a degree of freedom. The result is NaN where one of them does not vary."""
    degrees = len(tokens) - benchmarks - 1
    if np.allclose(tokens, 0) or np.allclose(correct, 0) or degrees < 1:
        return np.nan, np.nan
    r = np.corrcoef(tokens, correct)[0, 1].clip(-1, 1)
    return float(r), float(2 * beta.sf(abs(r), degrees / 2, degrees / 2, loc=-1, scale=2))


def scaling(one: Sweep) -> Iterator[dict[str, Any]]:
    """A line for each benchmark (and ``all``) and setting: accuracy (%), cut thinking (%), mean tokens of thinking, and
    turns since the previous setting, as counts and as % of the answers that were correct, or incorrect, there."""
    apart = [within_benchmarks(values, one.benchmark) for values in (one.tokens, one.correct)]
    for key, chosen in parts(one):
        correct, tokens, cut = one.correct[chosen], one.tokens[chosen], one.cut[chosen]
        lengths, outcomes = (values[chosen] for values in apart)
        benchmarks = len(set(one.benchmark[chosen]))
        n, lines = len(correct), []
        for place, setting in enumerate(one.settings):
            now, length = correct[:, place], tokens[:, place]
            line = {"benchmark": key, "budget": setting[0], "forced": setting[1], "n": n, "k": now.sum()}
            line |= dict(zip(("low", "high"), wilson(now.sum(), n)))
            related = length_and_outcome(lengths[:, place], outcomes[:, place], benchmarks)
            line |= dict(zip(("length_r", "length_p"), related))
            line |= {
                "accuracy": 100 * now.mean(),
                "cut": 100 * cut[:, place].mean(),
                "tokens": length.mean(),
                "tokens_correct": length[now].mean() if now.any() else np.nan,
                "tokens_incorrect": length[~now].mean() if not now.all() else np.nan,
            }
            if (earlier := previous_setting(setting, one.settings)) is not None:
                line |= turns(correct[:, one.settings.index(earlier)], now)
                line |= {"before_budget": earlier[0], "before_forced": earlier[1]}
            lines.append(line)
        corrected = holm([line.get("p", np.nan) for line in lines])
        yield from (line | {"p_holm": p} for line, p in zip(lines, corrected))


def turns(earlier: np.ndarray, now: np.ndarray) -> dict[str, Any]:
    """Answers that turned from correct to incorrect and back, as counts and as % of those that could turn, and
    McNemar's p of their balance."""
    lost, won = _turned(earlier, now)
    return {
        "correct_to_incorrect": lost,
        "incorrect_to_correct": won,
        "correct_to_incorrect_rate": 100 * lost / earlier.sum() if earlier.any() else np.nan,
        "incorrect_to_correct_rate": 100 * won / (~earlier).sum() if not earlier.all() else np.nan,
        "p": mcnemar_p(lost, won),
    }


def _turned(earlier: np.ndarray, now: np.ndarray) -> tuple[int, int]:
    """How many answers turned from correct to incorrect, and back."""
    return int((earlier & ~now).sum()), int((~earlier & now).sum())


def parts(one: Sweep) -> Iterator[tuple[str, np.ndarray]]:
    """Each benchmark with a mask of its questions, then ``all``."""
    for key in dict.fromkeys(one.benchmark):
        yield key, one.benchmark == key
    yield ALL, np.ones(len(one.benchmark), dtype=bool)


def redraw(correct: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Bootstrap accuracies in %: :data:`DRAWS` rows, a column for each setting.

    Each draw takes the same questions at every setting. It draws patterns of outcomes over the settings, because there
    are far fewer patterns than questions.
    """
    patterns, counts = np.unique(correct, axis=0, return_counts=True)
    n = counts.sum()
    return 100 / n * (random.multinomial(n, counts / n, DRAWS) @ patterns.astype(int))


def best(one: Sweep, model: str, seed: int) -> Iterator[dict[str, Any]]:
    """A line for each benchmark (and ``all``, ``average``) over the budgets, and over the forced counts of each budget
    that has some.

    Of equal accuracies, the smallest setting is the best. Its interval covers the best settings of :data:`DRAWS` draws
    of the questions. More does harm from the first larger setting that is worse by a paired test. Holm's correction
    covers every pair of settings, because the best one was found in the same answers. So a line without harm shows
    harm with a chance of at most 5 %.
    """
    ladders: dict[tuple[str, int | None], list[int]] = {}
    for place, (budget, forced) in enumerate(one.settings):
        if not forced:
            ladders.setdefault(("budget", None), []).append(place)
        if any(other[0] == budget and other[1] for other in one.settings):
            ladders.setdefault(("forced", budget), []).append(place)
    for (over, within), places in ladders.items():
        if len(places) < 2:
            continue
        values = np.array([one.settings[place][over == "forced"] for place in places])
        pairs = list(combinations(range(len(places)), 2))
        a, b = np.array(pairs).T
        n: dict[str, int] = {}
        accuracy: dict[str, np.ndarray] = {}
        drawn: dict[str, np.ndarray] = {}
        for key, chosen in parts(one):
            correct = one.correct[chosen][:, places]
            n[key], accuracy[key] = len(correct), 100 * correct.mean(axis=0)
            if key == ALL:
                drawn[key] = np.sum([n[part] * draws for part, draws in drawn.items()], axis=0) / n[key]
            else:
                drawn[key] = redraw(correct, generator(seed, model, key, over, str(within)))
            both = correct.T.astype(int) @ correct.astype(int)  # questions that two settings have correct
            p = mcnemar_p(both[a, a] - both[a, b], both[b, b] - both[a, b])
            interval = dict(zip(("low", "high"), wilson(correct.sum(axis=0).max(), len(correct))))
            line: dict[str, Any] = {"benchmark": key, "over": over, "within": within, "n": n[key], **interval}
            yield line | best_setting(values, accuracy[key], drawn[key], dict(zip(pairs, holm(p))))
        means, average = (np.mean([found[key] for key in n if key != ALL], axis=0) for found in (drawn, accuracy))
        p = [bootstrap_p(means[:, low] - means[:, high]) for low, high in pairs]
        low, high = percentiles(means[:, _first_best(average)])
        line = {"benchmark": AVERAGE, "over": over, "within": within, "low": low, "high": high}
        yield line | best_setting(values, average, means, dict(zip(pairs, holm(p))))


def best_setting(
    values: np.ndarray, accuracy: np.ndarray, drawn: np.ndarray, p: Mapping[tuple[int, int], float]
) -> dict[str, Any]:
    """The best of some settings and where more does harm.

    ``values`` are budgets or forced counts, ascending, and ``accuracy`` (%) is at each of them, as in each row of
    ``drawn``, the bootstrap draws. ``p`` is the corrected p of every pair of them, by their places.
    """
    top = int(_first_best(accuracy))
    low, high = percentiles(values[_first_best(drawn)], method="inverted_cdf")
    found = {"best": values[top], "best_low": int(low), "best_high": int(high), "accuracy": accuracy[top]}
    for place in range(top + 1, len(values)):
        if p[top, place] < LEVEL and (loss := accuracy[top] - accuracy[place]) > 0:
            return found | {"degrades_at": values[place], "degrades_by": loss, "degrades_p": p[top, place]}
    return found | {"degrades_at": NOWHERE}


def _first_best(accuracy: np.ndarray) -> np.ndarray:
    """Place of the highest accuracy in each row, the first of equal ones. Rounding makes means equal that differ in
    their last bits only."""
    return accuracy.round(9).argmax(axis=-1)


SCALING = [
    *("model", "label", "benchmark", "column", "budget", "forced", "n", "k", "accuracy", "low", "high"),
    *("cut", "tokens", "tokens_correct", "tokens_incorrect", "length_r", "length_p", "before_budget", "before_forced"),
    *("correct_to_incorrect", "incorrect_to_correct", "correct_to_incorrect_rate", "incorrect_to_correct_rate"),
    *("p", "p_holm"),
]
BEST = [
    *("model", "label", "benchmark", "column", "over", "within", "best", "best_low", "best_high"),
    *("n", "accuracy", "low", "high", "degrades_at", "degrades_by", "degrades_p"),
]


def main(argv: Sequence[str] | None = None) -> None:
    """Write what longer and forced thinking do to each model."""
    about = (
        "CSVs to write: every model, benchmark, budget and forced count; the best budget and forced count, and where "
    )
    output = {"nargs": 2, "metavar": ("SCALING", "BEST"), "help": f"{about}more does harm"}
    options = parser(__doc__, "shown", "manifest", "scores", "benchmarks", output=output).parse_args(argv)
    shown, (scaling_path, best_path) = Shown.load(options.shown), options.output
    scores = read_scores(options.scores, ["thinking_tokens", "ended"])
    headings, keys = column_headings(scores, read_benchmarks(options.benchmarks))
    headings = {key: headings[key] for key in keys} | {ALL: ALL, AVERAGE: "Avg."}
    order = list(headings)
    everything: list[dict[str, Any]] = []
    bests: list[dict[str, Any]] = []
    for model in shown.figure_models:
        one, named = sweep(scores, model.key), {"model": model.key, "label": model.label}
        for lines, found in ((everything, scaling(one)), (bests, best(one, model.key, shown.seed))):
            ordered = sorted(found, key=lambda line: order.index(line["benchmark"]))
            lines += [{**named, "column": headings[line["benchmark"]], **line} for line in ordered]
    whole = ["correct_to_incorrect", "incorrect_to_correct", "before_budget", "before_forced"]
    table = pd.DataFrame(everything, columns=SCALING).astype(dict.fromkeys(whole, "Int64"))
    write_csv(table, scaling_path, {"length_r": "{:.3f}", "length_p": P, "p": P, "p_holm": P})
    table = pd.DataFrame(bests, columns=BEST).astype({"within": "Int64", "n": "Int64"})
    write_csv(table, best_path, {"degrades_p": P})
    done = f"{len(everything):,} settings: {scaling_path}; {len(bests):,} best budgets and counts: {best_path}"
    write_step_manifest(options)
    say("scaling", f"{len(scores):,} scores of {len(shown.figures)} models -> {done}")


if __name__ == "__main__":
    run(main)
