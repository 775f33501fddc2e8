"""Models that bring code of their own: it is not run, whatever stands on standard input, and one line says so."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from m1.core import pretrained
from patience import PATIENCE

PACKAGE = Path(pretrained.__file__).parents[1]
OWN = {
    "AutoConfig": "own.OwnConfig",
    "AutoModelForCausalLM": "own.OwnModel",
    "AutoTokenizer": ["own.OwnTokenizer", None],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model whose classes are in a file of its own, which leaves a trace when it is run."""
    model = tmp_path / "model"
    model.mkdir()
    config = {"model_type": "own", "auto_map": OWN}
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (model / "tokenizer_config.json").write_text(json.dumps({"auto_map": OWN}), encoding="utf-8")
    (model / "own.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')\n", encoding="utf-8")
    return model


LOADS_ALL = """
import sys
import transformers
from m1.core.errors import UserError
from m1.core.pretrained import load
for kind in sys.argv[2:]:
    try:
        load(getattr(transformers, kind), sys.argv[1])
    except UserError as error:
        print(error)
"""


def test_code_of_a_model_is_never_run(folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent), "HF_HOME": str(folder.parent / "hub")}
    command = [sys.executable, "-c", LOADS_ALL, folder, *OWN]
    done = subprocess.run(command, input="y\n" * 9, capture_output=True, text=True, env=environment, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    said = f"{folder}: it needs code that comes with it (`auto_map` in its configuration), and none is ever run;"
    lines = done.stdout.splitlines()
    assert len(lines) == len(OWN)
    assert all(line.startswith(said) for line in lines)
    assert not (folder.parent / "pwned").exists()


def test_everything_is_read_in_this_way() -> None:
    others = [path for path in PACKAGE.rglob("*.py") if re.search(r"\bfrom_pretrained\(", path.read_text("utf-8"))]
    assert [path.name for path in others] == ["pretrained.py"]
