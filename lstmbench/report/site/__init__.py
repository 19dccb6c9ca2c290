"""A static site made from records: plain files that work from disk and from any host.

Pages load their data as scripts, for a page opened from disk may not fetch. Whatever a record says
is data: Jinja2 escapes it in pages, :mod:`~lstmbench.report.site.scripts` in scripts, and the
pages' own code only ever sets text.
"""

from __future__ import annotations

from collections.abc import Mapping

from lstmbench.records.record import Record


def build(records: Mapping[str, Record], relative_to: str | None = None) -> dict[str, str | bytes]:
    """Path below the site's folder to content.

    ``records`` are by the name of their file in ``../records/``, without ``.json``. Depends on
    them alone, in whatever order they come. ``relative_to`` as for
    :func:`lstmbench.analysis.tables.tables_from`.
    """
    from lstmbench.report.site.pages import site  # Jinja2 would slow every start-up

    return site(records, relative_to)
