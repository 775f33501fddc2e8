"""select (3.1, Tables 2-4): domain labels, m23K, m1K and the ablation subsets."""


rule select_domains:
    input:
        questions="<results>/pools/merged.parquet",
        traces="<results>/distill/hard.parquet",
        qualifiers=source_file("resources/mesh/qualifiers.csv"),
        prompt=source_file("resources/prompts/domain.txt"),
        served=wiring.served_files(wiring.config["labeller"]),
    output:
        domains="<results>/select/domains.parquet",
        manifest="<results>/select/domains.json",
    log:
        "<logs>/select_domains.log",
    benchmark:
        "<logs>/select_domains.tsv"
    priority: 9
    conda:
        "../../envs/teacher.yaml"
    params:
        code=step("m1.select.domains"),
        labeller=wiring.provider("labeller"),
        store=wiring.store("labeller"),
    shell:
        'python -m {params.code.module} --questions {input.questions} --samples {input.traces} --labeller {params.labeller:q} --calls "$M1_LABELLER_CALLS"'
        " --qualifiers {input.qualifiers} --prompt {input.prompt} --store {params.store}"
        " --output {output.domains} --manifest {output.manifest} 2> {log}"


rule select_sample:
    input:
        traces=wiring.traces,
        questions="<results>/pools/merged.parquet",
        domains=wiring.domains,
        like=wiring.subset_like,
    output:
        samples="<results>/select/{subset}.parquet",
        manifest="<results>/select/{subset}.json",
    log:
        "<logs>/select_sample/{subset}.log",
    benchmark:
        "<logs>/select_sample/{subset}.tsv"
    wildcard_constraints:
        subset=one_of(wiring.sampled),
    priority: 9
    conda:
        "../../envs/data.yaml"
    params:
        code=step("m1.select.sample"),
        settings=wiring.settings(
            "subsets/{subset}",
            only=["rule", "size", "seed"],
            seed=wiring.config["seed"],
        ),
        flags=lambda wildcards, input: " ".join(
            f"--{name} {input[name]}" for name in ("domains", "like") if input[name]
        ),
    shell:
        "python -m {params.code.module} --traces {input.traces} --questions {input.questions} {params.flags} --subset {wildcards.subset}"
        " --settings {params.settings:q} --output {output.samples} --manifest {output.manifest} 2> {log}"


rule select_published:
    input:
        wiring.subset_file,
    output:
        samples="<results>/select/{subset}.parquet",
        manifest="<results>/select/{subset}.json",
    log:
        "<logs>/select_published/{subset}.log",
    benchmark:
        "<logs>/select_published/{subset}.tsv"
    wildcard_constraints:
        subset=one_of(wiring.enter["subsets"]),
    conda:
        "../../envs/data.yaml"
    params:
        code=step("m1.select.published"),
        settings=wiring.entry("subsets/{subset}"),
        pools=wiring.pool_names,
    shell:
        "python -m {params.code.module} --subset {wildcards.subset} --settings {params.settings:q} --pools {params.pools:q}"
        " --output {output.samples} --manifest {output.manifest} 2> {log}"
