"""Faults of image files: damaged, in unusual formats, badly named, or not files at all."""

import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from jointreid.training.train import train
from tests.command_lines import read_train_options
from tests.fault_table.judge import SETTINGS
from tests.fault_table.kit import TARGET, CannotBeMade, Fault, Handled, Pixels, Refused, Sandbox, picture, save

Damage = Callable[[Sandbox], None]

_SHOWN = picture()
_IMAGE = Image.fromarray(_SHOWN)
_SEEN = Handled(pixels={TARGET: _SHOWN})
_OTHER = picture("another frame")


def _encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _content(data: bytes) -> Damage:
    def damage(sandbox: Sandbox) -> None:
        sandbox.target.write_bytes(data)

    return damage


def _as(image: Image.Image, format: str, **options: Any) -> Damage:
    return _content(_encoded(image, format, **options))


def _named(name: str) -> Damage:
    return lambda sandbox: sandbox.rename(name)


def _quoted(name: str) -> Damage:
    """Give the target a name that needs quotes in the table."""

    def damage(sandbox: Sandbox) -> None:
        sandbox.target.rename(sandbox.data / name)
        sandbox.edit(TARGET, '"' + name.replace('"', '""') + '"')

    return damage


def _cut(data: bytes, share: float) -> Damage:
    return _content(data[: int(len(data) * share)])


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(header: bytes, rows: bytes) -> bytes:
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _deep_colour_png() -> bytes:
    """Return a PNG with 16 bits per channel, which Pillow cannot write."""
    height, width, _ = _SHOWN.shape
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in _SHOWN)
    return _png(struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0), rows)


def _bomb_jpeg() -> bytes:
    """Return a JPEG whose header says 65,500 x 65,500 pixels."""
    data = bytearray(_encoded(_IMAGE, "JPEG"))
    frame = data.index(b"\xff\xc0") + 5
    data[frame : frame + 4] = struct.pack(">HH", 65_500, 65_500)
    return bytes(data)


def _bomb_gif() -> bytes:
    """Return a GIF whose header, and that of its one frame, say 65,535 x 65,535 pixels."""
    return b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x44\x01\0;"


def _bomb_tiff() -> bytes:
    """Return a TIFF whose header says 65,500 x 65,500 pixels."""
    tags = [(256, 65_500), (257, 65_500), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 65_500), (279, 1)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(tags)) + entries + b"\0" * 4


def _see_through() -> Image.Image:
    """Return a PNG with a palette of two colours, of which the second, the right half, is transparent."""
    image = Image.new("P", (12, 24), 0)
    image.putpalette([10, 120, 200, 200, 0, 0])
    image.paste(1, (6, 0, 12, 24))
    return image


def _half_white() -> Pixels:
    pixels = np.full((24, 12, 3), 255, np.uint8)
    pixels[:, :6] = (10, 120, 200)
    return pixels


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _spoilt_exif() -> bytes:
    """Return EXIF data whose resolution is a text, which Pillow reads but cannot write."""
    exif = _exif(6)
    exif[0x011A] = 72.0
    data = bytearray(_encoded(Image.fromarray(np.rot90(_SHOWN).copy()), "JPEG", quality=95, subsampling=0, exif=exif))
    data[data.index(b"\x01\x1a\x00\x05") + 3] = 2  # tag 0x011A, from type RATIONAL to ASCII
    return bytes(data)


# Things that are not files


def _instead(make: Callable[[Sandbox], None]) -> Damage:
    """Replace the target by something else."""

    def damage(sandbox: Sandbox) -> None:
        sandbox.target.unlink()
        make(sandbox)

    return damage


def _link_to(target: str) -> Damage:
    return _instead(lambda sandbox: sandbox.target.symlink_to(target))


def _loop(sandbox: Sandbox) -> None:
    sandbox.target.symlink_to("other")
    (sandbox.target.parent / "other").symlink_to(sandbox.target.name)


def _link_out(sandbox: Sandbox) -> None:
    outside = sandbox.root / "elsewhere"
    outside.mkdir()
    save(outside / "image.jpg", _SHOWN)
    sandbox.target.symlink_to(outside / "image.jpg")


def _unreadable(sandbox: Sandbox) -> None:
    sandbox.target.chmod(0)
    if os.access(sandbox.target, os.R_OK):
        raise CannotBeMade("this user may read every file")


def _unreadable_folder(sandbox: Sandbox) -> None:
    folder = sandbox.data / "locked"
    sandbox.rename("locked/image.jpg")
    folder.chmod(0)
    if os.access(folder / "image.jpg", os.R_OK):
        raise CannotBeMade("this user may read every folder")


def _ask_for_box(cells: str) -> Damage:
    """Give every image a box, and the target this one."""

    def damage(sandbox: Sandbox) -> None:
        header, *rows = sandbox.table.read_text().splitlines()
        boxed = [f"{row},{cells if TARGET in row else '0,0,12,24'}" for row in rows]
        sandbox.table.write_text("\n".join([f"{header},x,y,w,h", *boxed]) + "\n")

    return damage


def _change_under_the_cache(sandbox: Sandbox) -> None:
    """Decode the image into the cache, then replace it by another with as many bytes."""
    sandbox.target.write_bytes(_encoded(Image.fromarray(_OTHER), "BMP"))
    config = read_train_options(["--manifest", str(sandbox.table), *SETTINGS, "--data.cache", str(sandbox.cache)])
    train(config.replace(train={"out": str(sandbox.root / "before")}), Console(quiet=True))
    size = sandbox.target.stat().st_size
    sandbox.target.write_bytes(_encoded(_IMAGE, "BMP"))
    assert sandbox.target.stat().st_size == size


def _remove(sandbox: Sandbox) -> None:
    sandbox.target.unlink()


def _cut_late(sandbox: Sandbox) -> None:
    sandbox.target.write_bytes(sandbox.target.read_bytes()[:-20])


def _nothing(sandbox: Sandbox) -> None:
    """Change nothing yet: this fault happens after the check."""


_JPEG = _encoded(_IMAGE, "JPEG", quality=95)
_PNG = _encoded(_IMAGE, "PNG")
_FRAMES = {"save_all": True, "append_images": [Image.fromarray(_OTHER)]}
_GREY = np.repeat(np.linspace(0, 65_535, 24).astype(np.uint16)[:, None], 12, axis=1)
_GREY_SEEN = np.repeat((_GREY // 257).astype(np.uint8)[..., None], 3, axis=2)

DAMAGED = [
    Fault("a JPEG cut short", _cut(_JPEG, 0.97), Refused(r"shop/train-1-0\.jpg: .*truncated")),
    Fault("a JPEG with its header only", _cut(_JPEG, 0.05), Refused(r"shop/train-1-0\.jpg: Truncated File Read")),
    Fault("a PNG cut short", _cut(_PNG, 0.7), Refused(r"shop/train-1-0\.jpg: .*(truncated|broken|incomplete)")),
    Fault(
        "a bit turned over in a PNG",
        _content(_PNG[:60] + bytes([_PNG[60] ^ 8]) + _PNG[61:]),
        Refused(r"shop/train-1-0\.jpg: .*broken"),
    ),
    Fault("a file without bytes", _content(b""), Refused(r"shop/train-1-0\.jpg: the file is empty")),
    Fault("zeros in the place of an image", _content(bytes(900)), Refused(r"shop/train-1-0\.jpg: not an image")),
    Fault("a text called .jpg", _content(b"<html>404</html>"), Refused(r"shop/train-1-0\.jpg: not an image of format")),
    Fault("PostScript called .jpg", _content(b"%!PS-Adobe-3.0 EPSF-3.0\n"), Refused(r"train-1-0\.jpg: not an image")),
    Fault(
        "a cut JPEG, to be skipped",
        _cut(_JPEG, 0.97),
        Handled(r"1 images cannot be read \(.*train-1-0\.jpg: .*truncated.*skipped", train=(7, 4, 4), trained=True),
        options=("--skip-unreadable",),
    ),
    Fault("a PNG of 60,000 x 60,000", _content(_png(struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0), b"")),
          Refused(r"shop/train-1-0\.jpg: .*decompression bomb")),
    Fault("a PNG of 9,000 x 9,000", _content(_png(struct.pack(">IIBBBBB", 9_000, 9_000, 8, 2, 0, 0, 0), b"")),
          Refused(r"shop/train-1-0\.jpg: 9000 x 9000 pixels are more than")),
    Fault("a JPEG of 65,500 x 65,500", _content(_bomb_jpeg()), Refused(r"train-1-0\.jpg: .*decompression bomb")),
    Fault("a GIF of 65,535 x 65,535", _content(_bomb_gif()), Refused(r"train-1-0\.jpg: .*decompression bomb")),
    Fault("a TIFF of 65,500 x 65,500", _content(_bomb_tiff()), Refused(r"train-1-0\.jpg: .*decompression bomb")),
    Fault("an image deleted", _remove, Refused(r"shop/train-1-0\.jpg: no such file")),
    Fault("an image deleted after the check", _nothing,
          Refused(r"train-1-0\.jpg: (no such file|.*No such file)", by="train"), late=_remove),
    Fault("an image cut after the check", _nothing,
          Refused(r"train-1-0\.jpg: .*truncated", by="train"), late=_cut_late),
    Fault("an image changed under the cache", _change_under_the_cache,
          Handled(pixels={TARGET: _SHOWN}, trained=True)),
]  # fmt: skip

ODD = [
    Fault("a CMYK JPEG", _as(_IMAGE.convert("CMYK"), "JPEG", quality=95, subsampling=0), _SEEN),
    Fault("a grey PNG of 16 bits", _as(Image.fromarray(_GREY), "PNG"), Handled(pixels={TARGET: _GREY_SEEN})),
    Fault("a colour PNG of 16 bits", _content(_deep_colour_png()), _SEEN),
    Fault("a grey TIFF of fractions", _as(Image.new("F", (12, 24), 0.5), "TIFF"),
          Refused(r"shop/train-1-0\.jpg: grey values are fractions.*8 or 16 bits")),
    Fault("a palette PNG with a transparent colour", _as(_see_through(), "PNG", transparency=1),
          Handled(pixels={TARGET: _half_white()})),
    Fault("an animated GIF", _as(_see_through(), "GIF", save_all=True, append_images=[Image.new("P", (12, 24), 1)]),
          Handled(pixels={TARGET: np.where(_half_white() == 255, (200, 0, 0), _half_white()).astype(np.uint8)})),
    Fault("an animated WebP", _as(_IMAGE, "WEBP", lossless=True, **_FRAMES), _SEEN),
    Fault("an animated PNG", _as(_IMAGE, "PNG", **_FRAMES), _SEEN),
    *(
        Fault(f"a JPEG lying {words}, as its EXIF says", _as(Image.fromarray(turned), "JPEG",
              quality=95, subsampling=0, exif=_exif(k)), _SEEN)
        for k, words, turned in [
            (6, "on its side", np.rot90(_SHOWN).copy()),
            (8, "on its other side", np.rot90(_SHOWN, -1).copy()),
            (3, "on its head", np.rot90(_SHOWN, 2).copy()),
            (2, "mirrored", _SHOWN[:, ::-1].copy()),
        ]
    ),
    Fault("a JPEG on its side with EXIF of a wrong type", _content(_spoilt_exif()), _SEEN),
    Fault("a JPEG with EXIF that is noise", _as(_IMAGE, "JPEG", quality=95, subsampling=0, exif=b"Exif\0\0noise"),
          _SEEN),
    Fault("a PNG called .jpg", _content(_PNG), _SEEN),
    Fault("bytes after the end of a JPEG", _content(_encoded(_IMAGE, "JPEG", quality=95, subsampling=0) + b"\0" * 99),
          _SEEN),
    Fault("an image of one pixel", _as(Image.new("RGB", (1, 1), "red"), "PNG"),
          Handled(pixels={TARGET: np.array([[[255, 0, 0]]], np.uint8)})),
    Fault("a box out of the image", _ask_for_box("4,0,12,24"),
          Refused(r"shop/train-1-0\.jpg: the box \(4, 0, 12, 24\) reaches to 16, 24, but the image is 12 x 24")),
    Fault("an empty box", _ask_for_box("4,0,0,24"), Refused(r"table\.csv, row 2, column w: '0'; .*>= 1")),
    Fault("half a box", _ask_for_box("4,0,,24"), Refused(r"table\.csv, row 2, column w: ''; expected a finite number")),
]  # fmt: skip

NAMED = [
    Fault("a name of 250 bytes, most of two each", _named("shop/" + "ü" * 123 + ".jpg"), Handled()),
    Fault("a name of several scripts", _named("商店/Ж🙂ع.jpg"), Handled(trained=True)),
    Fault("spaces inside a name", _named("shop/a  b (1).jpg"), Handled()),
    Fault("commas and quotes in a name", _quoted('shop/a,"b",c.jpg'), Handled()),
    Fault("a line end in a name", _quoted("shop/a\nb\r.jpg"), Handled()),
    Fault("marks of a terminal in a name", _named("shop/a\x1b[31m\x07.jpg"), Handled(trained=True)),
    Fault("a name without an ending", _named("shop/image"), Handled()),
    Fault("a link to nothing", _link_to("gone.jpg"), Refused(r"shop/train-1-0\.jpg: no such file")),
    Fault("a link out of the folder", _instead(_link_out), _SEEN),
    Fault("links in a circle", _instead(_loop), Refused(r"shop/train-1-0\.jpg: Too many levels of symbolic links")),
    Fault("a folder called as an image", _instead(lambda sandbox: sandbox.target.mkdir()),
          Refused(r"shop/train-1-0\.jpg: Is a directory")),
    Fault("a pipe called as an image", _instead(lambda sandbox: os.mkfifo(sandbox.target)),
          Refused(r"shop/train-1-0\.jpg: a pipe or device")),
    Fault("a device linked to as an image", _link_to("/dev/zero"), Refused(r"train-1-0\.jpg: a pipe or device")),
    Fault("an image that may not be read", _unreadable, Refused(r"shop/train-1-0\.jpg: Permission denied")),
    Fault("a folder that may not be looked into", _unreadable_folder, Refused(r"locked/image\.jpg: Permission denied")),
]  # fmt: skip
