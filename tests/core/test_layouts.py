"""Published records of every layout become questions, or are refused with field and reason."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.core.layouts import LAYOUTS, Parts, RefusedRecord, clean
from m1.pools.collect import check_set, quirks, read_all, to_parts, to_questions

REAL = Path(os.environ.get("M1_SHARED_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
FILES = {
    "medmcqa/validation": ("medmcqa", 4183),
    "medmcqa/train_sample": ("medmcqa", 1496),
    "medmcqa/train_extra_unverified": ("medmcqa", 2138),
    "medqa_usmle_4_options/test": ("medqa", 1273),
    "medqa_usmle_4_options/dev": ("medqa", 1272),
    "medqa_usmle_4_options/train_sample": ("medqa", 756),
    "medqa_usmle_5_options/test": ("medqa", 1273),
    "medqa_usmle_5_options/train_sample": ("medqa", 1000),
    "pubmedqa/pqa_labeled": ("pubmedqa", 1000),
    "headqa/train": ("headqa", 2657),
    "headqa/validation": ("headqa", 1366),
    "headqa/test": ("headqa", 2742),
    "mmlu_pro_medical/test": ("eval", 1535),
    "mmlu_medical/test": ("mmlu", 1089),
    "medbullets/op4": ("eval", 308),
    "medbullets/op5": ("eval", 308),
    "medxpertqa/text": ("medxpertqa", 1941),
    "huatuogpt_o1_demo/demo": ("eval", 198),
}
"""Real file to its layout and the number of its records, all of which are questions."""
QUIRKS = {
    "medmcqa/validation": (21, 4, 0, 0),
    "medmcqa/train_sample": (2, 0, 0, 0),
    "medmcqa/train_extra_unverified": (2, 2, 0, 1),
    "headqa/train": (4, 2, 0, 63),
    "headqa/validation": (2, 1, 0, 21),
    "headqa/test": (0, 0, 0, 30),
    "mmlu_pro_medical/test": (0, 0, 10, 2),
    "mmlu_medical/test": (0, 0, 0, 2),
    "medxpertqa/text": (0, 0, 2, 0),
    "huatuogpt_o1_demo/demo": (2, 0, 0, 0),
}
"""Records with equal options, with a twin of the right one, with options equal but for case, with cleaned text; none in
the other files."""
REPEATED = {
    "headqa/train": 6,
    "headqa/validation": 1,
    "headqa/test": 1,
    "mmlu_pro_medical/test": 95,
    "mmlu_medical/test": 78,
    "medbullets/op4": 4,
    "medbullets/op5": 10,
}
"""Records with the question and the options of an earlier one."""

MEDMCQA = {"question": "Which?", "opa": "a1", "opb": "b1", "opc": "c1", "opd": "d1", "cop": 2}
LETTERED = {"question": "Which?", "options": {"A": "a1", "B": "b1"}, "answer_idx": "B", "answer": "b1"}
HEADQA: dict[str, Any] = {
    "data": {"Question": "Which?", "Options": {"A": "a1", "B": "b1"}, "Correct Option": "B", "Correct Answer": "b1"}
}
MMLU = {"question": "Which?", "choices": ["a1", "b1", "c1"], "answer": 0}
MMLU_PRO = {"question": "Which?", "options": ["a1", "b1", "c1"], "answer": "B", "answer_index": 1, "category": "health"}
MEDBULLETS = {
    "question": "Which?",
    "opa": "a1",
    "opb": "b1",
    "opc": "c1",
    "opd": "d1",
    "answer_idx": "D",
    "answer": "d1",
    None: ["", ""],
}
MEDXPERTQA = {"question": "Which?\nAnswer Choices: (A) a1 (B) b1", "options": {"A": "a1", "B": "b1"}, "label": "A"}
PUBMEDQA = {"question": "Does it?", "context": {"contexts": ["One. ", "Two."]}, "final_decision": "no"}


@pytest.mark.parametrize(
    ("layout", "raw", "parts"),
    [
        ("medmcqa", MEDMCQA, Parts("Which?", None, ("a1", "b1", "c1", "d1"), "C")),
        ("medmcqa", {**MEDMCQA, "cop": "2"}, Parts("Which?", None, ("a1", "b1", "c1", "d1"), "C")),
        ("medmcqa", {**MEDMCQA, "cop": "2.0"}, Parts("Which?", None, ("a1", "b1", "c1", "d1"), "C")),
        ("medqa", LETTERED, Parts("Which?", None, ("a1", "b1"), "B")),
        ("eval", {**LETTERED, "options": {"B": "b1", "A": "a1", "C": None}}, Parts("Which?", None, ("a1", "b1"), "B")),
        (
            "eval",
            {**LETTERED, "options": '{"A": "BB", "B": "Bb"}', "answer": "Bb"},
            Parts("Which?", None, ("BB", "Bb"), "B"),
        ),
        ("eval", {**LETTERED, "options": {"A": "b1", "B": "b1"}}, Parts("Which?", None, ("b1", "b1"), "B")),
        ("headqa", HEADQA, Parts("Which?", None, ("a1", "b1"), "B")),
        ("mmlu", MMLU, Parts("Which?", None, ("a1", "b1", "c1"), "A")),
        ("mmlu_pro", MMLU_PRO, Parts("Which?", None, ("a1", "b1", "c1"), "B")),
        ("medbullets", MEDBULLETS, Parts("Which?", None, ("a1", "b1", "c1", "d1"), "D")),
        ("medbullets", {**MEDBULLETS, "ope": ""}, Parts("Which?", None, ("a1", "b1", "c1", "d1"), "D")),
        ("medbullets", {**MEDBULLETS, "ope": "e1"}, Parts("Which?", None, ("a1", "b1", "c1", "d1", "e1"), "D")),
        ("medxpertqa", MEDXPERTQA, Parts("Which?", None, ("a1", "b1"), "A")),
        ("pubmedqa", PUBMEDQA, Parts("Does it?", "One.\nTwo.", ("yes", "no", "maybe"), "B")),
    ],
)
def test_layouts(layout: str, raw: dict[str, Any], parts: Parts) -> None:
    assert LAYOUTS[layout](raw) == parts


@pytest.mark.parametrize(
    ("layout", "raw", "field", "reason"),
    [
        ("medmcqa", {**MEDMCQA, "cop": -1}, "cop", "not the number of an option"),
        ("medmcqa", {**MEDMCQA, "cop": 4}, "cop", "not the number of an option"),
        ("medmcqa", {**MEDMCQA, "cop": None}, "cop", "not the number of an option"),
        ("medmcqa", {**MEDMCQA, "cop": True}, "cop", "not the number of an option"),
        ("medmcqa", {**MEDMCQA, "cop": "1.5"}, "cop", "not the number of an option"),
        ("medmcqa", {**MEDMCQA, "cop": "nan"}, "cop", "not the number of an option"),
        ("medmcqa", {**MEDMCQA, "cop": 10**400}, "cop", "not the number of an option"),
        ("medmcqa", {**MEDMCQA, "opb": " \u200b"}, "options", "an option is empty"),
        ("medmcqa", {**MEDMCQA, "opb": None}, "opb", "not a text"),
        ("medmcqa", {**MEDMCQA, "question": "&nbsp;"}, "question", "empty"),
        ("mmlu", {**MMLU, "choices": "a1"}, "choices", "not a list"),
        ("mmlu", {**MMLU, "choices": ["a1"]}, "options", "not 2 to 14 options"),
        ("mmlu_pro", {**MMLU_PRO, "answer": "C"}, "answer", "not the letter of the option whose number is given"),
        ("mmlu_pro", {**MMLU_PRO, "answer_index": 3}, "answer_index", "not the number of an option"),
        ("mmlu_pro", {**MMLU_PRO, "options": None}, "options", "not a list"),
        ("medbullets", {**MEDBULLETS, "opb": ""}, "opa, opb, ...", "without a gap"),
        ("medbullets", {**MEDBULLETS, "answer": "c1"}, "answer", "not the text of the option"),
        ("eval", {**LETTERED, "answer_idx": "C"}, "answer_idx", "letter is not among the options"),
        ("eval", {**LETTERED, "answer_idx": "AB"}, "answer_idx", "letter is not among the options"),
        ("eval", {**LETTERED, "answer": "a1"}, "answer", "not the text of the option"),
        ("eval", {**LETTERED, "options": {"A": "a1", "C": "b1"}}, "options", "without a gap"),
        ("eval", {**LETTERED, "options": None}, "options", "not a mapping"),
        ("eval", {**LETTERED, "options": {}}, "options", "not 2 to 14 options"),
        ("headqa", {}, "data", "not a mapping"),
        ("medxpertqa", {**MEDXPERTQA, "label": ""}, "label", "letter is not among the options"),
        ("pubmedqa", {**PUBMEDQA, "final_decision": "perhaps"}, "final_decision", "not one of yes, no, maybe"),
        ("pubmedqa", {**PUBMEDQA, "context": {"contexts": "One."}}, "context.contexts", "not a list"),
    ],
)
def test_what_cannot_be_a_question_is_refused_with_field_and_reason(
    layout: str, raw: dict[str, Any], field: str, reason: str
) -> None:
    with pytest.raises(RefusedRecord, match=reason) as refused:
        LAYOUTS[layout](raw)
    assert refused.value.field == field


def test_clean() -> None:
    assert LAYOUTS["medmcqa"]({**MEDMCQA, "opd": "d\u200b1"}) == Parts(
        "Which?", None, ("a1", "b1", "c1", "d1"), "C", cleaned=True
    )
    assert not LAYOUTS["medmcqa"](
        {**MEDMCQA, "question": " Which?\n"}
    ).cleaned  # white space at the ends is not worth a count
    assert clean(" \u200bp &lt; 0.05\uf061 &amp;lt;\n") == "p < 0.05 &lt;"
    assert clean("R&D &parameter AT&T; x&#8203;y\ud800") == "R&D &parameter AT&T; xy"
    assert clean("a\u2009b\u00a0c\nd") == "a\u2009b\u00a0c\nd"  # white space inside stays


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_records_as_datasets_yields_them(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow gives all records the same fields, those of nested mappings too, and fills what one lacks with None."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    plain = PLAIN[layout]
    more = json.loads(json.dumps(plain))
    holder = more.get("data", more)
    for field in ("options", "Options"):
        if isinstance(holder.get(field), dict):
            holder[field]["C"] = "c1"
    records = [plain, {**more, "unused": 1}, plain]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    loaded = datasets.load_dataset(str(tmp_path), split="train").to_list()
    assert loaded[0] != plain
    assert [LAYOUTS[layout](record) for record in loaded] == [LAYOUTS[layout](record) for record in records]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from("ABC"),
    lambda inside: (
        st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=3) | st.sampled_from("ABC"), inside, max_size=4)
    ),
    max_leaves=8,
)
PLAIN: dict[str, dict[str, Any]] = {
    "medmcqa": MEDMCQA,
    "medqa": LETTERED,
    "eval": LETTERED,
    "headqa": HEADQA,
    "pubmedqa": PUBMEDQA,
    "mmlu_pro": MMLU_PRO,
    "medbullets": {field: value for field, value in MEDBULLETS.items() if field},
    "medxpertqa": MEDXPERTQA,
    "mmlu": MMLU,
}
"""A record of every layout."""
FIELDS = sorted({field for record in PLAIN.values() for field in record} | {"Question", "Options", "Correct Option"})


@given(st.sampled_from(sorted(LAYOUTS)), st.dictionaries(st.sampled_from(FIELDS), JSON), st.data())
def test_wild_records_become_valid_questions_or_are_refused(
    layout: str, wild: dict[str, Any], data: st.DataObject
) -> None:
    raw = {**PLAIN[layout], **wild}
    if data.draw(st.booleans()) and layout == "headqa":
        raw = {"data": {**HEADQA["data"], **wild}}
    parts, refused = to_parts(enumerate(read_all([raw], layout)), "file", drop_invalid=True)
    assert len(parts) + len(refused) == 1
    for question in to_questions("wild", parts):
        question.validate()


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data at {REAL}; set M1_SHARED_DATA")
@pytest.mark.parametrize("name", FILES)
def test_real_records(name: str) -> None:
    layout, size = FILES[name]
    with gzip.open(REAL / f"{name}.jsonl.gz", "rt", encoding="utf-8") as stream:
        published = [json.loads(line) for line in stream]
    found = read_all(published, layout)
    check_set(published, found, layout, name)
    parts, refused = to_parts(enumerate(found), name, drop_invalid=True)
    assert (len(parts), refused) == (size, [])
    assert tuple(quirks(parts).values()) == QUIRKS.get(name, (0, 0, 0, 0))
    questions = to_questions("pool", parts)
    assert len({question.id for question in questions}) == size
    assert sum("-" in question.id for question in questions) == REPEATED.get(name, 0)
    for question, raw in zip(questions, published):
        question.validate()
        gold = raw.get("answer") or raw.get("data", {}).get("Correct Answer") or raw.get("final_decision")
        assert not isinstance(gold, str) or question.answer_text == clean(gold)
