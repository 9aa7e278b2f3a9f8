"""An MCP service that takes whatever keys a file lists at that moment, by either header, and writes down who asked what.

Usage: keyed_service.py ACCEPTED REQUESTS; prints its port. Refuses every other key with 401; where the file lists GONE,
everything with 404.
"""
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

accepted, requests = sys.argv[1:]
TOOLS = [{"name": "hello", "inputSchema": {"type": "object", "properties": {}}}]


def answer(method: str, params: dict) -> dict:
    if method == "initialize":
        info = {"name": "keyed", "version": "1"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        return {"tools": TOOLS}
    return {"content": [{"type": "text", "text": "hello there"}]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        key = self.headers.get("x-api-key") or self.headers.get("authorization", "").removeprefix("Bearer ")
        with open(accepted) as lines:
            keys = lines.read().split()
        known = key in keys
        with open(requests, "a") as log:
            log.write(f"{message.get('method')} {key} {'ok' if known else 'refused'}\n")
        if "GONE" in keys:
            return self.reply(404, None)
        if not known:
            return self.reply(401, {"message": "unauthorized"})
        if "id" not in message:
            return self.reply(202, None)
        self.reply(200, {"jsonrpc": "2.0", "id": message["id"], "result": answer(message["method"], message.get("params", {}))})

    def do_GET(self) -> None:
        self.reply(405, None)

    def reply(self, status: int, body: dict | None) -> None:
        text = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
