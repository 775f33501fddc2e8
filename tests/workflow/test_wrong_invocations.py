"""Incorrect invocations: each ends with one message that names what was found and what would be right, and none with a
traceback.

Wrong configurations are in ``REFUSED`` of tests/wiring/test_config.py, what Snakemake
makes of them in test_bad_input.py, and files that are no configuration here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import programs
import pytest

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).parents[2]
JUDGE = [
    "m1.score.predictions",
    "--predictions",
    "p",
    "--questions",
    "q",
    "--output",
    "o",
    "--manifest",
    "m",
    "--settings",
]


def run(*command: str, folder: Path) -> tuple[int, str]:
    """Exit code, and all that was said, in one line, of a program, or of a module (``-m``)."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    if command[0] == "-m":
        code, said = programs.run(command[1:], folder, environment)
    else:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        code, said = done.returncode, done.stdout + done.stderr
    said = " ".join(said.split())
    assert "Traceback" not in said
    return code, said


FILES = {
    "not there": (None, "mine.yaml: no such configuration file; known are config/config.yaml,"),
    "broken": (
        "seed: 1\n\tmodels: [a\n",
        "mine.yaml: not readable as YAML: while scanning for the next token found character '\\t'",
    ),
    "of a list": (
        "- seed: 1\n",
        "mine.yaml: a list is in it; a configuration has `key: value` at its top, for example `seed: 42`",
    ),
    "empty": ("# nothing\n", "mine.yaml: nothing is in it; a configuration has `key: value` at its top"),
    "not text": (b"\xff\xfe", "mine.yaml: not readable as YAML: 'utf-8' codec can't decode byte 0xff"),
}


def test_folders_that_are_no_folders(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("pathvars: results/mine\n")
    code, said = run("-m", "m1", "launch", "-n", "all", "--configfile", "mine.yaml", folder=tmp_path)
    assert code == 1
    assert "error: configuration: pathvars: 'results/mine' is not of type 'object'" in said


@pytest.mark.parametrize(
    "program", [["m1", "launch", "-n", "all"], ["m1", "plan"], ["m1", "doctor"]], ids=lambda program: program[1]
)
@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_no_configuration(program: list[str], case: str, tmp_path: Path) -> None:
    content, expected = FILES[case]
    if content is not None:
        (tmp_path / "mine.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    code, said = run("-m", *program, "--configfile", "mine.yaml", folder=tmp_path)
    assert code == 1
    assert f"error: {expected}" in said


def test_the_nearest_configuration_file_is_named(tmp_path: Path) -> None:
    _, said = run("-m", "m1", "plan", "--configfile", "config/papre.yaml", folder=tmp_path)
    assert "error: config/papre.yaml: no such configuration file; did you mean 'config/paper.yaml'? (in " in said
    shutil.copytree(ROOT / "config", tmp_path / "config")
    _, said = run("-m", "m1", "plan", "--configfile", "config/papre.yaml", folder=tmp_path)
    assert said.endswith("error: config/papre.yaml: no such configuration file; did you mean 'config/paper.yaml'?")


MODULES = {
    "settings that are no JSON": ([*JUDGE, "{"], 1, "error: --settings: not readable as JSON:"),
    "settings that are no object": (
        [*JUDGE, "[]"],
        1,
        "error: --settings: [] found; give one JSON object with the keys protocol",
    ),
    "settings with an unknown key": (
        [*JUDGE, '{"protocol": "released", "protokol": 1}'],
        1,
        "error: --settings: unknown key 'protokol'. Give one JSON object with the keys protocol.",
    ),
    "settings without a key": (
        ["m1.world.build", "--output", "w", "--settings", '{"seed": 1}'],
        1,
        "error: --settings: missing key 'entities',",
    ),
    "a setting that is no choice": (
        [*JUDGE, '{"protocol": "strikt"}'],
        1,
        'error: --settings: protocol is "strikt"; it must be one of',
    ),
    "no settings": (JUDGE[:-1], 2, "error: the following arguments are required: --settings"),
    "a figure that there is not": (["m1.report.figures", "figure7"], 2, "invalid choice: 'figure7' (choose from"),
    "an unknown flag": (["m1", "plan", "--confgfile", "a"], 2, "error: unrecognized arguments: --confgfile"),
    "an unknown command": (["m1", "stor"], 2, "invalid choice: 'stor' (choose from"),
    "a file that is not there": (
        ["m1.report.spending", "--manifests", "nowhere.json", "--output", "o.csv"],
        1,
        "error: nowhere.json: no such file",
    ),
    "a file of another kind": (
        ["m1.report.tables", "table4", "--shown", "s", "--published", "p", "--output", "o", "--long", "l"],
        1,
        "s: no such",
    ),
}


@pytest.mark.parametrize("case", MODULES)
def test_a_module_by_hand(case: str, tmp_path: Path) -> None:
    command, exit_code, expected = MODULES[case]
    code, said = run("-m", *command, folder=tmp_path)
    assert expected in said
    assert code == exit_code
    assert not list(tmp_path.iterdir())


def test_an_unknown_model_in_make_plan(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("models: [small, m1-smal-1k]\n", encoding="utf-8")
    code, said = run("-m", "m1", "plan", "--configfile", "mine.yaml", folder=tmp_path)
    assert code == 1
    assert "error: models: no recipe config/models/m1-smal-1k.yaml; did you mean 'm1-small-1k'?" in said


def test_a_target_that_no_rule_makes() -> None:
    code, said = run("-m", "m1", "launch", "-n", "results/tabel1.csv", folder=ROOT)
    assert code == 1
    assert "No rule to produce results/tabel1.csv" in said


def test_a_wrong_value_on_the_command_line() -> None:
    code, said = run("-m", "m1", "launch", "-n", "all", "--config", "seed=x", folder=ROOT)
    assert code == 1
    assert "configuration: seed: 'x' is not of type 'integer'" in said


@pytest.mark.parametrize("program", [["m1", "launch"], ["snakemake", "--snakefile", str(ROOT / "Snakefile")]])
def test_a_key_in_place_of_a_variable_is_refused_and_written_nowhere(program: list[str], tmp_path: Path) -> None:
    key = "sk-live-ABCDEFGH12345678ijklmnop"
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"teacher: {{api_key_env: {key}, extra: {{api_key: {key}}}}}\n", encoding="utf-8")
    code, said = run("-m", *program, "--cores", "1", "all", "--configfile", "mine.yaml", folder=tmp_path)
    assert code == 1
    assert "teacher.api_key_env: the name of the environment variable that holds the key is needed" in said
    assert key not in said
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and file != mine and key in file.read_text()]


def test_a_key_on_the_command_line_is_not_repeated(tmp_path: Path) -> None:
    key = "sk-live-ABCDEFGH12345678ijklmnop"
    given = f"teacher={{api_key_env: {key}}}"
    code, said = run("-m", "m1", "launch", "-n", "all", "--config", given, folder=tmp_path)
    assert code == 1
    assert "teacher.api_key_env: the name of the environment variable that holds the key is needed" in said
    assert key not in said
    code, said = run("-m", "m1", "launch", "-n", "all", "--config", "seed", folder=tmp_path)
    assert (code, "error: --config: Invalid config definition" in said) == (1, True)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the Makefile."""
    shutil.copy2(ROOT / "Makefile", tmp_path)
    return tmp_path


def test_a_variable_of_make_that_there_is_not(clone: Path) -> None:
    code, said = run("make", "plan", "CONFG=config/paper.yaml", folder=clone)
    assert code == 2
    assert "CONFG: not known here; known are CONFIG PROFILE PYTHON" in said


@pytest.mark.parametrize("target", ["demo", "demo-full", "clean"])
def test_a_configuration_for_a_target_that_takes_none(target: str, clone: Path) -> None:
    code, said = run("make", target, "CONFIG=config/paper.yaml", folder=clone)
    assert code == 2
    assert f'make {target} takes no CONFIG; make paper CONFIG="config/paper.yaml" runs a configuration' in said


def test_trained_models_are_only_removed_on_purpose(clone: Path) -> None:
    (clone / "results/paper/train").mkdir(parents=True)
    code, said = run("make", "clean", folder=clone)
    assert (code, (clone / "results/paper/train").exists()) == (2, True)
    assert (
        "results/paper/train: trained models would go, and only those that store/train keeps come "
        "back without a training." in said
    )
    assert "To remove them, too: make clean CONFIRM=yes" in said
    (clone / ".snakemake/locks").mkdir(parents=True)
    (clone / ".snakemake/locks/0.output.lock").touch()
    assert "A run is at work here" in run("make", "clean", folder=clone)[1]
    assert run("make", "clean", "CONFIRM=yes", folder=clone)[0] == 0
    assert not (clone / "results").exists()


def test_what_was_paid_for_is_only_removed_on_purpose(clone: Path) -> None:
    for name in ("store", "results", "logs", "scratch"):
        (clone / name).mkdir()
    code, said = run("make", "clean-store", folder=clone)
    assert (code, (clone / "store").exists()) == (2, True)
    assert "make clean-store CONFIRM=yes" in said
    kept = {"clean": {"store", "scratch"}, "clean-scratch": {"store"}, "clean-store": set()}
    for target, names in kept.items():
        assert run("make", target, "CONFIRM=yes", folder=clone)[0] == 0
        assert {path.name for path in clone.iterdir() if path.is_dir()} == names


def test_every_target_of_the_makefile_is_in_its_help(clone: Path) -> None:
    _, said = run("make", "help", folder=clone)
    text = (clone / "Makefile").read_text(encoding="utf-8")
    names = [word for line in text.splitlines() if line.startswith(".PHONY:") for word in line.split()[1:]]
    targets = [name for name in names if not name.endswith(".ready")]
    assert len(targets) > 15
    assert [target for target in targets if f"make {target} " not in said] == []
