"""What Pillow makes of picture files, for the image modality's tests.

    pip install pillow==13.0.0 numpy safetensors
    python tests/reference/pillow_resize.py

writes tests/reference/pillow_resize.safetensors: small pictures drawn here in every format and mode that is read
(`<case>.file`) with the pixels that Pillow gets after orientation, white background and resizing (`<case>.pixels`,
[height, width, channels]), and for pictures of ../shared (or SENSORIUM_SHARED) the values of 96 places of the
shrunken picture; the pictures themselves are not copied.
"""

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("SENSORIUM_SHARED", ROOT.parent / "shared"))
FILTERS = {"bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR, "lanczos": Image.LANCZOS}


def drawing(width, height):
    """Edges, gradients and a disc."""
    y, x = np.mgrid[0:height, 0:width]
    red = 255 * x / (width - 1)
    green = np.where((x // 5 + y // 5) % 2, 220, 40)
    blue = np.where((x - width / 2) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2, 255 * y / (height - 1), 90)
    return Image.fromarray(np.stack([red, green, blue], 2).astype(np.uint8), "RGB")


def transparent(image):
    width, height = image.size
    alpha = np.linspace(0, 255, width)[None].repeat(height, 0).astype(np.uint8)
    image = image.copy()
    image.putalpha(Image.fromarray(alpha))
    return image


def upright(image):
    image = ImageOps.exif_transpose(image)
    if image.mode in ("P", "RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def fit(image, size, resize, method):
    height, width = size
    if resize == "stretch":
        return image.resize((width, height), method)
    if resize == "pad":
        return ImageOps.pad(image, (width, height), method, color="white")
    # The shorter side fits, the longer one is rounded down, then the centre is cut (transformers' CLIP).
    scaled = (max(width, image.width * height // image.height), height)
    if image.height * width >= image.width * height:
        scaled = (width, max(height, image.height * width // image.width))
    image = image.resize(scaled, method)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def encode(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def files():
    picture = drawing(41, 29)
    alpha = transparent(picture)
    palette = picture.quantize(32)
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "png-rgb", encode(picture, "PNG")
    yield "png-rgba", encode(alpha, "PNG")
    yield "png-palette", encode(palette, "PNG")
    yield "png-palette-transparent", encode(palette, "PNG", transparency=bytes(range(0, 256, 8)))
    yield "png-palette-key", encode(palette, "PNG", transparency=3)
    yield "png-grey", encode(picture.convert("L"), "PNG")
    yield "png-grey-alpha", encode(alpha.convert("LA"), "PNG")
    yield "png-bilevel", encode(picture.convert("1"), "PNG")
    yield "png-oriented", encode(picture, "PNG", exif=exif)
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        yield f"webp-oriented-{orientation}", encode(picture, "WEBP", lossless=True, exif=exif)
    yield "webp-rgba", encode(alpha, "WEBP", lossless=True, exact=True)
    yield "bmp-rgb", encode(picture, "BMP")
    yield "bmp-palette", encode(palette, "BMP")
    yield "gif-palette", encode(palette, "GIF")
    yield "gif-frames", encode(palette, "GIF", save_all=True, append_images=[drawing(41, 29).rotate(90).quantize(8)])
    yield "tiff-rgb", encode(picture, "TIFF")
    yield "tiff-lzw", encode(picture, "TIFF", compression="tiff_lzw")
    yield "tiff-grey", encode(picture.convert("L"), "TIFF")
    exif[0x0112] = 5
    for name, image, options in [
        ("jpeg-rgb", picture, {"subsampling": 0}),
        ("jpeg-chroma", picture, {"subsampling": 2}),
        ("jpeg-progressive", picture, {"subsampling": 0, "progressive": True}),
        ("jpeg-grey", picture.convert("L"), {}),
        ("jpeg-cmyk", picture.convert("CMYK"), {}),
        ("jpeg-oriented", picture, {"subsampling": 0, "exif": exif}),
    ]:
        yield name, encode(image, "JPEG", quality=95, **options)


def main():
    tensors, cases, pictures = {}, [], []
    for name, file in files():
        tensors[f"{name}.file"] = np.frombuffer(file, np.uint8).copy()
        image = upright(Image.open(io.BytesIO(file)))
        tensors[f"{name}.pixels"] = np.asarray(image.resize((16, 12), Image.BICUBIC)).copy()
        cases.append({"name": name, "file": name, "config": {"size": [12, 16]}})
    for file, size in [("png-rgba", [12, 16]), ("png-rgb", [31, 7]), ("png-rgb", [48, 44])]:
        image = upright(Image.open(io.BytesIO(tensors[f"{file}.file"].tobytes())))
        for resize in ("stretch", "crop", "pad"):
            for filter, method in FILTERS.items():
                for channels in (3, 1):
                    source = image if channels == 3 else image.convert("L")
                    name = f"{file}-{size[0]}-{resize}-{filter}-{channels}"
                    pixels = np.asarray(fit(source, size, resize, method))
                    tensors[f"{name}.pixels"] = pixels.reshape(*size, channels).copy()
                    config = {"size": size, "resize": resize, "filter": filter, "channels": channels}
                    cases.append({"name": name, "file": file, "config": config})

    def probe(path, file):
        for filter in ("bicubic", "bilinear"):
            image = upright(Image.open(io.BytesIO(file))).resize((64, 64), FILTERS[filter])
            places = np.random.default_rng(len(pictures)).integers(0, 64 * 64 * 3, 96)
            name = f"{path}:{filter}"
            tensors[f"{name}.places"] = places
            tensors[f"{name}.levels"] = np.asarray(image).reshape(-1)[places].copy()
            pictures.append({"name": name, "path": path, "config": {"size": 64, "filter": filter}})

    for folder in ("xray/images", "stamps/img"):
        for path in sorted((SHARED / folder).glob("*"))[::24] if (SHARED / folder).exists() else []:
            probe(str(path.relative_to(SHARED)), path.read_bytes())
    shard = SHARED / "emoji/noto-train.tar"
    if shard.exists():
        with tarfile.open(shard) as archive:
            members = [member for member in archive if member.name.endswith(".png")]
            for member in members[:: len(members) // 12]:
                probe(f"emoji/noto-train.tar:{member.name}", archive.extractfile(member).read())
    metadata = {"cases": json.dumps(cases), "pictures": json.dumps(pictures)}
    save_file(tensors, str(Path(__file__).with_suffix(".safetensors")), metadata=metadata)


if __name__ == "__main__":
    main()
