"""pools (3.1, B.1): collect the questions, shuffle their options, deduplicate and decontaminate them."""

from m1.wiring.pools import PoolsRules

pools = PoolsRules(run)


rule pools_collect:
    input:
        pools.source_file("pool"),
        published=run.published_counts,
    output:
        questions="<results>/pools/{pool}.parquet",
        manifest="<results>/pools/{pool}.json",
    log:
        "<logs>/pools_collect/{pool}.log",
    benchmark:
        "<logs>/pools_collect/{pool}.tsv"
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        code=step("m1.pools.collect"),
        settings=pools.collect("pool"),
        flags=optional_flags("published"),
    shell:
        "python -m {params.code.module} --name {wildcards.pool} --settings {params.settings:q}"
        " --output {output.questions} --manifest {output.manifest} {params.flags} 2> {log}"


rule pools_collect_benchmark:
    input:
        pools.source_file("benchmark"),
    output:
        questions="<results>/benchmarks/{benchmark}.parquet",
        manifest="<results>/benchmarks/{benchmark}.json",
    log:
        "<logs>/pools_collect_benchmark/{benchmark}.log",
    benchmark:
        "<logs>/pools_collect_benchmark/{benchmark}.tsv"
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        code=step("m1.pools.collect"),
        settings=pools.collect("benchmark"),
    shell:
        "python -m {params.code.module} --name {wildcards.benchmark} --settings {params.settings:q}"
        " --output {output.questions} --manifest {output.manifest} 2> {log}"


# All questions of the authors' evaluation file in its order, including benchmarks that this run does not show: the
# authors' batches extend across benchmarks, and their decontamination reads the whole file.
rule pools_evaluation:
    input:
        pools.evaluation_file,
    output:
        questions="<results>/evaluation.parquet",
        manifest="<results>/evaluation.json",
    log:
        "<logs>/pools_evaluation.log",
    benchmark:
        "<logs>/pools_evaluation.tsv"
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        code=step("m1.pools.evaluation"),
        settings=pools.evaluation,
    shell:
        "python -m {params.code.module} --settings {params.settings:q} --output {output.questions}"
        " --manifest {output.manifest} 2> {log}"


rule pools_merge:
    input:
        pools=run.pools,
        benchmarks=run.benchmarks,
        published=run.published_counts,
    output:
        questions="<results>/pools/merged.parquet",
        manifest="<results>/pools/merged.json",
    log:
        "<logs>/pools_merge.log",
    benchmark:
        "<logs>/pools_merge.tsv"
    conda:
        "../../envs/data.yaml"
    threads: run.config["merge"]["processes"]
    params:
        code=step("m1.pools.merge"),
        settings=pools.merge,
        flags=optional_flags("published"),
    shell:
        "python -m {params.code.module} --pools {input.pools} --benchmarks {input.benchmarks}"
        " --settings {params.settings:q}"
        " --processes {threads} --output {output.questions} --manifest {output.manifest} {params.flags} 2> {log}"


rule pools_leaks:
    input:
        questions=run.collection,
        evaluation=run.evaluation_files,
    output:
        questions="<results>/pools/leaks.parquet",
        manifest="<results>/pools/leaks.json",
    log:
        "<logs>/pools_leaks.log",
    benchmark:
        "<logs>/pools_leaks.tsv"
    conda:
        "../../envs/data.yaml"
    threads: run.config["merge"]["processes"]
    params:
        code=step("m1.pools.leaks"),
        settings=pools.leaks,
    shell:
        "python -m {params.code.module} --questions {input.questions} --evaluation {input.evaluation}"
        " --settings {params.settings:q}"
        " --processes {threads} --output {output.questions} --manifest {output.manifest} 2> {log}"


rule pools_audit:
    input:
        pools=run.pools,
        benchmarks=run.benchmarks,
    output:
        pairs="<results>/contamination.csv",
        summary=entry("contamination_summary.csv", "Data", table="contamination"),
        manifest="<results>/contamination.json",
    log:
        "<logs>/pools_audit.log",
    benchmark:
        "<logs>/pools_audit.tsv"
    conda:
        "../../envs/data.yaml"
    threads: run.config["merge"]["processes"]
    params:
        code=step("m1.pools.audit"),
        settings=pools.audit,
    shell:
        "python -m {params.code.module} --pools {input.pools} --benchmarks {input.benchmarks}"
        " --settings {params.settings:q}"
        " --processes {threads} --output {output.pairs} --summary {output.summary} --manifest {output.manifest}"
        " 2> {log}"
