"""A destination to look at: prints each request, and answers 200. python examples/destination.py [PORT]"""

import contextlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Destination(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        print(f"{self.command} {self.path} {body}\n", end="", flush=True)  # in one piece: several come at once
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    print(f"listening on http://127.0.0.1:{port}, Ctrl-C ends it", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        ThreadingHTTPServer(("127.0.0.1", port), Destination).serve_forever()
