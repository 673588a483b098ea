"""JSON of others: nested deeper than Python follows, it is refused like any other text that is no JSON."""

from __future__ import annotations

import json
from typing import Any


def load_json(text: str | bytes) -> Any:
    """Values of a JSON text. Raises ValueError.

    >>> load_json("[1, 2]")
    [1, 2]
    >>> load_json("[" * 100_000)
    Traceback (most recent call last):
    ValueError: it is nested too deep
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
