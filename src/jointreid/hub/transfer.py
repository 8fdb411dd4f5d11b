"""Publishing a run on the Hugging Face hub and fetching one from there, with the functions of huggingface_hub."""

import tempfile
from pathlib import Path
from typing import Any

from jointreid.extraction.embedder import Embedder
from jointreid.hub.package import FACTS, FILES, read_package, write_package
from jointreid.machine.extras import library
from jointreid.machine.paths import user_path
from jointreid.messages.errors import JointreidError
from jointreid.run import Run


def push_to_hub(
    run: str | Path,
    repository: str,
    *,
    checkpoint: str = "last",
    licence: str = "other",
    private: bool = True,
    revision: str | None = None,
    token: str | None = None,
) -> str:
    """Publish a run without its people, and return the address of the commit.

    Args:
        run: the run directory.
        repository: OWNER/NAME; made if it is not there.
        checkpoint: last or best.
        licence: of the weights, by its name on the hub.
        private: whether a new repository is private; one that is there keeps its visibility.
        revision: the branch; None for the main one.
        token: None for the one that huggingface_hub finds.

    Raises:
        JointreidError: the run cannot be published, or the hub refuses or cannot be reached.
    """
    hub = library("huggingface_hub", "Publishing works", "hub")
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_package(run, Path(temporary) / "package", checkpoint, licence)
        api = hub.HfApi(token=token)
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            commit: Any = api.upload_folder(
                repo_id=repository,
                folder_path=str(folder),
                revision=revision,
                commit_message="Publish a model of jointreid",
                delete_patterns=[name for name in FILES if not (folder / name).is_file()],
            )
        except Exception as error:  # of the hub, its HTTP library or the system: each means that nothing was published
            raise _refused(f"cannot publish {repository}", error) from error
    return str(getattr(commit, "commit_url", commit))


def fetch(repository: str | Path, out: str | Path, *, revision: str | None = None, token: str | None = None) -> Run:
    """Write a published model as a run directory, to evaluate, extract with, export and start from.

    Args:
        repository: OWNER/NAME on the hub, or a folder that `write_package` wrote.
        out: the run directory, empty or not there.
        revision: a branch, a tag or a commit.
        token: None for the one that huggingface_hub finds.

    Raises:
        JointreidError: there is no such model, the hub cannot be reached, or the model is not whole.
    """
    return read_package(_folder(repository, revision, token), out)


def from_pretrained(
    repository: str | Path, *, revision: str | None = None, token: str | None = None, device: str = "auto"
) -> Embedder:
    """Return the embedder of a published model.

        embed = from_pretrained("somebody/shop-cameras")
        features = embed(["anna.jpg", "ben.jpg"])

    Args:
        repository: OWNER/NAME on the hub, or a folder that `write_package` wrote.
        revision: a branch, a tag or a commit.
        token: None for the one that huggingface_hub finds.
        device: auto, cpu, cuda or mps.

    Raises:
        JointreidError: see `fetch`.
    """
    with tempfile.TemporaryDirectory() as temporary:
        run = read_package(_folder(repository, revision, token), Path(temporary) / "run")
        return Embedder.load(run, device=device)


def _folder(repository: str | Path, revision: str | None, token: str | None) -> Path:
    """Return the folder of a published model, downloaded into the hub's cache unless it is a local one."""
    local = user_path(repository)
    if local.is_dir():
        return local
    hub = library("huggingface_hub", "Fetching a model works", "hub")
    try:
        found = hub.snapshot_download(str(repository), revision=revision, token=token, allow_patterns=list(FILES))
    except Exception as error:  # of the hub, its HTTP library or the system: each means that there is no model
        raise _refused(f"cannot fetch {repository}", error) from error
    folder = Path(found)
    if not (folder / FACTS).is_file():
        raise JointreidError(
            f"{repository}: holds no {FACTS}, so it was not published by jointreid; weights in other formats, such as "
            "a pickle, are not read"
        )
    return folder


def _refused(what: str, error: Exception) -> JointreidError:
    cause = str(error).strip().partition("\n")[0] or type(error).__name__
    return JointreidError(f"{what}: {cause}. For a private repository log in with `hf auth login`, or set HF_TOKEN")
