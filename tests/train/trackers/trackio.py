"""Stands in for trackio: what transformers calls, told in `CALLS`."""

from contextvars import ContextVar
from types import SimpleNamespace

CALLS = []
context_vars = SimpleNamespace(
    current_space_id=ContextVar("space", default=None), current_run=ContextVar("run", default=None)
)


class _Config(dict):
    def update(self, values, allow_val_change=False):
        super().update(values)


config = _Config()


def init(project, name, space_id, resume, private, bucket_id):
    context_vars.current_run.set(SimpleNamespace(name=name, _space_id=None))
    CALLS.append(("init", {"project": project, "name": name, "space_id": space_id, "resume": resume}))


def log(values):
    CALLS.append(("log", values))


def finish():
    context_vars.current_run.set(None)
    CALLS.append(("finish", {}))
