#!/usr/bin/env python3
"""Ratings, for machines without Go. Standard library only."""
import http.server
import json
import os

PORT = int(os.environ.get("PORT", "9080"))


class Ratings(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together

    def do_GET(self):
        body = json.dumps({"service": "ratings", "language": "Python", "stars": 4}).encode() + b"\n"
        self.send_response(200)
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
    Server(("0.0.0.0", PORT), Ratings).serve_forever()
