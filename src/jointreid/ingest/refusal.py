"""The end of the message that a folder's layout is not clear: patterns to choose from, or the table to write."""

from collections.abc import Mapping, Sequence

from jointreid.ingest.images import PathParts
from jointreid.ingest.pattern import Pattern
from jointreid.ingest.tree import Reading

_ROWS = 3


def refusal(images: Sequence[PathParts], depth: int, readings: Sequence[Reading], layouts: Mapping[str, str]) -> str:
    """Return what to do: choose a pattern where several readings fit, or say the meaning or write the table.

    Args:
        images: paths of the images.
        depth: number of leading folders that name the split.
        readings: those that fit.
        layouts: name -> description of the layouts that can be chosen.
    """
    known = "; ".join(f"{layout}: {words}" for layout, words in layouts.items())
    if readings:
        lines = [f"{len(readings)} readings fit; choose one with --pattern:"]
        lines += [_choice(images, depth, reading) for reading in readings]
        return "\n".join([*lines, f"(--layout takes {known}; images that do not fit are then left out and counted)"])
    table = [f"shop,train,{'/'.join(names)},WHO,WHICH_CAMERA" for names in images[:_ROWS]]
    return "\n".join(
        [
            f"Layouts are {known}. Move away what does not belong, or choose with --layout: images that do not fit are "
            "then left out and counted. Or say what folders and names mean with --pattern, as in --pattern "
            "'{camera}/{pid}_{frame}.jpg'. Or write a table with a row for each image and give it in place of the "
            "folder, with your own WHO and WHICH_CAMERA, and split one of train, query, gallery:",
            "domain,split,path,pid,camid",
            *table,
        ]
    )


def _choice(images: Sequence[PathParts], depth: int, reading: Reading) -> str:
    text = "{split}/" + reading.pattern if depth else reading.pattern
    pattern = Pattern(text)
    example = next((path for names in images if pattern.match(path := "/".join(names))), "")
    match = pattern.match(example) or {}
    camera = f", camera {match['camera']}" if "camera" in match else ""
    return (
        f"  --pattern '{text}'  ({pattern.shown}: {example} is person {match.get('pid', '?')}{camera}; {reading.why})"
    )
