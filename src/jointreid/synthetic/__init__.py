"""Synthetic people: several domains with their own fashions and cameras, drawn from a seed; nobody is shown."""

from jointreid.synthetic.presets import PRESETS
from jointreid.synthetic.write import synthesise

__all__ = ["PRESETS", "synthesise"]
