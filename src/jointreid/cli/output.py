"""Output of commands for programs."""

import json
from typing import Any


def print_json(value: Any) -> None:
    """Print a value as JSON that any parser takes: no NaN."""
    print(json.dumps(value, indent=2, allow_nan=False))
