"""report (4, A): make the tables and figures, compare them with the paper, and write the page that shows them all."""

import os
from pathlib import Path

from m1.wiring.report import ReportRules, fresh_plan_arguments

report_rules = ReportRules(run)
PAGE = ("template.html", "style.css", "script.js")


# The time of a folder must rerun nothing (`ancient`), because it changes with any file inside. Whatever is made from a
# folder has a manifest as well, and a new manifest does rerun the report.
manifests = [
    path if path.endswith(".json") else ancient(path)
    for path in report_rules.manifests()
]


# Write what the steps below have to show. The rule has Python in place of a command line, which would have to hold the
# whole JSON text and could exceed the system's limit.
rule report_shown:
    output:
        "<results>/shown.json",
    log:
        "<logs>/report_shown.log",
    localrule: True
    params:
        shown=report_rules.shown().to_json(),
    run:
        Path(output[0]).write_text(f"{params.shown}\n", encoding="utf-8")


rule report_table1:
    input:
        shown="<results>/shown.json",
        scores=report_rules.scores(
            report_rules.trainings(report_rules.table_models("table1"))
        ),
        published=source_file("resources/paper/table1.csv"),
        benchmarks=source_file("resources/paper/benchmarks.csv"),
    output:
        table=entry("table1.csv", "Tables", table="Table 1", form="as in the paper"),
        long=entry("table1_long.csv", "Tables", table="Table 1", form="with intervals"),
        manifest="<results>/table1.json",
    log:
        "<logs>/report_table1.log",
    benchmark:
        "<logs>/report_table1.tsv"
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.tables"),
        table=subpath(output.table, basename=True, strip_suffix=".csv"),
    shell:
        "python -m {params.code.module} {params.table} --shown {input.shown} --scores {input.scores}"
        " --published {input.published} --benchmarks {input.benchmarks} --output {output.table} --long {output.long}"
        " --manifest {output.manifest} 2> {log}"


use rule report_table1 as report_table2 with:
    input:
        shown="<results>/shown.json",
        scores=report_rules.scores(
            report_rules.trainings(report_rules.table_models("table2"))
        ),
        published=source_file("resources/paper/table2.csv"),
        benchmarks=source_file("resources/paper/benchmarks.csv"),
    output:
        table=entry("table2.csv", "Tables", table="Table 2", form="as in the paper"),
        long=entry("table2_long.csv", "Tables", table="Table 2", form="with intervals"),
        manifest="<results>/table2.json",
    log:
        "<logs>/report_table2.log",
    benchmark:
        "<logs>/report_table2.tsv"
    localrule: True


rule report_table3:
    input:
        report_rules.table3_files(),
        shown="<results>/shown.json",
        published=source_file("resources/paper/table3.csv"),
    output:
        table=entry("table3.csv", "Tables", table="Table 3", form="as in the paper"),
        long=entry("table3_long.csv", "Tables", table="Table 3", form="by count"),
        manifest="<results>/table3.json",
    log:
        "<logs>/report_table3.log",
    benchmark:
        "<logs>/report_table3.tsv"
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.tables"),
        table=subpath(output.table, basename=True, strip_suffix=".csv"),
    shell:
        "python -m {params.code.module} {params.table} --shown {input.shown} --published {input.published}"
        " --output {output.table} --long {output.long} --manifest {output.manifest} 2> {log}"


use rule report_table3 as report_table4 with:
    input:
        report_rules.table4_files(),
        shown="<results>/shown.json",
        published=source_file("resources/paper/table4.csv"),
    output:
        table=entry("table4.csv", "Tables", table="Table 4", form="as in the paper"),
        long=entry("table4_long.csv", "Tables", table="Table 4", form="by count"),
        manifest="<results>/table4.json",
    log:
        "<logs>/report_table4.log",
    benchmark:
        "<logs>/report_table4.tsv"
    localrule: True


rule report_spending:
    input:
        run.http_steps(),
    output:
        table=entry("spending.csv", "Cost", table="calls and dollars"),
        manifest="<results>/spending.json",
    log:
        "<logs>/report_spending.log",
    benchmark:
        "<logs>/report_spending.tsv"
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.spending"),
    shell:
        "python -m {params.code.module} --manifests {input} --output {output.table} --manifest {output.manifest}"
        " 2> {log}"


use rule report_spending as report_sweep_cost with:
    input:
        expand("<results>/infer/{model}/manifest.json", model=run.sweep_models),
    output:
        table=entry("sweep_cost.csv", "Cost", table="tokens generated"),
        manifest="<results>/sweep_cost.json",
    log:
        "<logs>/report_sweep_cost.log",
    benchmark:
        "<logs>/report_sweep_cost.tsv"
    localrule: True
    params:
        code=step("m1.report.sweep_cost"),


rule report_figure8a:
    input:
        report_rules.subsets(),
        shown="<results>/shown.json",
        tokenizer=ancient(report_rules.base()),
        identity=f"{report_rules.base()}.sha256",
        published=source_file("resources/paper/lengths.csv"),
    output:
        pdf="<results>/figure8a.pdf",
        png=entry("figure8a.png", "Figures", figure="Figure 8a"),
        table="<results>/figure8a.csv",
        manifest="<results>/figure8a.json",
    log:
        "<logs>/report_figure8a.log",
    benchmark:
        "<logs>/report_figure8a.tsv"
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.lengths"),
    shell:
        "python -m {params.code.module} --shown {input.shown} --tokenizer {input.tokenizer}"
        " --published {input.published}"
        " --output {output.pdf} {output.png} --table {output.table} --manifest {output.manifest} 2> {log}"


rule report_figure1:
    input:
        shown="<results>/shown.json",
        scores=report_rules.scores(report_rules.figures),
        benchmarks=source_file("resources/paper/benchmarks.csv"),
        published=source_file("resources/paper/figure1.csv"),
    output:
        pdf="<results>/figure1.pdf",
        png=entry("figure1.png", "Figures", figure="Figure 1"),
    log:
        "<logs>/report_figure1.log",
    benchmark:
        "<logs>/report_figure1.tsv"
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.figures"),
        figure=subpath(output.pdf, basename=True, strip_suffix=".pdf"),
    shell:
        "python -m {params.code.module} {params.figure} --shown {input.shown} --scores {input.scores}"
        " --benchmarks {input.benchmarks} --published {input.published} --output {output.pdf} {output.png} 2> {log}"


use rule report_figure1 as report_figure3 with:
    output:
        pdf="<results>/figure3.pdf",
        png=entry("figure3.png", "Figures", figure="Figure 3"),
    log:
        "<logs>/report_figure3.log",
    benchmark:
        "<logs>/report_figure3.tsv"
    localrule: True


rule report_compare:
    input:
        report_rules.asked(),
        shown="<results>/shown.json",
        scores=report_rules.scores(report_rules.trainings(report_rules.compared)),
        singles=report_rules.singles(),
        published=[
            source_file("resources/paper/table1.csv"),
            source_file("resources/paper/table2.csv"),
        ],
        benchmarks=source_file("resources/paper/benchmarks.csv"),
    output:
        table=entry("compare.csv", "Comparison", table="with the paper"),
        manifest="<results>/compare.json",
    log:
        "<logs>/report_compare.log",
    benchmark:
        "<logs>/report_compare.tsv"
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.compare"),
    shell:
        "python -m {params.code.module} --shown {input.shown} --scores {input.scores} --published {input.published}"
        " --singles {input.singles}"
        " --benchmarks {input.benchmarks} --output {output.table} --manifest {output.manifest} 2> {log}"


rule report_choice:
    input:
        shown="<results>/shown.json",
        scores=report_rules.scores(report_rules.table_models("table1")),
        table1=source_file("resources/paper/table1.csv"),
        points=source_file("resources/paper/figure1.csv"),
        benchmarks=source_file("resources/paper/benchmarks.csv"),
    output:
        table=entry("budget_choice.csv", "Comparison", table="what Table 1 is"),
        manifest="<results>/budget_choice.json",
    log:
        "<logs>/report_choice.log",
    benchmark:
        "<logs>/report_choice.tsv"
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.choice"),
    shell:
        "python -m {params.code.module} --shown {input.shown} --scores {input.scores} --table1 {input.table1}"
        " --points {input.points} --benchmarks {input.benchmarks} --output {output.table} --manifest {output.manifest}"
        " 2> {log}"


rule report_claims:
    input:
        shown="<results>/shown.json",
        scores=report_rules.scores(report_rules.models),
        claims=source_file("resources/paper/claims.csv"),
        beside=[
            source_file(f"resources/paper/{name}.csv")
            for name in (
                *("table1", "table2", "table3"),
                *("figure1", "lengths", "benchmarks"),
            )
        ],
        counts="<results>/table3.csv",
        lengths="<results>/figure8a.csv",
    output:
        table=entry("claims.csv", "Comparison", table="the paper’s claims"),
        manifest="<results>/claims.json",
    log:
        "<logs>/report_claims.log",
    benchmark:
        "<logs>/report_claims.tsv"
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.claims"),
    shell:
        "python -m {params.code.module} --shown {input.shown} --scores {input.scores} --claims {input.claims}"
        " --counts {input.counts} --lengths {input.lengths} --output {output.table} --manifest {output.manifest}"
        " 2> {log}"


rule report_paired:
    input:
        shown="<results>/shown.json",
        scores=report_rules.scores(report_rules.compared),
        benchmarks=source_file("resources/paper/benchmarks.csv"),
    output:
        table=entry("paired.csv", "Comparison", table="models in pairs"),
        manifest="<results>/paired.json",
    log:
        "<logs>/report_paired.log",
    benchmark:
        "<logs>/report_paired.tsv"
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.paired"),
    shell:
        "python -m {params.code.module} --shown {input.shown} --scores {input.scores}"
        " --benchmarks {input.benchmarks} --output {output.table} --manifest {output.manifest} 2> {log}"


use rule report_paired as report_scaling with:
    input:
        shown="<results>/shown.json",
        scores=report_rules.scores(report_rules.figures),
        benchmarks=source_file("resources/paper/benchmarks.csv"),
    output:
        table=[
            entry("scaling.csv", "Thinking", table="accuracy by setting"),
            entry("best_budget.csv", "Thinking", table="best budget"),
        ],
        manifest="<results>/scaling.json",
    log:
        "<logs>/report_scaling.log",
    benchmark:
        "<logs>/report_scaling.tsv"
    localrule: True
    params:
        code=step("m1.report.scaling"),


rule report_typeset:
    input:
        shown="<results>/shown.json",
        table="<results>/{table}.csv",
        benchmarks=source_file("resources/paper/benchmarks.csv"),
    output:
        latex="<results>/{table}.tex",
        markdown="<results>/{table}.md",
    log:
        "<logs>/report_typeset/{table}.log",
    benchmark:
        "<logs>/report_typeset/{table}.tsv"
    wildcard_constraints:
        table="table[1-4]",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.typeset"),
    shell:
        "python -m {params.code.module} {wildcards.table} --shown {input.shown} --table {input.table}"
        " --benchmarks {input.benchmarks} --latex {output.latex} --markdown {output.markdown} 2> {log}"


rule report_rulegraph:
    output:
        "<results>/rulegraph.dot",
    log:
        "<logs>/report_rulegraph.log",
    localrule: True
    conda:
        "../../envs/workflow.yaml"
    resources:
        # A resource in place of a param: partitions and file names of overlays are among these words, and a change in
        # them draws no other graph, so it must rerun nothing.
        configured=fresh_plan_arguments(
            workflow.overwrite_configfiles, workflow.config_settings.config_args or ()
        ),
    params:
        snakefile=os.path.relpath(workflow.main_snakefile),
        manifests={one.rule: one.files for one in report_rules.rule_manifests()},
        rules=lambda wildcards: [rule.name for rule in workflow.rules],
        target=workflow.modifier.modify_rulename("all"),
        plain=f's|"{workflow.modifier.modify_rulename("([a-z0-9_]+)")}"|"\\1"|',
    # A workflow that uses this one as a module may prefix the rules' names; sed takes the prefix off for the figure.
    shell:
        "python -m snakemake {params.target} --snakefile {params.snakefile:q} {resources.configured} --rulegraph dot"
        " 2> {log}"
        " | sed -E {params.plain:q} > {output}"


rule report_figure2:
    input:
        manifests,
        shown="<results>/shown.json",
        graph="<results>/rulegraph.dot",
    output:
        pdf="<results>/figure2.pdf",
        png=entry("figure2.png", "Figures", figure="Figure 2"),
    log:
        "<logs>/report_figure2.log",
    benchmark:
        "<logs>/report_figure2.tsv"
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.pipeline"),
    shell:
        "python -m {params.code.module} --shown {input.shown} --graph {input.graph} --output {output.pdf} {output.png}"
        " 2> {log}"


rule report_cases:
    input:
        report_rules.texts(report_rules.figures),
        ancient(report_rules.tokenizers(report_rules.figures)),
        shown="<results>/shown.json",
        scores=report_rules.scores(report_rules.figures),
        benchmarks=source_file("resources/paper/benchmarks.csv"),
    output:
        table=entry("cases.csv", "Thinking", table="failure cases"),
        pdf4="<results>/figure4.pdf",
        png4=entry("figure4.png", "Figures", figure="Figure 4"),
        pdf5="<results>/figure5.pdf",
        png5=entry("figure5.png", "Figures", figure="Figure 5"),
        pdf8="<results>/figure8.pdf",
        png8=entry("figure8.png", "Figures", figure="Figure 8"),
        manifest="<results>/cases.json",
    log:
        "<logs>/report_cases.log",
    benchmark:
        "<logs>/report_cases.tsv"
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.cases"),
    shell:
        "python -m {params.code.module} --shown {input.shown} --scores {input.scores} --benchmarks {input.benchmarks}"
        " --table {output.table} --figure4 {output.pdf4} {output.png4} --figure5 {output.pdf5} {output.png5}"
        " --figure8 {output.pdf8} {output.png8} --manifest {output.manifest} 2> {log}"


use rule report_paired as report_page with:
    input:
        report_rules.texts(report_rules.models),
        ancient(report_rules.tokenizers(report_rules.models)),
        manifests,
        report_rules.page(),
        [
            source_file(f"workflow/report/{Path(path).stem}.rst")
            for path in report_rules.page()
        ],
        [source_file(f"workflow/report/page/{name}") for name in PAGE],
        shown="<results>/shown.json",
        scores=report_rules.scores(report_rules.models),
        benchmarks=source_file("resources/paper/benchmarks.csv"),
    output:
        table=entry("report.html", "Report", page="the whole run"),
        manifest="<results>/report.json",
    log:
        "<logs>/report_page.log",
    benchmark:
        "<logs>/report_page.tsv"
    localrule: True
    params:
        code=step("m1.report.page"),


# Compare two finished runs, whatever their configurations and machines. `before_update` keeps Snakemake from making or
# updating their files; the step reports what they lack.
rule report_compare_runs:
    input:
        a=before_update(report_rules.files_of_run("a")),
        b=before_update(report_rules.files_of_run("b")),
        benchmarks=source_file("resources/paper/benchmarks.csv"),
        page=[source_file(f"workflow/report/page/{name}") for name in PAGE],
        captions=[
            source_file(f"workflow/report/runs_{name}.rst")
            for name in ("cells", "settings", "curves", "figure")
        ],
    output:
        multiext(
            "<results>/compare/{a}/vs/{b}/",
            "settings.csv",
            "cells.csv",
            "curves.csv",
            "curves.pdf",
            "curves.png",
            "changed.html",
            "manifest.json",
        ),
    log:
        "<logs>/report_compare_runs/{a}/vs/{b}.log",
    benchmark:
        "<logs>/report_compare_runs/{a}/vs/{b}.tsv"
    wildcard_constraints:
        a=r"[A-Za-z0-9][\w.-]*",
        b=r"[A-Za-z0-9][\w.-]*",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.runs"),
        runs=report_rules.named_runs,
        folder=subpath(output[0], parent=True),
    shell:
        "python -m {params.code.module} {params.runs} --benchmarks {input.benchmarks} --output {params.folder} 2> {log}"
