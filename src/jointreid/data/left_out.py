"""Cameras left out of training, to see how a model does on one that it has not seen.

Their images stay in query and gallery. A whole data set is left out by not naming it among the sources of the training,
and naming it for the evaluation.
"""

from collections.abc import Sequence
from dataclasses import replace

from jointreid.config import DataConfig
from jointreid.data.records import Domain
from jointreid.messages.errors import no_such


def without_cameras(domain: Domain, data: DataConfig) -> Domain:
    """Return the domain without the train images of the cameras that `data.leave_out_cameras` names."""
    left_out = _left_out(domain.name, data)
    if not left_out:
        return domain
    return replace(domain, train=tuple(record for record in domain.train if record.camid not in left_out))


def with_train_cameras(domain: Domain, data: DataConfig) -> Domain:
    """Return the domain to join for training: left-out cameras get no class, and so nor do images to test on."""
    left_out = _left_out(domain.name, data)
    if not left_out:
        return domain
    cameras = tuple(camid for camid in domain.cameras if camid not in left_out)
    return replace(domain, query=(), gallery=(), cameras=cameras)


def unknown_cameras(domains: Sequence[Domain], data: DataConfig) -> list[str]:
    """Return what is wrong with `data.leave_out_cameras`: names of no data set, and cameras that it has not."""
    cameras = {domain.name: domain.cameras for domain in domains}
    problems = []
    for text in data.leave_out_cameras:
        name, _, camid = text.rpartition(":")
        if name not in cameras:
            problems.append(f"data.leave_out_cameras {text}: {no_such('domain', name, cameras)}")
        elif int(camid) not in cameras[name]:
            known = ", ".join(map(str, cameras[name]))
            problems.append(f"data.leave_out_cameras {text}: {name} has no camera {camid}; it has {known}")
    return problems


def _left_out(name: str, data: DataConfig) -> set[int]:
    pairs = (text.rpartition(":") for text in data.leave_out_cameras)
    return {int(camid) for of, _, camid in pairs if of == name}
