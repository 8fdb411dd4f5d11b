"""The arrows between the rooms: who may import whom, read from the source without running it.

A room imports only from rooms of an earlier stage, and from itself; two rooms of one stage know nothing of each other.
Imports inside functions and under TYPE_CHECKING count too: both are knowledge of another room.
"""

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parents[2] / "src"

# Stages, left to right. A room is named by its modules: `data` stands for the package and everything below it that is
# not named itself.
STAGES: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("machine", "messages", "custom", "config", "data.records"),),
    (
        ("data",),
        ("models",),
        (
            *("retrieval.ranking", "retrieval.ranking_inputs", "retrieval.distances"),
            *("retrieval.ranking_numba", "retrieval.ranking_torch"),
        ),
    ),
    (("recipes",), ("run",), ("synthetic",), ("ingest",), ("prepare",)),
    (("losses",), ("retrieval",)),
    (("training",),),
    (("analysis",), ("extraction",)),
    (("verification",),),
    (("conflict",), ("gallery",), ("growth",), ("export",), ("hub",), ("timm",)),
    (("paper",), ("demo",), ("serve",)),
    (("cli", "__main__", ""),),  # "" is jointreid/__init__.py, which hands out names of other rooms
)

# A system, a trunk and a DCSD are built from their section of the settings, so that a new setting is touched where it
# is declared and where it acts, and nowhere between. Layers and operators take numbers, and work without settings.
BUILT_FROM_CONFIG = {
    "models.context",
    "models.dcsd",
    "models.families",
    "models.profile",
    "models.reid",
    "models.trunk",
}

# Asking which process this is, of how many. Others take it as an argument.
RANK_NAMES = {
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "torch.distributed",
    "global_rank",
    "local_rank",
    "is_global_zero",
    "get_rank",
    "get_world_size",
}
MAY_ASK_FOR_RANK = ("training", "cli")

# Loaded by the functions that need them, never when a module is.
ALWAYS_LAZY = {
    "triton",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "fastapi",
    "uvicorn",
    "playwright",
    "torchmetrics",
    "ray",
    "lancedb",
    "matplotlib",
    "openTSNE",
    "h5py",
}

# Written in Triton from the first line on: they load it, and are themselves loaded by the function that needs them.
IN_TRITON = {"models.dynamic_filter_triton", "models.dynamic_filter_triton_kernels", "models.filter_norm_triton"}

# What starts without torch, and what loading takes seconds.
STARTS_FAST = (
    "",
    "__main__",
    "cli",
    "recipes",
    "run",
    "custom",
    "paper.plan",
    "paper.render",
    "data.sources",
    "data.preflight",
    "export.runtime",
    "ingest",
    "prepare",
)
SLOW = {"torch", "torchvision", "timm", "numba", "lightning_fabric", "sklearn", "scipy", "tensorboard"}


class Import(NamedTuple):
    """One import of a module: `target` without its leading `jointreid.` where it is ours."""

    line: int
    target: str
    ours: bool
    on_load: bool


class Module(NamedTuple):
    """A module by its name below `jointreid`, "" for the package itself."""

    name: str
    tree: ast.Module


def parse_package(source: Path) -> dict[str, Module]:
    """Parse every module below `source`/jointreid."""
    modules = {}
    for path in sorted((source / "jointreid").rglob("*.py")):
        parts = path.relative_to(source / "jointreid").with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = Module(name, ast.parse(path.read_text(encoding="utf-8")))
    return modules


def imports_of(module: Module, known: Mapping[str, object]) -> Iterator[Import]:
    """Yield every import; `from package import x` is an import of module x where there is one, else of the package."""
    on_load = set(_statements_on_load(module.tree))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name}, line {node.lineno}: write imports in full, from jointreid on"
            package = node.module or ""
            below = [f"{package}.{alias.name}" for alias in node.names]
            names = [name if _own_name(name) in known else package for name in below]
        else:
            continue
        for name in names:
            own = _own_name(name)
            yield Import(node.lineno, name if own is None else own, own is not None, node in on_load)


def _own_name(dotted: str) -> str | None:
    first, _, rest = dotted.partition(".")
    return rest if first == "jointreid" else None


def _statements_on_load(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs when a module is loaded: not the bodies of functions, nor what stands under TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        yield from _statements_on_load(node)


def room_of(name: str) -> tuple[int, tuple[str, ...]] | None:
    """Return the stage and the room of a module: the room that names it, or its nearest package."""
    while True:
        for stage, rooms in enumerate(STAGES):
            for room in rooms:
                if name in room:
                    return stage, room
        name, dot, _ = name.rpartition(".")
        if not dot:
            return None


def violations(module: Module, known: Mapping[str, object]) -> list[str]:
    """Return a line for each thing in a module that must not stand there."""
    where = f"jointreid/{module.name.replace('.', '/') or '__init__'}"
    if room_of(module.name) is None:
        return [f"{where}: stands in no room; give it one in STAGES of tests/project/test_layers.py"]
    wrong = [(item.line, _wrong_import(module.name, item)) for item in imports_of(module, known)]
    if module.name.split(".")[0] not in MAY_ASK_FOR_RANK:
        wrong += [(line, f"asks for a rank ({what})") for line, what in _rank_requests(module.tree)]
    return [f"{where}, line {line}: {reason}" for line, reason in wrong if reason]


def _wrong_import(name: str, item: Import) -> str:
    if item.on_load and name not in IN_TRITON and item.target in IN_TRITON:
        return f"loads {item.target} outside the function that needs it"
    if not item.ours:
        package = item.target.split(".")[0]
        lazy = item.on_load and package in ALWAYS_LAZY and not (package == "triton" and name in IN_TRITON)
        return f"loads {item.target} outside the function that needs it" if lazy else ""
    own, other = room_of(name), room_of(item.target)
    if own is None or other is None or (own != other and other[0] >= own[0]):
        return f"{name or 'jointreid'} imports {item.target or 'jointreid'}, against the arrows"
    if own[1] == ("models",) and item.target.split(".")[0] == "config" and name not in BUILT_FROM_CONFIG:
        return f"{name} reads config, which only {', '.join(sorted(BUILT_FROM_CONFIG))} may"
    return ""


def _rank_requests(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        candidates: list[object] = []
        if isinstance(node, ast.Constant):
            candidates = [node.value]
        elif isinstance(node, ast.Attribute):
            candidates = [node.attr, ast.unparse(node)]
        elif isinstance(node, ast.Import):
            candidates = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            candidates = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in candidates:
            if isinstance(name, str) and name in RANK_NAMES:
                yield getattr(node, "lineno", 0), name


def loaded_by(name: str, modules: Mapping[str, Module]) -> dict[str, str]:
    """Return what loading `name` loads, our modules and others' packages, each with the module that asks for it."""
    loaded: dict[str, str] = {}
    queue = [(name, "")]
    while queue:
        current, asked_by = queue.pop()
        if current in loaded or current not in modules:
            continue
        loaded[current] = asked_by
        if current:
            queue.append((current.rpartition(".")[0], current))  # a package is loaded before what is in it
        for item in imports_of(modules[current], modules):
            if item.on_load and item.ours:
                queue.append((item.target, current))
            elif item.on_load:
                loaded.setdefault(item.target.split(".")[0], current)
    return loaded


@pytest.fixture(scope="module")
def package() -> dict[str, Module]:
    return parse_package(SOURCE)


def test_every_name_in_the_tables_is_a_room_or_a_dependency(package: dict[str, Module]) -> None:
    rooms = {room for stage in STAGES for rooms in stage for room in rooms}
    named = rooms | BUILT_FROM_CONFIG | IN_TRITON | {*STARTS_FAST, *MAY_ASK_FOR_RANK}
    project = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    checked = {name for entry in project["tool"]["mypy"]["overrides"] for name in entry["module"]}
    named |= {name.removeprefix("jointreid.") for name in checked if name.startswith("jointreid.")}
    assert not named - package.keys()
    extras = project["project"]["optional-dependencies"].values()
    required = [*project["project"]["dependencies"], *(name for extra in extras for name in extra)]
    declared = {re.split(r"[^\w-]", name)[0].replace("-", "_") for name in required}
    assert ALWAYS_LAZY | SLOW - {"sklearn"} <= declared  # sklearn comes as scikit-learn


def test_every_module_has_a_room_and_keeps_to_the_arrows(package: dict[str, Module]) -> None:
    assert len(package) > 20
    found = [line for module in package.values() for line in violations(module, package)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", STARTS_FAST)
def test_what_starts_fast_loads_nothing_slow(package: dict[str, Module], name: str) -> None:
    loaded = loaded_by(name, package)
    assert name in loaded
    assert not [f"{slow} is loaded by {loaded[slow]}" for slow in SLOW & loaded.keys()]


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("data.new", "from jointreid.models.dcsd import DCSD", "data.new imports models.dcsd, against the arrows"),
        ("data.new", "import jointreid.models", "data.new imports models, against the arrows"),
        ("data.new", "def f():\n    from jointreid import losses", "line 2: data.new imports losses"),
        ("data.new", "from jointreid import train", "data.new imports jointreid, against the arrows"),
        ("data.records", "from jointreid.data import manifest", "data.records imports data.manifest"),
        (
            "models.new",
            "from jointreid.data.records import Domain\nfrom jointreid.data import joint",
            "imports data.joint",
        ),
        ("models.norms", "from jointreid.config import ModelConfig", "models.norms reads config, which only"),
        ("retrieval.ranking", "import jointreid.retrieval.extract", "ranking imports retrieval.extract"),
        ("recipes", "from jointreid.run import open_run", "recipes imports run, against the arrows"),
        ("losses", "if TYPE_CHECKING:\n    import jointreid.training.train", "losses imports training.train"),
        ("analysis.new", "import jointreid.cli", "analysis.new imports cli"),
        ("surprise", "", "jointreid/surprise: stands in no room"),
        ("data.new", "import os\nos.environ['RANK']", "line 2: asks for a rank (RANK)"),
        ("data.new", "from torch import distributed", "asks for a rank (torch.distributed)"),
        ("losses", "def f(fabric): return fabric.global_rank", "asks for a rank (global_rank)"),
        ("analysis.new", "import matplotlib.pyplot as plt", "loads matplotlib.pyplot outside the function"),
        ("models.new", "import triton.language as tl", "loads triton.language outside the function"),
        ("models.new", "from jointreid.models import dynamic_filter_triton", "loads models.dynamic_filter_triton"),
        ("models.filter_norm_triton", "import onnx", "loads onnx outside the function"),
    ],
)
def test_a_planted_violation_is_found(package: dict[str, Module], name: str, code: str, message: str) -> None:
    found = violations(Module(name, ast.parse(code)), package)
    assert [line for line in found if message in line], found


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("data.new", "from jointreid.config import ImageConfig\nfrom jointreid.data import joint, records"),
        ("models.dcsd", "from jointreid.config import DcsdConfig"),
        ("losses", "from jointreid.models import build_model\nimport jointreid.data.images"),
        ("training.new", "import os, torch.distributed\nos.environ['WORLD_SIZE']"),
        ("analysis.new", "def plot():\n    import matplotlib"),
        ("models.filter_norm_triton", "import triton\nfrom jointreid.models import dynamic_filter_triton_kernels"),
        ("models.new", "def kernels():\n    from jointreid.models import dynamic_filter_triton"),
        ("cli", "from jointreid import __version__"),
    ],
)
def test_what_is_allowed_is_not_reported(package: dict[str, Module], name: str, code: str) -> None:
    assert not violations(Module(name, ast.parse(code)), package)


def test_a_planted_slow_import_is_found_through_others(package: dict[str, Module]) -> None:
    planted = {
        **package,
        "messages.errors": Module("messages.errors", ast.parse("import torch.nn")),
        "machine.files": Module(
            "machine.files", ast.parse("def f():\n    import timm\nif TYPE_CHECKING:\n    import numba")
        ),
    }
    assert loaded_by("data.preflight", planted)["torch"] == "messages.errors"
    assert not {"timm", "numba"} & loaded_by("machine.files", planted).keys()
