"""score (B.3): read the answers and compare them with the right ones; the predictions themselves stay as they are."""

from m1.wiring.score import ScoreRules

score = ScoreRules(run)


rule score_predictions:
    input:
        predictions="<results>/infer/{model}/predictions.parquet",
        questions=run.benchmarks,
    output:
        scores="<results>/score/{model}.parquet",
        manifest="<results>/score/{model}.json",
    log:
        "<logs>/score_predictions/{model}.log",
    benchmark:
        "<logs>/score_predictions/{model}.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=step("m1.score.predictions"),
        settings=score.settings,
    shell:
        "python -m {params.code.module} --predictions {input.predictions} --questions {input.questions}"
        " --settings {params.settings:q}"
        " --output {output.scores} --manifest {output.manifest} 2> {log}"


# Score published answers by the same rules as this run's own answers, so that compare.csv can pair the two.
use rule score_predictions as score_beside with:
    input:
        predictions="<results>/published/{model}/predictions.parquet",
        questions=infer.published_benchmarks,
    output:
        scores="<results>/published/{model}/score.parquet",
        manifest="<results>/published/{model}/score.json",
    log:
        "<logs>/score_beside/{model}.log",
    benchmark:
        "<logs>/score_beside/{model}.tsv"
    wildcard_constraints:
        model=any_name(run.published["beside"]),
