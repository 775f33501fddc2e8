"""Results that are not what was written: no number is made from them, and what takes them as they are says so."""

from __future__ import annotations

import os
import re
from dataclasses import replace

import pytest
from m1.core.records import Prediction, read, write
from project import MAIN, Project

pytestmark = pytest.mark.workflow
RESULTS = "results/short"


def refused(project: Project, *targets: str) -> str:
    code, said = project.run(*targets)
    assert code == 1, said
    assert "Traceback" not in said
    return " ".join(said.split())


def test_a_model_whose_bytes_are_not_those_of_its_identity_is_not_used(project: Project) -> None:
    model = project.path(f"{RESULTS}/train/m1-small-1k/model.safetensors")
    times = model.stat()
    with open(model, "r+b") as stream:
        stream.seek(times.st_size // 2)
        stream.write(bytes(range(256)) * 64)
    os.utime(model, ns=(times.st_atime_ns, times.st_mtime_ns))
    for made in ("infer/m1-small-1k/predictions.parquet", "score/m1-small-1k.parquet", "table1.csv"):
        project.path(f"{RESULTS}/{made}").unlink()
    said = refused(project, f"{RESULTS}/table1.csv")
    recorded = f"{RESULTS}/train/m1-small-1k.sha256"
    assert f"{RESULTS}/train/m1-small-1k: changed or damaged since it was written" in said
    assert f"but {recorded} says {project.path(recorded).read_text().strip()}. Delete it to have it made again" in said


@pytest.mark.slow
def test_an_edited_prediction_and_an_edited_table_do_not_pass_as_measured_unless_they_are_adopted(
    project: Project,
) -> None:
    predictions = project.path(f"{RESULTS}/infer/m1-small-1k/predictions.parquet")
    first, *others = read(predictions, Prediction)
    write(predictions, [replace(first, answer=r"\boxed{A}"), *others], Prediction)
    said = refused(project, f"{RESULTS}/score/m1-small-1k.parquet")
    assert f"{predictions.relative_to(project.folder)}: changed or damaged since it was written" in said
    assert f"{RESULTS}/infer/m1-small-1k/manifest.json says" in said
    adopted = project.make(*MAIN, "--touch", module="m1 launch")
    assert f"{predictions}: changed since it was made; taken as it is" in adopted
    predictions.touch()
    project.make(f"{RESULTS}/score/m1-small-1k.parquet", f"{RESULTS}/table1.csv")
    numbers = project.path(f"{RESULTS}/table1.csv")
    numbers.write_text(re.sub(r"\d\d\.\d\d", "99.99", numbers.read_text(), count=1))
    said = refused(project, f"{RESULTS}/table1.tex")
    assert f"{RESULTS}/table1.csv: changed or damaged since it was written" in said
