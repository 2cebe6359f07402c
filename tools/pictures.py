"""Makes pictures small: ``python tools/pictures.py FILE.png ...``

Gives each the fewest colours that hardly differ from its own. Curves need 32, pictures of energies more; either way
half the bytes or less. A picture with a palette stays as it is.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image, ImageChops, ImageStat

COLOURS = (32, 64, 128, 256)
ERROR = 2.0  # root mean square over the picture, of 255, in the worst of red, green and blue


def small_picture(png: bytes) -> bytes:
    """The same picture with a palette."""
    picture = Image.open(io.BytesIO(png))
    return png if picture.mode == "P" else with_palette(picture)


def with_palette(picture: Image.Image) -> bytes:
    """A picture as PNG with the fewest colours that will do."""
    full = picture.convert("RGB")
    for colours in COLOURS:
        # Averages of the pixels (kmeans) as colours keep dark, noisy areas from turning into one flat shade.
        few = full.quantize(colours, method=Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
        if max(ImageStat.Stat(ImageChops.difference(full, few.convert("RGB"))).rms) <= ERROR:
            break
    small = io.BytesIO()
    few.save(small, "PNG", optimize=True)
    return small.getvalue()


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        before = path.read_bytes()
        path.write_bytes(small_picture(before))
        print(f"{path}: {len(before)} bytes, now {path.stat().st_size}")
