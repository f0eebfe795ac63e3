"""A server on loopback whose downloads can be made to fail."""

import contextlib
import http.server
import threading


class FileServer(http.server.ThreadingHTTPServer):
    """Serves `content` at any path, counts the requests, and may hang up after `cut` bytes."""

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.requests = content, 0
        self.cut, self.says_length = None, True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/folder/file.npz"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests += 1
        self.send_response(200)
        if self.server.says_length:
            self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(self.server.content[: self.server.cut])

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(content):
    """Yields a `FileServer` of these bytes."""
    with FileServer(content) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
