"""A contact sheet: a few people of each domain, seen by several cameras."""

import io
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jointreid.data.records import Domain, ImageRecord

_PEOPLE, _SHOTS = 6, 6  # of a domain, of each of them
_ABREAST = 2  # people in a row
_GAP, _TITLE = 2, 22  # pixels


def contact_sheet(domains: Sequence[Domain]) -> bytes:
    """Return a JPEG file with a few train identities of each domain, alternating their cameras.

    Args:
        domains: the domains; their images exist and have the same size.
    """
    with Image.open(domains[0].train[0].path) as first:
        wide, high = first.width + _GAP, first.height + _GAP
    person = _SHOTS * wide + 4 * _GAP
    rows = -(-_PEOPLE // _ABREAST)
    sheet = Image.new("RGB", (_ABREAST * person, len(domains) * (_TITLE + rows * high)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for index, domain in enumerate(domains):
        top = index * (_TITLE + rows * high)
        people = _some_people(domain)
        cameras = f"{len(domain.cameras)} camera{'s' * (len(domain.cameras) > 1)}"
        draw.text((2, top + 4), f"{domain.name}: {cameras}, {len(people)} people", "black", font)
        for number, shots in enumerate(people):
            row, column = divmod(number, _ABREAST)
            for place, record in enumerate(shots):
                with Image.open(record.path) as image:
                    sheet.paste(image, (column * person + place * wide, top + _TITLE + row * high))
    encoded = io.BytesIO()
    sheet.save(encoded, "JPEG", quality=88)
    return encoded.getvalue()


def _some_people(domain: Domain) -> list[list[ImageRecord]]:
    """Return shots of people with many images, alternating their cameras."""
    of: dict[str, list[ImageRecord]] = defaultdict(list)
    for record in domain.train:
        of[record.pid].append(record)
    often = [records for records in of.values() if len(records) >= _SHOTS]
    rest = sorted((records for records in of.values() if len(records) < _SHOTS), key=len, reverse=True)
    return [_in_turn(records)[:_SHOTS] for records in (often + rest)[:_PEOPLE]]


def _in_turn(records: Sequence[ImageRecord]) -> list[ImageRecord]:
    seen: dict[int, int] = defaultdict(int)
    turns = []
    for record in records:
        turns.append(seen[record.camid])
        seen[record.camid] += 1
    order = np.lexsort(([record.camid for record in records], turns))
    return [records[index] for index in order]
