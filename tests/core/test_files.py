"""Files are whole or not there."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.core import files
from m1.core.errors import UserError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new/folder/a.txt"
    with files.replacing(path) as partial:
        partial.write_text("half")
        assert not path.exists()
        partial.write_text("whole")
    assert path.read_text() == "whole"
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with files.replacing(path) as partial:
            partial.write_text("half")
            raise failure

    with pytest.raises(failure):
        write()
    assert names(tmp_path) == ["a.txt"]
    assert path.read_text() == "old"


def test_a_folder_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for text in ("old", "new"):
        with files.replacing(path) as partial:
            partial.mkdir()
            (partial / f"{text}.json").write_text(text)
    assert names(tmp_path) == ["model"]
    assert names(path) == ["new.json"]


def test_a_failure_leaves_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / "old.json").write_text("old")

    def write() -> None:
        with files.replacing(path) as partial:
            (partial / "deep").mkdir(parents=True)
            (partial / "deep/half.json").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert names(tmp_path) == ["model"]
    assert names(path) == ["old.json"]


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    def write() -> None:
        with files.replacing(tmp_path / "a.txt") as partial:
            partial.symlink_to("/dev/full")  # a real ENOSPC
            partial.write_text("x")

    with pytest.raises(UserError, match=r"a\.txt: cannot be written: No space left on device\. Free space"):
        write()
    assert names(tmp_path) == []


def test_a_disk_that_fails_at_the_last_moment_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError, match=r"a\.txt: cannot be written: Disk quota exceeded"):
        files.write_text(tmp_path / "a.txt", "x")
    assert names(tmp_path) == []


def test_a_parent_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/a\.txt: cannot be written"):
        files.write_text(tmp_path / "file/a.txt", "x")


def test_an_error_of_a_library_is_not_taken_for_one_of_the_disk(tmp_path: Path) -> None:
    def write() -> None:
        with files.replacing(tmp_path / "a.txt") as partial:
            partial.write_text("half")
            raise OSError("no model here")  # as transformers does

    with pytest.raises(OSError, match="no model here"):
        write()
    assert names(tmp_path) == []


def test_a_user_error_inside_is_not_taken_for_one_of_the_disk(tmp_path: Path) -> None:
    def write() -> None:
        with files.replacing(tmp_path / "a.txt"):
            raise UserError("what the writer found")

    with pytest.raises(UserError, match=r"^what the writer found$"):
        write()


words = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(words, inner),
)


@given(value=json_values)
def test_json_round_trip(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    files.write_json(path, value)
    assert files.read_json(path) == value


@pytest.mark.parametrize("content", [b"{", b"\xff", b""])
def test_json_that_is_none_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json: not readable as JSON"):
        files.read_json(tmp_path / "a.json")


FORMULAS = {
    "=HYPERLINK(1)": "'=HYPERLINK(1)",
    "=1": "'=1",
    "+1+cmd|' /C calc'!A0": "'+1+cmd|' /C calc'!A0",
    "-2+3": "'-2+3",
    "@SUM(1)": "'@SUM(1)",
    "\t=1": "'\t=1",
    "\r=1": "'\\u000d=1",
    "- a list": "'- a list",
    "a\x1b[31mb": "a\\u001b[31mb",
}
PLAIN = ["-2.3", "+0.27", "-5%", "-2.3 [-3.1, -1.5]", "−2.3", "a=b", "'quoted'", "", "B", "1e-5", "-.5", "'"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_spreadsheet_takes_no_text_for_a_formula(text: str) -> None:
    assert files.csv_cell(text) == FORMULAS[text]
    if not set("\r\x1b") & set(text):
        assert files.from_csv_cell(FORMULAS[text]) == text


@pytest.mark.parametrize("text", PLAIN)
def test_numbers_and_other_texts_stay_as_they_are(text: str) -> None:
    assert files.csv_cell(text) == files.from_csv_cell(text) == text


def test_what_is_no_text_stays_as_it_is() -> None:
    assert [files.csv_cell(value) for value in (-2.3, None, True, -1)] == [-2.3, None, True, -1]


def test_json_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.json: no such file"):
        files.read_json(tmp_path / "a.json")


@given(value=st.dictionaries(st.text(), st.integers()))
def test_the_order_of_keys_does_not_change_a_digest(value: dict[str, int]) -> None:
    assert files.digest(value) == files.digest(dict(reversed(value.items())))


@given(first=json_values, second=json_values)
def test_other_values_have_another_digest(first: object, second: object) -> None:
    assert (files.digest(first) == files.digest(second)) == (
        json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    )


def test_half_a_surrogate_pair_has_a_digest() -> None:
    assert len(files.digest("\ud800")) == 64


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for name in (
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "chat_template.jinja",
        "manifest.json",
        "log.jsonl",
        "README.md",
    ):
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"])
def test_what_decides_answers_changes_a_models_identity(model: Path, name: str) -> None:
    before = files.model_identity(model)
    (model / name).write_text("other")
    assert files.model_identity(model) != before


@pytest.mark.parametrize("name", ["manifest.json", "log.jsonl", "README.md"])
def test_what_does_not_leaves_it(model: Path, name: str) -> None:
    before = files.model_identity(model)
    (model / name).write_text("other")
    assert files.model_identity(model) == before


def test_links_to_files_are_the_same_model(model: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    linked = tmp_path_factory.mktemp("linked")
    for file in model.iterdir():
        (linked / file.name).symlink_to(file)
    assert files.model_identity(linked) == files.model_identity(model)


def test_a_folder_without_a_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model here \(config\.json is missing\)\. Check `bases`"):
        files.model_identity(tmp_path)


def test_a_manifest_says_what_made_it(model: Path) -> None:
    path = model / "out/manifest.json"
    files.write_manifest(
        path,
        inputs={"model": model, "file": model / "README.md"},
        settings={"a": 1},
        counts={"in": 2},
        started=0.0,
        spending={"calls": 3},
    )
    found = json.loads(path.read_text())
    assert found["inputs"]["model"]["sha256"] == files.model_identity(model)
    assert found["inputs"]["file"]["sha256"] == files.sha256_file(model / "README.md")
    assert (found["settings"], found["counts"], found["spending"]) == ({"a": 1}, {"in": 2}, {"calls": 3})
    assert found["seconds"] > 0
    assert {"commit", "dirty", "packages"} <= set(found["made_by"])


def test_an_output_that_was_changed_is_named_with_its_manifest_and_can_be_adopted(tmp_path: Path) -> None:
    for name, text in (("a.parquet", "whole"), ("a_long.csv", "long"), ("other.csv", "other")):
        files.write_text(tmp_path / name, text)
    files.write_manifest(tmp_path / "a.json", inputs={}, settings=None, counts={}, started=0)
    (tmp_path / "b.json").write_text("[1, 2")
    for name in ("a.parquet", "a_long.csv", "other.csv", "b.json"):
        files.check_output(tmp_path / name)
    (tmp_path / "other.csv").write_text("another")
    with pytest.raises(UserError, match=r"other\.csv: changed or damaged .*/a\.json says [0-9a-f]{64}\. Delete it .*"):
        files.check_output(tmp_path / "other.csv")
    assert files.adopt(tmp_path) == [tmp_path / "other.csv"]
    files.check_output(tmp_path / "other.csv")
    assert files.read_json(tmp_path / "a.json")["adopted"] == ["other.csv"]
    assert files.adopt(tmp_path) == []


def test_a_manifest_lists_what_was_written_since_the_last_one(tmp_path: Path) -> None:
    files.write_text(tmp_path / "store/x", "elsewhere")
    for name in ("a", "b"):
        files.write_text(tmp_path / f"{name}.csv", name)
        files.write_manifest(tmp_path / f"{name}.json", inputs={}, settings=None, counts={}, started=0)
        assert list(files.read_json(tmp_path / f"{name}.json")["outputs"]) == [f"{name}.csv"]


def test_a_model_that_was_changed_is_not_used(tmp_path: Path) -> None:
    model = tmp_path / "model"
    with files.replacing_model(model) as folder:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(bytes(1000))
    identity = files.model_identity(model)
    with open(model / "model.safetensors", "r+b") as stream:
        stream.seek(500)
        stream.write(b"\1")
    with pytest.raises(UserError, match=rf"model: changed or damaged .*model\.sha256 says {identity}\. Delete it"):
        files.model_identity(model)
    assert files.adopt(tmp_path) == [model]
    assert files.model_identity(model) != identity
