"""Write docs/results.md from what the benchmarks left under results/.

    python benchmarks/write_results.py

Nothing on that page is typed by hand: each section names the command, the machine and the commit of its figures.
"""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results.md"
TITLES = {
    "operators": "The generated convolution beside the dense 3x3 that it replaces",
    "model": "The whole network beside ResNet-50",
    "train_step": "A step of training",
    "pipeline": "Images, from files to batches",
    "ranking": "Ranking a gallery, and re-ranking",
    "export": "Exported BoT-DCSD and recipe joint beside exported BoT, in onnxruntime",
    "gallery": "Searching a gallery",
    "serve": "Clients of `jointreid serve` at once",
}
DEVICES = {"cpu": "on a CPU", "gpu": "on a GPU"}
HEAD = """# Speed

Written by `python benchmarks/write_results.py` from the files under `results/`. Ratios are medians over rounds in which
all candidates took turns; images per second are medians. The targets were set before the measurement: PASS where one is
reached, else MISSED. The load is the number of processes that wanted a core at the end, including the benchmark: above
the number of cores, others were running too, and images per second are too low. `make bench` measures again on your
machine.
"""


def page() -> str:
    """Return the page made from the files under results/."""
    parts = [HEAD]
    for name, title in TITLES.items():
        for device, where in DEVICES.items():
            file = ROOT / "results" / f"{name}_{device}.json"
            if file.is_file():
                parts.append(section(f"{title}, {where}", json.loads(file.read_text(encoding="utf-8"))))
    if (ROOT / "results" / "growth_cpu.json").is_file():
        report = json.loads((ROOT / "results" / "growth_cpu.json").read_text(encoding="utf-8"))
        parts += [
            "## How the cost grows",
            "",
            "![Milliseconds by batch, image size, identities, gallery](images/growth.png)",
        ]
        parts += ["", made_by(report), ""]
    return "\n".join(parts)


def section(title: str, report: dict[str, Any]) -> str:
    """Return one benchmark's part: the targets, and where they were measured."""
    title += f", {report['images']:,} images" if "images" in report else ""
    lines = [f"## {title}", "", "| | measured | target | |", "| --- | --: | --: | --- |"]
    lines += [
        f"| {what} | {figure(target['measured'])} | {sign} {wanted} | {'PASS' if target['passed'] else 'MISSED'} |"
        for target in report["targets"]
        for what, sign, wanted in [target["target"].rsplit(" ", 2)]
    ]
    told = {target["target"].rsplit(" ", 2)[0] for target in report["targets"]}
    figures = [pair for pair in report.get("figures", {}).items() if pair[0] not in told]
    lines += [f"| {what.replace('rank1', 'Rank-1')} | {figure(value)} | | |" for what, value in figures]
    return "\n".join([*lines, "", made_by(report), ""])


def figure(value: float) -> str:
    """Write a count as it is, another number with three digits or more."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def made_by(report: dict[str, Any]) -> str:
    """Return where figures come from, in a line."""
    packages = (
        "torch",
        "numba",
        "triton",
        "torchvision",
        "pillow",
        "onnxruntime",
        "lancedb",
        "pyarrow",
        "fastapi",
        "uvicorn",
    )
    versions = ", ".join(f"{key} {report[key]}" for key in packages if key in report)
    on_cpu = report["machine"]
    if threads := report.get("threads"):
        on_cpu += f", {threads} thread{'' if threads == 1 else 's'}"
    machine = report["gpu"] if report.get("device") == "cuda" else on_cpu
    if "load" in report:
        machine += f", load {report['load']}"
    return f"`{report['command']}`: {machine}; {versions}; commit {report['commit'][:12]}."


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Wrote {PAGE}")
