"""What every test asks of its arrays before it computes."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdscope.errors import NotEstimableError


def numbers(values: ArrayLike, name: str, least: int) -> NDArray[np.float64]:
    """A flat float array of at least ``least`` finite values.

    Raises:
        NotEstimableError: there are fewer values, or one is NaN or infinite.
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size < least:
        raise NotEstimableError(f"{name} has {array.size} values; this test needs at least {least}")
    if not np.isfinite(array).all():
        where = int(np.flatnonzero(~np.isfinite(array))[0])
        raise NotEstimableError(f"{name} holds {array[where]} at position {where}; drop or mend it")
    return array


def varying(array: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """The same array. Raises NotEstimableError where all its values are equal."""
    if array.size and np.ptp(array) == 0:
        raise NotEstimableError(f"{name} is constant ({array[0]:g}): there is nothing to relate")
    return array


def together(*arrays: NDArray[np.float64]) -> None:
    """Raise NotEstimableError unless all arrays have one length."""
    if len({array.size for array in arrays}) > 1:
        sizes = ", ".join(str(array.size) for array in arrays)
        raise NotEstimableError(f"paired values must have one length, not {sizes}")
