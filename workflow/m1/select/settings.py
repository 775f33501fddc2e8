"""What the steps of this stage are told; the labeller is a :class:`m1.client.provider.Provider`."""

from dataclasses import dataclass, field
from typing import Literal

from m1.core.settings import Count, Settings, Source


@dataclass(frozen=True)
class SampleSettings(Settings):
    """How a subset is drawn from the traces; an entry of ``subsets``, and the seed."""

    rule: Literal["all", "first", "random", "domain", "domain_source"]
    size: Count | None  # samples; None for all, or where another subset gives the number
    seed: int


@dataclass(frozen=True, kw_only=True)
class PublishedSettings(Source):
    """Where a published subset is, an entry of ``data``, and how much of it is taken."""

    sources: dict[str, str]  # what the set calls a training pool (a hub id) to its key in this run; `*` for any other
    fields: dict[str, str] = field(default_factory=dict)  # field of the layout to what the set calls it, if otherwise
    size: Count | None = None  # samples, drawn with the seed where the set has more; None for all
    seed: int = 42
    optional: bool = False  # without the set there are no samples, and the run goes on
