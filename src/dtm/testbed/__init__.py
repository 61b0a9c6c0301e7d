"""The testbed: a world of real facts, an instruction mixture about a part, benchmarks about the rest."""

from dtm.testbed.generate import Summary, generate
from dtm.testbed.split import Split, split_facts
from dtm.testbed.world import Attribute, Fact, World, load_world

__all__ = ["Attribute", "Fact", "Split", "Summary", "World", "generate", "load_world", "split_facts"]
