"""A published training set becomes samples that everything downstream takes for ours."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.core import records
from m1.core.errors import UserError
from m1.core.records import Sample
from m1.select import published

POOLS = {"openlifescienceai/medmcqa": "medmcqa", "GBaker/MedQA-USMLE-4-options": "medqa"}


def row(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A record in the layout of m1k-tokenized."""
    return {
        "prompt": f"Which enzyme, case {number}?\nA. renin\nB. lipase\nC. amylase\nD. trypsin",
        "answer_letter": "B",
        "answer_idx": 1,
        "answer_string": "lipase",
        "source": list(POOLS)[number % 2],
        "metadata": "{}",
        "reasoning": f"Okay, fat.\nWait {number}. ",
        "distilled_answer_string": " \\boxed{B}\n",
        "text": "<|im_start|>user ...",
        "domain_code": "19",
        "domain_name": "Enzymology",
    } | changes


def take(folder: Path, published_rows: list[Any], pools: dict[str, str] = POOLS, **settings: Any) -> list[Sample]:
    path = folder / "m1k.jsonl"
    path.write_text("".join(json.dumps(value) + "\n" for value in published_rows), encoding="utf-8")
    return run(folder, pools, path=str(path), **settings)


def run(folder: Path, pools: dict[str, str] = POOLS, **settings: Any) -> list[Sample]:
    arguments = [
        "--settings",
        json.dumps({"sources": pools} | settings),
        "--subset",
        "m1k",
    ]
    published.main([*arguments, "--output", str(folder / "s.parquet"), "--manifest", str(folder / "s.json")])
    return records.read(folder / "s.parquet", Sample)


def test_records_become_samples_as_they_are(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first, second, third = take(
        tmp_path, [row(0), row(1, domain_name=None), {k: v for k, v in row(3).items() if k[:6] != "domain"}]
    )
    assert (first.prompt, first.thinking, first.answer) == (
        row(0)["prompt"],
        row(0)["reasoning"],
        row(0)["distilled_answer_string"],
    )
    assert (first.source, first.domain, first.subset, first.rule, first.seed) == (
        "medmcqa",
        "Enzymology",
        "m1k",
        "published",
        0,
    )
    assert (second.source, second.domain, third.domain) == ("medqa", "", "")
    manifest = json.loads((tmp_path / "s.json").read_text())
    assert manifest["counts"] == {
        "published": 3,
        "samples": 3,
        "sources": {"medmcqa": 1, "medqa": 2},
        "domains": {"Enzymology": 1},
    }
    assert (
        manifest["inputs"]["published"]["sha256"] == hashlib.sha256((tmp_path / "m1k.jsonl").read_bytes()).hexdigest()
    )
    assert "m1k: 3 samples taken as published from" in capfd.readouterr().out


def test_parquet_as_on_the_hub(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([row(0), row(1)]), tmp_path / "train.parquet")
    from_parquet = run(tmp_path, path=str(tmp_path / "train.parquet"), rows=2)
    assert from_parquet == take(tmp_path, [row(0), row(1)])


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    rows = [row(n) for n in range(20)]
    take(tmp_path, rows)
    first = (tmp_path / "s.parquet").read_bytes()
    take(tmp_path, rows)
    assert (tmp_path / "s.parquet").read_bytes() == first


def test_ids_hang_on_source_and_prompt_only(tmp_path: Path) -> None:
    once = take(tmp_path, [row(0), row(2), row(0, reasoning="other"), row(0, source="GBaker/MedQA-USMLE-4-options")])
    again = take(tmp_path, [row(2), row(0, reasoning="third")])
    assert [sample.id for sample in again] == [once[1].id, once[0].id]
    assert once[2].id == once[0].id + "-2"
    assert once[3].id[:16] != once[0].id
    assert len({sample.id for sample in once}) == 4


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="A"), min_size=1).filter(str.strip)


@given(
    st.lists(
        st.fixed_dictionaries({"prompt": TEXT, "reasoning": TEXT, "distilled_answer_string": TEXT}),
        min_size=1,
        max_size=6,
    )
)
def test_any_texts_are_kept_to_the_character(rows: list[dict[str, str]]) -> None:
    rows = [value | {"source": "x"} for value in rows]  # such prompts hold no options, so that no letter is asked for
    samples = published.to_samples(rows, "here", {"x": "mine"}, "m1k")
    kept = [
        {"prompt": s.prompt, "reasoning": s.thinking, "distilled_answer_string": s.answer, "source": "x"}
        for s in samples
    ]
    assert kept == rows
    assert len({sample.id for sample in samples}) == len(rows)


def without(field: str) -> dict[str, Any]:
    value = row(1)
    del value[field]
    return value


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            row(1, source="someone/else"),
            r"field 'source': 'someone/else' is none of the known pools openlifescienceai/medmcqa, GBaker.*`sources`",
        ),
        (row(1, reasoning=" \n"), r"field 'reasoning': a text is needed; ' \\n' found"),
        (row(1, prompt=None), r"field 'prompt': a text is needed; None found"),
        (
            without("distilled_answer_string"),
            r"field 'distilled_answer_string': a text is needed; there is none among prompt, answer_letter",
        ),
        (row(1, answer_letter="E"), r"field 'answer_letter': 'E' is not among the options of its prompt, A, B, C, D"),
        (row(1, answer_letter=None), r"field 'answer_letter': None is not among the options"),
        (row(1, domain_name=19), r"field 'domain_name': 19"),
        (["prompt"], r"a list, not an object with fields"),
    ],
)
def test_a_bad_record_is_named(tmp_path: Path, bad: Any, message: str) -> None:
    with pytest.raises(UserError, match=r"m1k.jsonl: record 1 \(from 0\).*" + message):
        take(tmp_path, [row(0), bad])
    assert not (tmp_path / "s.parquet").exists()


def test_a_prompt_of_another_form_has_no_letters_to_check(tmp_path: Path) -> None:
    (sample,) = take(tmp_path, [row(0, prompt="Where does it grow?\nE. coli\n(1) gut\n(2) skin", answer_letter="B")])
    assert sample.prompt.startswith("Where")


def test_a_set_with_other_names_and_any_source(tmp_path: Path) -> None:
    names = {"prompt": "question", "reasoning": "trajectory", "source": "source_type"}
    other = {names.get(name, name): value for name, value in row(source="olympiad").items()}
    [sample] = take(tmp_path, [other], pools={"*": "s1k"}, fields=names)
    assert (sample.prompt, sample.thinking, sample.source) == (row()["prompt"], row()["reasoning"], "s1k")


def test_without_an_optional_set_there_are_no_samples(tmp_path: Path) -> None:
    assert run(tmp_path, path=str(tmp_path / "gone.jsonl"), optional=True) == []
    assert json.loads((tmp_path / "s.json").read_text())["counts"]["samples"] == 0
    with pytest.raises(UserError, match="1 records, but 1,000 are expected"):
        take(tmp_path, [row(0)], rows=1000, optional=True)


def test_an_empty_or_short_set_and_wrong_flags_are_refused(tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text("[]")
    with pytest.raises(UserError, match="no record in it, so subset m1k would be empty"):
        run(tmp_path, path=str(tmp_path / "none.json"))
    with pytest.raises(UserError, match=r"m1k\.jsonl: the file is empty"):
        take(tmp_path, [])
    with pytest.raises(UserError, match="1 records, but 1,000 are expected"):
        take(tmp_path, [row(0)], rows=1000)
    with pytest.raises(UserError, match="no such file"):
        run(tmp_path, path=str(tmp_path / "gone.jsonl"))
    with pytest.raises(UserError, match="unknown key 'colour'"):
        take(tmp_path, [row(0)], colour="red")
    with pytest.raises(UserError, match=r"sources.a is 1; a text is needed"):
        take(tmp_path, [row(0)], pools={"a": 1})  # type: ignore[dict-item]


def test_at_most_so_many_are_drawn_by_the_seed_in_their_order(tmp_path: Path) -> None:
    rows = [row(number) for number in range(40)]
    every = [sample.id for sample in take(tmp_path, rows)]
    drawn = [sample.id for sample in take(tmp_path, rows, size=10)]
    assert len(drawn) == 10
    assert drawn == sorted(drawn, key=every.index) != every[:10]
    assert drawn == [sample.id for sample in take(tmp_path, rows, size=10)]
    assert drawn != [sample.id for sample in take(tmp_path, rows, size=10, seed=1)]
    assert every == [sample.id for sample in take(tmp_path, rows, size=41)]
