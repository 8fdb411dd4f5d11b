"""Simulate how often the interval of a comparison holds the true difference, where seeds alone differ.

PYTHONPATH=benchmarks:src python -m evidence.coverage

Each trial draws the gains of a few paired seeds from a normal distribution around 0, and resamples them as
`jointreid.analysis.resampling` does. Few seeds understate how much seeds differ, so the interval is too short.
"""

import argparse
import sys

import numpy as np

TRIALS, RESAMPLES = 4_000, 1_000


def coverage(seeds: int, trials: int = TRIALS) -> float:
    """Return the share of trials in which the 95 % interval holds the true difference."""
    generator = np.random.default_rng(0)
    weights = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES) / seeds
    gains = generator.normal(size=(trials, seeds))
    low, high = np.quantile(gains @ weights.T, (0.025, 0.975), axis=1)
    return float(np.mean((low < 0) & (high > 0)))


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for seeds in (2, 3, 5, 10):
        print(f"{seeds:2d} seeds: {100 * coverage(seeds):.0f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
