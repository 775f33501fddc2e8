"""Figures 4, 5 and 8: cases are found by rule, as by hand; any text can be drawn."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import random
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from m1.core import style
from m1.core.errors import UserError
from m1.core.records import Prediction, Question, Rollout, Score, read, write
from m1.report.cases import COLUMNS, MOST_SIMILAR, STATED, TALLEST, choose, forced_incorrect, longest_incorrect, main
from m1.report.paragraphs import MISSING, Block, _advance, draw, printable, shorten, shorten_tokens, wrap
from m1.report.settings import Model
from m1.score import match
from shown import save_shown
from tokenizers import Tokenizer, models

HOSTILE = [
    "$x_1^2$ and $\\frac{a}{b} \\undefined",
    "<script>alert('1')</script><!-- --> & \"quoted\"",
    "a" * 100_000,
    "word " * 20_000,
    "".join(map(chr, range(32))) + "\x7f\x85\u2028\u2029",
    "\u202eright to left\u202c \u2066isolate\u2069 \u200f\u200b\ufeff",
    "עברית العربية 日本語 \U0001f600 \ue000 \uffff e\u0301",
    "%s {} {0} \\n \\boxed{A} #1 ^ _ ~",
    "\n\n\n",
    "",
]
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
MODELS, BENCHMARKS = ["small", "middle", "large"], ["medqa", "gpqa"]


def frame(rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Scores as :func:`m1.report.cases.order_scores` gives them."""
    found = pd.DataFrame(rows, columns=READ).astype(
        {"correct": bool, "ended": bool, "forced": int, "thinking_tokens": int}
    )
    return found.assign(
        model=pd.Categorical(found["model"], MODELS, ordered=True),
        benchmark=pd.Categorical(found["benchmark"], BENCHMARKS, ordered=True),
    )


scores = st.builds(
    lambda seed, share: [
        (
            f"q{q}",
            benchmark,
            model,
            64,
            forced,
            rng.random() < 0.7,
            rng.randint(1, 9),
            "A" if correct else "B",
            correct,
            rule,
        )
        for rng in [random.Random(seed)]
        for q in range(4)
        for benchmark in BENCHMARKS
        for model in MODELS
        for forced in (0, 1, 2, 4)
        for correct in [rng.random() < share]
        for rule in [rng.choice(["boxed text", "lone letter", MOST_SIMILAR])]
    ],
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.3, 0.6, 0.9, 1.0]),
)


@settings(max_examples=60)
@given(scores, st.randoms())
def test_cases_are_those_of_the_rules_and_in_their_order(rows: list[tuple[Any, ...]], shuffle: random.Random) -> None:
    by = {(row[1], row[0], row[2], row[4]): dict(zip(READ, row)) for row in rows}
    longest, forced = [], []
    for benchmark, question in itertools.product(BENCHMARKS, [f"q{i}" for i in range(4)]):
        here = {model: by[benchmark, question, model, 0] for model in MODELS}
        for model, row in here.items():
            others = [other for name, other in here.items() if name != model]
            if not row["correct"] and all(
                o["correct"] and o["thinking_tokens"] < row["thinking_tokens"] for o in others
            ):
                excess = row["thinking_tokens"] - max(o["thinking_tokens"] for o in others)
                stated = all(o["rule"] == "boxed text" for o in others)
                key = (not stated, row["rule"] == MOST_SIMILAR, not row["ended"], -excess)
                longest.append((*key, MODELS.index(model), BENCHMARKS.index(benchmark), question))
            chain = [by[benchmark, question, model, count] for count in (0, 1, 2, 4)]
            correct = [one["correct"] for one in chain]
            if correct[0] and not all(correct):
                turn = correct.index(False)
                unlike = (chain[turn - 1]["rule"] != "boxed text", chain[turn]["rule"] == MOST_SIMILAR)
                key = (*unlike, any(correct[turn:]), chain[turn]["forced"], chain[turn]["thinking_tokens"])
                forced.append(
                    (*key, MODELS.index(model), BENCHMARKS.index(benchmark), question, chain[turn - 1]["forced"])
                )
    shuffle.shuffle(rows)
    found = longest_incorrect(frame(rows), 64)
    assert [(row["model"], row["benchmark"], row["question_id"]) for row in found.to_dict("records")] == [
        (MODELS[key[4]], BENCHMARKS[key[5]], key[6]) for key in sorted(longest)
    ]
    turned = forced_incorrect(frame(rows), 64)
    assert [
        (r["model"], r["benchmark"], r["question_id"], r["forced_incorrect"], r["forced_correct"])
        for r in turned.to_dict("records")
    ] == [(MODELS[key[5]], BENCHMARKS[key[6]], key[7], key[3], key[8]) for key in sorted(forced)]
    assert list(turned["rank"]) == list(range(1, len(turned) + 1))
    assert longest_incorrect(frame(rows), 128).empty
    drawn = choose(found, turned)
    assert list(drawn.columns) == COLUMNS
    chosen = drawn[drawn["figure"] != ""].set_index("figure")
    stated = [any(not key[0] for key in keys) for keys in (longest, forced)]
    assert ["figure4" in chosen.index, "figure5" in chosen.index] == stated
    assert chosen["stated"].all(), "no figure shows a correct answer that may be luck"
    if "figure8" in chosen.index:
        other, first = chosen.loc["figure8"], chosen.loc["figure5"]
        assert (other["benchmark"], other["question_id"]) != (first["benchmark"], first["question_id"])


def test_the_rules_are_the_scorers() -> None:
    assert MOST_SIMILAR in match.BY_TEXT
    answers = {"A": 0, "A. first": 1, "first": 2, "So the answer is A": 3}
    for protocol in ("released", "first", "strict"):
        rules = {match.decide(answer, QUESTION, protocol).rule: place for answer, place in answers.items()}
        assert [STATED[place] for place in sorted(rules.values())] == sorted(rules, key=rules.__getitem__)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_any_text_is_drawn_inside_the_figure_without_a_warning(text: str, tmp_path: Path) -> None:
    with style.plt.rc_context(style.PLACED), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw(
            [
                Block("Hostile", size=9),
                Block(shorten(text, 900)),
                Block(shorten(text, 300), bold=True, bar="black", size=9),
            ]
        )
        figure.canvas.draw()
        for drawn in figure.axes[0].texts:
            extent = drawn.get_window_extent()
            assert extent.x0 >= 0
            assert extent.x1 <= figure.bbox.x1 - 0.1 * figure.dpi
            assert 0 <= extent.y0 <= extent.y1 <= figure.bbox.y1 or not drawn.get_text().strip()
        style.save(figure, [tmp_path / "a.pdf", tmp_path / "a.png"])
    assert b"/FontFile2" in (tmp_path / "a.pdf").read_bytes()


def test_what_no_font_has_is_a_square_and_what_is_invisible_is_gone() -> None:
    assert printable("a\tb\r\nc\u202ed\x00e\u65e5") == f"a    b\ncde{MISSING}"


@settings(max_examples=200)
@given(st.text(max_size=300), st.floats(4, 60), st.booleans())
def test_lines_hold_the_words_and_are_no_wider_than_asked(text: str, width: float, bold: bool) -> None:
    text = printable(text)
    lines = wrap(text, width, bold)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(sum(_advance(character, bold) for character in line.rstrip()) <= width + 1e-6 for line in lines)
    assert all(unicodedata.category(character)[0] != "C" for line in lines for character in line)


def test_the_middle_of_a_long_text_is_left_out_and_counted() -> None:
    assert shorten("x" * 50, 50) == "x" * 50
    short = shorten("a" * 500 + "b" * 500, 100)
    assert short == "a" * 60 + " [… 900 characters left out …] " + "b" * 40

    def decode(ids: Sequence[int]) -> str:
        return " ".join(f"t{token:03}" for token in ids)

    whole = list(range(1000))
    text = shorten_tokens(whole, decode, 100)
    head, _, rest = text.partition(" [… ")
    count, _, tail = rest.partition(" tokens left out …] ")
    kept = len(head.split()) + len(tail.split())
    assert head.startswith("t000 t001")
    assert tail.endswith("t998 t999")
    assert int(count) == 1000 - kept
    assert kept == 12 + 8, "0.6 and 0.4 of 100 characters, in tokens of five"
    assert shorten_tokens(whole[:20], decode, 100) == decode(whole[:20])


QUESTION = Question("q1", "medqa", "Which $one$ of <b>these</b>?", "An abstract.", ("first", "second_{x}"), "A")
WORDS = ["Wait", "because", "of", "hence", "so", "first", "second"]


def save_tokenizer(folder: Path) -> Path:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="of"))
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def save_run(folder: Path, correct: dict[str, list[bool]], rollout: Rollout) -> list[str]:
    """Files of a run on one question: ``correct`` at no, one, two forced ``Wait``s, by model. Returns flags."""
    write(folder / "benchmarks" / "medqa.parquet", [QUESTION], Question)
    save_tokenizer(folder / "tokenizer")
    scored = []
    for model, verdicts in correct.items():
        predictions = []
        mine = (
            Rollout("q1", "medqa", model, rollout.thinking_ids[: 3 + len(model)], "stop")
            if model != rollout.model
            else rollout
        )
        for forced, passed in enumerate(verdicts):
            tokens, letter = len(mine.thinking(64, forced)), "A" if passed else "B"
            predictions.append(Prediction("q1", "medqa", model, 64, forced, tokens, True, f"\\boxed{{{letter}}} $", 3))
            scored.append(
                Score("q1", "medqa", "medqa", model, 64, forced, True, tokens, 3, letter, letter, passed, "boxed text")
            )
        write(folder / "infer" / model / "predictions.parquet", predictions, Prediction)
        write(folder / "infer" / model / "rollouts.parquet", [mine], Rollout)
    write(folder / "scored.parquet", scored, Score)
    (folder / "benchmarks.csv").write_text("key,column\nmedqa,MedQA\n")
    flags = ["--shown", str(show(folder, *correct)), "--scores", str(folder / "scored.parquet")]
    flags += ["--benchmarks", str(folder / "benchmarks.csv"), "--table", str(folder / "cases.csv")]
    for number in (4, 5, 8):
        flags += [f"--figure{number}", str(folder / f"figure{number}.pdf"), str(folder / f"figure{number}.png")]
    return flags


def show(folder: Path, *names: str, tokenizer: str | None = "tokenizer") -> Path:
    """What the figures show of the run."""
    models = tuple(Model(name, f"m1-{name}", tokenizer) for name in names)
    return save_shown(folder, models=models, figures=names, budgets=(64,), forced_budget=64, note="A note.")


LONG = Rollout("q1", "medqa", "small", tuple(1 + i % 6 for i in range(20)), "stop", (0, 1, 2, 0, 4, 6), (20, 23))


def drawn_texts(monkeypatch: pytest.MonkeyPatch, flags: list[str]) -> dict[str, str]:
    """What each figure says, by its file's stem."""
    found = {}
    save = style.save

    def look(figure: Any, paths: Sequence[str]) -> None:
        found[Path(paths[0]).stem] = "\n".join(text.get_text() for text in figure.axes[0].texts)
        save(figure, paths)

    monkeypatch.setattr(style, "save", look)
    main(flags)
    return found


def test_figures_show_the_text_and_the_place_where_it_turned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = drawn_texts(
        monkeypatch, save_run(tmp_path, {"small": [True, True, False], "large": [True, True, True]}, LONG)
    )
    assert "No such case in this run." in texts["figure4"]
    assert "No such case on another question in this run." in texts["figure8"]
    told = texts["figure5"]
    assert " ".join(told.split()).startswith(
        "m1-small: forced thinking turns correct into incorrect MedQA, question q1. Case 1 of 1 found by the rule."
    )
    assert "Which $one$ of <b>these</b>?" in told
    assert "A. first ✔" in told
    before, turn, after = told.partition("▼ Forced “Wait” 2: here the answer turns")
    assert turn
    assert "Wait because of\n" in before
    assert before.count("Wait") == 1
    assert "\nForced 1×: 23 tokens of thinking" in before
    assert "Forced 2×: 26 tokens of thinking\nWait so second\n→ \\boxed{B} $\nB, incorrect ✘" in after
    assert told.endswith("A note.")
    assert MOST_SIMILAR not in told
    rows = list(csv.DictReader((tmp_path / "cases.csv").open()))
    assert len(rows) == 1
    assert (
        rows[0]
        | {
            "figure": "figure5",
            "forced_correct": "1",
            "forced_incorrect": "2",
            "thinking_incorrect": "26",
            "stays_incorrect": "True",
        }
        == rows[0]
    )


def test_the_longest_thinking_comes_first_and_is_incorrect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = save_run(tmp_path, {"small": [False], "large": [True], "middle": [True]}, LONG)
    told = drawn_texts(monkeypatch, flags)["figure4"]
    assert " ".join(told.split()).startswith("m1-small thinks longest and is incorrect; the others are correct")
    places = [
        told.index(f"m1-{model}: {tokens} tokens of thinking, ended by itself")
        for model, tokens in (("small", 20), ("middle", 9), ("large", 8))
    ]
    assert places == sorted(places)
    first = {path.name: path.read_bytes() for path in tmp_path.glob("figure*")}
    main(flags)
    assert first == {path.name: path.read_bytes() for path in tmp_path.glob("figure*")}, "the same bytes"
    assert len(first) == 6


def test_an_answer_that_names_no_option_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = save_run(tmp_path, {"small": [True, False]}, LONG)
    scored = read(tmp_path / "scored.parquet", Score)
    write(tmp_path / "scored.parquet", [scored[0], dataclasses.replace(scored[1], rule=MOST_SIMILAR)], Score)
    told = " ".join(drawn_texts(monkeypatch, flags)["figure5"].split())
    assert "B, incorrect ✘ (The answer names no option; B is the most similar.)" in told


def test_correct_answers_that_state_no_option_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = save_run(tmp_path, {"small": [False, False], "large": [True, False]}, LONG)
    scored = read(tmp_path / "scored.parquet", Score)
    lucky = [dataclasses.replace(one, rule=MOST_SIMILAR) if one.correct else one for one in scored]
    write(tmp_path / "scored.parquet", lucky, Score)
    for told in drawn_texts(monkeypatch, flags).values():
        assert "Such cases in this run: 1. In none of them" in " ".join(told.split())
        assert "Which $one$" not in told
        assert told.endswith("A note.")
    rows = list(csv.DictReader((tmp_path / "cases.csv").open()))
    assert [(row["figure"], row["stated"]) for row in rows] == [("", "False")] * 2, "the table has them all the same"


def test_a_figure_of_long_texts_fits_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    thinking = Rollout("q1", "medqa", "small", tuple(1 + i % 6 for i in range(3_000)), "stop")
    flags = save_run(tmp_path, {"small": [False], "large": [True], "middle": [True]}, thinking)
    long = dataclasses.replace(
        QUESTION, stem="A 59-year-old woman has dyspnoea. " * 100, options=("α " * 400, "β " * 400)
    )
    write(tmp_path / "benchmarks" / "medqa.parquet", [long], Question)
    told = drawn_texts(monkeypatch, flags)["figure4"]
    assert told.count("left out") >= 3, "the question and both options"
    height, width = np.frombuffer((tmp_path / "figure4.png").read_bytes()[16:24], ">u4")[::-1] / style.RC["savefig.dpi"]
    assert width == pytest.approx(style.WIDTH)
    assert 0.75 * TALLEST < height <= TALLEST


def test_models_whose_results_are_published_have_no_thinking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = save_run(tmp_path, {"small": [True, False]}, LONG)
    show(tmp_path, "small", tokenizer=None)
    told = drawn_texts(monkeypatch, flags)["figure5"]
    assert told.count("(The thinking is not among the published results.)") == 2


def test_thinking_of_another_run_is_refused(tmp_path: Path) -> None:
    flags = save_run(tmp_path, {"small": [True, False]}, LONG)
    write(tmp_path / "infer/small/rollouts.parquet", [Rollout("q1", "medqa", "small", (1, 2), "stop")], Rollout)
    with pytest.raises(
        UserError, match=r"small/rollouts\.parquet: not the thinking that was scored on medqa, question q1"
    ):
        main(flags)


def test_files_that_lack_the_case_are_named(tmp_path: Path) -> None:
    flags = save_run(tmp_path, {"small": [True, False]}, LONG)
    write(tmp_path / "infer/small/predictions.parquet", [], Prediction)
    with pytest.raises(UserError, match=r"small/predictions\.parquet: no answer on .*q1.* which is scored"):
        main(flags)
    write(tmp_path / "benchmarks/medqa.parquet", [], Question)
    with pytest.raises(UserError, match=r"medqa\.parquet: no question q1, which is scored"):
        main(flags)
    (tmp_path / "tokenizer" / "tokenizer.json").unlink()
    write(tmp_path / "benchmarks/medqa.parquet", [QUESTION], Question)
    with pytest.raises(UserError, match=r"tokenizer\.json: no such file"):
        main(flags)
