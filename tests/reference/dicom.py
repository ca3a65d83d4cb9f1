"""What pydicom makes of its own test files, to be compared with the DICOM reader.

    python tests/reference/dicom.py OUT
    SENSORIUM_DICOM=OUT cargo test --release -p sensorium-modalities agrees_with_pydicom -- --ignored --nocapture

Copies each file with pixels to OUT and writes its first frame to OUT/expected.safetensors, as f32 `[rows, columns, 1 or 3]`
from 0 to 1: rescaled and windowed as the file says, or else from the least to the largest level. Needs numpy, pydicom,
safetensors, and for compressed frames pylibjpeg with pylibjpeg-libjpeg and pylibjpeg-openjpeg.
"""

import pathlib
import shutil
import sys

try:
    import numpy as np
    import pydicom
    from pydicom.pixels import apply_modality_lut, pixel_array
    from safetensors.numpy import save_file
except ImportError as missing:
    sys.exit(f"skipped: {missing}")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    expected = {}
    for path in sorted(pathlib.Path(pydicom.__file__).parent.joinpath("data/test_files").glob("*.dcm")):
        try:
            expected[path.name] = levels(path)
            shutil.copy(path, out / path.name)
        except Exception as error:
            print(f"{path.name}: pydicom has no picture of it ({error})"[:160])
    save_file(expected, out / "expected.safetensors")
    print(f"{len(expected)} files in {out}")


def levels(path):
    data = pydicom.dcmread(path)
    array = pixel_array(data, index=0).astype(np.float64)
    if array.ndim == 3:
        return np.ascontiguousarray(array / 255, np.float32)
    array = apply_modality_lut(array, data).astype(np.float64)
    if "WindowCenter" in data:
        # Levels keep their unit; what pydicom scales a window to is the range of the stored bits.
        first = lambda value: float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)
        centre, width = first(data.WindowCenter), first(data.WindowWidth)
        array = np.clip((array - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
    else:
        span = array.max() - array.min()
        array = (array - array.min()) / span if span else array * 0
    if data.PhotometricInterpretation == "MONOCHROME1":
        array = 1 - array
    return np.ascontiguousarray(array[..., None], np.float32)


if __name__ == "__main__":
    main()
