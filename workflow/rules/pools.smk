"""pools (3.1, B.1): collect, shuffle options, deduplicate, decontaminate."""


rule pools_collect:
    input:
        lambda wildcards: wiring.source_file("pools", wildcards.pool),
    output:
        questions="<results>/pools/{pool}.parquet",
        manifest="<results>/pools/{pool}.json",
    log:
        "<logs>/pools_collect/{pool}.log",
    benchmark:
        "<logs>/pools_collect/{pool}.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=step("m1.pools.collect"),
        settings=wiring.settings("pools/{pool}", seed=wiring.config["seed"]),
    shell:
        "python -m {params.code.module} --name {wildcards.pool} --settings {params.settings:q}"
        " --output {output.questions} --manifest {output.manifest} 2> {log}"


rule pools_collect_benchmark:
    input:
        lambda wildcards: wiring.source_file("benchmarks", wildcards.benchmark),
    output:
        questions="<results>/benchmarks/{benchmark}.parquet",
        manifest="<results>/benchmarks/{benchmark}.json",
    log:
        "<logs>/pools_collect_benchmark/{benchmark}.log",
    benchmark:
        "<logs>/pools_collect_benchmark/{benchmark}.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=step("m1.pools.collect"),
        settings=wiring.settings("benchmarks/{benchmark}", seed=wiring.config["seed"]),
    shell:
        "python -m {params.code.module} --name {wildcards.benchmark} --settings {params.settings:q}"
        " --output {output.questions} --manifest {output.manifest} 2> {log}"


rule pools_merge:
    input:
        pools=wiring.pools(),
        benchmarks=wiring.benchmarks(),
    output:
        questions="<results>/pools/merged.parquet",
        manifest="<results>/pools/merged.json",
    log:
        "<logs>/pools_merge.log",
    benchmark:
        "<logs>/pools_merge.tsv"
    conda:
        "../../envs/data.yaml"
    threads: wiring.config["merge"]["processes"]
    params:
        code=step("m1.pools.merge"),
        settings=wiring.settings(
            "merge", only=["threshold", "decontaminate", "ngram", "containment"]
        ),
    shell:
        "python -m {params.code.module} --pools {input.pools} --benchmarks {input.benchmarks} --settings {params.settings:q}"
        " --processes {threads} --output {output.questions} --manifest {output.manifest} 2> {log}"


rule pools_audit:
    input:
        pools=wiring.pools(),
        benchmarks=wiring.benchmarks(),
    output:
        pairs="<results>/contamination.csv",
        summary=report(
            "<results>/contamination_summary.csv",
            caption="../report/contamination_summary.rst",
            category="Data",
            labels={"table": "contamination"},
        ),
    log:
        "<logs>/pools_audit.log",
    benchmark:
        "<logs>/pools_audit.tsv"
    conda:
        "../../envs/data.yaml"
    threads: wiring.config["merge"]["processes"]
    params:
        code=step("m1.pools.audit"),
        settings=wiring.settings(
            "merge",
            only=["ngram", "containment", "thresholds"],
            thresholds=wiring.config["audit"]["thresholds"],
        ),
    shell:
        "python -m {params.code.module} --pools {input.pools} --benchmarks {input.benchmarks} --settings {params.settings:q}"
        " --processes {threads} --output {output.pairs} --summary {output.summary} 2> {log}"
