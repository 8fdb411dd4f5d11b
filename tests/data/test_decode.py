"""Every way an image can be stored gives the right pixels, and every damaged one an error."""

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from jointreid.data.decode import box_outside, read_image, resize_image, scan_images, to_rgb
from jointreid.data.records import ImageRecord
from jointreid.messages.errors import JointreidError

EXIF_ORIENTATION = 0x0112


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(pixels: NDArray[np.uint8], format: str, **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def grey(values: list[int]) -> NDArray[np.uint8]:
    """One row of grey pixels as [1, W, 3]."""
    return np.repeat(np.array([values], np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm", "a.gif.png", "jpeg-named.jpg"])
def test_rgb_pixels_come_back_as_stored(tmp_path: Path, name: str) -> None:
    pixels = noise(7, 5)
    path = tmp_path / name
    # The content decides, not the name.
    path.write_bytes(encode(pixels, {".bmp": "BMP", ".tif": "TIFF", ".ppm": "PPM"}.get(path.suffix, "PNG")))
    for given in (path, str(path), ImageRecord(path, "1", 0)):
        found = read_image(given)
        assert found.dtype == np.uint8
        assert found.flags.writeable
        np.testing.assert_array_equal(found, pixels)


def test_jpeg_is_close(tmp_path: Path) -> None:
    ramp = np.repeat(np.arange(0, 240, 10, dtype=np.uint8)[:, None, None], 3, axis=2).repeat(16, axis=1)
    (tmp_path / "a.jpg").write_bytes(encode(ramp, "JPEG", quality=95))
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - ramp).max() <= 4


def test_one_bit_palette_and_grey(tmp_path: Path) -> None:
    bits = Image.fromarray(np.array([[0, 255, 255]], np.uint8)).convert("1")
    np.testing.assert_array_equal(read_image(save(tmp_path / "1.png", bits)), grey([0, 255, 255]))
    np.testing.assert_array_equal(
        read_image(save(tmp_path / "l.png", Image.fromarray(np.array([[0, 7, 255]], np.uint8)))), grey([0, 7, 255])
    )
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 0])
    palette.putpixel((1, 0), 1)
    expected = np.array([[[10, 20, 30], [200, 100, 0]]], np.uint8)
    np.testing.assert_array_equal(read_image(save(tmp_path / "p.png", palette)), expected)


def test_cmyk(tmp_path: Path) -> None:
    # No ink is white, full black ink is black, full cyan takes the red away.
    for ink, expected in {
        (0, 0, 0, 0): (255, 255, 255),
        (0, 0, 0, 255): (0, 0, 0),
        (255, 0, 0, 0): (0, 255, 255),
    }.items():
        path = save(tmp_path / "c.tif", Image.new("CMYK", (3, 2), ink))
        np.testing.assert_array_equal(read_image(path), np.full((2, 3, 3), expected, np.uint8))


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (3, 1), (200, 0, 0, 255))
    image.putpixel((1, 0), (200, 0, 0, 0))
    image.putpixel((2, 0), (0, 0, 0, 128))
    found = read_image(save(tmp_path / "a.png", image))
    np.testing.assert_array_equal(found, [[[200, 0, 0], [255, 255, 255], [127, 127, 127]]])
    paletted = Image.new("P", (1, 1), 0)
    paletted.putpalette([9, 9, 9])
    found = read_image(save(tmp_path / "p.png", paletted, transparency=0))
    np.testing.assert_array_equal(found, grey([255]))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 128, 129, 256, 32896, 65407, 65535]], np.uint16)
    found = read_image(save(tmp_path / name, Image.fromarray(values)))
    # Nearest to value * 255 / 65535 = value / 257.
    np.testing.assert_array_equal(found, grey([0, 0, 1, 1, 128, 255, 255]))


def test_an_image_in_memory_gives_the_pixels_of_its_file(tmp_path: Path) -> None:
    colours = Image.fromarray(noise(7, 5))
    transparent = colours.convert("RGBA")
    transparent.putalpha(Image.fromarray(noise(7, 5, seed=1)[..., 0]))
    deep = Image.fromarray(np.arange(0, 65535, 1900, dtype=np.uint16).reshape(5, 7))
    paletted = colours.convert("P")
    for image in (colours, colours.convert("1"), colours.convert("L"), paletted, transparent, deep):
        found = to_rgb(image)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, read_image(save(tmp_path / "a.png", image)))
    np.testing.assert_array_equal(to_rgb(colours.convert("CMYK")), np.asarray(colours))


def test_grey_without_a_known_range_is_refused(tmp_path: Path) -> None:
    fractions = save(tmp_path / "f.tif", Image.new("F", (2, 2), 0.5))
    with pytest.raises(JointreidError, match=r"f\.tif: .*8 or 16 bits"):
        read_image(fractions)
    wide = save(tmp_path / "i.tif", Image.new("I", (2, 2), 65536))
    with pytest.raises(JointreidError, match=r"i\.tif: grey values from 65536 to 65536"):
        read_image(wide)


@pytest.mark.parametrize(
    ("orientation", "turns", "mirrored"), [(1, 0, False), (3, 2, False), (6, 3, False), (2, 0, True)]
)
def test_exif_orientation_is_applied_before_the_box(
    tmp_path: Path, orientation: int, turns: int, mirrored: bool
) -> None:
    pixels = noise(4, 6)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    path = save(tmp_path / "a.png", Image.fromarray(pixels), exif=exif)
    upright = np.rot90(pixels[:, ::-1] if mirrored else pixels, turns)
    np.testing.assert_array_equal(read_image(path), upright)
    np.testing.assert_array_equal(read_image(path, box=(1, 2, 3, 1)), upright[2:3, 1:4])


def test_box_is_cut_out_or_refused(tmp_path: Path) -> None:
    pixels = noise(7, 5)
    path = tmp_path / "a.png"
    path.write_bytes(encode(pixels, "PNG"))
    np.testing.assert_array_equal(read_image(path, (2, 3, 3, 4)), pixels[3:7, 2:5])
    np.testing.assert_array_equal(read_image(ImageRecord(path, "1", 0, box=(0, 0, 5, 7))), pixels)
    with pytest.raises(JointreidError, match=r"a\.png: the box \(2, 3, 4, 4\) reaches to 6, 7, but .* 5 x 7 pixels"):
        read_image(path, (2, 3, 4, 4))
    assert box_outside((0, 0, 5, 7), 5, 7) == ""
    assert "reaches to 5, 8" in box_outside((0, 1, 5, 7), 5, 7)


@pytest.mark.parametrize(
    ("format", "options"), [("PNG", {}), ("JPEG", {"quality": 90}), ("JPEG", {"progressive": True}), ("BMP", {})]
)
def test_a_file_cut_anywhere_is_refused_or_whole(tmp_path: Path, format: str, options: dict[str, Any]) -> None:
    data = encode(noise(19, 13), format, **options)
    path = tmp_path / "a"
    path.write_bytes(data)
    whole = read_image(path)
    refused = []
    for length in range(0, len(data), 5):
        path.write_bytes(data[:length])
        try:
            # All pixels may be there when only the bytes that close the file are missing.
            np.testing.assert_array_equal(read_image(path), whole)
        except JointreidError as error:
            refused.append(str(error))
    assert len(refused) >= 0.95 * len(data) / 5
    assert all(message.startswith(f"{path}: ") for message in refused)


def test_a_cut_jpeg_passes_pillows_verify_but_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(noise(150, 150), "JPEG")[:2000])
    with Image.open(path) as image:
        image.verify()
    with pytest.raises(JointreidError, match=r"a\.jpg: .*truncated"):
        read_image(path)


def test_a_flipped_bit_in_a_png_is_noticed(tmp_path: Path) -> None:
    data = bytearray(encode(noise(40, 30), "PNG"))
    data[len(data) // 2] ^= 0x10
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(JointreidError, match="broken"):
        read_image(tmp_path / "a.png")


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""
    fields = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    idat = b"IDAT" + zlib.compress(b"")
    chunks = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (fields, idat))
    return b"\x89PNG\r\n\x1a\n" + chunks + end


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"not an image", "not an image of format JPEG, PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not an image of format"),
        (png_header(8200, 8200), "8200 x 8200 pixels are more than"),
        (png_header(60_000, 60_000), "decompression bomb"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "0001_c1s1_000001_00.jpg"
    path.write_bytes(content)
    with pytest.raises(JointreidError, match=words) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match=r"absent\.png: no such file"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(JointreidError, match="Is a directory"):
        read_image(tmp_path)


def test_resize() -> None:
    flat = np.full((9, 5, 3), (10, 20, 30), np.uint8)
    np.testing.assert_array_equal(resize_image(flat, 4, 7), np.full((4, 7, 3), (10, 20, 30), np.uint8))
    pixels = noise(9, 5)
    np.testing.assert_array_equal(resize_image(pixels, 9, 5, "bilinear"), pixels)
    # Halving with a triangle of width 2 weighs 1:3:3:1; at the border the weight outside is shared out (3:3:1).
    step = grey([0, 0, 80, 240])
    expected = [round(80 / 7), round((80 * 3 + 240 * 3) / 7)]
    np.testing.assert_array_equal(resize_image(step, 1, 2, "bilinear"), grey(expected))
    assert (resize_image(step, 1, 2, "bicubic") != resize_image(step, 1, 2, "bilinear")).any()


def test_scan_remembers_what_decodes_until_it_changes(tmp_path: Path) -> None:
    images, cache = tmp_path / "images", tmp_path / "new" / "cache"
    images.mkdir()
    good, other, bad = images / "good.png", images / "other.png", images / "bad.png"
    good.write_bytes(encode(noise(7, 5), "PNG"))
    other.write_bytes(encode(noise(3, 4), "PNG"))
    bad.write_bytes(good.read_bytes()[:60])
    paths = [good, bad, other, good, images / "absent.png"]
    first = scan_images(paths, cache, threads=2)
    assert (first.sizes, first.from_cache) == ({good: (5, 7), other: (4, 3)}, 0)
    assert list(first.unreadable) == [images / "absent.png", bad]
    assert first.unreadable[images / "absent.png"] == "no such file"

    # Unchanged files are not opened again; what failed is tried again.
    second = scan_images(paths, cache, threads=1)
    assert (second.sizes, second.unreadable, second.from_cache) == (first.sizes, first.unreadable, 2)

    # Other bytes are noticed, also with the same size and the old time of change put back.
    stamp = other.stat()
    other.write_bytes(b"x" * stamp.st_size)
    os.utime(other, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    third = scan_images(paths, cache, threads=1)
    assert (third.from_cache, list(third.unreadable)) == (1, [images / "absent.png", bad, other])
    stamp = good.stat()
    good.write_bytes(good.read_bytes()[:-30])
    os.utime(good, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert good in scan_images(paths, cache, threads=1).unreadable

    # What is mended is noticed, though failures had the same size before.
    bad.write_bytes(encode(noise(3, 4), "PNG"))
    assert scan_images([bad], cache, threads=1).sizes == {bad: (4, 3)}
    assert not list(cache.glob(".*"))


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"version": 0}', '{"version": 1}', '{"version": 1, "files": {"@": [BYTES, TIME]}}'],
)
def test_a_damaged_cache_is_made_anew(tmp_path: Path, content: str) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(encode(noise(7, 5), "PNG"))
    status = image.stat()
    content = content.replace("@", str(image)).replace("BYTES", str(status.st_size))
    (tmp_path / "readable.json").write_text(content.replace("TIME", str(status.st_mtime_ns)))
    assert scan_images([image], tmp_path, threads=1).from_cache == 0
    assert scan_images([image], tmp_path, threads=1).from_cache == 1


def test_scans_of_other_images_are_not_forgotten(tmp_path: Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    for image in (first, second):
        image.write_bytes(encode(noise(7, 5), "PNG"))
        scan_images([image], tmp_path, threads=1)
    assert scan_images([first, second], tmp_path, threads=1).from_cache == 2


def test_scan_without_a_cache_and_with_one_that_cannot_be_written(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(encode(noise(7, 5), "PNG"))
    assert scan_images([image], None, threads=1).from_cache == 0
    with pytest.raises(JointreidError, match=r"readable\.json: cannot be written: .* --data\.cache"):
        scan_images([image], image, threads=1)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
