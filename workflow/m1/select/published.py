"""Use a training subset that the authors published instead of curating it: m1K, m23K or an ablation set, with its
traces (3.1, Table 3).

The layout is that of the data sets ``m1k-tokenized`` and ``m23k-tokenized``:

======================= ============================================= ===========================
field                   what it holds                                 becomes
======================= ============================================= ===========================
prompt                  question and options, without an instruction  prompt
reasoning               the teacher's thinking                        thinking
distilled_answer_string the teacher's answer, with its ``\\boxed{}``   answer
source                  hub id of the training pool                   source, by ``sources``
domain_name             MeSH qualifier (m1K only)                     domain; empty without it
answer_letter           letter of the correct option                    checked against the prompt
======================= ============================================= ===========================

A set may have other names for its fields (``fields``). Texts stay exactly as published. The field ``text`` is not read,
because m1.train.text makes the training text with the model's own template.
"""

import argparse
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from m1.core import records, sources
from m1.core.draws import permutation
from m1.core.errors import UserError, run
from m1.core.files import digest, write_manifest
from m1.core.progress import say
from m1.core.records import Sample
from m1.select.sample import count_samples
from m1.select.settings import PublishedSettings

RULE = "published"  # the sampling rule recorded in every published sample


def to_samples(rows: Iterable[Any], place: str, pools: Mapping[str, str], subset: str) -> list[Sample]:
    """Convert published records in the layout above to samples, in their order. ``pools`` has the key of each training
    pool by its hub id; ``*`` stands for any other id. A record that cannot be a sample is a :class:`UserError`.

    An id is a digest of source and prompt; a second sample with an equal prompt of the same source gets ``-2``.
    """
    found = [_sample(row, f"{place}: record {number} (from 0)", pools, subset) for number, row in enumerate(rows)]
    if not found:
        empty = f"no record in it, so subset {subset} would be empty"
        raise UserError(f"{place}: {empty}. Check the entry's `split` and `where`.")
    ids = records.distinct_ids(sample.id for sample in found)
    return [replace(sample, id=identity) for identity, sample in zip(ids, found)]


def draw(samples: Sequence[Sample], size: int | None, seed: int) -> list[Sample]:
    """Draw at most ``size`` samples: the first ones of a seeded shuffle, in their old order; all if there are fewer."""
    if size is None or size >= len(samples):
        return list(samples)
    return [samples[place] for place in sorted(permutation(len(samples), seed)[:size])]


def rename(rows: Iterable[Any], fields: Mapping[str, str]) -> list[Any]:
    """Rename the fields of records to those of the layout; ``fields`` maps the layout's names to the records'."""
    names = {own: name for name, own in fields.items()}
    return [
        {names.get(own, own): value for own, value in row.items()} if isinstance(row, dict) else row for row in rows
    ]


def _sample(row: Any, where: str, pools: Mapping[str, str], subset: str) -> Sample:
    if not isinstance(row, Mapping):
        found = f"a {type(row).__name__}, not an object with fields"
        raise UserError(f"{where}: {found}. Give a data set in the layout of m1k-tokenized.")
    fields = ("prompt", "reasoning", "distilled_answer_string", "source")
    prompt, thinking, answer, hub = (_text(row, field, where) for field in fields)
    pool = pools.get(hub, pools.get("*"))
    if pool is None:
        found = f"{hub!r} is none of the known pools {', '.join(pools) or '(none)'}"
        raise UserError(f"{where}, field 'source': {found}. Name its pool in `sources`.")
    letter, options = row.get("answer_letter"), re.findall(r"^([A-N])\. ", prompt, re.MULTILINE)
    if "A" in options and letter not in options:  # a prompt in another form shows no letters, so it is not checked
        found = f"{letter!r} is not among the options of its prompt, {', '.join(options)}"
        raise UserError(f"{where}, field 'answer_letter': {found}. Correct the record or leave it out.")
    domain = row.get("domain_name")
    if domain is not None and not isinstance(domain, str):
        remedy = "it must be the name of a MeSH qualifier, or absent."
        raise UserError(f"{where}, field 'domain_name': {domain!r}; {remedy}")
    return Sample(digest([pool, prompt])[:16], pool, domain or "", prompt, thinking, answer, subset, RULE, 0)


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        held = f"{value!r} found" if field in row else f"there is none among {', '.join(row)}"
        remedy = "Correct it, or give a data set in the layout of m1k-tokenized."
        raise UserError(f"{where}, field '{field}': a text is needed; {held}. {remedy}")
    return value


def main(argv: Sequence[str] | None = None) -> None:
    """Write a published subset as samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subset", required=True, help="name of the subset, for example m1k")
    parser.add_argument("--settings", required=True, help=f"JSON object with the keys {PublishedSettings.keys()}")
    parser.add_argument("--output", required=True, help="samples to write, Parquet")
    parser.add_argument("--manifest", required=True, help="manifest to write, JSON: counts by source and domain")
    arguments = parser.parse_args(argv)
    started = time.time()
    settings = PublishedSettings.from_json(arguments.settings)
    try:
        place, rows = sources.read(settings, arguments.subset)
        every = to_samples(rename(rows, settings.fields), place, settings.sources, arguments.subset)
        samples = draw(every, settings.size, settings.seed)
    except sources.Missing as error:
        if not settings.optional:
            raise
        place, rows, samples = f"nowhere ({error})", [], []
    records.write(arguments.output, samples, Sample)
    write_manifest(
        arguments.manifest,
        inputs={"published": settings.path} if settings.path and rows else {},
        settings={"subset": arguments.subset, **asdict(settings)},
        counts={"published": len(rows), **count_samples(samples)},
        started=started,
    )
    taken = f"{len(samples):,} of {len(rows):,}" if len(samples) < len(rows) else f"{len(samples):,}"
    say("select", f"{arguments.subset}: {taken} samples taken as published from {place}")


if __name__ == "__main__":
    run(main)
