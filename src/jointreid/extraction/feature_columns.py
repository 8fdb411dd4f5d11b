"""The columns that a file of features has besides those of its images, and how they are made.

Letters: N rows, D dimensions of a feature.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jointreid.extraction.predictions import Prediction

Floats = NDArray[np.float32]

ROW, FEATURE, IMAGES = "row", "feature", "images"
DOMAIN, DOMAIN_PROBABILITY = "predicted_domain", "predicted_domain_probability"
CAMERA, CAMERA_PROBABILITY = "predicted_camera", "predicted_camera_probability"
DOMAIN_POSTERIOR, CAMERA_POSTERIOR = "domain_posterior", "camera_posterior"
SHARPNESS, OVERLAP, QUALITY = "sharpness", "overlap", "quality"

WRITTEN_COLUMNS = (
    *(ROW, FEATURE, IMAGES, DOMAIN, DOMAIN_PROBABILITY, CAMERA, CAMERA_PROBABILITY),
    *(DOMAIN_POSTERIOR, CAMERA_POSTERIOR, SHARPNESS, OVERLAP, QUALITY),
)


def prediction_columns(found: Sequence[Prediction]) -> dict[str, Any]:
    """Return the columns of predicted domains and cameras; null where a model has no heads."""
    import pyarrow as pa

    return {
        DOMAIN: pa.array([one.domain for one in found], pa.string()),
        DOMAIN_PROBABILITY: pa.array([one.domain_probability for one in found], pa.float32()),
        CAMERA: pa.array([one.camera for one in found], pa.string()),
        CAMERA_PROBABILITY: pa.array([one.camera_probability for one in found], pa.float32()),
    }


def list_column(values: Floats) -> Any:
    """Return [N, D] as a column of N lists of D numbers."""
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def list_values(table: Any, name: str) -> Floats:
    """Return a column of N lists of D numbers as [N, D]."""
    column = table[name].combine_chunks()
    values: Floats = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return values.reshape(len(column), column.type.list_size)
