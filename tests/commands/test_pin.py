"""``m1 pin``: what moving revisions were, as the hub's cache holds it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants
from m1.commands import doctor
from m1.commands.pin import main, unpinned
from m1.core.errors import UserError
from m1.core.revisions import LOCK, pinned, read_lock
from m1.wiring.config import load
from m1.wiring.run import Run

PAPER = Path(__file__).parents[2] / "config/paper.yaml"
COMMIT = "c" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fetched(cache: Path, folder: str, commit: str) -> None:
    """As the hub's client notes what ``main`` was when it fetched."""
    reference = cache / folder / "refs/main"
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(commit)


def test_what_was_fetched_is_pinned_once_and_stays(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(load([PAPER]))
    assert ("model", "Qwen/Qwen2.5-7B-Instruct", "main") in unpinned(run)
    assert ("dataset", "UCSC-VLAA/m1_eval_data", "main") in unpinned(run)
    assert not any(hub == "GBaker/MedQA-USMLE-4-options" for _, hub, _ in unpinned(run)), "it has a commit already"
    (finding,) = doctor.check_revisions(run)
    assert "Qwen/Qwen2.5-7B-Instruct at main" in finding.need
    fetched(cache, "models--Qwen--Qwen2.5-7B-Instruct", COMMIT)
    main(["--configfile", str(PAPER)])
    assert read_lock() == {"Qwen/Qwen2.5-7B-Instruct": {"main": COMMIT}}
    assert "not fetched yet, so not pinned: " in capsys.readouterr().err
    assert (pinned("Qwen/Qwen2.5-7B-Instruct", "main"), pinned("Qwen/Qwen2.5-7B-Instruct", None)) == (COMMIT, COMMIT)
    assert pinned("Qwen/Qwen2.5-7B-Instruct", "v2") == "v2"
    before = Path(LOCK).read_text()
    fetched(cache, "models--Qwen--Qwen2.5-7B-Instruct", "d" * 40)
    main(["--configfile", str(PAPER)])
    assert Path(LOCK).read_text() == before, "results were made with it"
    fetched(cache, "datasets--UCSC-VLAA--m1_eval_data", "e" * 40)
    main(["--configfile", str(PAPER)])
    assert read_lock()["UCSC-VLAA/m1_eval_data"] == {"main": "e" * 40}
    assert unpinned(run).isdisjoint({("dataset", "UCSC-VLAA/m1_eval_data", "main")})


def test_a_run_that_takes_nothing_from_the_hub_has_nothing_to_pin(cache: Path) -> None:
    assert unpinned(Run(load([]))) == set()
    assert list(doctor.check_revisions(Run(load([])))) == []
    main([])
    assert not Path(LOCK).exists()


@pytest.mark.parametrize("text", ["a: {main: xyz}", "a: 3", "- a", "a: {main: 7}", "a: [", "a: {main: [b]}"])
def test_a_damaged_lock_is_named(cache: Path, text: str) -> None:
    Path("config").mkdir()
    Path(LOCK).write_text(text)
    with pytest.raises(UserError, match=r"revisions\.lock\.yaml: .*Correct it"):
        read_lock()


def test_the_lock_is_yaml_that_a_person_reads(cache: Path) -> None:
    fetched(cache, "models--Qwen--Qwen2.5-7B-Instruct", COMMIT)
    main(["--configfile", str(PAPER)])
    text = Path(LOCK).read_text()
    assert text.startswith("# What moving revisions were")
    assert yaml.safe_load(text) == {"Qwen/Qwen2.5-7B-Instruct": {"main": COMMIT}}
