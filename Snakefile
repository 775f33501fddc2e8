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


# On a cluster, these run where Snakemake does: what needs the network (hub, teacher), and what takes seconds.
localrules:
    all,
    pools_collect,
    pools_collect_benchmark,
    screen_ask,
    screen_hard,
    distill_draw,
    distill_traces,
    select_domains,
    select_sample,
    select_published,
    train_fetch,
    train_published,
    infer_template,
    infer_published,
    report_table1,
    report_table3,
    report_table4,
    report_spending,
    report_sweep_cost,
    report_figure8a,
    report_figure1,
    report_figure3,
    report_compare,
    report_paired,
    report_scaling,
    report_typeset,
    report_rulegraph,
    report_figure2,
    report_cases,
    report_page,


# By Ctrl-C, Snakemake does not cancel the jobs whose state it is just asking SLURM for.
onerror:
    if name := getattr(workflow.executor_settings, "jobname_prefix", None):
        from m1.commands.launch import leave_none

        leave_none(Path.cwd(), f"{name}_")


rule all:
    default_target: True
    input:
        wiring.targets(),


# What needs the network, so that compute nodes need none (`make fetch`).
rule fetch:
    input:
        wiring.fetched(),
    localrule: True
