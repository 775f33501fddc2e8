"""What calls of models cost, by step and in all."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from m1.core.errors import UserError
from m1.report import spending

ONE = {
    "calls": 10,
    "prompt_tokens": 100,
    "thinking_tokens": 500,
    "answer_tokens": 50,
    "dollars": 0.25,
    "refused": 1,
    "cut": 2,
}


def test_steps_and_their_sum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, name, times in (("distill", "hard", 1), ("select", "domains", 3)):
        (tmp_path / folder).mkdir()
        manifest = {"spending": {key: value * times for key, value in ONE.items()} | {"calls_made": 0}}
        (tmp_path / folder / f"{name}.json").write_text(json.dumps(manifest))
    paths = [str(tmp_path / "distill/hard.json"), str(tmp_path / "select/domains.json")]
    spending.main(["--manifests", *paths, "--output", str(tmp_path / "spending.csv")])
    with open(tmp_path / "spending.csv", newline="", encoding="utf-8") as lines:
        rows = {row["step"]: row for row in csv.DictReader(lines)}
    assert list(rows) == ["distill hard", "select domains", "sum"]
    assert (rows["sum"]["calls"], rows["sum"]["thinking_tokens"], rows["sum"]["dollars"]) == ("40", "2000", "1.0000")
    assert rows["select domains"]["cut"] == "6"
    assert "40 calls, 2,600 tokens, $1.00" in capsys.readouterr().out


def test_what_nobody_counted_is_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Manifests of older releases do not have it."""
    more = {"uncounted": 4, "dollars_at_most": 0.125, "lost": 2, "dollars_lost": 0.5}
    for name, spending_ in (("old", ONE), ("new", ONE | more)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"spending": spending_}))
    spending.main(
        [
            "--manifests",
            *[str(tmp_path / f"{name}.json") for name in ("old", "new")],
            "--output",
            str(tmp_path / "s.csv"),
        ]
    )
    with open(tmp_path / "s.csv", newline="", encoding="utf-8") as lines:
        old, new, total = csv.DictReader(lines)
    assert [row["dollars_at_most"] for row in (old, new, total)] == ["", "0.1250", "0.1250"]
    assert (old["uncounted"], new["uncounted"], total["dollars"], total["dollars_lost"]) == (
        "",
        "4",
        "0.5000",
        "0.5000",
    )
    assert "$0.50 ($0.12 of it, and $0.50 more, at most)" in capsys.readouterr().out


def test_a_manifest_of_another_kind() -> None:
    with pytest.raises(UserError, match=r"manifest of distill hard: no calls, prompt_tokens"):
        spending.spending_table({"distill hard": {"counts": {}}})
