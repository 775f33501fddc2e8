"""Settings of the step of this stage."""

from dataclasses import dataclass
from typing import Literal, get_args

from m1.core.settings import Settings

ScoringProtocol = Literal["released", "first", "strict"]
SCORING_PROTOCOLS: tuple[ScoringProtocol, ...] = get_args(ScoringProtocol)


@dataclass(frozen=True)
class ScoreSettings(Settings):
    """The keys of ``score``."""

    protocol: ScoringProtocol
