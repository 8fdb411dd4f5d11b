"""`jointreid export`."""

import sys
from dataclasses import dataclass

from jointreid.cli.options import Overrides, argument, as_json, cache, overrides, short_keys
from jointreid.cli.output import print_json
from jointreid.config import FileFormat, GraphPrecision, InputChoice, RunConfig, ToolChoice, setting
from jointreid.machine.run_files import CheckpointName

# The run's settings say where decoded images lie.
_OF_THE_RUN = ("data.cache",)


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of `jointreid export`."""

    run: str = argument("RUN", "a run directory")
    settings: Overrides = overrides(key for key in short_keys("data") if key not in _OF_THE_RUN)
    format: FileFormat = setting("onnx", "onnx, or pt2 for torch.export.load")
    input: InputChoice = setting(
        "auto",
        "images as they enter: uint8 [B, H, W, 3]; or floats [B, 3, H, W] from 0 to 255 (raw255), from 0 to 1 (unit), "
        "or normalised already (imagenet); auto takes what --for gives, else uint8",
    )
    for_: ToolChoice = setting("any", "a tool that is to run the file, with what it reads beside it (docs/tools.md)")
    precision: GraphPrecision = setting("fp32", "arithmetic of an ONNX file; fp16 and int8 are evaluated beside fp32")
    out: str = setting("", "folder for the file and its contract (default: export in the run directory)", metavar="DIR")
    checkpoint: CheckpointName = setting("last", "which weights: the last, or the best on held-out identities")
    verify: bool = setting(
        False, "compare its features with the model's on test images, and write nothing if they differ"
    )
    images: int = setting(200, "test images to compare, 200 or more")
    allow_vacuous: bool = setting(False, "write the file even if different people are too alike for a proof")
    allow_few: bool = setting(False, "accept a proof on fewer than 200 test images; the contract says so")
    cache: str = cache()
    json: bool = as_json("the contract")


def export(options: ExportOptions) -> int:
    """Write a trained model as one file that runs without jointreid, and prove that it computes the same features."""
    from jointreid.export.run import export_run

    data = RunConfig().replace(**options.settings).data
    exported = export_run(
        options.run,
        options.out or None,
        file_format=options.format,
        kind=options.input,
        precision=options.precision,
        checkpoint=options.checkpoint,
        verify=options.verify,
        allow_vacuous=options.allow_vacuous,
        allow_few=options.allow_few,
        data=data,
        cache=options.cache,
        images=options.images,
        tool=options.for_,
        on_step=lambda line: print(line, file=sys.stderr),
    )
    contract = exported.contract
    if options.json:
        print_json(contract.to_dict())
        return 0
    size = exported.path.stat().st_size / 1e6
    print(f"Wrote {exported.path}: {size:.1f} MB, {exported.nodes} nodes, in {exported.seconds:.0f} s of CPU time.")
    print(
        f"It takes images [{', '.join(map(str, contract.shape()))}], RGB, {contract.form.words}, resized by Pillow "
        f"({contract.interpolation}), and returns features of {contract.dims} numbers and length 1."
    )
    for path in exported.companions:
        print(f"For {options.for_}: {path}")
    for domain, values in (contract.accuracy or {}).items():
        print(f"  {domain}: mAP {values['exported']:.3f} in {contract.precision}, {values['fp32']:.3f} in fp32")
    if contract.proof is None:
        print("Nothing was compared with the model: add --verify.")
    elif contract.proof["too_few"]:
        print(f"The proof has only {contract.proof['images']} images; expected 200 or more.")
    return 0
