"""Pack a finished run into a Workflow Run RO-Crate (make crate): an archive with metadata that repositories and
reviewers' programs can read (profile: https://w3id.org/ro/wfrun/workflow/0.5).

The crate holds the configuration, the workflow with its commit, its resources and the pins of the environments, the
results (tables, figures, the page, manifests, predictions), the claims with their verdicts, and a list of what was
taken as published. Each file has its SHA-256. Other inputs are named with the SHA-256 that the manifests recorded. Data
sets and models are in the crate only with --whole. The same results give the same bytes.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m1.commands import add_configfile
from m1.commands.dry_run import NOTHING
from m1.core.errors import UserError
from m1.core.files import check_output, read_json, replacing, sha256_file
from m1.core.places import SOURCE
from m1.core.progress import say
from m1.report.files import read_csv
from m1.report.settings import Shown
from m1.wiring import config

if TYPE_CHECKING:
    from rocrate.model.contextentity import ContextEntity

Properties = dict[str, Any]
PERMALINK = "https://w3id.org/"
PROFILES = {
    f"{PERMALINK}ro/wfrun/process/0.5": "Process Run Crate",
    f"{PERMALINK}ro/wfrun/workflow/0.5": "Workflow Run Crate",
    f"{PERMALINK}workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
SMALL = ("*.csv", "*.pdf", "*.html", "*.json", "select/*.json", "train/*/manifest.json", "infer/**/*", "score/*")
"""The results in a crate without ``--whole``; the manifests of all other steps are added."""
CODE = ("workflow/**/*", "resources/**/*", "envs/*.yaml", "README.md", "CITATION.cff", "LICENSE")
PINS = ("requirements.txt", "constraints.txt", "pyproject.toml")
ABOUT = (
    "Results, configuration and code of a run of the reproduction of m1 by Snakemake. The licence is the code's. What "
    "the results quote of questions, traces and models is under the terms of their sources, which README.md names."
)
FORMATS = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".pdf": "application/pdf",
    ".png": "image/png",
}
ADOPTED = "Changed after the run had made it, and taken as it is (make adopt)"
CLAIM = ("id", "words", "tables_verdict", "verdict")
KINDS = {".csv": "tables", ".pdf": "figures", ".html": "pages", ".json": "manifests", ".parquet": "records"}


class Crate:
    """The crate of a run; ``whole`` is the run's checked configuration."""

    def __init__(self, whole: Properties) -> None:
        from rocrate.rocrate import ROCrate

        self.config, self.results = whole, Path(whole["pathvars"]["results"])
        self.crate = ROCrate(version="1.1")
        self.manifests = dict(self._manifests())
        self.parameters: dict[str, tuple[bool, list[Any]]] = {}

    def _manifests(self) -> Iterator[tuple[Path, Properties]]:
        for path in sorted(self.results.rglob("*.json")):
            found = read_json(path)
            if isinstance(found, dict) and "made_by" in found:
                yield path, found

    def file(self, source: Path, name: str, **properties: Any) -> Any:
        """Add a file to the crate, with its SHA-256."""
        found = {"name": name, "identifier": f"sha256:{sha256_file(source)}"}
        found |= {"encodingFormat": FORMATS.get(source.suffix, "text/plain"), **properties}
        return self.crate.add_file(source, name, properties=found, record_size=True)

    def entity(self, number: str, kind: str, **properties: Any) -> "ContextEntity":
        """Add a description of something that is not in the crate."""
        from rocrate.model.contextentity import ContextEntity

        return self.crate.add(ContextEntity(self.crate, number, properties={"@type": kind, **properties}))

    def use(self, parameter: str, entity: Any, made: bool = False) -> None:
        """Note that an entity was a value of one of the workflow's parameters in this run."""
        self.parameters.setdefault(parameter, (made, []))[1].append(entity)

    def workflow(self) -> Any:
        """Add the workflow: its source, commit and environments."""
        made_by = [one["made_by"] for one in self.manifests.values()]
        commits = {(one["commit"] or "unknown") + (" with edits" if one["dirty"] else "") for one in made_by}
        packages = sorted({(name, version) for one in made_by for name, version in one["packages"].items()})
        snakefile = SOURCE / "workflow/Snakefile"
        code = {path for pattern in (*CODE, *PINS) for path in SOURCE.glob(pattern)} - {snakefile}
        for path in sorted(code):
            if path.is_file() and "__pycache__" not in path.parts:
                self.file(path, str(path.relative_to(SOURCE)))
        self.crate.get("README.md")["about"] = self.crate.root_dataset
        needed = [
            self.entity(f"pkg:pypi/{name}@{version}", "SoftwareApplication", name=name, softwareVersion=version)
            for name, version in packages
        ]
        properties = {"identifier": f"sha256:{sha256_file(snakefile)}", "encodingFormat": "text/plain", "name": "m1"}
        main = self.crate.add_workflow(
            snakefile,
            "workflow/Snakefile",
            main=True,
            lang="snakemake",
            lang_version=dict(packages)["snakemake"],
            properties=properties | {"version": ", ".join(sorted(commits))},
            record_size=True,
        )
        main.append_to("softwareRequirements", needed)
        main["conformsTo"] = {"@id": "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"}
        return main

    def inputs(self) -> None:
        """Add the configuration, the inputs that no step of this run made, and what was taken as published."""
        text = json.dumps(self.config, indent=2, ensure_ascii=False)
        properties = {"name": "configuration", "encodingFormat": FORMATS[".json"]}
        properties["identifier"] = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        self.use("configuration", self.crate.add_file(StringIO(text), "configuration.json", properties=properties))
        code = {(Path(one.id).name, one.get("identifier")): one for one in self.crate.data_entities}
        named = [(one["path"], one["sha256"]) for made in self.manifests.values() for one in made["inputs"].values()]
        for path, sha256 in dict.fromkeys(named):
            value = f"sha256:{sha256}"
            if resource := code.get((Path(path).name, value)):
                self.use("resources", resource)
            elif not Path(path).is_relative_to(self.results):
                properties = {"name": path, "value": value}
                self.use("inputs", self.entity(f"#input-{sha256}-{Path(path).name}", "PropertyValue", **properties))
        for kind, entries in self.config["published"].items():
            if entries:
                value = json.dumps(entries, ensure_ascii=False)
                self.use("published", self.entity(f"#published-{kind}", "PropertyValue", name=kind, value=value))

    def outputs(self, everything: bool) -> None:
        """Add the results, by their kind, and the claims."""
        patterns = ("**/*",) if everything else SMALL
        found = {path for pattern in patterns for path in self.results.glob(pattern) if path.is_file()}
        adopted = {path.parent / name for path, one in self.manifests.items() for name in one.get("adopted", [])}
        for path in sorted(found | set(self.manifests)):
            if path.name.startswith("."):  # left by a writer that was killed
                continue
            check_output(path)
            properties = {"description": ADOPTED} if path in adopted else {}
            file = self.file(path, f"results/{path.relative_to(self.results)}", **properties)
            self.use(KINDS.get(path.suffix, "others"), file, made=True)
        table = self.crate.get("results/claims.csv")
        for claim in read_csv(self.results / "claims.csv", CLAIM, text=True).to_dict("records"):
            says = f"by the paper's tables: {claim['tables_verdict']}; by this run: {claim['verdict']}"
            entity = self.entity(f"#claim-{claim['id']}", "Claim", name=str(claim["id"]), text=claim["words"])
            entity["description"] = says
            table.append_to("about", entity)

    def run(self, workflow: Any) -> None:
        """Add the run itself: the workflow's inputs and outputs, and its times."""
        files = [path.stat().st_mtime for path in self.results.iterdir() if path.is_file()]
        begun = [path.stat().st_mtime - one["seconds"] for path, one in self.manifests.items()]
        action = self.entity("#run", "CreateAction", name="run of m1")
        for name, seconds in (("startTime", min(begun)), ("endTime", max(files))):
            action[name] = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
        action["instrument"] = workflow
        action["actionStatus"] = "http://schema.org/CompletedActionStatus"
        action["description"] = f"Snakemake made {self.results} by the configuration in configuration.json"
        self.crate.root_dataset["mentions"], self.crate.root_dataset["datePublished"] = action, action["endTime"]
        for name, (made, entities) in self.parameters.items():
            kind = "PropertyValue" if name in ("inputs", "published") else "File"
            parameter = self.entity(f"#parameter-{name}", "FormalParameter", name=name, additionalType=kind)
            parameter["conformsTo"] = {"@id": "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"}
            workflow.append_to("output" if made else "input", parameter)
            for entity in entities:
                action.append_to("result" if made else "object", entity)
                entity["exampleOfWork"] = parameter
            parameter["workExample"] = entities if entities[1:] else entities[0]

    def describe(self) -> None:
        """Describe the crate as a whole: name, licence and profiles."""
        root = self.crate.root_dataset
        root["name"] = f"m1, reproduced: {self.results}"
        root["description"] = ABOUT
        root["license"] = self.entity("https://spdx.org/licenses/MIT", "CreativeWork", name="MIT License")
        root["conformsTo"] = [
            self.entity(url, "CreativeWork", name=name, version=url.rpartition("/")[2])
            for url, name in PROFILES.items()
        ]


def shown_files(results: Path) -> Iterator[Path]:
    """What the report of a run shows; ``shown.json``, which names it, first."""
    yield results / "shown.json"
    shown = Shown.load(results / "shown.json")
    tables, figures = ([f"{name}.csv" for name in shown.page_tables], [f"{name}.pdf" for name in shown.page_figures])
    yield from (results / name for name in ["claims.csv", "report.html", *tables, *figures])


def check_finished(files: Sequence[Path]) -> None:
    """Ask Snakemake whether these configuration files are those of the results.

    Raises:
        UserError: it would make something.
    """
    words = [sys.executable, "-m", "m1", "launch", "-n", "--quiet", "rules", "--configfile", *map(str, files)]
    done = subprocess.run(words if files else words[:-1], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"Snakemake cannot tell whether this run is finished: {done.stderr.strip() or done.stdout}")
    if NOTHING not in done.stdout:
        remedy = "finish it, or take the results as they are (make adopt)"
        raise UserError(f"by this configuration, work is left (make dry-run shows it); {remedy}, then make the crate")


def main(argv: Sequence[str] | None = None) -> None:
    """Write the crate of a finished run."""
    parser = argparse.ArgumentParser(prog="m1 crate", description=__doc__)
    add_configfile(parser)
    parser.add_argument(
        "--output", type=Path, default=Path("crate.zip"), help="archive to write (default: %(default)s)"
    )
    parser.add_argument("--whole", action="store_true", help="include all results, with data sets and models")
    options = parser.parse_args(argv)
    whole = config.load(options.configfile)
    results = Path(whole["pathvars"]["results"])
    if lacking := [path for path in shown_files(results) if not path.exists()]:
        raise UserError(f"{lacking[0]}: not there, so this run is not finished; finish it, then make its crate")
    crate = Crate(whole)
    workflow = crate.workflow()
    crate.inputs()
    crate.outputs(options.whole)
    crate.describe()
    crate.run(workflow)
    check_finished(options.configfile)
    with replacing(options.output) as partial:
        crate.crate.write_zip(partial)
    say("crate", f"{options.output}: {options.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
