"""How it is shown: a page, a table, files; rendered from analysis.Results, nothing computed here."""

from bakeoff.report.write import FORMATS, write

__all__ = ["FORMATS", "write"]
