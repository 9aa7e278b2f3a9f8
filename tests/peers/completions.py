#!/usr/bin/env python3
"""bash, zsh and fish really completing asistry, each in a pseudo-terminal.

Usage: completions.py BINARY. The tools are listed once, then the services are gone: TAB needs no network.
What a line has become is seen by running it behind printf: '<asistry><call>…' is in no echo of the keys.
"""
import http.server, json, os, pty, re, select, shutil, signal, subprocess, sys, tempfile, threading, time
import fcntl, struct, termios

DEADLINE = 10  # seconds, for an event that must come
BAR = 20  # milliseconds for one TAB
HOSTILE = "in progress; touch PWNED $(touch PWNED)"
binary = os.path.realpath(sys.argv[1])
failed = False


def check(name, good, said=""):
    global failed
    print(f"ok completions: {name}" if good else f"FAIL completions: {name}\n     {said}", flush=True)
    failed |= not good


class Odd(http.server.BaseHTTPRequestHandler):
    """A service with a tool whose values would do harm in a shell that takes them as they are."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        schema = {"type": "object", "properties": {"choice": {"enum": [HOSTILE, "other"]}}}
        results = {
            "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                           "serverInfo": {"name": "odd", "version": "1"}},
            "tools/list": {"tools": [{"name": "a:b", "inputSchema": schema}]},
        }
        body = json.dumps({"jsonrpc": "2.0", "id": asked.get("id"), "result": results.get(asked["method"], {})})
        self.send_response(200 if "id" in asked else 202)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) if "id" in asked else 0))
        self.end_headers()
        if "id" in asked:
            self.wfile.write(body.encode())

    def do_GET(self):
        self.send_response(405)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_DELETE = do_GET

    def log_message(self, *_):
        pass


class Terminal:
    """A shell in a pseudo-terminal."""

    def __init__(self, argv, env, folder):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(argv[0], argv, env)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 200, 0, 0))
        self.count = 0

    def hear(self, *wanted, seconds=DEADLINE):
        """Reads until all that is wanted was seen; returns what was seen."""
        seen, end = "", time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
                try:
                    data = os.read(self.fd, 65536)
                except OSError:
                    break
                seen += data.decode(errors="replace")
            plain = re.sub(r"\x1b\[[0-9;?<>=]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b[()][0-9A-B]|\x1b.|[\r\b]", "", seen)
            if all(word in plain for word in wanted):
                return True, plain
        return False, plain if seen else ""

    def say(self, text):
        os.write(self.fd, text.encode())

    def settle(self, leave="\x05\x15"):
        """Leaves the line, and waits until the shell has."""
        self.count += 1
        self.say(f"{leave}echo HERE-''{self.count}\r")
        return self.hear(f"HERE-{self.count}")[0]

    def shows(self, keys, *wanted):
        self.say(keys)
        good, seen = self.hear(*wanted)
        return self.settle() and good, f"typed {keys!r}, wanted {wanted}, saw {seen[-1500:]!r}"

    def becomes(self, keys, words):
        """Types, then runs what has become of it behind printf."""
        self.say(keys + "\x01printf '<%s>' \x05\r")
        good, seen = self.hear("".join(f"<{word}>" for word in words))
        return self.settle() and good, f"typed {keys!r}, wanted {words}, saw {seen[-1500:]!r}"

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def run(*words, env, **more):
    return subprocess.run([binary, *words], env=env, check=True, capture_output=True, text=True, timeout=60, **more)


def prepared(home):
    """Lists the tools of two services once, stores two keys, and ends the services."""
    for name in ("config", "state", "cache", "data", "bin", "files"):
        os.mkdir(f"{home}/{name}")
    open(f"{home}/files/cert one.pem", "w").close()
    os.symlink(binary, f"{home}/bin/asistry")
    env = {"HOME": home, "PATH": f"{home}/bin:{os.environ['PATH']}", "TERM": "xterm", "LANG": "C.UTF-8"}
    env |= {f"ASISTRY_{name.upper()}_DIR": f"{home}/{name}" for name in ("config", "state", "cache", "data")}
    sandbox = subprocess.Popen([binary, "sandbox", "--memory", "--listen", "127.0.0.1:0", "--json"], env=env, stdout=subprocess.PIPE, text=True)
    odd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=odd.serve_forever, daemon=True).start()
    try:
        service = json.loads(sandbox.stdout.readline())["services"]["asistry"]
        with open(f"{home}/config/config.toml", "w") as config:
            config.write(f'profile = "work"\n[profiles.work]\nservice = "mcp"\nurl = "{service["url"]}"\n')
        odd_url = f"http://127.0.0.1:{odd.server_address[1]}/mcp"
        run("tools", env=env | {"ASISTRY_API_KEY": service["key"]})
        run("--url", odd_url, "tools", env=env)
        stored = env | {"ASISTRY_KEY_STORE": "file", "ASISTRY_KEY_PASSPHRASE": "x"}
        for name in ("first", "second"):
            run("keys", "add", "--name", name, "--stdin", "--no-verify", env=stored, input=service["key"])
    finally:
        sandbox.kill()
        sandbox.wait()
        odd.shutdown()
        odd.server_close()
    return env, odd_url


SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source <(asistry completions bash)\r", "\t\t"),
    "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u -D; source <(asistry completions zsh)\r", "\t"),
    "fish": (["fish", "-i"], "asistry completions fish | source\r", "\t"),
}


def completes(shell, env, home, odd_url):
    argv, setup, tab = SHELLS[shell]
    terminal = Terminal(argv, env, f"{home}/files")
    try:
        terminal.say(setup)
        check(f"{shell} takes the script", terminal.settle(leave=""))
        values = ("backlog", "todo", "in_progress", "review", "done")
        check(f"{shell} shows the values of an enum", *terminal.shows("asistry call list_tasks status=" + tab, *values))
        check(f"{shell} shows the profiles", *terminal.shows("asistry -p " + tab, "work", "bob-studio", "sandbox"))
        check(f"{shell} shows the tools", *terminal.shows("asistry call list_" + tab, "list_tasks", "list_projects"))
        check(f"{shell} shows the names of keys", *terminal.shows("asistry keys use " + tab, "first", "second"))
        for name, keys, words in [
            ("a value", "call list_tasks status=rev\t", ["call", "list_tasks", "status=review"]),
            ("a name and its value", "call create_task prio\thi\t", ["call", "create_task", "priority=high"]),
            ("an option of the tool", "call list_tasks --stat\trev\t", ["call", "list_tasks", "--status", "review"]),
            ("an option and its value", "--log-form\tj\t", ["--log-format", "json"]),
            ("a subcommand, and goes on", "comp\tzs\t", ["completions", "zsh"]),
            ("a file", "--ca-file ce\t", ["--ca-file", "cert one.pem"]),
            ("a file behind =@", "call create_task title=@ce\t", ["call", "create_task", "title=@cert one.pem"]),
            ("a tool with a colon", f"--url {odd_url} call a:\tcho\toth\t", ["--url", odd_url, "call", "a:b", "choice=other"]),
            ("a value that would do harm, as one word", f"--url {odd_url} call a:b choice=in\t", ["--url", odd_url, "call", "a:b", f"choice={HOSTILE}"]),
        ]:
            check(f"{shell} completes {name}", *terminal.becomes(f"asistry {keys}", ["asistry", *words]))
        check(f"{shell} ran nothing of it", not os.path.exists(f"{home}/files/PWNED"))
    finally:
        terminal.end()


def one_tab(env):
    """The fastest of many runs, so that other load does not matter."""
    took = []
    for _ in range(20):
        start = time.monotonic()
        run("__complete", "fish", "3", "asistry", "call", "list_tasks", "status=", env=env)
        took.append((time.monotonic() - start) * 1000)
    took.sort()
    check(f"one TAB takes {took[0]:.1f} ms at best, {took[10]:.1f} in the middle", took[0] < BAR, f"{BAR} ms are allowed")


with tempfile.TemporaryDirectory() as home:
    env, odd_url = prepared(home)
    one_tab(env)
    for shell in SHELLS:
        if shutil.which(shell):
            completes(shell, env, home, odd_url)
        else:
            check(f"{shell} is here", False)
sys.exit(10 if failed else 0)
