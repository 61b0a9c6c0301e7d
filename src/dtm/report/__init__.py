"""What a run leaves behind for its reader: the page, the table at the end, the statement, the schema."""

from dtm.report.inspection import inspection_page, render_inspection
from dtm.report.page import page, render
from dtm.report.portions_table import portions_table
from dtm.report.schema import RESULTS_SCHEMA, validate
from dtm.report.statement import statement
from dtm.report.terminal import table

__all__ = [
    "RESULTS_SCHEMA",
    "inspection_page",
    "page",
    "portions_table",
    "render",
    "render_inspection",
    "statement",
    "table",
    "validate",
]
