#!/usr/bin/env python3
"""The bookshop's front page: asks details, reviews and stock, and shows what it got. Standard library only."""
import http.server
import json
import os
import urllib.error
import urllib.request

PORT = int(os.environ.get("PORT", "9080"))
# Headers that belong to the user's request, not to one hop.
FORWARDED = ("x-user", "traceparent", "tracestate", "x-request-id")


def ask(url, headers):
    """The JSON that a service answers with, or what went wrong."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return {"error": error.code, "reason": error.read().decode(errors="replace").strip()[:200]}
    except OSError as error:
        return {"error": 0, "reason": str(error)}


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together

    def do_GET(self):
        headers = {name: self.headers[name] for name in FORWARDED if self.headers[name]}
        book = self.path.rsplit("/", 1)[-1] or "0"
        parts = {} if self.path == "/healthz" else {
            name: ask(f"http://{name}:9080/{name}/{book}", headers) for name in ("details", "reviews", "stock")
        }
        failed = any("error" in part for part in parts.values())
        body = json.dumps({"service": "shop", "language": "Python", **parts}).encode() + b"\n"
        self.send_response(502 if failed else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


if __name__ == "__main__":
    Server(("0.0.0.0", PORT), Page).serve_forever()
