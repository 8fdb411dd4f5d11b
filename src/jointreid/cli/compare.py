"""`jointreid compare`."""

from dataclasses import dataclass

from jointreid.cli.options import argument, as_json
from jointreid.cli.output import print_json


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Options of `jointreid compare`."""

    run_a: str = argument("RUN_A", "a run directory, evaluated")
    run_b: str = argument("RUN_B", "another; differences are B minus A")
    json: bool = as_json("the comparison")


def compare(options: CompareOptions) -> int:
    """Compare two runs: their settings, and differences in accuracy per domain with their uncertainty."""
    from jointreid.analysis.compare import compare, render

    comparison = compare(options.run_a, options.run_b)
    print_json(comparison.to_dict()) if options.json else print(render(comparison))
    return 0
