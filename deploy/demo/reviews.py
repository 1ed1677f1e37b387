#!/usr/bin/env python3
"""Reviews of a book. Version v1 knows no stars; later versions ask ratings for them. Standard library only."""
import http.server
import json
import os
import urllib.request

PORT = int(os.environ.get("PORT", "9080"))
VERSION = os.environ.get("SERVICE_VERSION", "v1")


def stars(book):
    with urllib.request.urlopen(f"http://ratings:9080/ratings/{book}", timeout=10) as answer:
        return json.load(answer)["stars"]


class Reviews(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together

    def do_GET(self):
        answer = {"service": "reviews", "version": VERSION, "language": "Python", "text": "A fine read."}
        if VERSION != "v1" and self.path != "/healthz":
            answer["stars"] = stars(self.path.rsplit("/", 1)[-1])
        body = json.dumps(answer).encode() + b"\n"
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
    Server(("0.0.0.0", PORT), Reviews).serve_forever()
