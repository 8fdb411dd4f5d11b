"""Cameras as the settings change them: shared by data sets of one place, or left out of training.

A camera is left out to see how a model does on one that it has not seen. Its images stay in query and gallery. A whole
data set is left out by not naming it among the sources of the training, and naming it for the evaluation.
"""

from collections.abc import Sequence
from dataclasses import replace

from jointreid.config import DataConfig
from jointreid.data.records import Domain
from jointreid.messages.errors import JointreidError, no_such


def with_settings(domain: Domain, data: DataConfig) -> Domain:
    """Return the domain in the place that `data.places` names, without the train images of left-out cameras.

    Raises:
        JointreidError: it is to share cameras with others, and has names for them.
    """
    places = dict(text.partition("=")[::2] for text in data.places)
    left_out = _left_out(domain.name, data)
    if domain.name in places and domain.names_cameras:
        raise JointreidError(
            f"data.places gives {domain.name} the place {places[domain.name]}, in which data sets share cameras of "
            f"equal number, but {domain.source or 'its table'} names its cameras; write numbers, the same for the same "
            "camera"
        )
    if domain.name in places:
        domain = replace(domain, place=places[domain.name])
    if left_out:
        domain = replace(domain, train=tuple(record for record in domain.train if record.camid not in left_out))
    return domain


def with_train_cameras(domain: Domain, data: DataConfig) -> Domain:
    """Return the domain to join for training: left-out cameras get no class, and so nor do images to test on."""
    left_out = _left_out(domain.name, data)
    if not left_out:
        return domain
    cameras = tuple(camid for camid in domain.cameras if camid not in left_out)
    return replace(domain, query=(), gallery=(), cameras=cameras)


def unknown_cameras(domains: Sequence[Domain], data: DataConfig) -> list[str]:
    """Return what is wrong with both settings: names of no data set, and cameras that it has not."""
    cameras = {domain.name: domain.cameras for domain in domains}
    placed = [text.partition("=")[0] for text in data.places]
    problems = [f"data.places: {no_such('domain', name, cameras)}" for name in placed if name not in cameras]
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
