"""An MCP service that wants an OAuth login, and an authorization server that says yes to everybody.
Usage: login_service.py; prints its port. GET /count tells how many windows were opened and tokens issued."""
import base64, hashlib, itertools, json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

numbers = itertools.count(1)
codes, tokens, clients = {}, set(), {}
windows = issued = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body=None, **headers):
        text = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(text)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        global windows
        base = f"http://{self.headers['Host']}"
        url = urlsplit(self.path)
        if url.path == "/count":
            return self.reply(200, {"windows": windows, "issued": issued})
        if url.path == "/.well-known/oauth-protected-resource/mcp":
            return self.reply(200, {"resource": f"{base}/mcp", "authorization_servers": [base]})
        if url.path == "/.well-known/oauth-authorization-server":
            return self.reply(200, {
                "issuer": base, "authorization_endpoint": f"{base}/authorize", "token_endpoint": f"{base}/token",
                "registration_endpoint": f"{base}/register", "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["none"]})
        if url.path == "/authorize":
            asked = dict(parse_qsl(url.query))
            if clients.get(asked["client_id"]) != asked["redirect_uri"]:
                return self.reply(400, {"error": "invalid_client"})
            windows += 1
            code = f"code-{next(numbers)}"
            codes[code] = asked["code_challenge"]
            return self.reply(302, Location=f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}")
        self.reply(405 if url.path == "/mcp" else 404)

    def do_DELETE(self):
        self.reply(405)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path == "/register":
            client = f"client-{next(numbers)}"
            clients[client] = json.loads(body)["redirect_uris"][0]
            return self.reply(201, {"client_id": client})
        if self.path == "/token":
            return self.token({name: values[0] for name, values in parse_qs(body.decode()).items()})
        if self.headers.get("Authorization", "").removeprefix("Bearer ") not in tokens:
            place = f"http://{self.headers['Host']}/.well-known/oauth-protected-resource/mcp"
            return self.reply(401, {"error": "invalid_token"}, WWW_Authenticate=f'Bearer resource_metadata="{place}"')
        message = json.loads(body)
        results = {
            "initialize": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}},
            "tools/list": {"tools": [{"name": "hello", "inputSchema": {"type": "object"}}]},
            "tools/call": {"content": [{"type": "text", "text": "it works"}]},
        }
        if "id" not in message:
            return self.reply(202)
        self.reply(200, {"jsonrpc": "2.0", "id": message["id"], "result": results.get(message["method"], {})})

    def token(self, form):
        global issued
        if form["grant_type"] == "authorization_code":
            hashed = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
            good = codes.pop(form["code"], None) == hashed
        else:
            good = form["refresh_token"] in tokens
        if not good:
            return self.reply(400, {"error": "invalid_grant"})
        issued += 1
        # Longer than one item of some keyrings.
        access, refresh = f"marked-access-{next(numbers)}-{'x' * 3000}", f"marked-refresh-{next(numbers)}"
        tokens.update([access, refresh])
        self.reply(200, {"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": 3600})


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
