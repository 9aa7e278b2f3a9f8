"""A service on the official Python SDK for python.mjs, on a free port of 127.0.0.1.

Usage: python_server.py stateful | stateless-json | stateless-sse | modern-only | modern-entry
Speaks both eras, as the SDK does; what needs a session simply fails where there is none. The last two have no
handshake: `modern-only` names the version it wants, `modern-entry` misses the envelope.
"""

import socket
import sys
from functools import partial
from typing import Annotated

import anyio
import uvicorn
from mcp.server._streamable_http_modern import handle_modern_request
from mcp.server.lowlevel import NotificationOptions
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.resolve import Elicit, ListRoots, Resolve, Sample
from mcp.server.mcpserver.resources import TextResource
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import (
    Completion,
    CreateMessageResult,
    EmptyResult,
    ListRootsResult,
    SamplingMessage,
    SubscribeRequestParams,
    TextContent,
    UnsubscribeRequestParams,
)
from pydantic import BaseModel
from starlette.responses import JSONResponse

server = MCPServer("python-peer", version="9.8.7", instructions="A peer for asistry.", log_level="WARNING")
cancelled: dict[str, anyio.Event] = {}
board = {"text": "as at the start"}
subscribed: set[str] = set()


class Pair(BaseModel):
    sum: int
    product: int


class Person(BaseModel):
    name: str
    age: int = 36


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two integers."""
    return a + b


@server.tool()
def both(a: int, b: int) -> Pair:
    """Gives structured content."""
    return Pair(sum=a + b, product=a * b)


@server.tool()
def echo(text: str) -> str:
    """Gives back its argument."""
    return text


@server.tool()
def fail(why: str) -> str:
    """Fails."""
    raise ValueError(why)


@server.tool()
async def count(steps: int, ctx: Context) -> str:
    """Reports progress for each step."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"step {step}")
    return f"counted to {steps}"


def _question(about: str) -> Elicit[Person]:
    return Elicit(f"Who asks about {about}?", Person)


@server.tool()
def introduce(about: str, person: Annotated[Person, Resolve(_question)]) -> str:
    """Asks the user by elicitation."""
    return f"{person.name} ({person.age}) asks about {about}"


def _sample(prompt: str) -> Sample:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
    return Sample([message], max_tokens=23)


@server.tool()
def think(prompt: str, answer: Annotated[CreateMessageResult, Resolve(_sample)]) -> str:
    """Asks the client's model by sampling."""
    return f"{answer.model} thinks: {answer.content.text}"


def _roots() -> ListRoots:
    return ListRoots()


@server.tool()
def where(roots: Annotated[ListRootsResult, Resolve(_roots)]) -> str:
    """Asks for the client's roots."""
    return " ".join(str(root.uri) for root in roots.roots)


@server.tool()
async def ping_back(ctx: Context) -> str:
    """Pings the client outside of this call's stream."""
    await ctx.session.send_ping()
    return "pong"


@server.tool()
async def log(text: str, ctx: Context) -> str:
    """Sends a log message."""
    await ctx.warning(text, logger_name="peer")
    return "logged"


@server.tool()
async def hang(key: str, ctx: Context) -> str:
    """Runs until it is cancelled, and notes that it was."""
    cancelled[key] = anyio.Event()
    await ctx.report_progress(1, None, "hanging")
    try:
        await anyio.sleep(60)
    except anyio.get_cancelled_exc_class():
        cancelled[key].set()
        raise
    return "was not cancelled"


@server.tool()
async def was_cancelled(key: str) -> bool:
    """Waits until the call of `hang` with this key was stopped, at most 5 s."""
    with anyio.move_on_after(5):
        await cancelled[key].wait()
    return cancelled[key].is_set()


@server.tool()
async def grow(name: str, ctx: Context) -> str:
    """Adds a tool, a prompt and a resource of this name and announces the three changed lists."""
    server.add_tool(lambda: f"I am {name}", name=name, description="made by grow")
    server.add_prompt(Prompt.from_function(lambda: f"Prompt {name}", name=name))
    server.add_resource(TextResource(uri=f"peer://{name}", name=name, text=f"Resource {name}"))
    await ctx.session.send_tool_list_changed()
    await ctx.session.send_prompt_list_changed()
    await ctx.session.send_resource_list_changed()
    await ctx.notify_tools_changed()
    await ctx.notify_prompts_changed()
    await ctx.notify_resources_changed()
    return name


@server.tool()
async def write(text: str, ctx: Context) -> str:
    """Writes on the board and announces the update to those who subscribed."""
    board["text"] = text
    if "peer://board" in subscribed:
        await ctx.session.send_resource_updated("peer://board")
    await ctx.notify_resource_updated("peer://board")
    return text


@server.resource("peer://board", name="board", mime_type="text/plain")
def read_board() -> str:
    return board["text"]


@server.resource("peer://square/{number}", name="square")
def square(number: str) -> str:
    return str(int(number) ** 2)


@server.prompt()
def greet(name: str, tone: str = "kind") -> str:
    """A greeting."""
    return f"Greet {name} in a {tone} way."


@server.completion()
async def complete(ref, argument, context):
    return Completion(values=[tone for tone in ["kind", "keen", "rude"] if tone.startswith(argument.value)])


async def subscribe(ctx, params):
    subscribed.add(str(params.uri))
    return EmptyResult()


async def unsubscribe(ctx, params):
    subscribed.discard(str(params.uri))
    return EmptyResult()


# MCPServer has no public door for the handshake era's subscriptions and listChanged flags.
server._lowlevel_server.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribe)
server._lowlevel_server.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, unsubscribe)
server._lowlevel_server.create_initialization_options = partial(
    server._lowlevel_server.create_initialization_options,
    NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True),
)


async def modern_entry(manager, scope, receive, send):
    """Sends each request to the SDK's entry for 2026-07-28; the SDK has no option to serve nothing else."""
    settings = (manager.app, manager.security_settings, manager.json_response, manager._lifespan_state)
    await handle_modern_request(*settings, scope, receive, send)


async def modern_only(manager, scope, receive, send):
    """Refuses what has no version header as the official TypeScript server refuses `initialize`."""
    if any(name == b"mcp-protocol-version" for name, _ in scope["headers"]):
        return await modern_entry(manager, scope, receive, send)
    data = {"supported": ["2026-07-28"], "requested": "2025-11-25"}
    error = {"code": -32022, "message": "Unsupported protocol version", "data": data}
    await JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, 400)(scope, receive, send)


def main(kind: str) -> None:
    options = {
        "stateful": {},
        "stateless-json": {"stateless_http": True, "json_response": True},
        "stateless-sse": {"stateless_http": True},
        "modern-only": {},
        "modern-entry": {},
    }[kind]
    if handle := {"modern-only": modern_only, "modern-entry": modern_entry}.get(kind):
        StreamableHTTPSessionManager._handle_request = handle
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"listening on port {listener.getsockname()[1]}", file=sys.stderr, flush=True)
    config = uvicorn.Config(server.streamable_http_app(**options), log_level="warning", lifespan="on")
    anyio.run(uvicorn.Server(config).serve, [listener])


main(sys.argv[1])
