"""pools (3.1, B.1): collect, shuffle options, deduplicate, decontaminate."""


rule pools_collect:
    input:
        wiring.pool_file,
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
        code=fingerprint("m1.pools.collect"),
        settings=wiring.settings("pools/{pool}", seed=wiring.config["seed"]),
    shell:
        "python -m m1.pools.collect --name {wildcards.pool} --settings {params.settings:q}"
        " --output {output.questions} --manifest {output.manifest} 2> {log}"


rule pools_collect_benchmark:
    input:
        wiring.benchmark_file,
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
        code=fingerprint("m1.pools.collect"),
        settings=wiring.settings("benchmarks/{benchmark}", seed=wiring.config["seed"]),
    shell:
        "python -m m1.pools.collect --name {wildcards.benchmark} --settings {params.settings:q}"
        " --output {output.questions} --manifest {output.manifest} 2> {log}"


rule pools_merge:
    input:
        pools=expand("<results>/pools/{pool}.parquet", pool=wiring.config["pools"]),
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
    params:
        code=fingerprint("m1.pools.merge"),
        settings=wiring.settings("merge"),
    shell:
        "python -m m1.pools.merge --pools {input.pools} --benchmarks {input.benchmarks} --settings {params.settings:q}"
        " --output {output.questions} --manifest {output.manifest} 2> {log}"
