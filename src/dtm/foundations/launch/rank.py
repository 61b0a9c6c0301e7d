"""One of a gang's processes: `accelerate launch ... -m dtm.foundations.launch.rank`; see `gang`."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from typing import Any

from dtm.foundations.launch import leaving
from dtm.foundations.launch.gang import ADDRESS
from dtm.foundations.launch.worker import call, failure


def main() -> None:
    """Fetch the job, do it with the others, and answer."""
    first = os.environ.get("LOCAL_RANK", "0") == "0"  # of this machine: the driver hears the first machine's
    port, _, token = os.environ.pop(ADDRESS).partition(":")
    connection = socket.create_connection(("127.0.0.1", int(port)))
    lock = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        with lock:
            connection.sendall(line)

    send({"token": token, "first": first})
    reader = connection.makefile("r", encoding="utf-8")
    job = json.loads(reader.readline())
    threading.Thread(target=_leave_with, args=(reader,), daemon=True).start()

    def progress(data: dict[str, Any]) -> None:
        if first:
            send({"event": "progress", "data": data})

    try:
        result = call(job["function"], job["arguments"], progress)
        send({"event": "done", "result": result if first else None})
    except leaving.Left as left:  # all processes stop at the same step
        send(failure(left))
    except BaseException as error:
        send(failure(error))
        os._exit(1)  # the others wait in a collective, and torchrun ends them
    _part()


def _leave_with(reader: Any) -> None:
    """The worker's end closes when it has gone; all that it says before is to stop."""
    for _ in reader:
        if not leaving.ask():
            break
    sys.stderr.flush()
    os._exit(1)


def _part() -> None:
    import torch.distributed as distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
