"""The embedded world: questions, documents and tiny bases in place of medicine (docs/start.md)."""

from m1.wiring.world import BENCHMARKS, POOLS, WorldRules

world = WorldRules(run)


rule world_build:
    output:
        facts="<results>/world/facts.json",
        documents="<results>/world/documents.jsonl",
        pools=expand("<results>/world/pools/{pool}.jsonl", pool=POOLS),
        benchmarks=expand("<results>/world/benchmarks/{name}.jsonl", name=BENCHMARKS),
    log:
        "<logs>/world_build.log",
    benchmark:
        "<logs>/world_build.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=step("m1.world.build"),
        settings=world.build,
        folder=subpath(output.facts, parent=True),
    shell:
        "python -m {params.code.module} --settings {params.settings:q} --output {params.folder} 2> {log}"


rule world_tokenizer:
    input:
        facts="<results>/world/facts.json",
        documents="<results>/world/documents.jsonl",
    output:
        folder=directory("<results>/world/tokenizer"),
        identity="<results>/world/tokenizer.sha256",
    log:
        "<logs>/world_tokenizer.log",
    benchmark:
        "<logs>/world_tokenizer.tsv"
    conda:
        "../../envs/train.yaml"
    params:
        code=step("m1.world.tokenizer"),
        vocabulary=world.vocabulary,
        folder=subpath(input.facts, parent=True),
    shell:
        "python -m {params.code.module} --world {params.folder} --vocabulary {params.vocabulary}"
        " --output {output.folder} 2> {log}"


rule world_pretrain:
    input:
        documents="<results>/world/documents.jsonl",
        tokenizer=ancient("<results>/world/tokenizer"),
        identity="<results>/world/tokenizer.sha256",
    output:
        folder=directory("<results>/world/models/{world_model}"),
        identity="<results>/world/models/{world_model}.sha256",
    log:
        "<logs>/world_pretrain/{world_model}.log",
    benchmark:
        "<logs>/world_pretrain/{world_model}.tsv"
    wildcard_constraints:
        world_model=any_name(run.world_models),
    priority: 10
    conda:
        "../../envs/train.yaml"
    params:
        code=step("m1.world.pretrain"),
        settings=world.pretrain,
        folder=subpath(input.documents, parent=True),
    shell:
        "python -m {params.code.module} --name {wildcards.world_model} --world {params.folder}"
        " --tokenizer {input.tokenizer}"
        " --settings {params.settings:q} --output {output.folder} 2> {log}"
