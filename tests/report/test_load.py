"""benchmarks/load.py in small: the files of a run that it makes, and the table that it prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmark_scripts import load
from m1.core import records
from m1.core.files import read_json
from m1.core.records import Prediction, Rollout
from patience import PATIENCE

benchmark = load("load")


@pytest.mark.slow
def test_every_step_runs_on_the_load_and_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "LIMIT", (PATIENCE, benchmark.LIMIT[1]))
    monkeypatch.setattr(
        benchmark, "LIMITS", {step: (PATIENCE, memory) for step, (_, memory) in benchmark.LIMITS.items()}
    )
    size = ["--models", "2", "--questions", "60", "--folder", str(tmp_path)]
    benchmark.main(size)
    heads, _, *lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()
    ]
    assert heads == ["step", "wall (s)", "CPU (s)", "peak memory (GiB)", "written (MB)"]
    assert [name.partition(",")[0] for name, *_ in lines] == list(benchmark.commands(tmp_path))
    assert all(0.05 < float(memory) < 1 and float(cpu) > 0.1 for _, _, cpu, memory, _ in lines)

    predictions = records.read(tmp_path / "infer" / "model-01" / "predictions.parquet", Prediction)
    rollouts = records.read(tmp_path / "infer" / "model-01" / "rollouts.parquet", Rollout)
    assert (
        len(predictions) == len(benchmark.SETTINGS) * len(rollouts) == 12 * sum(benchmark.benchmark_sizes(60).values())
    )
    thought = {row.question_id: row for row in rollouts}
    assert all(
        len(thought[row.question_id].thinking(row.budget, row.forced)) == row.thinking_tokens for row in predictions
    )
    rules = read_json(tmp_path / "score" / "model-01.json")["counts"]["rules"]
    assert {"boxed letter", "lone letter", "option text", "most similar option"} <= set(rules)

    monkeypatch.setattr(benchmark, "LIMIT", (PATIENCE, 0.01))
    with pytest.raises(SystemExit, match="slower or larger than allowed"):
        benchmark.main([*size, "--only", "choice"])
    (tmp_path / "shown.json").unlink()
    with pytest.raises(benchmark.UserError, match=r"m1\.report\.choice .*failed:(.|\n)*shown\.json: no such file"):
        benchmark.main([*size, "--only", "choice"])


def test_the_papers_size_has_its_questions() -> None:
    assert sum(benchmark.benchmark_sizes(11_461).values()) == 11_461
    assert set(benchmark.SHAPES) == set(benchmark.benchmark_sizes(100))
    assert sum(benchmark.ENDINGS.values()) == pytest.approx(1)
