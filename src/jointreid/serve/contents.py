"""What is in a gallery, for a client: no paths, no people by name."""

from collections import Counter
from datetime import date
from typing import Any

from jointreid.gallery.gallery import Gallery

_MOST_CAMERAS = 1_000


def contents(gallery: Gallery) -> dict[str, Any]:
    """Return the counts of images and people, the cameras, and the retention dates, as fields of `InfoAnswer`."""
    if not gallery.exists():
        return {"images": 0, "people": 0, "cameras": [], "first_retention_date": None, "expired": 0}
    import pyarrow as pa

    rows = gallery.select().select(["pid", "domain", "camera", "retention"])
    plain = pa.table({name: rows[name].cast(pa.string()) for name in ("pid", "domain", "camera")})
    people = plain.group_by(["domain", "pid"]).aggregate([]).to_pylist()
    cameras = plain.group_by(["domain", "camera"]).aggregate([([], "count_all")]).to_pylist()
    days = Counter(day for day in rows["retention"].to_pylist() if day is not None)
    cameras.sort(key=lambda one: (one["domain"] or "", one["camera"] or ""))
    return {
        "images": rows.num_rows,
        "people": sum(one["pid"] is not None for one in people),
        "cameras": [
            {"domain": one["domain"], "camera": one["camera"], "images": one["count_all"]}
            for one in cameras[:_MOST_CAMERAS]
        ],
        "first_retention_date": min(days).isoformat() if days else None,
        "expired": sum(count for day, count in days.items() if day < date.today()),
    }
