"""Files over files: as Snakemake's own functions merge them, but for a dictionary that follows null, which begins anew.

Files are random, and read by both. Snakemake's command line merges overlays with each other first, and the outcome over
the default; that is the same where no overlay begins a dictionary anew.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from m1.core.errors import UserError
from m1.wiring import config
from snakemake.cli import parse_config
from snakemake.common.configfile import load_configfile
from snakemake.settings.types import ConfigSettings
from snakemake.utils import update_config

Values = dict[str, Any]

KEYS = st.sampled_from(["a", "b", "c"])
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.sampled_from(["x", "it's", "7", "ä"]), st.lists(st.integers(0, 9))
)
# An empty dictionary over null is one here; Snakemake leaves the null.
DICTIONARIES = st.recursive(
    st.dictionaries(KEYS, LEAVES, min_size=1),
    lambda inner: st.dictionaries(KEYS, st.one_of(LEAVES, inner), min_size=1, max_size=3),
    max_leaves=6,
)


def ours(files: Sequence[Path]) -> Any:
    """As :func:`config.load` merges them, the first one as the default."""
    with (
        patch.object(config, "default_files", lambda: files[:1]),
        patch.object(config, "prepare", lambda merged, default: merged),
    ):
        return config.load(files[1:])


def one_by_one(files: Sequence[Path]) -> Values:
    """Snakemake's own functions, one file after the other."""
    merged: Values = {}
    for file in files:
        update_config(merged, load_configfile(file))
    return merged


def command_line(files: Sequence[Path]) -> Values:
    """What ``--configfile`` makes of all but the first file, as a ``configfile`` directive lays it over that one."""
    merged: Values = {}
    overlays = ConfigSettings(configfiles=list(files[1:])).overwrite_config
    for part in (overlays, load_configfile(files[0]), overlays):
        update_config(merged, part)
    return merged


def begins_anew(overlays: Sequence[Values]) -> bool:
    """Whether an overlay has a dictionary where one before it has something else."""

    def clash(one: Mapping[str, Any], later: Mapping[str, Any]) -> bool:
        return any(
            clash(one[key], value) if isinstance(one[key], dict) else True
            for key, value in later.items()
            if key in one and isinstance(value, dict)
        )

    merged: Values = {}
    for overlay in overlays:
        if clash(merged, overlay):
            return True
        merged = config.merge(merged, overlay)
    return False


NULL_THEN_DICTIONARY = [{"a": {"b": 1, "c": 2}}, {"a": None}, {"a": {"c": 3}}]


@given(st.lists(DICTIONARIES, min_size=1, max_size=4))
@example(NULL_THEN_DICTIONARY)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_random_files_merge_as_by_snakemakes_functions(contents: list[Values]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.yaml" for number in range(len(contents))]
        for file, content in zip(files, contents, strict=True):
            file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
        found = ours(files)
        assert found == one_by_one(files)
        if not begins_anew(contents[1:]):
            assert found == command_line(files)


def test_null_then_a_dictionary_begins_anew(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.yaml" for number in range(3)]
    for file, content in zip(files, NULL_THEN_DICTIONARY, strict=True):
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert ours(files) == {"a": {"c": 3}}
    assert command_line(files) == {"a": {"b": 1, "c": 3}}, "Snakemake's own, which nothing here reads"


@given(st.dictionaries(st.sampled_from(["aa", "bb"]), st.integers(-9, 9), min_size=1))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_words_of_the_command_line_are_what_snakemake_reads(values: dict[str, int]) -> None:
    words = [f"{key}={value}" for key, value in values.items()]
    assert config.read_words(words) == parse_config(words)


def test_the_command_line_comes_last_and_null_takes_out_over_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("bases: {small: null}\nbenchmarks: {gpqa: {limit: 3}}\nseed: 1\n")
    (tmp_path / "b.yaml").write_text("bases: {small: {hub: a/b, revision: main}}\nseed: 2\n")
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    found = config.load(files, ["seed=3", "benchmarks={gpqa: null}"])
    assert (found["seed"], found["bases"]["small"]) == (3, {"hub": "a/b", "revision": "main"})
    assert "gpqa" not in found["benchmarks"]
    assert list(found["bases"]) == list(config.load()["bases"]), "the order is the default's"
    with pytest.raises(UserError, match=r"both path .* and hub"):
        config.load(files[1:])
    with pytest.raises(UserError, match="top level: key 'pathvars' is missing"):
        config.load(files, alone=True)
