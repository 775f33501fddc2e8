"""The released scoring against an independent reimplementation, on wild inputs and on real responses.

The reimplementation goes character by character, without regular expressions and without the shortcuts of
:mod:`m1.score.match`, and was written from the description alone, so that both can hardly be wrong together.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import random
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from benchmark_scripts import load
from hypothesis import example, given, settings
from hypothesis import strategies as st
from m1.core.answers import extract_boxed
from m1.core.curation import CURATION_RULES, passes_curation
from m1.core.records import LETTERS, Question
from m1.score.match import decide, extract, shown_options
from m1.score.settings import SCORING_PROTOCOLS


def question(options: tuple[str, ...], answer: str) -> Question:
    return Question(id="q", source="unit", stem="Which?", context=None, options=options, answer=answer)


def reference_letter(extracted: str, options: list[str], right: str) -> str:
    """The letter under the released protocol."""
    said, text = extracted.lower(), options[LETTERS.index(right)].lower()
    if said in (text, f"{right}. {text}".lower(), right.lower()):
        return right
    return reference_match(extracted, options)


def reference_match(text: str, options: list[str]) -> str:
    """The letter that the released patterns find."""
    shown: dict[str, str] = {}
    for letter, option in zip(LETTERS, options):
        for line in f"{letter}. {option}".split("\n"):
            line = line.strip()
            if ". " in line:
                cut = line.index(". ")
                shown[line[:cut]] = line[cut + 2 :].lower()
    heading = "## Final Response\n\n"
    if heading in text:
        text = text.split(heading)[-1]
    return _answer_is(text) or _lone(text, LETTERS[: len(shown)]) or _by_text(text.lower(), shown)


def _answer_is(text: str) -> str:
    found = ""
    for start in range(len(text)):
        if text.startswith("answer is", start):
            behind = text[start + len("answer is") :].lstrip()
            if behind[:1] and behind[0] in LETTERS:
                found = behind[0]
    return found


def _boundary(character: str) -> bool:
    return not (character.isalnum() or character == "_") or "\u4e00" <= character <= "\u9fff"


def _lone(text: str, letters: str) -> str:
    found, free = "", 0  # `free`: the first character that no earlier match has used
    for place, letter in enumerate(text):
        if letter not in letters:
            continue
        before = place == 0 or (place - 1 >= free and _boundary(text[place - 1]))
        after = place + 1 == len(text) or _boundary(text[place + 1])
        article = letter == "A" and text[place + 1 : place + 2] == " "
        if before and after and not article:
            found, free = letter, place + 2
    return found


def _by_text(text: str, shown: dict[str, str]) -> str:
    places = [text.rfind(option) for option in shown.values()]
    if max(places) >= 0:
        return list(shown)[places.index(max(places))]
    ratios = [difflib.SequenceMatcher(None, option, text).ratio() for option in shown.values()]
    return [letter for letter, ratio in zip(shown, ratios) if ratio == max(ratios)][-1]


# Wild inputs

PIECES = [
    r"\boxed{",
    r"\fbox{",
    r"\text{",
    "}",
    "{",
    "answer is",
    "answer: ",
    "## Final Response\n\n",
    "is ",
    " ",
    "\n",
    ". ",
    ",",
    "(",
    ")",
]
PIECES += [*"ABCDEN", *"abe", "选", "é", "_", "1", "aspirin", "Ibuprofen", "bb", "Bb", "=", "x\nNote. y"]
wild_text = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
option = st.one_of(st.text(max_size=8), st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("".join)).filter(
    lambda text: text.strip()
)
wild_question = st.lists(option, min_size=2, max_size=14).flatmap(
    lambda texts: st.sampled_from(LETTERS[: len(texts)]).map(lambda letter: question(tuple(texts), letter))
)


@settings(max_examples=400)
@given(wild_text, wild_question)
@example("", question(("\nbelow", "\nabove"), "A"))
def test_nothing_raises(text: str, asked: Question) -> None:
    for protocol in SCORING_PROTOCOLS:
        match = decide(extract(text, protocol), asked, protocol)
        assert match.rule
        if protocol == "strict":
            assert match.letter == "" or match.letter in LETTERS[: len(asked.options)]
            assert (match.letter == "") == (match.rule == "no answer")
    for rule in CURATION_RULES:
        assert passes_curation(text, asked, rule) in (True, False)


@settings(max_examples=600)
@given(wild_text, wild_question.filter(lambda asked: shown_options(asked.options)))
def test_released_equals_the_reference(text: str, asked: Question) -> None:
    extracted = extract_boxed(text)
    assert decide(extracted, asked, "released").letter == reference_letter(extracted, list(asked.options), asked.answer)


WORDS = [
    "Aspirin",
    "Vitamin C",
    "RR = 2.0",
    "50%",
    "(S)-warfarin",
    "Bb",
    "BB",
    "E. coli",
    "x",
    "A",
    "a\nNote. y",
    "",
    "HbA1c = 6%",
]
PIECES = [
    r"\boxed{",
    r"\fbox{",
    r"\text{",
    "{",
    "}",
    "=",
    " = ",
    "A",
    "B",
    "C",
    "D. ",
    "(A)",
    "answer is ",
    "Answer: ",
    "is ",
    "and ",
]
PIECES += [
    "## Final Response\n\n",
    "\n",
    " ",
    ".",
    "or ",
    "**",
    "$",
    r"\%",
    r"50\%",
    "’",
    "（B）",
    "a",
    "b",
    "中",
    "É",
    *WORDS,
]


def test_the_released_rules_are_what_they_were() -> None:
    """60,000 random answers, before ``strict`` began to read whole boxes and since."""
    rng, verdicts = random.Random(17), hashlib.sha256()
    for _ in range(60_000):
        count = rng.randint(2, 6)
        options = tuple(rng.choice(WORDS if rng.random() < 0.8 else PIECES) for _ in range(count))
        asked = question(options, LETTERS[rng.randrange(count)])
        text = "".join(rng.choices(PIECES, k=rng.randint(0, 9)))
        text = rf"\boxed{{{text}}}" if rng.random() < 0.4 else text
        extracted = extract_boxed(text)
        found = [*decide(extracted, asked, "released"), *decide(extracted, asked, "first")]
        verdicts.update(repr((*found, passes_curation(text, asked, "released"))).encode())
    assert verdicts.hexdigest() == "ca02893ec38d7e185b52250d7a1b0c6e4f16be796f8b76008f350a490c19355f"


# Real responses

scoring = load("scoring")
needs_data = pytest.mark.skipif(
    not (scoring.DATA / "responses").is_dir(),
    reason="the shared data is not here; set M1_SHARED_DATA to its folder to run this test",
)

BEFORE = Path(__file__).parents[1] / "data" / "strict_right_before.json"
FLOORS = {  # accuracy in percent that any sensible scoring reaches under every protocol; chance is 10 to 33
    "huatuogpt_o1_8b_medqa5": 65,
    "medmcqa_train_gpt4_explanations": 75,
    "medqa4_llama2_7b_cot": 30,
    "medxpertqa_mistral_small_cot": 16,
    "medxpertqa_qwen25vl_cot_sc5": 12,
    "mirage_medmcqa_cot_gpt-35-turbo-16k": 50,
    "mirage_medqa_cot_gpt-35-turbo-16k": 60,
    "mirage_medqa_cot_gpt-4-32k": 75,
    "mirage_pubmedqa_cot_gpt-35-turbo-16k": 34,
    "mmlu_pro_medical_Llama-2-7b-hf": 24,
    "mmlu_pro_medical_Meta-Llama-3_1-8B-Instruct": 50,
    "mmlu_pro_medical_Qwen1.5-7B-Chat": 35,
    "mmlu_pro_medical_gemini-1.5-flash-002": 65,
    "medagentsbench_predicted_letters": 70,
    "m1_qwen_empty_box": 0,
}
SAMPLED = {"medagentsbench_predicted_letters": 10}
"""Of a file of letters alone, every tenth; all others are whole."""


@cache
def scored(name: str) -> list[Any]:
    return scoring.scored(name)[:: SAMPLED.get(name, 1)]


@needs_data
@pytest.mark.parametrize("name", scoring.FILES)
def test_real_responses_are_judged_sensibly_under_every_protocol(name: str) -> None:
    rows = scored(name)
    for protocol in SCORING_PROTOCOLS:
        assert all(row.matches[protocol].rule for row in rows)
        right = sum(row.matches[protocol].letter == row.response.question.answer for row in rows)
        assert 100 * right / len(rows) >= FLOORS[name]


@needs_data
@pytest.mark.parametrize("name", scoring.FILES)
def test_real_responses_equal_the_reference(name: str) -> None:
    for number, (response, matches) in enumerate(scored(name)):
        if number % 3:  # a third is enough, for time
            continue
        asked = response.question
        expected = reference_letter(extract_boxed(response.text), list(asked.options), asked.answer)
        assert matches["released"].letter == expected, (name, number)


@needs_data
@pytest.mark.parametrize("name", ["medxpertqa_mistral_small_cot", "mmlu_pro_medical_Meta-Llama-3_1-8B-Instruct"])
def test_strict_reads_the_letters_that_upstream_read(name: str) -> None:
    pairs = [(row.matches["strict"].letter, row.response.upstream) for row in scored(name)]
    both = [(ours, theirs) for ours, theirs in pairs if ours and theirs]
    assert len(both) > 0.9 * len(pairs)
    assert sum(ours != theirs for ours, theirs in both) <= 1


@needs_data
@pytest.mark.parametrize(("name", "before"), json.loads(BEFORE.read_text(encoding="utf-8")).items())
def test_no_letter_that_strict_had_right_is_lost(name: str, before: str) -> None:
    """``before``: of each response whether its letter was right when boxes were still cut at ``=``, as bits."""
    rows = scored(name)
    right = [bit == "1" for bit in f"{int(before, 16):0{len(rows)}b}"]
    lost = [
        i for i, row in enumerate(rows) if right[i] and row.matches["strict"].letter != row.response.question.answer
    ]
    assert len(right) == len(rows)
    assert not lost


@needs_data
def test_strict_misses_few_of_the_final_responses_and_contradicts_few() -> None:
    rows = scored("huatuogpt_o1_8b_medqa5")
    assert sum(not row.matches["strict"].letter for row in rows) < 0.02 * len(rows)


@needs_data
def test_empty_boxes_of_the_authors_own_models_are_wrong() -> None:
    rows = scoring.records("responses/m1_qwen_empty_box")
    asked = question(("yes", "no"), "A")
    outcomes = Counter(passes_curation(row["response"], asked, rule) for row in rows for rule in CURATION_RULES)
    assert outcomes == {False: 2 * len(rows)}
    assert [extract_boxed(row["response"]) for row in rows] == [row["upstream_extracted"] for row in rows]
    assert {row.matches["strict"].letter for row in scored("m1_qwen_empty_box")} == {""}


@needs_data
def test_the_table_of_all_files_is_one_command(capsys: pytest.CaptureFixture[str]) -> None:
    scoring.main(["--files", "medxpertqa_mistral_small_cot", "--read", "2", "--seed", "3"])
    printed = capsys.readouterr().out
    assert "| medxpertqa_mistral_small_cot | 364 | 16.5 | 17.0 |" in printed
    assert printed.count("medxpertqa_mistral_small_cot, right") == 2
