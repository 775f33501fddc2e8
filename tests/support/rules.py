"""The workflow's rules, as Snakemake itself has them after it has read the default configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from m1.core.fingerprint import Step

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Rule:
    """What Snakemake says of a rule. Logs are patterns: ``logs/train_sft/{model}.log``."""

    name: str
    environment: Path | None
    """Its conda environment's file."""
    log: tuple[str, ...]
    benchmark: str | None
    params: dict[str, Any]
    """As the rule file gives them; functions of wildcards are functions."""
    command: str | None
    """Its shell command, with what Snakemake puts in for each job in braces. None: it runs none."""
    local: bool
    """Whether it runs where Snakemake does, and not as a job of a cluster."""

    @property
    def step(self) -> Step | None:
        """The module of the package that the rule runs; None if it runs none."""
        found = self.params.get("code")
        return found if isinstance(found, Step) else None


@cache
def rules() -> dict[str, Rule]:
    """Return every rule by its name, in the order of the rule files."""
    from snakemake.api import SnakemakeApi
    from snakemake.io import strip_wildcard_constraints
    from snakemake.settings.types import OutputSettings, Quietness, ResourceSettings
    from snakemake.shell import shell

    def described(rule: Any) -> Rule:
        environment = rule.conda_env and rule.basedir.join(rule.conda_env).get_path_or_uri(secret_free=True)
        return Rule(
            name=rule.name,
            environment=environment and Path(environment).resolve(),
            log=tuple(strip_wildcard_constraints(path) for path in rule.log),
            benchmark=rule.benchmark and strip_wildcard_constraints(rule.benchmark),
            params=dict(rule.params.items()),
            command=rule.shellcmd,
            local=rule.norun or rule.name in rule.workflow._localrules,
        )

    environment, prefix, here = dict(os.environ), shell._process_prefix, Path.cwd()
    try:
        with SnakemakeApi(OutputSettings(quiet={Quietness.ALL}, dryrun=True)) as api:
            workflow = api.workflow(ResourceSettings(cores=1), snakefile=ROOT / "Snakefile", workdir=ROOT)._workflow
            return {rule.name: described(rule) for rule in workflow.rules}
    finally:  # reading the rule files exports variables, and sets the prefix of all commands
        os.environ.clear()
        os.environ.update(environment)
        shell._process_prefix = prefix
        os.chdir(here)
