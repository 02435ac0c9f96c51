"""Pictures made fit for a published copy: fewer pixels, or none, and never anything but pixels."""

from __future__ import annotations

import io

from PIL import Image

from vitreport.publication.publication import Photos

QUALITY = 90
_GREY = (208, 208, 208)


def published_photo(jpeg: bytes, photos: Photos) -> bytes:
    """A picture as the copy shows it, of the same size.

    Of a picture with fewer pixels the rest is gone: it is scaled down and up again, so that no filter brings
    it back, as one might after a blur.

    Args:
        jpeg: what the model saw.
        photos: what is to be shown of it.
    """
    with Image.open(io.BytesIO(jpeg)) as opened:
        said = set(opened.info) - {"jfif", "jfif_version", "jfif_density", "jfif_unit", "dpi"}
        if photos is Photos.FULL and opened.format == "JPEG" and not said:
            return jpeg  # there is nothing but pixels in it
        picture = opened.convert("RGB")
    picture.info.clear()  # else a comment would be written again
    shown = _reduced(picture, photos.side)
    encoded = io.BytesIO()
    shown.save(encoded, "JPEG", quality=QUALITY)
    return encoded.getvalue()


def _reduced(picture: Image.Image, side: int | None) -> Image.Image:
    if side is None:
        return picture
    if not side:
        return Image.new("RGB", picture.size, _GREY)
    ratio = side / max(picture.size)
    if ratio >= 1:
        return picture
    width, height = (max(1, round(ratio * length)) for length in picture.size)
    small = picture.resize((width, height), Image.Resampling.BOX)
    return small.resize(picture.size, Image.Resampling.BICUBIC)
