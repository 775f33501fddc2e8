"""report (4, A): tables, figures, the comparison with the paper, and the page to read it all."""


rule report_table1:
    input:
        scores=wiring.scores("table1"),
        published=source_file("resources/paper/table1.csv"),
        benchmarks=source_file("resources/paper/benchmarks.csv"),
    output:
        table=report(
            "<results>/table1.csv",
            caption="../report/table1.rst",
            category="Tables",
            labels={"table": "Table 1", "form": "as in the paper"},
        ),
        long=report(
            "<results>/table1_long.csv",
            caption="../report/table1_long.rst",
            category="Tables",
            labels={"table": "Table 1", "form": "with intervals"},
        ),
    log:
        "<logs>/report_table1.log",
    benchmark:
        "<logs>/report_table1.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.tables"),
        settings=wiring.table1(),
    shell:
        "python -m {params.code.module} table1 --scores {input.scores} --settings {params.settings:q}"
        " --published {input.published} --benchmarks {input.benchmarks} --output {output.table} --long {output.long} 2> {log}"


if "table2" in wiring.config["report"]:

    localrules:
        report_table2,

    rule report_table2:
        input:
            scores=wiring.scores("table2"),
            published=source_file("resources/paper/table2.csv"),
            benchmarks=source_file("resources/paper/benchmarks.csv"),
        output:
            table=report(
                "<results>/table2.csv",
                caption="../report/table2.rst",
                category="Tables",
                labels={"table": "Table 2", "form": "as in the paper"},
            ),
            long=report(
                "<results>/table2_long.csv",
                caption="../report/table2_long.rst",
                category="Tables",
                labels={"table": "Table 2", "form": "with intervals"},
            ),
        log:
            "<logs>/report_table2.log",
        benchmark:
            "<logs>/report_table2.tsv"
        conda:
            "../../envs/report.yaml"
        params:
            code=step("m1.report.tables"),
            settings=wiring.table2(),
        shell:
            "python -m {params.code.module} table2 --scores {input.scores} --settings {params.settings:q}"
            " --published {input.published} --benchmarks {input.benchmarks} --output {output.table} --long {output.long} 2> {log}"


rule report_table3:
    input:
        counted=wiring.counted(),
        questions="<results>/pools/merged.parquet",
        published=source_file("resources/paper/table3.csv"),
    output:
        table=report(
            "<results>/table3.csv",
            caption="../report/table3.rst",
            category="Tables",
            labels={"table": "Table 3", "form": "as in the paper"},
        ),
        long=report(
            "<results>/table3_long.csv",
            caption="../report/table3_long.rst",
            category="Tables",
            labels={"table": "Table 3", "form": "by count"},
        ),
    log:
        "<logs>/report_table3.log",
    benchmark:
        "<logs>/report_table3.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.tables"),
        rows=wiring.table3_rows,
        settings=wiring.table3_settings(),
    shell:
        "python -m {params.code.module} table3 {params.rows:q} --questions {input.questions} --settings {params.settings:q}"
        " --published {input.published} --output {output.table} --long {output.long} 2> {log}"


rule report_table4:
    input:
        **wiring.table4(),
        published=source_file("resources/paper/table4.csv"),
    output:
        table=report(
            "<results>/table4.csv",
            caption="../report/table4.rst",
            category="Tables",
            labels={"table": "Table 4", "form": "as in the paper"},
        ),
        long=report(
            "<results>/table4_long.csv",
            caption="../report/table4_long.rst",
            category="Tables",
            labels={"table": "Table 4", "form": "by count"},
        ),
    log:
        "<logs>/report_table4.log",
    benchmark:
        "<logs>/report_table4.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.tables"),
        flags=wiring.table4_flags,
    shell:
        "python -m {params.code.module} table4 {params.flags} --published {input.published}"
        " --output {output.table} --long {output.long} 2> {log}"


rule report_spending:
    input:
        wiring.spending(),
    output:
        report(
            "<results>/spending.csv",
            caption="../report/spending.rst",
            category="Cost",
            labels={"table": "calls and dollars"},
        ),
    log:
        "<logs>/report_spending.log",
    benchmark:
        "<logs>/report_spending.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.spending"),
    shell:
        "python -m {params.code.module} --manifests {input} --output {output} 2> {log}"


rule report_sweep_cost:
    input:
        expand("<results>/infer/{model}/manifest.json", model=wiring.swept),
    output:
        report(
            "<results>/sweep_cost.csv",
            caption="../report/sweep_cost.rst",
            category="Cost",
            labels={"table": "tokens generated"},
        ),
    log:
        "<logs>/report_sweep_cost.log",
    benchmark:
        "<logs>/report_sweep_cost.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.sweep_cost"),
    shell:
        "python -m {params.code.module} --manifests {input} --output {output} 2> {log}"


rule report_figure8a:
    input:
        tokenizer=ancient(wiring.figure8a_base()),
        identity=f"{wiring.figure8a_base()}.sha256",
        subsets=wiring.figure8a().values(),
    output:
        pdf="<results>/figure8a.pdf",
        png=report(
            "<results>/figure8a.png",
            caption="../report/figure8a.rst",
            category="Figures",
            labels={"figure": "Figure 8a"},
        ),
        table="<results>/figure8a.csv",
    log:
        "<logs>/report_figure8a.log",
    benchmark:
        "<logs>/report_figure8a.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.lengths"),
        subsets=wiring.figure8a_subsets,
        settings=wiring.figure8a_settings(),
    shell:
        "python -m {params.code.module} --tokenizer {input.tokenizer} {params.subsets:q} --settings {params.settings:q}"
        " --output {output.pdf} {output.png} --table {output.table} 2> {log}"


rule report_figure1:
    input:
        scores=wiring.scores("figures"),
        benchmarks=source_file("resources/paper/benchmarks.csv"),
    output:
        pdf="<results>/figure1.pdf",
        png=report(
            "<results>/figure1.png",
            caption="../report/figure1.rst",
            category="Figures",
            labels={"figure": "Figure 1"},
        ),
    log:
        "<logs>/report_figure1.log",
    benchmark:
        "<logs>/report_figure1.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.figures"),
        settings=wiring.figure1(),
    shell:
        "python -m {params.code.module} figure1 --scores {input.scores} --settings {params.settings:q}"
        " --benchmarks {input.benchmarks} --output {output.pdf} {output.png} 2> {log}"


rule report_figure3:
    input:
        scores=wiring.scores("figures"),
        benchmarks=source_file("resources/paper/benchmarks.csv"),
    output:
        pdf="<results>/figure3.pdf",
        png=report(
            "<results>/figure3.png",
            caption="../report/figure3.rst",
            category="Figures",
            labels={"figure": "Figure 3"},
        ),
    log:
        "<logs>/report_figure3.log",
    benchmark:
        "<logs>/report_figure3.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.figures"),
        settings=wiring.figure3(),
    shell:
        "python -m {params.code.module} figure3 --scores {input.scores} --settings {params.settings:q}"
        " --benchmarks {input.benchmarks} --output {output.pdf} {output.png} 2> {log}"


rule report_compare:
    input:
        scores=wiring.compared(),
        table1=source_file("resources/paper/table1.csv"),
        table2=source_file("resources/paper/table2.csv"),
        benchmarks=source_file("resources/paper/benchmarks.csv"),
    output:
        report(
            "<results>/compare.csv",
            caption="../report/compare.rst",
            category="Comparison",
            labels={"table": "with the paper"},
        ),
    log:
        "<logs>/report_compare.log",
    benchmark:
        "<logs>/report_compare.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.compare"),
        settings=wiring.compare(),
    shell:
        "python -m {params.code.module} --scores {input.scores} --settings {params.settings:q}"
        " --table1 {input.table1} --table2 {input.table2} --benchmarks {input.benchmarks} --output {output} 2> {log}"


rule report_paired:
    input:
        scores=wiring.compared(),
        benchmarks=source_file("resources/paper/benchmarks.csv"),
    output:
        report(
            "<results>/paired.csv",
            caption="../report/paired.rst",
            category="Comparison",
            labels={"table": "models in pairs"},
        ),
    log:
        "<logs>/report_paired.log",
    benchmark:
        "<logs>/report_paired.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.paired"),
        settings=wiring.paired(),
    shell:
        "python -m {params.code.module} --scores {input.scores} --settings {params.settings:q}"
        " --benchmarks {input.benchmarks} --output {output} 2> {log}"


rule report_scaling:
    input:
        scores=wiring.scores("figures"),
        benchmarks=source_file("resources/paper/benchmarks.csv"),
    output:
        scaling=report(
            "<results>/scaling.csv",
            caption="../report/scaling.rst",
            category="Thinking",
            labels={"table": "accuracy by setting"},
        ),
        best=report(
            "<results>/best_budget.csv",
            caption="../report/best_budget.rst",
            category="Thinking",
            labels={"table": "best budget"},
        ),
    log:
        "<logs>/report_scaling.log",
    benchmark:
        "<logs>/report_scaling.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.scaling"),
        settings=wiring.scaling(),
    shell:
        "python -m {params.code.module} --scores {input.scores} --settings {params.settings:q}"
        " --benchmarks {input.benchmarks} --scaling {output.scaling} --best {output.best} 2> {log}"


rule report_typeset:
    input:
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
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.typeset"),
        settings=wiring.typeset,
    shell:
        "python -m {params.code.module} {wildcards.table} --table {input.table} --benchmarks {input.benchmarks}"
        " --settings {params.settings:q} --latex {output.latex} --markdown {output.markdown} 2> {log}"


rule report_rulegraph:
    output:
        "<results>/rulegraph.dot",
    log:
        "<logs>/report_rulegraph.log",
    localrule: True
    conda:
        "../../envs/workflow.yaml"
    resources:
        # No params: partitions and names of overlays are among them, which draw no other graph.
        configured=planned_anew(
            workflow.overwrite_configfiles, workflow.config_settings.config
        ),
    params:
        snakefile=os.path.relpath(workflow.main_snakefile),
        manifests=wiring.manifests(),
        rules=lambda wildcards: [rule.name for rule in workflow.rules],
        target=workflow.modifier.modify_rulename("all"),
        plain=f's|"{workflow.modifier.modify_rulename("([a-z0-9_]+)")}"|"\\1"|',
    # As a module, rules can have another name; the figure has the plain one.
    shell:
        "python -m snakemake {params.target} --snakefile {params.snakefile:q} {resources.configured} --rulegraph dot 2> {log}"
        " | sed -E {params.plain:q} > {output}"


# Folders by their times rerun nothing: what is made from one has a manifest as well, which changes with it.
manifests = [
    path if path.endswith(".json") else ancient(path) for path in wiring.all_manifests()
]


rule report_figure2:
    input:
        graph="<results>/rulegraph.dot",
        manifests=manifests,
    output:
        pdf="<results>/figure2.pdf",
        png=report(
            "<results>/figure2.png",
            caption="../report/figure2.rst",
            category="Figures",
            labels={"figure": "Figure 2"},
        ),
    log:
        "<logs>/report_figure2.log",
    benchmark:
        "<logs>/report_figure2.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.pipeline"),
        manifests=wiring.figure2_manifests,
        settings=wiring.note(),
    shell:
        "python -m {params.code.module} --graph {input.graph} {params.manifests:q} --settings {params.settings:q}"
        " --output {output.pdf} {output.png} 2> {log}"


rule report_cases:
    input:
        **wiring.cases(),
        tokenizers=ancient(wiring.tokenizers(wiring.config["report"]["figures"])),
        benchmarks=source_file("resources/paper/benchmarks.csv"),
    output:
        table=report(
            "<results>/cases.csv",
            caption="../report/cases.rst",
            category="Thinking",
            labels={"table": "failure cases"},
        ),
        pdf4="<results>/figure4.pdf",
        png4=report(
            "<results>/figure4.png",
            caption="../report/figure4.rst",
            category="Figures",
            labels={"figure": "Figure 4"},
        ),
        pdf5="<results>/figure5.pdf",
        png5=report(
            "<results>/figure5.png",
            caption="../report/figure5.rst",
            category="Figures",
            labels={"figure": "Figure 5"},
        ),
        pdf8="<results>/figure8.pdf",
        png8=report(
            "<results>/figure8.png",
            caption="../report/figure8.rst",
            category="Figures",
            labels={"figure": "Figure 8"},
        ),
    log:
        "<logs>/report_cases.log",
    benchmark:
        "<logs>/report_cases.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.cases"),
        flags=wiring.cases_flags,
        settings=wiring.cases_settings(),
    shell:
        "python -m {params.code.module} --scores {input.scores} --questions {input.questions} {params.flags:q}"
        " --benchmarks {input.benchmarks} --settings {params.settings:q} --table {output.table}"
        " --figure4 {output.pdf4} {output.png4} --figure5 {output.pdf5} {output.png5} --figure8 {output.pdf8} {output.png8} 2> {log}"


rule report_page:
    input:
        **wiring.page(),
        manifests=manifests,
        tokenizers=ancient(wiring.tokenizers(wiring.shown)),
        tables=wiring.page_tables(),
        figures=wiring.page_figures(),
        captions=[
            source_file(f"workflow/report/{name}.rst")
            for name in wiring.page_captions()
        ],
        parts=[
            source_file(f"workflow/report/page/{name}")
            for name in ("template.html", "style.css", "script.js")
        ],
        benchmarks=source_file("resources/paper/benchmarks.csv"),
    output:
        report(
            "<results>/report.html",
            caption="../report/report.rst",
            category="Report",
            labels={"page": "the whole run"},
        ),
    log:
        "<logs>/report_page.log",
    benchmark:
        "<logs>/report_page.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.report.page"),
        flags=wiring.page_flags,
        captions=lambda wildcards, input: os.path.dirname(input.captions[0]),
        settings=wiring.page_settings(),
    shell:
        "python -m {params.code.module} --scores {input.scores} --predictions {input.predictions} --questions {input.questions}"
        " {params.flags:q} --tables {input.tables} --figures {input.figures} --manifests {input.manifests} --captions {params.captions}"
        " --benchmarks {input.benchmarks} --settings {params.settings:q} --output {output} 2> {log}"
