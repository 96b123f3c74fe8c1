"""Answers of the page's server."""

import math
from dataclasses import asdict, is_dataclass
from typing import Any

from fastapi.responses import JSONResponse, Response


def answer(value: Any) -> Response:
    """JSON; what is no number is null."""
    return JSONResponse(json_ready(value))


def json_ready(value: Any) -> Any:
    """As JSON can hold it: dataclasses as objects, arrays as lists, moments as ISO 8601, no numbers that are none."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (str, int)) or value is None:
        return value
    if isinstance(value, dict):
        return {str(key): json_ready(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(one) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        return json_ready(asdict(value))
    assert hasattr(value, "tolist"), type(value)
    return json_ready((value.astype(str) if value.dtype.kind == "M" else value).tolist())
