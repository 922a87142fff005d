"""Images of every kind that gora reads, with what Pillow and Transformers make of them.

  python make_fixtures.py DATA      with Pillow 13.0.0, numpy and Transformers 5.23.0; DATA holds dtd/, cifar10/ and gtsrb/

Writes the images beside this script, and golden.json: of each file its size and the SHA-256 of its pixels [height, width, 3] (Pillow: convert("RGB"),
turned by ImageOps.exif_transpose), of what CLIPImageProcessorPil resizes and crops them to, and of the float32 numbers [3, height, width] that it
makes of those. Real images are copied as they are; the others are made of one of them, small.
"""

import hashlib
import io
import json
import pathlib
import shutil
import struct
import sys
import zlib

import numpy as np
from PIL import Image, ImageOps
from transformers.image_utils import PILImageResampling
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

HERE = pathlib.Path(__file__).parent
REAL = {
    "texture.jpg": "dtd/train/bumpy/bumpy_0125.jpg",
    "weave.jpg": "dtd/train/bubbly/bubbly_0159.jpg",
    "ship.jpg": "cifar10/train/ship",
    "sign.ppm": "gtsrb/train/14",
}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, kind, rows, interlaced=False, extra=b""):
    """A PNG of rows of packed bytes, for what Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, int(interlaced))
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def interlaced(pixels):
    """Adam7 of 8-bit pixels [height, width, 3]."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = [row.tobytes() for x, y, dx, dy in passes for row in pixels[y::dy, x::dx] if row.size]
    return png(pixels.shape[1], pixels.shape[0], 8, 2, rows, interlaced=True)


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data.tobytes()


def make(source):
    """Small images of all other kinds: {name: bytes}."""
    small = source.resize((37, 23), Image.Resampling.BICUBIC)
    pixels = np.asarray(small)
    made = {}

    def save(name, image, **options):
        buffer = io.BytesIO()
        image.save(buffer, **options)
        made[name] = buffer.getvalue()

    for orientation in range(1, 9):
        save(f"orientation-{orientation}.jpg", small, format="JPEG", exif=exif(orientation))
    save("orientation-6.png", small, format="PNG", exif=exif(6))
    save("progressive.jpg", small, format="JPEG", progressive=True)
    save("grey.jpg", small.convert("L"), format="JPEG")
    save("full-chroma.jpg", small, format="JPEG", subsampling=0)
    save("half-chroma.jpg", small, format="JPEG", subsampling=1)
    save("cmyk.jpg", small.convert("CMYK"), format="JPEG")
    save("stored-rgb.jpg", small, format="JPEG", keep_rgb=True)
    save("rgb.png", small, format="PNG")
    # Pillow shrinks the rows of such a one first.
    save("tall.png", source.resize((50, 131), Image.Resampling.BICUBIC), format="PNG")
    save("rgba.png", Image.merge("RGBA", (*small.split(), small.convert("L"))), format="PNG")
    save("grey.png", small.convert("L"), format="PNG")
    save("grey-alpha.png", Image.merge("LA", (small.convert("L"), small.convert("L").point(lambda v: 255 - v))), format="PNG")
    palette = small.quantize(13)
    save("palette.png", palette, format="PNG")
    save("palette-transparent.png", palette, format="PNG", transparency=3)
    save("black-and-white.png", small.convert("1"), format="PNG")
    made["interlaced.png"] = interlaced(pixels)
    grey = np.asarray(small.convert("L")).astype(np.uint16)
    for depth in (2, 4):
        levels = grey >> (8 - depth)
        per_byte = 8 // depth
        rows = []
        for row in levels:
            row = np.pad(row, (0, -len(row) % per_byte)).reshape(-1, per_byte)
            rows.append(bytes(int(sum(int(v) << (depth * (per_byte - 1 - i)) for i, v in enumerate(group))) for group in row))
        made[f"grey-{depth}-bit.png"] = png(37, 23, depth, 0, rows)
    wide = pixels.astype(np.uint32) * 257 + np.arange(37, dtype=np.uint32)[None, :, None] * 3
    wide = np.minimum(wide, 65535).astype(">u2")
    made["rgb-16-bit.png"] = png(37, 23, 16, 2, [row.tobytes() for row in wide])
    made["rgb-16-bit.ppm"] = b"P6\n# a comment\n37 23\n65535\n" + wide.tobytes()
    made["rgb-7-bit.ppm"] = b"P6 37 23 # another\n100\n" + (pixels.astype(np.uint16) * 100 // 255).astype(np.uint8).tobytes()
    made["grey.pgm"] = b"P5\n37\t23\n255\n" + grey.astype(np.uint8).tobytes()
    return made


def sha(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


PROCESSORS = {
    "clip-224": {},
    "small": {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}},
    "padded": {"size": {"height": 21, "width": 60}, "crop_size": {"height": 33, "width": 48}},
    "bilinear": {"size": {"height": 24, "width": 24}, "resample": PILImageResampling.BILINEAR, "do_center_crop": False},
}


def golden(path):
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    # Without what the file says of transparency, which the processor would lay on white.
    image = Image.fromarray(np.asarray(image))
    result = {"width": image.width, "height": image.height, "pixels": sha(np.asarray(image)), "processed": {}}
    for name, options in PROCESSORS.items():
        eight_bit = CLIPImageProcessorPil(do_rescale=False, do_normalize=False, **options)(images=image, return_tensors="np")
        numbers = CLIPImageProcessorPil(**options)(images=image, return_tensors="np")
        samples = eight_bit["pixel_values"][0]
        assert samples.dtype == np.uint8 and numbers["pixel_values"].dtype == np.float32
        result["processed"][name] = {
            "width": samples.shape[2],
            "height": samples.shape[1],
            "pixels": sha(samples.transpose(1, 2, 0)),
            "values": sha(numbers["pixel_values"][0]),
        }
    return result


def main():
    data = pathlib.Path(sys.argv[1])
    for name, place in REAL.items():
        path = data / place
        if path.is_dir():
            path = sorted(path.iterdir(), key=lambda entry: (entry.stat().st_size, entry.name))[0]
        shutil.copyfile(path, HERE / name)
    for name, content in make(Image.open(HERE / "texture.jpg").convert("RGB")).items():
        (HERE / name).write_bytes(content)
    names = sorted(p.name for p in HERE.iterdir() if p.suffix in (".jpg", ".png", ".ppm", ".pgm"))
    with open(HERE / "golden.json", "w") as file:
        json.dump({name: golden(HERE / name) for name in names}, file, indent=1, sort_keys=True)
        file.write("\n")


main()
