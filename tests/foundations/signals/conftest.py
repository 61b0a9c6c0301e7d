import pyarrow as pa
import pytest

from dtm.foundations.types import SCHEMA, Examples


@pytest.fixture
def talk():
    """Examples whose messages are lists of (role, content); plain texts become user turns."""

    def make(*conversations):
        rows = []
        for number, turns in enumerate(conversations):
            turns = [("user", turns)] if isinstance(turns, str) else turns
            messages = [{"role": role, "content": content} for role, content in turns]
            rows.append({"id": str(number), "source": "s", "messages": messages, "parent": None,
                         "family": str(number), "meta": "{}"})  # fmt: skip
        return Examples(pa.Table.from_pylist(rows, schema=SCHEMA))

    return make
