"""One job in several processes: `accelerate launch` starts them, and what the first one tells is passed on.

So DDP, FSDP and DeepSpeed inside a sub-model are what users know, in an accelerate config file of theirs. Each
process (`rank`) holds a connection to the worker: the job comes over it, answers go back, and when the worker is
gone it closes, at which the process leaves too: there are no orphans.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from dtm.foundations.launch import leaving

ADDRESS = "DTM_GANG"  # environment: port and token of the worker's end
ANSWERS = ("done", "failed", "crashed", "left")
Send = Callable[[dict[str, Any]], None]


def run(job: Mapping[str, Any], send: Send) -> None:
    """Run the job's function in every process, and send what the first tells and returns.

    `job["gang"]`: processes, threads, accelerate (content of a config file), cpu; where it spans nodes also
    nodes, node (this one's number), address and port. Of failures the first counts; a process that is gone
    without an answer makes it {"event": "died"}.
    """
    folder = Path(tempfile.mkdtemp(prefix="gang-", dir=job["lock"] and Path(job["lock"]).parent))
    token = secrets.token_hex(16)
    server = socket.create_server(("127.0.0.1", 0))
    launched = _launch(job["gang"], folder, f"{server.getsockname()[1]}:{token}")
    try:
        message = json.dumps({"function": job["function"], "arguments": job["arguments"]}).encode() + b"\n"
        with closing(_Listening(server, token, message, send)) as listening:
            last = listening.until(launched)
        code = launched.wait()
    finally:
        _end(launched)
        shutil.rmtree(folder, ignore_errors=True)
    send(
        last or {"event": "died", "reason": f"the processes of its gang left with code {code}"}
    )  # all is tidy


def accelerate_config(gang: Mapping[str, Any]) -> dict[str, Any]:
    """The user's accelerate config, or plain data parallelism, with the places filled in by us.

    Always complete: accelerate would else read the user's default file, which no key knows.
    """
    nodes = gang.get("nodes", 1)
    own = dict(gang.get("accelerate") or {"distributed_type": "MULTI_GPU"})
    if own["distributed_type"] in ("NO", "MULTI_CPU") and gang["processes"] > 1:
        own["distributed_type"] = (
            "MULTI_GPU"  # which to accelerate means torchrun; with use_cpu the backend is gloo
        )
    return {
        "mixed_precision": "no", **own, "compute_environment": "LOCAL_MACHINE", "use_cpu": gang["cpu"],
        "debug": False, "num_processes": gang["processes"], "num_machines": nodes,
        "machine_rank": gang.get("node", 0), "main_process_ip": gang.get("address"),
        "main_process_port": gang.get("port", 0), "rdzv_backend": "static", "same_network": True,
    }  # fmt: skip


def _launch(gang: Mapping[str, Any], folder: Path, address: str) -> subprocess.Popen[bytes]:
    import yaml

    config = accelerate_config(gang)
    deepspeed = config.get("deepspeed_config") or {}
    if isinstance(deepspeed.get("deepspeed_config_file"), dict):
        file = folder / "deepspeed.json"
        file.write_text(json.dumps(deepspeed["deepspeed_config_file"]))
        config["deepspeed_config"] = {**deepspeed, "deepspeed_config_file": str(file)}
    (folder / "accelerate.yaml").write_text(yaml.safe_dump(config))
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(folder / "accelerate.yaml"),
        "--num_cpu_threads_per_process", str(gang["threads"]), "--module", "dtm.foundations.launch.rank",
    ]  # fmt: skip
    environment = {**os.environ, ADDRESS: address}
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=2, stderr=2, env=environment, start_new_session=True
    )


def _end(launched: subprocess.Popen[bytes]) -> None:
    """See that the launcher has left: its processes have, or do as their connections close."""
    if launched.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(launched.pid, signal.SIGKILL)
    launched.wait()


class _Listening:
    """The worker's end of all connections."""

    def __init__(self, server: socket.socket, token: str, job: bytes, send: Send) -> None:
        self.server, self.token, self.job, self.send = server, token, job, send
        self.selector = selectors.DefaultSelector()
        self.selector.register(server, selectors.EVENT_READ)
        self.buffers: dict[socket.socket, bytes] = {}
        self.first: dict[
            socket.socket, bool
        ] = {}  # connections that showed the token: is it the first process here
        self.last: dict[str, Any] | None = None
        self.answered: set[socket.socket] = set()

    def until(self, launched: subprocess.Popen[bytes]) -> dict[str, Any] | None:
        """The gang's last answer, once its launcher has left; None where no process ever spoke."""
        leaving.able()
        told = False
        while launched.poll() is None:
            self._hear(timeout=0.2)
            if leaving.asked() and not told:
                told = True
                self._tell_to_stop()
        while self.buffers and self._hear(timeout=0.2):  # what was sent before the end
            pass
        return self.last

    def _tell_to_stop(self) -> None:
        for connection in self.first:
            with contextlib.suppress(OSError):
                connection.sendall(b'{"stop": true}\n')

    def close(self) -> None:
        """Hang up, at which the processes leave that have not."""
        for one in (self.server, *self.buffers):
            one.close()
        self.selector.close()

    def _hear(self, timeout: float) -> bool:
        """Take what has come, or comes in that time; whether there was something."""
        ready = [key.fileobj for key, _ in self.selector.select(timeout)]
        if self.server in ready:
            connection, _ = self.server.accept()
            self.buffers[connection] = b""
            self.selector.register(connection, selectors.EVENT_READ)
        heard = {one: self._read(one) for one in ready if one in self.buffers}
        for connection in sorted(
            heard, key=lambda one: heard[one] is not None
        ):  # the dead before the wounded
            self._take(connection, heard[connection])
        return bool(ready)

    def _read(self, connection: socket.socket) -> bytes | None:
        try:
            return connection.recv(1 << 16) or None
        except OSError:
            return None

    def _take(self, connection: socket.socket, data: bytes | None) -> None:
        *lines, rest = (self.buffers[connection] + (data or b"")).split(b"\n")
        self.buffers[connection] = rest
        for line in lines:
            self._line(connection, json.loads(line))
        if data is None:
            self.selector.unregister(connection)
            del self.buffers[connection]
            connection.close()
            if connection in self.first and connection not in self.answered:
                self._ended({"event": "died", "reason": "a process of its gang was killed"})

    def _line(self, connection: socket.socket, message: dict[str, Any]) -> None:
        if connection not in self.first:
            if secrets.compare_digest(str(message.get("token")), self.token):
                self.first[connection] = message["first"]
                connection.sendall(self.job)
        elif message["event"] in ANSWERS:
            self.answered.add(connection)
            if message["event"] not in ("done", "left") or self.first[connection]:
                self._ended(message)
        elif self.first[connection]:
            self.send(message)

    def _ended(self, answer: dict[str, Any]) -> None:
        """The first failure counts, since what the others say is its echo; else what the first process returned."""
        if self.last is None or (self.last["event"] == "done" and answer["event"] != "done"):
            self.last = answer
