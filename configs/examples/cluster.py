#!/usr/bin/env python3
"""Stands in for a Kubernetes API server (or a `kubectl proxy` in front of one) in the examples: Pods are kept in memory, merged by server-side apply, and
run as soon as they are there.

    cluster.py PORT_FILE     writes the port into the file once it listens
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

OBJECTS, LOCK, VERSION = {}, Lock(), [0]


def merged(into, other):
    """Objects field by field, everything else as a whole."""
    if isinstance(into, dict) and isinstance(other, dict):
        return {**into, **{key: merged(into.get(key), value) for key, value in other.items()}}
    return other


class Handler(BaseHTTPRequestHandler):
    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def body(self):
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")

    def path_only(self):
        return self.path.split("?")[0]

    def do_GET(self):
        with LOCK:
            if self.path == "/":
                return self.answer(200, sorted(path.rsplit("/", 1)[1] for path in OBJECTS))
            found = OBJECTS.get(self.path_only())
            return self.answer(200, found) if found else self.answer(404, {"message": "not found"})

    def do_PATCH(self):
        asked = self.body()
        with LOCK:
            known = OBJECTS.get(self.path_only(), {})
            version = asked.get("metadata", {}).pop("resourceVersion", None)
            if version is not None and version != known.get("metadata", {}).get("resourceVersion"):
                return self.answer(409, {"message": "the object has been modified"})
            VERSION[0] += 1
            made = merged(known, asked)
            made["metadata"]["resourceVersion"] = str(VERSION[0])
            made["status"] = {"phase": "Running"}
            OBJECTS[self.path_only()] = made
            return self.answer(200, made)

    def do_DELETE(self):
        self.body()
        with LOCK:
            gone = OBJECTS.pop(self.path_only(), None)
            return self.answer(200, {"status": "Success"}) if gone else self.answer(404, {"message": "not found"})

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(sys.argv[1] + ".new", "w", encoding="utf-8") as file:
    file.write(str(server.server_address[1]))
os.rename(sys.argv[1] + ".new", sys.argv[1])
server.serve_forever()
