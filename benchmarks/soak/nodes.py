"""A Ray cluster of this machine whose nodes can be killed (`ray.cluster_utils.Cluster`): a coreless head, two nodes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import world

QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
         "RAY_worker_niceness": "0"}  # else 15: beside other work they would not get on  # fmt: skip
STORE = 80 << 20  # bytes: the least that Ray takes


class Nodes:
    """Two nodes of one core each, if `wanted`; one that was killed is replaced."""

    def __init__(self, wanted: bool, place: Path, mark: str) -> None:
        self.wanted, self.place, self.mark = wanted, place, mark
        self.address: str | None = None

    def __enter__(self) -> Nodes:
        if self.wanted:
            os.environ.update(QUIET)
            os.environ.update({world.MARK: self.mark, "SOAK_STEPS": str(self.place / "steps.txt")})
            from ray._common.utils import reset_ray_address
            from ray.cluster_utils import Cluster

            own = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
            self._cluster = Cluster(initialize_head=True, head_node_args=own)
            reset_ray_address()  # it is not for others on this machine, who ask for `auto`
            self.address = self._cluster.address
            self._nodes: list[Any] = [self._add(), self._add()]
        return self

    def alive(self, which: int) -> Any:
        return self._nodes[which]

    def kill(self, node: Any) -> None:
        """SIGKILL to the node's daemons, at which its actors lose it; another node comes."""
        self._cluster.remove_node(node, allow_graceful=False)
        self._nodes[self._nodes.index(node)] = self._add()

    def __exit__(self, *exception: object) -> None:
        if self.address:
            self._cluster.shutdown()
            os.environ.pop(world.MARK)

    def _add(self) -> Any:
        return self._cluster.add_node(num_cpus=1, object_store_memory=STORE)
