"""Close texts: equal to exhaustive comparison, whatever the texts, and quick."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from m1.core.errors import UserError
from m1.core.layouts import LAYOUTS, RefusedRecord
from m1.core.prompts import question_text
from m1.core.records import Question
from m1.pools import similar
from m1.pools.similar import close_pairs, later_of_close
from patience import growth
from rapidfuzz import fuzz, process

REAL = Path(os.environ.get("M1_SHARED_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
NEEDS_REAL = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data at {REAL}; set M1_SHARED_DATA")
FILES = {
    "medmcqa": ("train_sample", "train_extra_unverified", "validation"),
    "medqa_usmle_4_options": ("train_sample", "dev", "test"),
    "medqa_usmle_5_options": ("train_sample", "test"),
    "headqa": ("train", "validation", "test"),
    "pubmedqa": ("pqa_labeled",),
    "mmlu_medical": ("test",),
    "mmlu_pro_medical": ("test",),
    "medbullets": ("op4", "op5"),
    "medxpertqa": ("text",),
}


def all_later(texts: list[str], threshold: float) -> set[int]:
    return {j for j in range(len(texts)) if any(fuzz.ratio(texts[i], texts[j]) >= threshold for i in range(j))}


def all_close(texts: list[str], others: list[str], threshold: float) -> list[tuple[int, int]]:
    return [
        (i, j) for i, text in enumerate(texts) for j, other in enumerate(others) if fuzz.ratio(text, other) >= threshold
    ]


WILD = st.text(st.sampled_from("aab \u00e9\ud800\U0001f600") | st.characters(), max_size=24)
THRESHOLD = st.sampled_from([1, 50, 80, 90, 95, 100]) | st.floats(0.01, 100)


@st.composite
def relatives(draw: st.DrawFn) -> list[str]:
    """Wild texts and their edited copies, so that pairs lie on both sides of the threshold, and on it."""
    texts = draw(st.lists(WILD, max_size=6))
    for text in list(texts):
        place = draw(st.integers(0, len(text)))
        texts.append(text[:place] + draw(st.text("ab", max_size=2)) + text[place + draw(st.integers(0, 2)) :])
    return texts


@given(relatives(), THRESHOLD)
@example(["", "", "a"], 95)
@example(["a"], 100)
@example(["a" * 19 + "b", "a" * 19 + "c", "a" * 20], 95)
@example(["a" * 300, "a" * 310, "b" * 300], 95)
@example(
    ["a" * 90 + "b" * 18, "a" * 90, "a" * 90 + "b" * 9], 95
)  # the ends of the chain are not close: only its middle is the later of a pair
def test_later_texts_are_those_of_exhaustive_comparison(texts: list[str], threshold: float) -> None:
    assert later_of_close(texts, threshold) == all_later(texts, threshold)


@given(relatives(), relatives(), THRESHOLD)
@example(["abc"], [], 95)
@example([], ["abc"], 95)
def test_close_pairs_are_those_of_exhaustive_comparison(texts: list[str], others: list[str], threshold: float) -> None:
    others = [*others, *texts[::2]]
    assert close_pairs(texts, others, threshold) == all_close(texts, others, threshold)


@pytest.mark.parametrize("length", [20, 400, 700, 5_000, 30_000])  # sums in one byte and in two, counts beyond one
def test_pairs_exactly_at_the_threshold_are_close(length: int) -> None:
    base = "ab " * length
    wide = "\u0394" * length
    kept = len(base) * 19 // 20
    texts = [
        base,
        base[:kept] + wide[: len(base) - kept],
        base[:kept],
        wide,
        base[: kept - 1] + wide[: len(base) - kept + 1],
    ]
    for text in texts[1:]:
        similarity = fuzz.ratio(base, text)
        for threshold in (similarity, np.nextafter(similarity, 101), 80.0, 95.0):
            if 1 < threshold <= 100:
                assert close_pairs([text], [base], threshold) == ([(0, 0)] if similarity >= threshold else [])
    assert later_of_close(texts, 95) == all_later(texts, 95)


def templated(size: int) -> list[str]:
    """Texts that are all different and all close, in an order that has nothing to do with their lengths."""
    texts = [
        f"A patient, number {number}, comes to the ward with fever and cough for a week; what may the cause of it be?"
        for number in range(size)
    ]
    random.Random(0).shuffle(texts)
    return texts


def equal(size: int) -> list[str]:
    return ["the same text"] * size


@pytest.mark.parametrize(("texts", "threshold", "size"), [(equal, 95, 20_000), (templated, 90, 5_000)])
def test_very_many_equal_or_close_texts_take_linear_time(
    texts: Callable[[int], list[str]], threshold: float, size: int
) -> None:
    assert later_of_close(texts(10 * size), threshold) == set(range(1, 10 * size))
    assert growth(lambda size: later_of_close(texts(size), threshold), size) < 40


def test_the_work_is_shared_to_the_same_result(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    generator = random.Random(0)
    texts = ["".join(generator.choices("abcdefgh ", k=generator.randrange(20, 80))) for _ in range(3_000)]
    texts += [text + "x" for text in texts[::50]]
    generator.shuffle(texts)
    alone = later_of_close(texts, 95, progress="pools"), close_pairs(texts, texts[:400], 95)
    assert len(alone[0]) == 60
    assert "[pools] 3,060/3,060 texts (100%" in capfd.readouterr().out
    monkeypatch.setattr(similar, "ALONE", 0)
    assert (later_of_close(texts, 95, 2), close_pairs(texts, texts[:400], 95, 2)) == alone
    assert later_of_close([], 95, 2) == set()


def test_a_killed_process_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar, "ALONE", 0)
    monkeypatch.setattr(similar._Search, "run", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(UserError, match=r"one of 2 processes was killed.*more memory"):
        later_of_close(["a", "b"], 95, 2)


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    """All real prompts."""
    texts = []
    for folder, names in FILES.items():
        layout = LAYOUTS[
            {"medqa_usmle_4_options": "medqa", "medqa_usmle_5_options": "medqa", "mmlu_medical": "mmlu"}.get(
                folder, folder if folder in LAYOUTS else "eval"
            )
        ]
        for name in names:
            with gzip.open(REAL / folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as stream:
                for line in stream:
                    try:
                        parts = layout(json.loads(line))
                    except RefusedRecord:
                        continue
                    texts.append(
                        question_text(Question("", folder, parts.stem, parts.context, parts.options, parts.answer))
                    )
    return texts


def perturbed(texts: list[str], generator: random.Random) -> list[str]:
    """One in twenty replaced by a copy of another with random edits that bring it near 95 percent."""
    texts = list(texts)
    for place in generator.sample(range(len(texts)), len(texts) // 20):
        letters = list(generator.choice(texts))
        for _ in range(round(len(letters) * generator.uniform(0.02, 0.08))):
            edge = generator.randrange(len(letters) + 1)
            letters[edge : edge + generator.randrange(2)] = generator.choice(("", "a", "e", " ", "9"))
        texts[place] = "".join(letters)
    return texts


@NEEDS_REAL
@pytest.mark.parametrize("seed", [None, pytest.param(0, marks=pytest.mark.slow)])
def test_real_prompts_equal_exhaustive_comparison(prompts: list[str], seed: int | None) -> None:
    """Exhaustive for some hundreds of them against all: all against all takes minutes (``benchmarks/dedup.py
    --full-check``)."""
    generator = random.Random(seed or 0)
    texts = prompts if seed is None else perturbed(prompts, generator)
    assert len(texts) > 22_000
    chosen = sorted(generator.sample(range(len(texts)), 400))
    ratios = process.cdist(
        [texts[place] for place in chosen], texts, scorer=fuzz.ratio, score_cutoff=95, dtype=np.float64
    )
    expected = {(place, int(other)) for place, row in zip(chosen, ratios) for other in np.flatnonzero(row >= 95)}
    later = later_of_close(texts, 95)
    assert later & set(chosen) == {place for place, other in expected if other < place}
    assert {place for place, _ in expected} == set(chosen)
    assert set(close_pairs([texts[place] for place in chosen], texts, 95)) == {
        (chosen.index(place), other) for place, other in expected
    }


@NEEDS_REAL
def test_real_stems_equal_exhaustive_comparison_at_low_thresholds(prompts: list[str]) -> None:
    stems = [prompt.split("\nA. ")[0] for prompt in random.Random(0).sample(prompts, 1_500)]
    others = stems[::5]
    ratios = process.cdist(stems, others, scorer=fuzz.ratio, dtype=np.float64)
    for threshold in (80, 60):
        assert close_pairs(stems, others, threshold) == list(map(tuple, np.argwhere(ratios >= threshold).tolist()))
