"""What a ranked-list page holds."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote


def data_of(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">([^<]*)</script>', page.read_text(encoding="utf-8"))
    assert found
    plain: dict[str, Any] = json.loads(found[1])
    return plain


def folder_of(page: Path) -> Path:
    """Return where a page finds its pictures."""
    return page.parent / unquote(data_of(page)["folder"])
