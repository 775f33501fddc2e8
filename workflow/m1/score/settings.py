"""What the step of this stage is told."""

from dataclasses import dataclass
from typing import Literal, get_args

from m1.core.settings import Settings

ScoringProtocol = Literal["released", "first", "strict"]
SCORING_PROTOCOLS: tuple[ScoringProtocol, ...] = get_args(ScoringProtocol)


@dataclass(frozen=True)
class ScoreSettings(Settings):
    """Keys of ``score``."""

    protocol: ScoringProtocol
