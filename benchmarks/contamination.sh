#!/usr/bin/env bash
# Which questions of the training pools are in a benchmark: the tables of docs/verified.md, from real questions.
#
#     DATA=data PYTHON=.venv/bin/python bash benchmarks/contamination.sh FOLDER
#
# DATA holds the sets in the layouts of the hub. The audits are FOLDER/contamination{,_summary}.csv, and, of benchmarks
# in benchmarks, FOLDER/benchmarks{,_summary}.csv.
set -euo pipefail
folder=${1:?name a folder for the results}
export PYTHONPATH=workflow
python=${PYTHON:-python}

collect() {  # pools or benchmarks, name, layout, file, part
  "$python" -m m1.pools.collect --name "$2" --output "$folder/$1/$2.parquet" --manifest "$folder/$1/$2.json" \
    --settings '{"layout": "'"$3"'", "path": "'"${DATA:-data}/$4"'", "part": '"${5:-null}"', "limit": null,
      "shuffle_options": false, "draws": "exact", "seed": 42, "invalid": "drop", "optional": false}'
}
audit() {  # name of the results; --pools and --benchmarks follow
  "$python" -m m1.pools.audit "${@:2}" --processes 2 --output "$folder/$1.csv" --summary "$folder/$1_summary.csv" \
    --manifest "$folder/$1.json" --settings '{"thresholds": [80, 85, 90, 95], "ngram": 13, "containment": 0.3}'
}

half() { echo '{"seed": 0, "take": "'"$1"'", "size": 500}'; }
mkdir -p "$folder"/{pools,benchmarks}
collect pools medqa4 medqa medqa_usmle_4_options/train_sample.jsonl.gz
collect pools medqa5 medqa medqa_usmle_5_options/train_sample.jsonl.gz
collect pools headqa headqa headqa/train.jsonl.gz
collect pools medmcqa medmcqa medmcqa/train_sample.jsonl.gz
collect pools medmcqa_extra medmcqa medmcqa/train_extra_unverified.jsonl.gz
collect pools pubmedqa pubmedqa pubmedqa/pqa_labeled.jsonl.gz "$(half second)"
collect benchmarks medmcqa medmcqa medmcqa/validation.jsonl.gz
collect benchmarks medqa medqa medqa_usmle_4_options/test.jsonl.gz
collect benchmarks pubmedqa pubmedqa pubmedqa/pqa_labeled.jsonl.gz "$(half first)"
collect benchmarks mmlu_pro eval mmlu_pro_medical/test.jsonl.gz
collect benchmarks mmlu mmlu mmlu_medical/test.jsonl.gz
collect benchmarks medbullets_op4 eval medbullets/op4.jsonl.gz
collect benchmarks medbullets_op5 eval medbullets/op5.jsonl.gz
collect benchmarks medxpertqa medxpertqa medxpertqa/text.jsonl.gz
audit contamination --pools "$folder"/pools/*.parquet --benchmarks "$folder"/benchmarks/*.parquet
audit benchmarks --pools "$folder"/benchmarks/{mmlu,medqa,medbullets_op4,medxpertqa}.parquet \
  --benchmarks "$folder"/benchmarks/*.parquet
