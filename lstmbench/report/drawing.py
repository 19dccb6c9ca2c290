"""matplotlib as this project draws with it, whatever the user has set for drawings of their own.

The same records must give the same bytes everywhere. So no setting comes from a ``matplotlibrc``,
no font but the one in matplotlib is used, and no backend is asked for: writing a file needs none.
"""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# what it has to say of the user's own settings, or of a home that is missing, is no matter here
logging.getLogger("matplotlib").setLevel(logging.ERROR)
# matplotlib cannot even be imported where MPLBACKEND names a backend of another environment
_backend = os.environ.pop("MPLBACKEND", None)
try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.font_manager import findfont, get_font
    from matplotlib.text import Text
    from matplotlib.ticker import ScalarFormatter
finally:
    if _backend is not None:
        os.environ["MPLBACKEND"] = _backend

__all__ = ["Axes", "Figure", "ScalarFormatter", "own_settings", "to_svg"]

FONT = "DejaVu Sans"


@contextmanager
def own_settings() -> Iterator[None]:
    """Draw with matplotlib's defaults; figures must be made inside, too."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"font.family": [FONT], "svg.hashsalt": "lstmbench"})
        yield


def to_svg(figure: Figure) -> str:
    """The figure as SVG, without a date; letters as shapes, so that it looks the same everywhere.

    Text with letters that the font lacks, such as Chinese, stays text: browsers know more fonts.
    """
    glyphs = get_font(findfont(FONT)).get_charmap()
    texts = "".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))
    as_shapes = all(ord(char) in glyphs or char.isspace() for char in texts)
    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "path" if as_shapes else "none"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
