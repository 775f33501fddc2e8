"""Settings of the steps of this stage; those of the labeller are a :class:`m1.client.provider.Provider`."""

from dataclasses import dataclass, field
from typing import Literal

from m1.core.settings import Count, Settings, Source


@dataclass(frozen=True)
class SampleSettings(Settings):
    """Settings of a subset that is drawn from the traces: an entry of ``subsets``, and the seed."""

    rule: Literal["all", "first", "random", "domain", "domain_source"]
    size: Count | None  # number of samples; None for all, or if it is that of another subset
    seed: int


@dataclass(frozen=True, kw_only=True)
class PublishedSettings(Source):
    """The place of a published subset (an entry of ``data``), and the part of it that is used."""

    sources: dict[str, str]  # the set's name of each training pool (a hub id), to its key in this run; `*`: any other
    fields: dict[str, str] = field(default_factory=dict)  # the layout's field to the set's name for it, if it differs
    size: Count | None = None  # number of samples, drawn with the seed if the set has more; None for all
    seed: int = 42
    optional: bool = False  # whether the run goes on, without samples, if the set is missing
