"""What the tests of the report share."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def frozen() -> Iterator[None]:
    """statsmodels collects garbage at every correction of p: of what a module's tests make, not of all that is
    loaded."""
    gc.freeze()
    yield
    gc.unfreeze()
