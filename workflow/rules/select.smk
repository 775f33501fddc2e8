"""select (3.1, Tables 2-4): label the domains, and draw m23K, m1K and the subsets of the ablations."""

from m1.wiring.select import SelectRules

select = SelectRules(run)


rule select_domains:
    input:
        questions="<results>/pools/merged.parquet",
        traces="<results>/distill/hard.parquet",
        leaks="<results>/pools/leaks.parquet",
        qualifiers=source_file("resources/mesh/qualifiers.csv"),
        prompt=source_file("resources/prompts/domain.txt"),
        served=select.server_files,
        notes=select.notes,
        published=run.published_counts,
    output:
        domains="<results>/select/domains.parquet",
        manifest="<results>/select/domains.json",
    log:
        "<logs>/select_domains.log",
    benchmark:
        "<logs>/select_domains.tsv"
    priority: 9
    localrule: True
    conda:
        "../../envs/teacher.yaml"
    params:
        code=step("m1.select.domains"),
        labeller=select.labeller,
        store=run.store_word("labeller"),
        flags=optional_flags("published"),
    shell:
        "python -m {params.code.module} --questions {input.questions} --samples {input.traces}"
        ' --labeller {params.labeller:q} --calls "$M1_LABELLER_CALLS"'
        " --leaks {input.leaks} --qualifiers {input.qualifiers} --prompt {input.prompt} --store {params.store}"
        " --output {output.domains} --manifest {output.manifest} {params.flags} 2> {log}"


rule select_sample:
    input:
        traces=select.traces,
        questions=select.questions,
        domains=select.domains,
        leaks="<results>/pools/leaks.parquet",
        like=select.like,
        published=run.published_counts,
    output:
        samples="<results>/select/{subset}.parquet",
        manifest="<results>/select/{subset}.json",
    log:
        "<logs>/select_sample/{subset}.log",
    benchmark:
        "<logs>/select_sample/{subset}.tsv"
    wildcard_constraints:
        subset=any_name(run.drawn_subsets),
    priority: 9
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        code=step("m1.select.sample"),
        settings=select.sample,
        flags=optional_flags("domains", "leaks", "like", "published"),
    shell:
        "python -m {params.code.module} --traces {input.traces} --questions {input.questions} {params.flags}"
        " --subset {wildcards.subset}"
        " --settings {params.settings:q} --output {output.samples} --manifest {output.manifest} 2> {log}"


rule select_published:
    input:
        select.local_file,
    output:
        samples="<results>/select/{subset}.parquet",
        manifest="<results>/select/{subset}.json",
    log:
        "<logs>/select_published/{subset}.log",
    benchmark:
        "<logs>/select_published/{subset}.tsv"
    wildcard_constraints:
        subset=any_name([*run.published["subsets"], *run.extra_sets]),
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        code=step("m1.select.published"),
        settings=select.published,
    shell:
        "python -m {params.code.module} --subset {wildcards.subset} --settings {params.settings:q}"
        " --output {output.samples} --manifest {output.manifest} 2> {log}"
