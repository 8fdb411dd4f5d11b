"""The camera rule of a folder in words: where its camera ids come from, and which matches count."""

from collections.abc import Mapping

IN_NAMES = "from the file names, which count them from 1"
UNKNOWN = "camera ids are unknown"
UNUSED = "camera ids are not used, as chosen"
_EVERY_MATCH = "every match counts"
_OTHER_CAMERAS = "matches from the query's own camera are ignored"


def camera_policy(cameras: Mapping[int, str], origin: str) -> tuple[str, bool]:
    """Return the camera rule in words, and whether matches from the query's own camera are ignored.

    With one camera, or unknown ones, excluding the query's own camera would leave no match.

    Args:
        cameras: camid -> what the folder calls it; empty where camera ids are not known.
        origin: where they come from.
    """
    if not cameras:
        return f"{origin}: the domain counts as one camera, and {_EVERY_MATCH}", False
    if len(cameras) == 1:
        return f"one camera, {origin}: {_EVERY_MATCH}", False
    return f"{len(cameras)} cameras, {origin}: {_OTHER_CAMERAS}", True
