"""What the steps of this stage are told; the teacher is a :class:`m1.client.provider.Provider`."""

from dataclasses import dataclass

from m1.core.settings import Count, Settings, Share


@dataclass(frozen=True)
class DrawSettings(Settings):
    """A random draw from the whole collection; an entry of ``distill``."""

    size: Count | None
    """Correct traces wanted; None where another subset gives the number."""
    share: Share
    """Of correct answers expected of the teacher."""
    seed: int
