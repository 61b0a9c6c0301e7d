import pyarrow as pa
import pytest

from dtm.foundations.types import SCHEMA, Examples


def row(number, *, source="all", family=None, instruction="do it", response="done", **more):
    messages = [{"role": "user", "content": instruction}, {"role": "assistant", "content": response}]
    family = str(number) if family is None else family
    known = {"id": str(number), "source": source, "messages": messages, "parent": None, "family": family}
    return known | {"meta": "{}"} | more


@pytest.fixture
def make_examples():
    """Examples from a list of keyword dictionaries, one a row; `tokens` [(all, trained)] renders them."""

    def make(rows, tokens=None):
        table = pa.Table.from_pylist(
            [row(number, **settings) for number, settings in enumerate(rows)], schema=SCHEMA
        )
        if tokens is not None:
            masks = [[True] * trained + [False] * (length - trained) for length, trained in tokens]
            ids = [[1] * length for length, _ in tokens]
            table = table.append_column("input_ids", pa.array(ids, pa.list_(pa.int32())))
            table = table.append_column("assistant_mask", pa.array(masks, pa.list_(pa.bool_())))
        return Examples(table)

    return make
