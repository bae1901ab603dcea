"""Plans and comparisons for people: tables on the console and in Markdown, pictures, and a page to send."""

from scenarios.report.tables import (
    fleet_table,
    metrics_table,
    plan_tables,
    results_table,
    to_markdown,
    validation_table,
)

__all__ = ["fleet_table", "metrics_table", "plan_tables", "results_table", "to_markdown", "validation_table"]
