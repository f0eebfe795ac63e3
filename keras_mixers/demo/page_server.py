"""Serves a table of files by HTTP, and nothing that is not in the table."""

import base64
import dataclasses
import functools
import hashlib
import http.server
import re
import sys

_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
}
_INLINE = re.compile(rb'<script type="importmap">(.*?)</script>', re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Served:
    """What is served under one path."""

    content: bytes
    kind: str

    @functools.cached_property
    def tag(self):
        """Another one for other bytes."""
        return f'"{hashlib.sha256(self.content).hexdigest()}"'


def file(path):
    """Returns what is `Served` of a file, which is read now; its kind follows from its name."""
    return Served(path.read_bytes(), _KINDS[path.suffix])


def content_security_policy(page):
    """Returns the policy for a page: everything comes from this server.

    Import maps must stand in the page itself, so that theirs is allowed by its hash.

    Args:
        page: The bytes of the page.
    """
    hashes = [base64.b64encode(hashlib.sha256(text).digest()) for text in _INLINE.findall(page)]
    scripts = " ".join(f"'sha256-{digest.decode()}'" for digest in hashes)
    rules = {
        "default-src": "'self'",
        "script-src": f"'self' 'wasm-unsafe-eval' {scripts}".rstrip(),
        "img-src": "'self' blob: data:",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def make(host, port, table, policy):
    """Returns a server that listens already; `serve_forever` lets it answer.

    Args:
        host: Name or IPv4 address of this machine.
        port: 0 for any that is free.
        table: A dict from paths, such as "/page.js", to what is `Served` there.
        policy: The `Content-Security-Policy`.

    Raises:
        OSError: It cannot listen there.
    """
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
        # Both together: threads of WebAssembly, and a clock of microseconds.
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy": "require-corp",
        "Cross-Origin-Resource-Policy": "same-origin",
    }

    class Handler(_Handler):
        served, always = dict(table), headers

    return _Server((host, port), Handler)


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """A browser that goes away in the middle of a file is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET and HEAD; the base class refuses every other method."""

    protocol_version = "HTTP/1.1"
    timeout = 60  # Seconds that a silent connection is kept.
    served, always = {}, {}

    def version_string(self):
        return "keras_mixers"

    def end_headers(self):
        for name, value in self.always.items():
            self.send_header(name, value)
        super().end_headers()

    def do_HEAD(self):
        self._answer(with_content=False)

    def do_GET(self):
        self._answer(with_content=True)

    def _answer(self, with_content):
        found = self.served.get(self.path.partition("?")[0])
        if found is None:
            return self.send_error(404)
        is_known = self.headers["If-None-Match"] == found.tag
        self.send_response(304 if is_known else 200)
        self.send_header("ETag", found.tag)
        if not is_known:
            self.send_header("Content-Type", found.kind)
            self.send_header("Content-Length", str(len(found.content)))
        self.end_headers()
        if with_content and not is_known:
            self.wfile.write(found.content)

    def log_error(self, text, *values):
        """Says nothing of a connection that was silent for `timeout`."""
        if not isinstance(sys.exception(), TimeoutError):
            super().log_error(text, *values)

    def log_request(self, code="-", size="-"):
        """Says nothing of what went well."""
