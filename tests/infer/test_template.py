"""The borrowed chat template: written where there is one, and a clear word where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from m1.core.errors import UserError
from m1.infer import template


def borrow(hub: Path, output: Path) -> None:
    settings = json.dumps({"hub": str(hub), "revision": "main"})
    template.main(["--name", "med", "--settings", settings, "--output", str(output)])


def test_the_template_of_another_tokenizer(tokenizer_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    borrow(tokenizer_folder, tmp_path / "borrowed")
    theirs, ours = (
        AutoTokenizer.from_pretrained(folder).chat_template for folder in (tokenizer_folder, tmp_path / "borrowed")
    )
    assert theirs
    assert ours == theirs


def test_what_is_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config/models/med\.yaml: tokenizer .* cannot be had from the hub"):
        borrow(tmp_path / "nothing", tmp_path / "borrowed")
    assert not (tmp_path / "borrowed").exists()
