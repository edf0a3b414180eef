"""One scan of ten by eight by six voxels in the forms that scanners and viewers write."""

import io
import warnings
import zipfile

import nrrd
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

VALUES = np.random.default_rng(0).integers(-900, 1200, (10, 8, 6)).astype(np.int16)  # to the right, front and top
AFFINE = np.array([[0.5, 0, 0, 3], [0, 0.7, 0, -4], [0, 0, 2.0, 5], [0, 0, 0, 1]])
LPS = {
    "space": "left-posterior-superior",
    "space directions": [[-0.5, 0, 0], [0, -0.7, 0], [0, 0, 2.0]],
    "space origin": [-3.0, 4.0, 5.0],
}


def nrrd_file(values: np.ndarray = VALUES, **header: object) -> bytes:
    file = io.BytesIO()
    nrrd.write(file, values, {"encoding": "gzip", **LPS, **header})
    return file.getvalue()


def dicom(number: int = 0, values: np.ndarray = VALUES, **facts: object) -> Dataset:
    """One slice of VALUES, as a scanner writes it: rows run to the left, columns to the back."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, f"1.2.3.{number + 1}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = Dataset()
    made.file_meta, made.SOPClassUID, made.SOPInstanceUID = meta, CTImageStorage, f"1.2.3.{number + 1}"
    made.SeriesInstanceUID, made.Modality = "1.2.3", "CT"
    pixels = values[::-1, ::-1, number].T + 1000  # [R, C]
    made.Rows, made.Columns = pixels.shape
    made.PixelSpacing, made.SliceThickness = [0.7, 0.5], 2.0
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.ImagePositionPatient = [-(3 + 0.5 * 9), -(-4 + 0.7 * 7), 5 + 2.0 * number]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
    made.RescaleSlope, made.RescaleIntercept = 1, -1000
    made.PixelData = pixels.astype(np.uint16).tobytes()
    for name, value in facts.items():
        setattr(made, name, value)
    return made


def saved(made: Dataset) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_as(file, enforce_file_format=True)
    return file.getvalue()


def series(*slices: Dataset) -> bytes:
    """A .zip in which names say nothing about the order."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for at, one in enumerate(slices):
            archive.writestr(f"scan/{(at * 7) % 31:02}.dcm", saved(one))
    return file.getvalue()


def whole() -> list[Dataset]:
    return [dicom(number) for number in range(6)]
