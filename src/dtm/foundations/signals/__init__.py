"""Arrays that methods need and do not compute themselves: one row of the array for each row of data."""

from dtm.foundations.signals.embedding import check_embedder, embed, with_model, zero_rows

__all__ = ["check_embedder", "embed", "with_model", "zero_rows"]
