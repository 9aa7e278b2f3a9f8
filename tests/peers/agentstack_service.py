"""A stand-in of AgentStack that is strict about its wire, counts what ran, and can fail in every way.

Usage: agentstack_service.py JOURNAL; tells its port on stderr. JOURNAL gets one line of JSON for each request, for each action that
ran (`ran`: the `n` of its parameters) and for each breach of the wire (`wrong`). An action `faults.NAME` fails so.
"""

import itertools
import json
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

journal = open(sys.argv[1], "a", buffering=1)
BASE = "/mcp"
CREATE = "projects.create_project_anonymous"
OWNER = "ask_ownerMARKED0123456789"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
DOMAINS = [f"domain{at:02}" for at in range(70)]
NAMED = ["projects.get_projects", "projects.add_user", CREATE, "projects.attach_to_user", "auth.convert_anonymous_user"]
NAMED += ["scheduler.long", "scheduler.slow", "logic.limited"]
FAULTS = ["reset", "half_body", "after_head", "500", "502", "503", "429", "storm", "half_record", "stall", "html", "lost", "no_end"]
NAMED += [f"faults.{fault}" for fault in FAULTS]
ACTIONS = NAMED + [f"{DOMAINS[at % 70]}.action_{at:03}" for at in range(700 - len(NAMED))]
assert len(ACTIONS) == 700

lock = threading.Lock()
numbers = itertools.count(1025)
traces = itertools.count(1)
jobs, looks, limits, batches = {}, {}, {}, {}
keys = {OWNER: []}  # key: the projects that it sees


def note(**entry):
    with lock:
        journal.write(json.dumps(entry) + "\n")


def wrong(why):
    note(wrong=why)


def create(params):
    number = next(numbers)
    key = f"anon_ask_u{number}MARKED0123456789"
    keys[key] = [{"project_id": number, "name": params.get("name")}]
    secrets = {"user_api_key": key, "project_api_key": f"ask_p{number}MARKED", "auth_key": f"auth+{number}/MARKED", "session_token": f"sess=é{number}MARKED"}
    return {"project_id": number, "user_id": 7, **secrets, "message": f"Your key is {key}, keep it", "nested": [{"api_key": key}]}


def act(action, params, key):
    """What an action gives; raises for one that fails."""
    if action == CREATE:
        return create(params)
    if action == "projects.get_projects":
        return {"projects": keys[key], "share": 0.10}
    if action == "projects.add_user":
        raise PermissionError("HTTP 403: Professional subscription required for adding/removing project users.")
    if action == "projects.attach_to_user":
        if params.get("auth_key") != f"auth+{params.get('project_id')}/MARKED":
            raise PermissionError("HTTP 403: wrong auth_key")
        new = f"ask_new{params['project_id']}MARKED0123456789"
        keys[new] = keys.pop(key)
        return {"success": True, "project_id": params["project_id"], "new_api_key": new}
    if action == "auth.convert_anonymous_user":
        new = f"ask_conv{next(numbers)}MARKED0123456789"
        keys[new] = keys.pop(key)
        return {"user_api_key": new}
    return {"tool": action, "params": params}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        key = self.credential()
        if self.path == f"{BASE}/actions":
            listed = {}
            for action in ACTIONS:
                domain, name = action.split(".")
                listed.setdefault(domain, []).append({"action": name, "summary": f"Does {name}"})
            self.reply(200, {"success": True, "domains": listed, "catalog_etag": "v1"})
        elif self.path == f"{BASE}/tools":
            self.reply(200, {"tools": [{"name": action, "parameters": SCHEMA} for action in ACTIONS]})
        elif self.path.startswith(f"{BASE}/jobs/"):
            if key not in keys:
                return self.refuse(401, "unknown key")
            job = self.path.rsplit("/", 1)[1]
            looks[job] = looks.get(job, 0) + 1
            done = looks[job] > 1
            state = {"status": "completed", "result": jobs[job]} if done else {"status": "running", "progress": 50}
            self.reply(200, {"success": True, "data": state})
        else:
            wrong(f"GET {self.path}")
            self.refuse(404, "no such path")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        key, message = self.credential(), json.loads(body)
        note(post=self.path, key=key, agent=self.headers["user-agent"])
        if self.headers["content-type"] != "application/json":
            wrong(f"content-type {self.headers['content-type']}")
        if self.path == BASE:
            return self.batch(message, key)
        parts = self.path.removeprefix(f"{BASE}/tools/").split("/")
        action, streams = parts[0], parts[1:] == ["stream"]
        if list(message) != ["tool", "params"] or message["tool"] != action or not isinstance(message["params"], dict):
            wrong(f"{self.path} {body!r}")
        if parts[1:] not in ([], ["stream"]):
            wrong(f"POST {self.path}")
        if action == CREATE and key is not None:
            wrong("a credential went along to the anonymous creation")
        if action != CREATE and key not in keys:
            return self.refuse(401, "unknown key")
        params = message["params"]
        if action.startswith("faults."):
            return self.fail(action.split(".")[1], params, streams)
        if action == "logic.limited" and self.is_limited(params):
            return self.refuse(429, "Rate limit exceeded", [("Retry-After", "1")])
        if action.startswith("scheduler."):
            job = f"j-{params.get('n', 0)}"
            self.ran(params)
            jobs[job] = {"tool": action, "params": params}
            return self.reply(202, {"success": True, "data": {"job_id": job, "status": "queued"}, "trace_id": self.trace()})
        try:
            data = act(action, params, key)
        except PermissionError as error:
            return self.refuse(403, str(error))
        self.ran(params)
        if streams:
            return self.stream([{"status": "started", "trace_id": self.trace()}, *({"status": "processing", "progress": at} for at in (25, 50, 75)), {"status": "completed", "result": data}])
        self.reply(200, {"success": True, "data": data, "trace_id": self.trace()})

    def batch(self, message, key):
        if key not in keys:
            return self.refuse(401, "unknown key")
        if not set(message) <= {"steps", "options", "context"}:
            wrong(f"batch {sorted(message)}")
        idempotency = message.get("options", {}).get("idempotency_key")
        if not idempotency:
            wrong("a batch without an idempotency_key")
        first = message["steps"][0]
        note(batch=first.get("params", {}).get("n"), idempotency_key=idempotency)
        if first["action"] == "faults.lost" and batches.setdefault(idempotency, 0) < 2:
            batches[idempotency] += 1
            if batches[idempotency] == 1:
                self.ran(first["params"])
            return self.reset()
        steps = []
        for step in message["steps"]:
            try:
                steps.append({"status": "completed", "result": act(step["action"], step.get("params", {}), key)})
            except PermissionError as error:
                steps.append({"status": "error", "error": str(error)})
                break
        good = all(step["status"] == "completed" for step in steps)
        self.reply(200, {"success": good, "steps": steps, "trace_id": self.trace()})

    def fail(self, fault, params, streams):
        if fault in ("503", "429", "storm"):  # refused before it ran, and done at the second or third time
            tries = limits.setdefault((fault, params["n"]), [])
            tries.append(1)
            if fault == "503" and len(tries) == 1:
                return self.refuse(503, "busy", [("Retry-After", "0")])
            if fault == "429" and len(tries) == 1:
                return self.refuse(429, "Rate limit exceeded", [("Retry-After", "0")])
            if fault == "storm":
                return self.refuse(429, "Rate limit exceeded", [("Retry-After", "120")])
            self.ran(params)
            return self.reply(200, {"success": True, "data": params})
        self.ran(params)
        if fault == "reset":
            return self.reset()
        if fault in ("500", "502"):
            if fault == "500":
                return self.refuse(500, "database is locked")
            return self.raw(502, "text/html", b"<html>Bad Gateway</html>")
        if fault == "html":
            return self.raw(200, "text/html", b"<html>Log in</html>")
        if fault in ("half_record", "no_end") and streams:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self.wfile.write(b'data: {"status":"started","trace_id":"t-half"}\n\ndata: {"status":"processing","progress":50}\n\n')
            if fault == "half_record":
                self.wfile.write(b'data: {"status":"comple')
            self.close_connection = True
            return None
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "1000")
        self.end_headers()
        if fault == "half_body":
            self.wfile.write(b'{"success":true,"da')
        if fault == "stall":
            self.wfile.write(b'{"success":')
            self.wfile.flush()
            self.connection.settimeout(20)
            try:
                self.connection.recv(1)
            except OSError:
                pass
        self.reset()

    # ---- the wire ----

    def credential(self):
        """The key of a request, which must be there once at the most."""
        bearer, other = self.headers.get_all("authorization", []), self.headers.get_all("x-api-key", [])
        if len(bearer) + len(other) > 1:
            wrong(f"{len(bearer) + len(other)} credentials")
        if any(name.lower().startswith("mcp-") for name in self.headers):
            wrong(f"headers of MCP: {list(self.headers)}")
        if not (self.headers["user-agent"] or "").startswith("asistry/"):
            wrong(f"user-agent {self.headers['user-agent']}")
        return bearer[0].removeprefix("Bearer ") if bearer else other[0] if other else None

    def is_limited(self, params):
        tries = limits.setdefault(("limited", params.get("n")), [])
        tries.append(1)
        return len(tries) == 1

    def ran(self, params):
        note(ran=params.get("n"), path=self.path)

    def trace(self):
        return f"trace-{next(traces)}"

    def refuse(self, status, error, headers=()):
        self.reply(status, {"success": False, "error": error, "trace_id": self.trace()}, headers)

    def reply(self, status, body, headers=()):
        self.raw(status, "application/json", json.dumps(body, ensure_ascii=status != 200).encode(), headers)

    def raw(self, status, kind, body, headers=()):
        self.send_response(status)
        for name, value in [("content-type", kind), ("content-length", str(len(body))), *headers]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def stream(self, records):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for record in records:
            self.wfile.write(b"data: " + json.dumps(record).encode() + b"\n\n")
            self.wfile.flush()
            time.sleep(0.01)
        self.close_connection = True

    def reset(self):
        """Ends the connection at once, with RST."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def handle(self):
        try:
            super().handle()
        except OSError:
            pass

    def finish(self):
        try:
            super().finish()
        except (OSError, ValueError):
            pass

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request, client_address):
        wrong(f"the stand-in failed: {sys.exception()!r}")

    def shutdown_request(self, request):
        try:
            super().shutdown_request(request)
        except (OSError, ValueError):
            pass


server = Server(("127.0.0.1", 0), Handler)
print(f"listening on port {server.server_port}", file=sys.stderr, flush=True)
server.serve_forever()
