"""The key of a provider, in its environment variable, shows in nothing that a run leaves: what is said, logs, store,
manifests, Snakemake's records and its report."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from m1.wiring.schema import export_call_settings
from project import REPOSITORY
from runs import demo_run

pytestmark = pytest.mark.workflow

KEY = "quite+secret/0123456789"
TARGET = "results/short/distill/random_1k.parquet"


def holders(folder: Path) -> list[str]:
    """Files that hold the key, as it is or in base64, packed or not."""
    forms = {
        KEY.encode(),
        json.dumps(KEY).encode()[1:-1],
        *(base64.b64encode(b"." * n + KEY.encode())[4:-4] for n in range(3)),
    }
    found = []
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        content = [path.read_bytes()]
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                content += [packed.read(name) for name in packed.namelist()]
        for block in re.findall(rb"base64,([A-Za-z0-9+/=]{16,})", content[0]):
            content.append(base64.b64decode(block + b"=="))
        for part in list(content):
            if part[:2] == b"\x1f\x8b":
                content.append(zlib.decompress(part, 31))
        found += [str(path)] if any(form in part for form in forms for part in content) else []
    return found


@pytest.mark.slow
def test_a_key_is_in_no_file_of_a_run_and_not_in_the_report(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("teacher: {api_key_env: M1_TEST_KEY}\n", encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow"), "M1_TEST_KEY": KEY}
    overlays = ["--configfile", str(REPOSITORY / "tests/configs/short.yaml"), "mine.yaml"]

    def launch(*words: str) -> str:
        command = [sys.executable, "-m", "m1", "launch", TARGET, "--cores", "2", *words, *overlays]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    said = launch("--printshellcmds", "--verbose")
    assert (tmp_path / TARGET).is_file()
    for report in ("report.html", "report.zip"):
        said += launch("--report", report)
        assert (tmp_path / report).is_file()
    assert list((tmp_path / ".snakemake/metadata").iterdir()), "there are records to look at"
    assert KEY not in said
    assert holders(tmp_path) == []
    (tmp_path / "leak.zip").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "leak.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a", KEY)
    assert holders(tmp_path) == [str(tmp_path / "leak.zip")], "it would be found"


def test_the_environment_of_jobs_names_the_variable_and_holds_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TEACHER", "LABELLER", "SCREEN"):
        monkeypatch.setenv(f"M1_{name}_CALLS", "")
    monkeypatch.setenv("M1_TEST_KEY", KEY)
    run = demo_run()
    for provider in (run.config["teacher"], run.config["labeller"]):
        provider["api_key_env"] = "M1_TEST_KEY"
    export_call_settings(run.config)
    assert json.loads(os.environ["M1_TEACHER_CALLS"])["api_key_env"] == "M1_TEST_KEY"
    assert [name for name, value in os.environ.items() if KEY in value] == ["M1_TEST_KEY"]
