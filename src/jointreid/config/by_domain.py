"""What settings say of single data sets."""

from collections.abc import Callable
from typing import Any

from jointreid.config.run import RunConfig

# (section, field, separator after the name of the data set); a name may hold the separator where it comes last.
_FIELDS = (("data", "places", "="), ("data", "leave_out_cameras", ":"), ("sampler", "domain_weights", "="))
BY_DOMAIN = tuple(f"{section}.{field}" for section, field, _ in _FIELDS)


def keep_domains(config: RunConfig, keep: Callable[[str], bool]) -> RunConfig:
    """Return the settings with what they say of some data sets alone.

    Args:
        config: the settings.
        keep: whether what is said of a data set, given its name, stays.
    """
    sections: dict[str, dict[str, Any]] = {}
    for section, field, separator in _FIELDS:
        texts = getattr(getattr(config, section), field)
        kept = tuple(text for text in texts if keep(_name(text, field, separator)))
        sections.setdefault(section, {})[field] = kept
    return config.replace(**sections)


def _name(text: str, field: str, separator: str) -> str:
    return text.partition(separator)[0] if field == "places" else text.rpartition(separator)[0]
