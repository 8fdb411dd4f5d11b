"""`export_run`: a run directory -> one proved file with its contract."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jointreid.config import DataConfig, FileFormat, GraphPrecision, InputChoice, InputKind, RunConfig, ToolChoice
from jointreid.custom import is_custom
from jointreid.data.records import ImageRecord
from jointreid.data.sources import load_domains
from jointreid.export import proof as proofs
from jointreid.export.checks import proved_contract, require_sound
from jointreid.export.contract import (
    METADATA,
    Contract,
    contract_of,
    contract_path,
    contract_text,
)
from jointreid.export.graph import network_of, onnx_model, program_bytes, trace
from jointreid.export.precision import in_8_bit, in_half_precision
from jointreid.export.proof import Runner
from jointreid.export.runtime import open_session
from jointreid.export.tools import TOOLS, require_fitting, write_companions
from jointreid.extraction.fingerprint import fingerprint
from jointreid.machine.files import write_atomically
from jointreid.machine.hashing import bytes_sha256
from jointreid.machine.paths import require_writable, user_path
from jointreid.machine.reading import read_json
from jointreid.messages.errors import JointreidError
from jointreid.models.reid import ReIDModel
from jointreid.retrieval.run_data import load_evaluation_data
from jointreid.run import Run, find_data, open_run, step_in

SUFFIXES: dict[FileFormat, str] = {"onnx": ".onnx", "pt2": ".pt2"}
# Called with a line that says what is done now.
OnStep = Callable[[str], None]


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: the file.
        contract: what stands beside it.
        nodes: of its graph.
        seconds: of CPU time to make it, without the proof.
        companions: files beside it that another tool reads.
    """

    path: Path
    contract: Contract
    nodes: int
    seconds: float
    companions: tuple[Path, ...] = ()


def export_run(
    path: str | Path,
    out: str | Path | None = None,
    *,
    file_format: FileFormat = "onnx",
    kind: InputChoice = "auto",
    precision: GraphPrecision = "fp32",
    checkpoint: str = "last",
    verify: bool = False,
    allow_vacuous: bool = False,
    allow_few: bool = False,
    data: DataConfig | None = None,
    cache: str = "",
    images: int = proofs.IMAGES,
    tool: ToolChoice = "any",
    on_step: OnStep = lambda line: None,
) -> Exported:
    """Write a run's model as one file that runs without jointreid, with its contract as JSON beside it.

    Args:
        path: the run directory.
        out: the folder to write to; None for `export` in the run directory.
        file_format: onnx, or pt2 for `torch.export.load`.
        kind: what images are when they enter the graph, see `jointreid.export.contract.INPUTS`; auto takes what `tool`
            gives, else uint8.
        precision: fp32; for ONNX also fp16 and int8, which are always evaluated.
        checkpoint: last or best.
        verify: compare its features with the model's on test images, see `jointreid.export.proof`.
        allow_vacuous: write the file even if different people are too alike for a proof.
        allow_few: accept a proof on fewer than 200 test images; the contract says that it had too few.
        data: the data sets of the proof and of the calibration; None for the run's.
        cache: folder for decoded images; empty for that of the run.
        images: how many to compare.
        tool: another tool that is to run the file; what it reads beside it is written too.
        on_step: called with a line for each step.

    Raises:
        JointreidError: not a run; a model that needs the true domain of each image; data that cannot be read; a package
            is missing; the file of another run is there; or the file does not compute what the model does. Then nothing
            is written.
    """
    if precision != "fp32" and file_format != "onnx":
        raise JointreidError(f"--precision {precision} is for --format onnx; a pt2 file is fp32")
    chosen = _input_of(kind, tool, file_format)
    run = open_run(path)
    if tool != "any":
        require_fitting(tool, run.config.image)
    folder = user_path(out) if out is not None else run.path / "export"
    require_writable(folder, "--out")
    model, state = run.loaded(checkpoint)
    if model.needs_origins:
        raise JointreidError(
            f"{run.path}: dcsd.context labels needs the true domain and camera of each image, which nobody has in use; "
            "it is a control, not a model to export"
        )
    found, compared = None, []
    if verify or precision != "fp32":
        found = load_evaluation_data(run, data, cache=cache)
        compared = proofs.sample(found.domains, images)
        proofs.require_enough(compared, allow_few)
    contract = _contract(run, model, chosen, precision, checkpoint, step_in(state))
    contract = replace(contract, file=f"{_stem(run, contract, checkpoint)}{SUFFIXES[file_format]}")
    _require_own(folder / contract.file, run)
    began = time.process_time()
    for line in _differences(run.config):
        on_step(line)
    on_step(f"tracing {run.config.model.name} on {run.config.model.trunk}")
    fuse = not is_custom(run.config.model.trunk)
    program = trace(network_of(model, chosen, run.config.image, fuse=fuse), run.config.image)
    graph = None
    if file_format == "onnx":
        on_step("writing the graph")
        graph = onnx_model(program)
        if precision == "fp16":
            graph = in_half_precision(graph)
        if precision == "int8":
            on_step("calibrating 8 bit on train images")
            graph = in_8_bit(graph, contract, _train_images(run, data, cache), run.config)
    seconds = time.process_time() - began
    content = program_bytes(program) if graph is None else graph.SerializeToString()
    runner = _program_runner(program) if graph is None else _onnx_runner(content, contract.file)
    require_sound(runner, contract)
    if found is not None:
        contract = proved_contract(contract, model, runner, found, run, compared, allow_vacuous, on_step)
    if graph is not None:
        graph.metadata_props.add(key=METADATA, value=contract_text(contract))
        content = graph.SerializeToString()
    contract = replace(contract, sha256=bytes_sha256(content))
    target = folder / contract.file
    write_atomically(target, content)
    write_atomically(contract_path(target), contract_text(contract))
    companions = write_companions(tool, target, contract) if tool != "any" else []
    nodes = len(program.graph.nodes) if graph is None else len(graph.graph.node)
    return Exported(target, contract, nodes, seconds, tuple(companions))


def _input_of(kind: InputChoice, tool: ToolChoice, file_format: FileFormat) -> InputKind:
    """Return the input that a tool gives, or that was asked for.

    Raises:
        JointreidError: both, and they differ; or a tool that reads no pt2 files.
    """
    if tool == "any":
        return "uint8" if kind == "auto" else kind
    if file_format != "onnx":
        raise JointreidError(f"--for {tool} needs --format onnx")
    given = TOOLS[tool].kind
    if kind not in ("auto", given):
        raise JointreidError(f"{tool} gives images as {given}, not as {kind}; leave out --input")
    return given


def _contract(
    run: Run, model: ReIDModel, kind: InputKind, precision: GraphPrecision, checkpoint: str, step: int | None
) -> Contract:
    config = run.config
    # Mirrored images do not take part in an exported file, and the fingerprint says so.
    digest = fingerprint(model, config.image, replace(config.eval, flip=False), config.model, config.dcsd)
    return contract_of(
        config.image,
        file="",
        kind=kind,
        dims=model.bnneck.num_features,
        fingerprint=digest,
        precision=precision,
        model={
            "system": config.model.name,
            "trunk": config.model.trunk,
            "run": run.path.name,
            "checkpoint": checkpoint,
            "step": step,
        },
        versions={name: _version(name) for name in ("jointreid", "torch", "onnx", "onnxscript", "onnxruntime")},
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _differences(config: RunConfig) -> Iterator[str]:
    """Yield what the features of the file are not that those of the run's evaluation were."""
    if config.eval.flip:
        yield "note: the run was evaluated with mirrored images too (eval.flip); the file sees each image once"
    if config.eval.metric != "cosine":
        yield (
            f"note: the run was evaluated by {config.eval.metric} distance (eval.metric); features of the file have "
            "length 1, for cosine similarity, so accuracy may differ"
        )


def _stem(run: Run, contract: Contract, checkpoint: str) -> str:
    parts = [run.config.model.name, *(["best"] if checkpoint == "best" else []), contract.kind]
    return "-".join(parts if contract.precision == "fp32" else [*parts, contract.precision])


def _require_own(target: Path, run: Run) -> None:
    """Refuse to replace the file of another run, which has the same name if it is of the same system.

    Raises:
        JointreidError: there is one.
    """
    try:
        other = str(read_json(contract_path(target))["model"]["run"])
    except (JointreidError, KeyError, TypeError):
        return  # there is none, or it is damaged
    if other != run.path.name:
        raise JointreidError(
            f"{target} is there, exported from the run {other}; name another folder with --out, or remove that file"
        )


def _train_images(run: Run, data: DataConfig | None, cache: str) -> list[ImageRecord]:
    """Return the train images of all domains, one domain after the other."""
    settings = data if data is not None and data.sources else find_data(run, cache=cache).config.data
    return [record for domain in load_domains(settings) for record in domain.train]


def _onnx_runner(content: bytes, name: str) -> Runner:
    session = open_session(content, name)
    return lambda batch: session.run(["features"], {"images": batch})[0]


def _program_runner(program: torch.export.ExportedProgram) -> Runner:
    module = program.module()

    def run(batch: NDArray[Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            features: NDArray[np.float32] = module(torch.from_numpy(batch)).numpy()
        return features

    return run
