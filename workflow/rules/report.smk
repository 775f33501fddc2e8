"""report (4, A): Tables 1 to 4, Figures 1 and 3."""


rule report_table1:
    input:
        judgements=wiring.judgements("table1"),
        published="resources/paper/table1.csv",
        benchmarks="resources/paper/benchmarks.csv",
    output:
        table="<results>/table1.csv",
        long="<results>/table1_long.csv",
    log:
        "<logs>/report_table1.log",
    benchmark:
        "<logs>/report_table1.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=fingerprint("m1.report.tables"),
        settings=wiring.table1(),
    shell:
        "python -m m1.report.tables table1 --judgements {input.judgements} --settings {params.settings:q}"
        " --published {input.published} --benchmarks {input.benchmarks} --output {output.table} --long {output.long} 2> {log}"


if "table2" in wiring.config["report"]:

    rule report_table2:
        input:
            judgements=wiring.judgements("table2"),
            published="resources/paper/table2.csv",
            benchmarks="resources/paper/benchmarks.csv",
        output:
            table="<results>/table2.csv",
            long="<results>/table2_long.csv",
        log:
            "<logs>/report_table2.log",
        benchmark:
            "<logs>/report_table2.tsv"
        conda:
            "../../envs/report.yaml"
        params:
            code=fingerprint("m1.report.tables"),
            settings=wiring.table2(),
        shell:
            "python -m m1.report.tables table2 --judgements {input.judgements} --settings {params.settings:q}"
            " --published {input.published} --benchmarks {input.benchmarks} --output {output.table} --long {output.long} 2> {log}"


rule report_table3:
    input:
        counted=wiring.counted(),
        questions="<results>/pools/merged.parquet",
        published="resources/paper/table3.csv",
    output:
        table="<results>/table3.csv",
        long="<results>/table3_long.csv",
    log:
        "<logs>/report_table3.log",
    benchmark:
        "<logs>/report_table3.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=fingerprint("m1.report.tables"),
        rows=wiring.table3_rows,
        settings=wiring.table3_settings(),
    shell:
        "python -m m1.report.tables table3 {params.rows:q} --questions {input.questions} --settings {params.settings:q}"
        " --published {input.published} --output {output.table} --long {output.long} 2> {log}"


rule report_table4:
    input:
        **wiring.table4(),
        published="resources/paper/table4.csv",
    output:
        table="<results>/table4.csv",
        long="<results>/table4_long.csv",
    log:
        "<logs>/report_table4.log",
    benchmark:
        "<logs>/report_table4.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=fingerprint("m1.report.tables"),
        flags=wiring.table4_flags,
    shell:
        "python -m m1.report.tables table4 {params.flags} --published {input.published}"
        " --output {output.table} --long {output.long} 2> {log}"


rule report_spending:
    input:
        wiring.spending(),
    output:
        "<results>/spending.csv",
    log:
        "<logs>/report_spending.log",
    benchmark:
        "<logs>/report_spending.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=fingerprint("m1.report.spending"),
    shell:
        "python -m m1.report.spending --manifests {input} --output {output} 2> {log}"


rule report_sweep_cost:
    input:
        expand("<results>/infer/{model}/manifest.json", model=wiring.swept),
    output:
        "<results>/sweep_cost.csv",
    log:
        "<logs>/report_sweep_cost.log",
    benchmark:
        "<logs>/report_sweep_cost.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=fingerprint("m1.report.sweep_cost"),
    shell:
        "python -m m1.report.sweep_cost --manifests {input} --output {output} 2> {log}"


rule report_figure8a:
    input:
        tokenizer=f"<results>/bases/{wiring.config['report']['figure8a']['base']}",
        subsets=wiring.figure8a().values(),
    output:
        pdf="<results>/figure8a.pdf",
        png="<results>/figure8a.png",
        table="<results>/figure8a.csv",
    log:
        "<logs>/report_figure8a.log",
    benchmark:
        "<logs>/report_figure8a.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=fingerprint("m1.report.lengths"),
        subsets=wiring.figure8a_subsets,
        settings=wiring.figure8a_settings(),
    shell:
        "python -m m1.report.lengths --tokenizer {input.tokenizer} {params.subsets:q} --settings {params.settings:q}"
        " --output {output.pdf} {output.png} --table {output.table} 2> {log}"


rule report_figure1:
    input:
        judgements=wiring.judgements("figures"),
        benchmarks="resources/paper/benchmarks.csv",
    output:
        pdf="<results>/figure1.pdf",
        png="<results>/figure1.png",
    log:
        "<logs>/report_figure1.log",
    benchmark:
        "<logs>/report_figure1.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=fingerprint("m1.report.figures"),
        settings=wiring.figure1(),
    shell:
        "python -m m1.report.figures figure1 --judgements {input.judgements} --settings {params.settings:q}"
        " --benchmarks {input.benchmarks} --output {output.pdf} {output.png} 2> {log}"


rule report_figure3:
    input:
        judgements=wiring.judgements("figures"),
        benchmarks="resources/paper/benchmarks.csv",
    output:
        pdf="<results>/figure3.pdf",
        png="<results>/figure3.png",
    log:
        "<logs>/report_figure3.log",
    benchmark:
        "<logs>/report_figure3.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=fingerprint("m1.report.figures"),
        settings=wiring.figure3(),
    shell:
        "python -m m1.report.figures figure3 --judgements {input.judgements} --settings {params.settings:q}"
        " --benchmarks {input.benchmarks} --output {output.pdf} {output.png} 2> {log}"
