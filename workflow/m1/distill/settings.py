"""Settings of the steps of this stage; those of the teacher are a :class:`m1.client.provider.Provider`."""

from dataclasses import dataclass

from m1.core.settings import Count, Settings, Share


@dataclass(frozen=True)
class DrawSettings(Settings):
    """A random draw from the whole collection; an entry of ``distill``."""

    size: Count | None
    """Number of correct traces wanted; None if it is that of another subset."""
    share: Share
    """Share of correct answers expected of the teacher."""
    seed: int
