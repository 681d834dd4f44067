"""Errors of the batch API: asserted by their code and the field that they name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from impactd import ModelFittingError, OptimizationError, ValidationError
from impactd.research.errors import CODES, ResearchError

_KINDS = {kind.__name__: kind for kind in (ModelFittingError, OptimizationError, ValidationError)}


@contextmanager
def fails(code: int, field: str) -> Iterator[pytest.ExceptionInfo[ResearchError]]:
    """Expect the error that has `code`, about `field`."""
    with pytest.raises(_KINDS[CODES[code][0]]) as raised:
        yield raised
    assert (raised.value.code, raised.value.field) == (code, field), raised.value


@contextmanager
def refuses(code: int, field: str) -> Iterator[None]:
    """Expect an error about `field` of the records, or that no record can be used, the first because of it."""
    with pytest.raises(ValidationError) as raised:
        yield
    assert raised.value.code == code
    assert field in {raised.value.field, getattr(raised.value.__cause__, "field", None)}, raised.value
