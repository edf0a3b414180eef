"""Writes rasters as GeoTIFF files: what builders of multispectral data sets share."""
# C bands, H W height and width

import io
from typing import Any
from xml.sax.saxutils import escape

import tifffile

from enfold.modalities.multispectral import Raster

GEOGRAPHIC = 2  # GeoTIFF's model of a map in degrees


def geotiff(raster: Raster, *, nodata: float | None = None) -> bytes:
    """The file of a raster on a map in degrees (EPSG:4326), or on none; pixels keep their type, deflated."""
    described = "".join(
        f'<Item name="DESCRIPTION" sample="{band}" role="description">{escape(name)}</Item>'
        for band, name in enumerate(raster.bands)
    )
    tags: list[tuple[Any, ...]] = []
    if described:
        tags.append((42112, "s", 0, f"<GDALMetadata>{described}</GDALMetadata>", True))
    if nodata is not None:
        tags.append((42113, "s", 0, str(nodata), True))
    if raster.affine is not None:
        (dx, _, x), (_, dy, y) = raster.affine.tolist()
        tags += [
            (33550, "d", 3, (dx, -dy, 0.0), True),
            (33922, "d", 6, (0.0, 0.0, 0.0, x, y, 0.0), True),
            (34735, "H", 12, (1, 1, 0, 2, 1024, 0, 1, GEOGRAPHIC, 2048, 0, 1, 4326), True),
        ]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        raster.values,
        photometric="minisblack",
        planarconfig="separate" if len(raster.values) > 1 else None,
        compression="zlib",
        predictor=raster.values.dtype.kind != "f",
        metadata=None,
        extratags=tags,
    )
    return file.getvalue()
