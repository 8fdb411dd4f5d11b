"""The commands about models on the Hugging Face hub: push, fetch."""

from dataclasses import dataclass

from jointreid.cli.options import argument, as_json
from jointreid.cli.output import print_json
from jointreid.config import setting
from jointreid.machine.run_files import CheckpointName
from jointreid.messages.errors import JointreidError


@dataclass(frozen=True, kw_only=True)
class PushOptions:
    """Options of `jointreid hub push`."""

    run: str = argument("RUN", "a run directory")
    repository: str = argument("REPO", "OWNER/NAME on the hub, made if it is not there")
    checkpoint: CheckpointName = setting("last", "which weights: the last, or the best on held-out identities")
    license: str = setting(
        "other", "licence of the weights, by its name on the hub, such as apache-2.0", metavar="NAME"
    )
    public: bool = setting(False, "make a new repository public; by default it is private")
    revision: str = setting("", "the branch (default: the main one)", metavar="BRANCH")
    folder: str = setting("", "write what would be published into this folder, and publish nothing", metavar="DIR")
    json: bool = as_json("the address")


def push(options: PushOptions) -> int:
    """Publish a run without its people: weights without classifiers, settings, thresholds and a model card."""
    if options.folder and (options.public or options.revision):
        raise JointreidError("--folder publishes nothing; leave out --public and --revision")
    if options.folder:
        from jointreid.hub.package import write_package

        address = str(write_package(options.run, options.folder, options.checkpoint, options.license))
    else:
        from jointreid.hub.transfer import push_to_hub

        address = push_to_hub(
            options.run,
            options.repository,
            checkpoint=options.checkpoint,
            licence=options.license,
            private=not options.public,
            revision=options.revision or None,
        )
    if options.json:
        print_json({"address": address})
    else:
        print(f"Wrote {address}; nothing was published." if options.folder else f"Published {address}")
    return 0


@dataclass(frozen=True, kw_only=True)
class FetchModelOptions:
    """Options of `jointreid hub fetch`."""

    repository: str = argument("REPO", "OWNER/NAME on the hub, or a folder of `hub push --folder`")
    out: str = setting("", "the run directory to write (default: runs/NAME)", metavar="DIR")
    revision: str = setting("", "a branch, a tag or a commit (default: the main branch)", metavar="NAME")
    json: bool = as_json("the run directory")


def fetch(options: FetchModelOptions) -> int:
    """Fetch a published model as a run directory; only safetensors are read, and all of its tensors must be there."""
    from jointreid.hub.transfer import fetch

    name = options.repository.rstrip("/").rpartition("/")[2]
    run = fetch(options.repository, options.out or f"runs/{name}", revision=options.revision or None)
    domains = ", ".join(domain.name for domain in run.label_space.domains)
    if options.json:
        print_json({"run": str(run.path), "domains": [domain.name for domain in run.label_space.domains]})
    else:
        print(f"Wrote {run.path}: {run.config.model.name} on {run.config.model.trunk}, trained on {domains}")
    return 0
