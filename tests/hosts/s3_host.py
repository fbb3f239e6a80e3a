"""An object store that speaks S3, on this machine: moto's server, in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import attrs
import pytest

_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=int(sys.argv[1]), verbose=False)
server.start()
server._thread.join()
"""


@attrs.define
class S3Host:
    """A running server; `options` for obstore reach its bucket `bucket`."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def options(self) -> dict[str, object]:
        keys = {"access_key_id": "test", "secret_access_key": "test", "region": "us-east-1"}
        return {**keys, "endpoint": self.endpoint, "client_options": {"allow_http": True}}

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }

    def stop(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def started(folder: Path) -> S3Host:
    """Start a server with an empty bucket, or skip where moto is not installed and need not be."""
    probe = [sys.executable, "-c", "import moto.server, flask_cors"]
    if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        assert "s3" not in os.environ.get("ONRECORD_TESTS_NEED", ""), "pip install 'onrecord[test-remote]'"
        pytest.skip("no S3 server (pip install 'onrecord[test-remote]')")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", _SERVER, str(port)], stdout=log, stderr=log)
    host = S3Host(port, process)
    for _ in range(200):
        try:
            request = urllib.request.Request(f"{host.endpoint}/bucket", method="PUT")  # noqa: S310
            urllib.request.urlopen(request, timeout=10).close()  # noqa: S310
        except OSError:
            time.sleep(0.05)
        else:
            return host
    host.stop()
    raise AssertionError((folder / "server.log").read_text())
