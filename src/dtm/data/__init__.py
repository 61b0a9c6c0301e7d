"""From the `data:` entries of a run file to `Examples`, with every row that was left out accounted for.

sources = resolve(entries, root)                # the check: opens every input, all mistakes at once
examples, card = load(sources, seed, dropped)   # the work: reads, maps, deduplicates, samples
"""

from dtm.data.formats import FORMATS
from dtm.data.loading import load, read_places
from dtm.data.sources import Source, resolve

__all__ = ["FORMATS", "Source", "load", "read_places", "resolve"]
