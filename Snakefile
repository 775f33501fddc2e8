"""The paper m1, from questions to tables and figures. Wiring only: what a rule does is in workflow/m1, what it is told is in config."""

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/data.yaml"
configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/world.smk"
include: "workflow/rules/pools.smk"
include: "workflow/rules/screen.smk"
include: "workflow/rules/distill.smk"
include: "workflow/rules/select.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/infer.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        wiring.targets(),


# What needs the network, so that compute nodes need none (`make fetch`).
rule fetch:
    input:
        wiring.fetched(),
    localrule: True
