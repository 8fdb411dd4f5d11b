"""Kill additions and erasures: `.venv/bin/python -m tests.soak.gallery_kill --kills 12`; 1 if any leaves a half.

A process is killed by SIGKILL at a moment drawn by chance: every second time at any moment, which is mostly while it
builds an index, and else while it changes the table before that. After an addition the gallery holds the whole batch or
nothing of it. After an erasure it holds the person whole or not at all, and repeating
the erasure leaves no byte, nor anything in the system's temporary folder.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from jointreid.gallery import index
from jointreid.gallery.gallery import Gallery
from jointreid.gallery.rows import FeatureModel, FeatureRows
from tests.gallery.feature_files import FINGERPRINT, person_features, write_features

DIMS, BASE, BATCH = 128, 6000, 20_000
NAME = "Wilhelmina-Featherstone"

INDEX_FROM = 1000  # images: every gallery here has an index, which takes each batch in
NEVER = 10**9
THUMBNAIL = 600  # bytes

ADD = "gallery.add(rows)"
ERASE = f"gallery.remove(pid={NAME!r}, purge=True)"
CHILD = """
import sys
from jointreid.gallery import index
from jointreid.gallery.gallery import Gallery
from jointreid.gallery.rows import FeatureRows
from tests.soak.gallery_kill import thumbnails
index.EXACT_BELOW = index._UNINDEXED = int(sys.argv[3])
rows = FeatureRows.read(sys.argv[2]).with_thumbnails(thumbnails())
gallery = Gallery.open(sys.argv[1])
gallery.select()
print("ready", flush=True)
{}
print("done", flush=True)
"""


def thumbnails() -> list[bytes | None]:
    """Return bytes in place of a small image for each row of the batch, all different."""
    draw = np.random.default_rng(3)
    return [draw.bytes(THUMBNAIL) for _ in range(BATCH)]


def run_child(code: str, gallery: Path, file: Path, seconds: float | None, index_from: int = INDEX_FROM) -> float:
    """Run code in another process, kill it after so many seconds (None: let it end), and return how long it took."""
    argv = [sys.executable, "-c", CHILD.format(code), str(gallery), str(file), str(index_from)]
    environment = os.environ | {"TMPDIR": str(temporary_folder(gallery))}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        since = time.monotonic()
        if seconds is None:
            assert child.stdout.readline() == "done\n"
            seconds = time.monotonic() - since
        else:
            time.sleep(seconds)
            child.kill()
        child.wait()
        return seconds


def temporary_folder(gallery: Path) -> Path:
    """Return the system's temporary folder of the processes that change a gallery, beside it."""
    folder = gallery.with_name("system-tmp")
    folder.mkdir(exist_ok=True)
    return folder


def traces(folder: Path, needles: list[bytes]) -> list[str]:
    """Return the files that hold one of the needles."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [str(path) for path in files if any(needle in path.read_bytes() for needle in needles)]


def check(gallery: Path, needles: list[bytes]) -> str:
    """Return "whole", "nothing", or what is wrong after a kill; then erase the batch."""
    count = Gallery.open(gallery).select().num_rows
    if count not in (BASE, BASE + BATCH):
        return f"{count} rows"
    return ("whole" if count > BASE else "nothing") + check_erased(gallery, needles)


def check_erased(gallery: Path, needles: list[bytes]) -> str:
    """Erase the person; return an empty text, or what is wrong."""
    opened = Gallery.open(gallery)
    opened.remove(pid=NAME, purge=True)
    left = [*traces(gallery, needles), *map(str, temporary_folder(gallery).iterdir())]
    left += [str(path) for path in gallery.rglob("shuffle*")]
    if left or opened.select().num_rows != BASE:
        return f", but traces in {left}, {opened.select().num_rows} rows after an erasure"
    return ""


def make_gallery(folder: Path, base: FeatureRows, file: Path | None) -> Path:
    """Make a gallery of the base, and of a file of features if one is given."""
    gallery = Gallery.open(folder)
    gallery.add(base)
    if file:
        gallery.add(FeatureRows.read(file).with_thumbnails(thumbnails()))
    gallery.select()
    return folder


def duration(code: str, gallery: Path, file: Path, index_from: int) -> float:
    """Return how many seconds a piece of code takes on a copy of a gallery when it is not killed."""
    copy = gallery.with_name("copy")
    shutil.copytree(gallery, copy)
    seconds = run_child(code, copy, file, None, index_from)
    shutil.rmtree(copy)
    return seconds


def main() -> int:
    """Kill, count and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw, counts = random.Random(options.seed), Counter[str]()
    index.EXACT_BELOW = index._UNINDEXED = INDEX_FROM
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        names = [f"b{row}" for row in range(BASE)]
        base = FeatureRows.of(person_features(BASE, 1, DIMS, seed=1), names, FeatureModel(FINGERPRINT))
        features = person_features(1, BATCH, DIMS, seed=2)
        file = write_features(folder / "batch.parquet", features, {"pid": [NAME] * BATCH})
        units = features[::997] / np.linalg.norm(features[::997], axis=1, keepdims=True)
        needles = [NAME.encode(), *(row[:8].tobytes() for row in [*units, *features[::997]])]
        needles += [small[at : at + 16] for small in thumbnails()[::997] if small for at in (0, THUMBNAIL // 2)]
        for what, code in (("addition", ADD), ("erasure", ERASE)):
            fresh = make_gallery(folder / f"fresh-{what}", base, file if what == "erasure" else None)
            durations = [duration(code, fresh, file, index_from) for index_from in (NEVER, INDEX_FROM)]
            print(f"{what}: {durations[0]:.1f} s without an index, {durations[1]:.1f} s with it", flush=True)
            for kill in range(options.kills):
                place = folder / "g"
                shutil.copytree(fresh, place)
                run_child(code, place, file, draw.uniform(0, durations[kill % 2]))
                outcome = f"{what}: {check(place, needles)}"
                counts[outcome] += 1
                shutil.rmtree(place)
                print(f"{kill + 1} of {options.kills}, {outcome}", flush=True)
    for outcome, count in sorted(counts.items()):
        print(f"{outcome}: {count}")
    return int(any(not outcome.endswith(("whole", "nothing")) for outcome in counts))


if __name__ == "__main__":
    sys.exit(main())
