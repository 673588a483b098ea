"""Names of the array types that kernels, stages and the engine exchange."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
#: series as stored, float32 unless output.dtype says otherwise; arithmetic on them is float64
Real = NDArray[np.floating]
#: true where something holds
Mask = NDArray[np.bool_]
#: data-quality bits (`dq.DQ`)
Flags = NDArray[np.uint32]
#: whole numbers that count or point: bins, rows, columns
Index = NDArray[np.int64]
