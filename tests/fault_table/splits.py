"""Faults of the splits: images, identities and cameras that are missing, occur once, or are in two splits."""

import json
import re
import shutil
from collections.abc import Callable

from tests.fault_table.kit import TARGET, Fault, Handled, Refused, Sandbox, picture, save

Damage = Callable[[Sandbox], None]


def _without(pattern: str) -> Damage:
    """Remove the rows that match a pattern."""

    def damage(sandbox: Sandbox) -> None:
        rows = sandbox.table.read_text().splitlines()
        kept = [row for row in rows if not re.search(pattern, row)]
        assert len(kept) < len(rows)
        sandbox.table.write_text("\n".join(kept) + "\n")

    return damage


def _with(*rows: str) -> Damage:
    """Add rows, and make the images that are missing."""

    def damage(sandbox: Sandbox) -> None:
        sandbox.table.write_text(sandbox.table.read_text() + "\n".join(rows) + "\n")
        for row in rows:
            name = row.split(",")[2]
            if not (sandbox.data / name).exists():
                save(sandbox.data / name, picture(name))

    return damage


def _copy(name: str, split: str, labels: str) -> Damage:
    """Copy the target and add the copy to a split."""

    def damage(sandbox: Sandbox) -> None:
        shutil.copyfile(sandbox.target, sandbox.data / name)
        sandbox.rewrite(lambda text: f"{text}shop,{split},{name},{labels}\n")

    return damage


def _every_camera_counts(damage: Damage) -> Damage:
    def both(sandbox: Sandbox) -> None:
        damage(sandbox)
        sandbox.side.write_text(json.dumps({"shop": {"exclude_same_camera": False}}))

    return both


def _by_one_camera(sandbox: Sandbox) -> None:
    """Give the shop's gallery the camera of its queries."""
    sandbox.edit("shop/gallery-3-1.jpg,3,1", "shop/gallery-3-1.jpg,3,0")
    sandbox.edit("shop/gallery-4-1.jpg,4,1", "shop/gallery-4-1.jpg,4,0")


def _of_others(sandbox: Sandbox) -> None:
    """Give the shop's gallery other identities than its queries."""
    sandbox.edit("shop/gallery-3-1.jpg,3,", "shop/gallery-3-1.jpg,8,")
    sandbox.edit("shop/gallery-4-1.jpg,4,", "shop/gallery-4-1.jpg,9,")


def _only_junk(sandbox: Sandbox) -> None:
    header, *rows = sandbox.table.read_text().splitlines()
    marked = [f"{row},{int('gallery' in row)}" for row in rows]
    sandbox.table.write_text("\n".join([f"{header},junk", *marked]) + "\n")


def _distractor_in_train(sandbox: Sandbox) -> None:
    sandbox.table.write_text(f"domain,split,path,pid,camid,distractor\nshop,train,{TARGET},1,0,1\n")


def _cut_gallery(sandbox: Sandbox) -> None:
    for pid in (3, 4):
        (sandbox.data / f"shop/gallery-{pid}-1.jpg").write_bytes(b"")


def _nothing(sandbox: Sandbox) -> None:
    """Change nothing: the settings ask for more than the data hold."""


_QUERY = "shop/query-3-0.jpg"

SPLITS = [
    Fault("no image in train of a domain", _without("shop,train"),
          Refused(r"shop \(.*table\.csv\): no images in train; add some or leave the domain out")),
    Fault("no image in train at all", _without("train"), Refused(r"no images in train")),
    Fault("no query in a domain", _without("shop,query"),
          Refused(r"shop \(.*table\.csv\): no images in query; evaluation needs both")),
    Fault("no gallery in a domain", _without("shop,gallery"), Refused(r"shop .*no images in gallery")),
    Fault("no query and no gallery in a domain", _without("shop,(query|gallery)"),
          Handled(r"shop .*no query and gallery; trained on, but not evaluated", trained=True)),
    Fault("no query and no gallery anywhere", _without("(query|gallery),"), Refused(r"no domain has a query and a")),
    Fault("a gallery that cannot be read, to be skipped", _cut_gallery, Refused(r"shop .*no images in gallery"),
          options=("--skip-unreadable",)),
    Fault("only junk in a gallery", _only_junk, Refused(r"shop .*no images in gallery")),
    Fault("a distractor in train", _distractor_in_train, Refused(r"row 2, column distractor: set in train")),
    Fault("one identity in a domain", _without("shop,train.*,2,"),
          Handled(r"shop: train holds one identity, 1: within the domain nothing can be told apart", train=(6, 3, 4),
                  trained=True)),
    Fault("one image of an identity", _without("shop,train.*,2,1"),
          Handled(r"shop: 1 of 2 train identities have one image \(2\); batches are filled", train=(7, 4, 4),
                  trained=True)),
    Fault("one image of every identity", _without("train.*,1$"),
          Handled(r"shop: 2 of 2 train identities have one image", train=(4, 4, 4))),
    Fault("a camera that saw one identity", _with("shop,train,shop/more.jpg,1,2"),
          Handled(r"shop: 1 of 3 cameras in train hold one identity \(camid 2\)", train=(9, 4, 5))),
    Fault("cameras that no train image is from", _with("shop,gallery,shop/more.jpg,3,8"), Handled(train=(8, 4, 5))),
    Fault("a query without a match", _without("shop,gallery.*,3,"),
          Refused(r"shop: 1 of 2 queries show an identity that the gallery does not hold \(pid 3 camid 0 .*query-3-0")),
    Fault("no query with a match", _of_others, Refused(r"shop: 2 of 2 queries show an identity that the gallery does")),
    Fault("matches of the query's own camera only", _by_one_camera,
          Refused(r"shop: 2 of 2 queries have matches from their own camera only.*\"exclude_same_camera\": false")),
    Fault("matches of the query's own camera, which count", _every_camera_counts(_by_one_camera), Handled()),
    Fault("a query in the gallery too", _with(f"shop,gallery,{_QUERY},3,0"),
          Handled(r"shop: 1 query images are in the gallery too .*the camera rule ignores them")),
    Fault("a query in the gallery, where it counts", _every_camera_counts(_with(f"shop,gallery,{_QUERY},3,0")),
          Refused(r"shop: 1 query images are in the gallery too .*each finds itself first")),
    Fault("an identity in train and in the gallery", _with("shop,gallery,shop/more.jpg,1,1"),
          Handled(r"shop: 1 identities are in train and in query or gallery \(1\)")),
    Fault("an image in train and in the gallery", _with(f"shop,gallery,{TARGET},3,1"),
          Refused(r"shop: 1 images are in train and in query or gallery \(pid 3 camid 1 .*train-1-0\.jpg")),
    Fault("an image in train of one domain and the gallery of another", _with(f"yard,gallery,{TARGET},3,1"),
          Refused(r"yard: 1 images of query or gallery are in train of shop \(pid 3 camid 1 .*shop/train-1-0\.jpg")),
    Fault("an image in train of two domains", _with(f"yard,train,{TARGET},1,1"),
          Handled(r"yard: 1 images are in train of shop too \(pid 1 camid 1 .*train-1-0\.jpg", train=(9, 4, 4))),
    Fault("a copy in train, of one identity", _copy("shop/train-1-2.jpg", "train", "1,0"), Handled(train=(9, 4, 4))),
    Fault("a copy in train, with another identity", _copy("shop/train-2-2.jpg", "train", "2,0"),
          Handled(r"shop: 1 train images are copies .*train-2-2\.jpg of pid 2 is .*train-1-0\.jpg of pid 1",
          train=(9, 4, 4))),
    Fault("a copy of a train image in the gallery", _copy("shop/gallery-3-2.jpg", "gallery", "3,1"),
          Handled(r"shop: 1 images of query or gallery are copies of train images .*gallery-3-2\.jpg is .*train-1-0")),
    Fault("fewer identities than a batch takes", _nothing,
          Handled(r"warning: train holds 4 identities in all, .*batches of 4 identities are drawn", trained=True),
          options=("--sampler.ids_per_batch", "5")),
    Fault("one identity in all", _without("^(yard,|shop,train.*,2,)"),
          Refused(r"train holds 1 identity in all, and a triplet needs two")),
    Fault("fewer identities than are to be held out", _nothing,
          Refused(r"shop: data\.val_ids is 2, .*of its 2 train identities .*choose at most 0"),
          options=("--data.val_ids", "2")),
]  # fmt: skip
