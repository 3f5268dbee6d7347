"""How frames are annotated in this room.

pandas' stubs give a boolean selection or a column four possible types, which hides real mistakes
under hundreds of false ones; the columns of each frame are in :mod:`kdscope.tables` and in
docstrings instead.
"""

from typing import Any

import pandas as pd

Frame = Any
Column = Any


def frame(rows: Any) -> Frame:
    """A frame from rows or columns."""
    return pd.DataFrame(rows)
