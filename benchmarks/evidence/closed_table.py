"""The table of what was left out of training: a domain, a camera of another, and the domains that stayed whole."""

from collections.abc import Iterator
from statistics import fmean

from evidence.arms import ARMS, Start
from evidence.compared import gain, metrics, records_of
from evidence.data import DATASETS
from evidence.figures import paragraph, with_interval
from evidence.records import RecordStore
from evidence.tasks import arms_of
from jointreid.messages.tables import text_table
from jointreid.retrieval.results import percent


def other_domains(dataset: str) -> tuple[str, ...]:
    """Return the domains of which no train image was left out."""
    data = DATASETS[dataset]
    return tuple(name for name in data.domains if name not in (data.closed_domain, data.closed_camera[0]))


def closed_table(store: RecordStore, dataset: str, start: Start) -> Iterator[str]:
    """Yield the section of the table, or nothing if the plain network was not trained so."""
    plain = records_of(store, dataset, start, "closed", "static")
    if not plain:
        return
    data = DATASETS[dataset]
    camera_domain, camid = data.closed_camera
    columns: list[tuple[str, tuple[str, ...], int | None]] = [
        (data.closed_domain, (data.closed_domain,), None),
        (f"camera {camid} of {camera_domain}", (camera_domain,), camid),
        (f"other {len(other_domains(dataset))} domains", other_domains(dataset), None),
    ]
    rows = []
    for arm in arms_of(start):
        records = records_of(store, dataset, start, "closed", arm)
        if not records:
            continue
        row = [ARMS[arm].name]
        for _, domains, camera in columns:
            row.append(percent(fmean(metrics(records, store, dataset, domain, camera).mean for domain in domains)))
            row.append("" if arm == "static" else with_interval(gain(plain, records, store, domains, camera)[0]))
        rows.append(row)
    head = ["arm", *(cell for name, _, _ in columns for cell in (name, "against static"))]
    yield f"### Trained without the domain {data.closed_domain} and without camera {camid} of {camera_domain}"
    yield ""
    yield paragraph(
        "One short training of each arm (seed 0), without both at once: that the camera is missing may change what a "
        "network gains on the domain, and the reverse.",
        f"The queries of that camera are searched among all test images of {camera_domain}; of the other domains no "
        "train image was left out.",
        "True labels: of what was left out that arm is told nothing, on the domain neither domain nor camera, on the "
        "camera only the domain.",
    )
    yield ""
    yield text_table([head, *rows], "l" + "r" * (len(head) - 1))
    yield ""
