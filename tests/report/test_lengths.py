"""Figure 8a: tokens are those with a loss in training, quartiles are marked and named, nothing is clipped, bytes are
the same each time."""

from __future__ import annotations

import random
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from m1.core import records, style
from m1.core.chat import TurnTokens
from m1.core.errors import UserError
from m1.core.records import Sample
from m1.report import lengths
from m1.report.settings import Subset
from m1.train.text import IGNORED, encode
from shown import save_shown
from transformers import AutoTokenizer

PAPER = Path(__file__).parents[2] / "resources" / "paper"
WORDS = ["the", "marker", "of a drug", "is two steps from", "Wait", "so Answer:", "\\boxed{A}", "<|im_end|>", "é", "中"]


def samples(path: Path, count: int, seed: int = 0) -> Path:
    generator = random.Random(seed)
    rows = [
        Sample(
            f"{i}",
            "medqa",
            "",
            "q",
            " ".join(generator.choices(WORDS, k=generator.randint(1, 60))),
            "\\boxed{A}" * (i % 3 + 1),
            "s",
            "all",
            0,
        )
        for i in range(count)
    ]
    records.write(path, rows, Sample)
    return path


def run(
    folder: Path, tokenizer: Path, note: str = "", beside: tuple[Subset, ...] = (), **subsets: Path
) -> pd.DataFrame:
    """Draw subsets of a folder, by their labels."""
    shown = [*(Subset(label, path.name) for label, path in subsets.items()), *beside]
    shown = save_shown(folder, note=note, figure8a=tuple(shown))
    arguments = ["--shown", shown, "--tokenizer", tokenizer, "--table", folder / "figure8a.csv"]
    arguments += ["--published", PAPER / "lengths.csv"]
    lengths.main([*map(str, arguments), "--output", str(folder / "figure8a.pdf"), str(folder / "figure8a.png")])
    return pd.read_csv(folder / "figure8a.csv").set_index("subset")


def test_counted_are_the_tokens_with_loss(tmp_path: Path, tokenizer_folder: Path) -> None:
    path = samples(tmp_path / "m1k.parquet", 1_203)  # more than two batches
    table = run(tmp_path, tokenizer_folder, m1K=path, first=samples(tmp_path / "few.parquet", 3))
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    rows = records.read(path, Sample)
    trained = [
        sum(
            label != IGNORED
            for label in encode(tokenizer, row.prompt, row.thinking, row.answer, TurnTokens.from_tokenizer(tokenizer))[
                "labels"
            ]
        )
        for row in rows
    ]
    expected = [len(rows), np.mean(trained), *np.percentile(trained, [25, 50, 75, 95]), max(trained)]
    assert list(table.columns) == ["n", "mean", "25 %", "50 %", "75 %", "95 %", "max"]
    assert table.loc["m1K"].tolist() == pytest.approx(expected, abs=0.05 + 1e-9)
    printed = ["the paper's m23K, thinking", "the paper's m23K, answer"]
    assert table.index.tolist() == ["m1K", "first", *printed]
    assert table.loc[printed[0], ["n", "25 %", "50 %", "75 %", "max"]].tolist() == [23493, 625, 985, 1791, 7461]


def test_an_optional_set_is_drawn_where_it_is_there(tmp_path: Path, tokenizer_folder: Path) -> None:
    path = samples(tmp_path / "m1k.parquet", 9)
    beside = tuple(
        Subset(name, samples(tmp_path / name, n).name, optional=True) for name, n in (("s1K", 5), ("s2K", 0))
    )
    assert run(tmp_path, tokenizer_folder, beside=beside, m1K=path).index.tolist()[:2] == ["m1K", "s1K"]
    with pytest.raises(UserError, match="no sample in none, so its lengths"):
        run(tmp_path, tokenizer_folder, m1K=path, none=tmp_path / "s2K")


def test_a_tokenizer_that_would_cut_is_not_let(tmp_path: Path, tokenizer_folder: Path) -> None:
    rows = records.read(samples(tmp_path / "s.parquet", 40), Sample)
    whole = lengths.token_lengths(AutoTokenizer.from_pretrained(tokenizer_folder), rows, "test")
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.backend_tokenizer.enable_truncation(5)
    assert lengths.token_lengths(tokenizer, rows, "test").tolist() == whole.tolist()
    tokenizer.backend_tokenizer.enable_padding(length=500)
    assert lengths.token_lengths(tokenizer, rows, "test").tolist() == whole.tolist()


def test_files_are_the_same_bytes_each_time(tmp_path: Path, tokenizer_folder: Path) -> None:
    contents = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        run(tmp_path / name, tokenizer_folder, note="a note", m1K=samples(tmp_path / name / "m1k.parquet", 50))
        contents.append(
            [(tmp_path / name / file).read_bytes() for file in ("figure8a.pdf", "figure8a.png", "figure8a.csv")]
        )
    assert contents[0] == contents[1]
    assert contents[0][0].startswith(b"%PDF")
    assert b"/Subtype /Image" not in contents[0][0]  # vectors only


SHAPES = {
    "the paper's": {
        "m1K": np.random.default_rng(1).lognormal(7, 0.5, 1_000).astype(int),
        "m23K": np.random.default_rng(2).lognormal(7, 0.5, 23_493).astype(int),
    },
    "few and close together": {"m1K": np.array([61, 62, 62, 63, 70, 80])},
    "one": {"m1K": np.array([7])},
    "far to the right": {"m1K": np.array([1, 90, 95, 97, 99, 100] * 9), "m23K": np.arange(1, 101)},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_quartiles_are_marked_named_and_legible(shape: str) -> None:
    with plt.rc_context(style.RC):
        figure = lengths.draw(SHAPES[shape], "It says nothing about medicine.")
        figure.canvas.draw()
    for panel, (subset, found) in zip(figure.axes, SHAPES[shape].items()):
        assert panel.get_title() == f"{subset} (n = {len(found):,})"
        quartiles = np.percentile(found, [25, 50, 75])
        assert [line.get_xdata()[0] for line in panel.lines] == quartiles.tolist()
        assert {(line.get_linestyle(), line.get_alpha()) for line in panel.lines} == {(":", 0.5)}
        assert [text.get_text() for text in panel.texts] == [
            f"{p} %: {q:,.0f}" for p, q in zip((25, 50, 75), quartiles)
        ]
        assert sum(bar.get_height() for bar in panel.patches) == pytest.approx(100)
        tallest = panel.transData.transform((0, max(bar.get_height() for bar in panel.patches)))[1]
        names = [text.get_window_extent() for text in panel.texts]
        frame = panel.get_window_extent()
        for box in names:
            assert box.y0 > tallest  # above the bars
            assert box.x0 >= frame.x0
            assert box.x1 <= frame.x1
        assert not any(one.overlaps(other) for one, other in combinations(names, 2))
        for line, own in zip(panel.lines, names):
            bottom, top = line.get_window_extent().y0, line.get_window_extent().y1
            x = line.get_window_extent().x0
            crossed = [
                box for box in names if box is not own and box.x0 < x < box.x1 and box.y0 < top and bottom < box.y1
            ]
            assert not crossed
    (note,) = [text for text in figure.texts if text.get_text() == "It says nothing about medicine."]
    label = figure._supxlabel.get_window_extent()
    assert note.get_window_extent().y1 < (label.y0 + label.y1) / 2  # the lower line of the label is empty
    assert note.get_window_extent().y0 >= 0
    plt.close(figure)


@given(st.lists(arrays.arrays(np.int64, st.integers(1, 80), elements=st.integers(1, 40_000)), min_size=1, max_size=3))
def test_bins_hold_every_sample_and_are_few(found: list[np.ndarray]) -> None:
    named = {str(number): values for number, values in enumerate(found)}
    edges = lengths.bin_edges(named)
    assert edges[0] == 0
    assert len(set(np.diff(edges))) == 1
    assert len(edges) <= lengths.MAX_BINS + 1
    assert all(np.histogram(values, edges)[0].sum() == len(values) for values in found)


def test_what_cannot_be_drawn_is_named(tmp_path: Path, tokenizer_folder: Path) -> None:
    none = samples(tmp_path / "none.parquet", 0)
    with pytest.raises(UserError, match="no sample in m1K"):
        run(tmp_path, tokenizer_folder, m1K=none)
    some = samples(tmp_path / "some.parquet", 2)
    with pytest.raises(UserError, match=r"no tokenizer here \(tokenizer.json is missing\)"):
        run(tmp_path, tmp_path, m1K=some)
    assert not (tmp_path / "figure8a.png").exists()
