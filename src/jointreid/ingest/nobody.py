"""Names that may mean that no known person is shown: `unknown`, `none`, `-1`, `background`."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from jointreid.ingest.images import Omissions, PersonImage
from jointreid.ingest.meaning import NOBODY
from jointreid.messages.errors import JointreidError, no_such
from jointreid.messages.listing import first_few

_KINDS = ("junk", "distractor", "person")


def read_choices(texts: Iterable[str]) -> dict[str, str]:
    """Return the kind of each name in lower case, from texts such as `unknown=distractor`.

    Raises:
        JointreidError: a text of another form, or a kind other than junk, distractor and person.
    """
    choices: dict[str, str] = {}
    for text in texts:
        name, equals, kind = text.rpartition("=")
        if not equals or not name:
            raise JointreidError(f"--nobody {text}: expected NAME=KIND, KIND one of {', '.join(_KINDS)}")
        if kind not in _KINDS:
            raise JointreidError(f"--nobody {text}: {no_such('kind', kind, _KINDS)}")
        choices[name.lower()] = kind
    return choices


def set_nobody_apart(
    images: Sequence[PersonImage], choices: dict[str, str], omissions: Omissions
) -> tuple[list[PersonImage], tuple[str, ...]]:
    """Leave out images of nobody, or make distractors of them, and say in one paragraph what was done.

    Args:
        images: images with their identities.
        choices: name in lower case -> junk, distractor or person; other names are taken as in `NOBODY`.
        omissions: counts what is left out.
    """
    kept: list[PersonImage] = []
    taken: Counter[tuple[str, str]] = Counter()
    for image in images:
        pid = image.record.pid
        kind = choices.get(pid.lower()) or NOBODY.get(pid.lower(), "")
        if kind and pid.lower() not in choices:
            taken[pid, kind] += 1
        if kind == "junk":
            omissions.add("junk images (pid -1)" if pid == "-1" else f"images named {pid}, taken for junk", image.key)
        elif kind == "distractor" and image.split in ("train", "query"):
            omissions.add(f"images named {pid}, taken for distractors, outside the gallery", image.key)
        elif kind == "distractor":
            kept.append(image._replace(record=replace(image.record, distractor=True)))
        elif kind == "person" and pid.lower() in NOBODY:
            # A table cannot hold such a name as an identity.
            kept.append(image._replace(record=replace(image.record, pid=f"person {pid}")))
        else:
            kept.append(image)
    if not taken:
        return kept, ()
    named = [f"{pid} ({count:,} images) as {kind}" for (pid, kind), count in sorted(taken.items())]
    example = sorted(taken)[0][0]
    return kept, (
        f"names that may mean nobody were taken so: {first_few(named)}. Junk is left out, a distractor is a wrong "
        f"answer in the gallery. To choose, pass --nobody NAME=KIND, as in --nobody {example}=person",
    )
