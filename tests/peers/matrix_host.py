"""A Python host of matrix.mjs: BINARY bridge over stdio in front of URL, and one line of JSON for each operation.

Usage: matrix_host.py BINARY URL MODE PLAN
MODE is that of the client 2.x (`auto` or a version) and means nothing to 1.x. PLAN is JSON: the names of services.mjs,
`key` for the call that hangs, and `operations`. Each line holds `operation` and `ok`, with `why` or, for a cancellation,
`at`: when the client cancelled, in ms since 1970.
"""

import json
import os
import re
import sys
import time
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio
from mcp.client.stdio import StdioServerParameters, stdio_client

FIRST = version("mcp").startswith("1.")
if FIRST:
    from mcp import ClientSession, types
    from pydantic import AnyUrl
else:
    import mcp_types as types
    from mcp import Client

binary, url, mode, plan = sys.argv[1:]
AT = json.loads(plan)
updates = anyio.Event()
TIMEOUT = 15


async def sampling(context, params):
    content = types.TextContent(type="text", text="sampled answer")
    return types.CreateMessageResult(role="assistant", model="peer-model", content=content)


async def elicitation(context, params):
    return types.ElicitResult(action="accept", content={"name": "Ada"})


async def roots(context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///peers/one", name="one")])


async def heard(message):
    if getattr(getattr(message, "root", message), "method", "") == "notifications/resources/updated":
        updates.set()


@asynccontextmanager
async def host():
    """The session or client of the SDK; both have the same methods for what is asked here."""
    server = StdioServerParameters(command=binary, args=["bridge", "--url", url], env=dict(os.environ))
    callbacks = {
        "sampling_callback": sampling,
        "elicitation_callback": elicitation,
        "list_roots_callback": roots,
        "message_handler": heard,
    }
    if not FIRST:
        async with Client(server, mode=mode, **callbacks) as client:
            yield client
        return
    async with stdio_client(server) as (reading, writing), ClientSession(reading, writing, **callbacks) as session:
        await session.initialize()
        yield session


def text(result):
    return "\n".join(getattr(block, "text", "") for block in result.content)


async def said(client, names, pattern):
    found = text(await client.call_tool(names[0], names[1]))
    assert re.search(pattern, found), found


async def list_tools(client):
    names = [tool.name for tool in (await client.list_tools()).tools]
    assert AT["sum"][0] in names, names


async def call(client):
    await said(client, AT["sum"], r"\b42\b")


async def prompts(client):
    prompt, pattern = AT["prompt"]
    assert prompt["name"] in [one.name for one in (await client.list_prompts()).prompts]
    found = (await client.get_prompt(prompt["name"], prompt["arguments"])).messages[0].content.text
    assert re.search(pattern, found), found


async def resources(client):
    uri, pattern = AT["resource"]
    assert (await client.list_resources()).resources
    found = (await client.read_resource(AnyUrl(uri) if FIRST else uri)).contents[0].text
    assert re.search(pattern, found), found


async def progress(client):
    seen = []

    async def step(progress, total, message):
        seen.append(progress)

    name, arguments, count = AT["progress"]
    await client.call_tool(name, arguments, progress_callback=step)
    assert seen == list(range(1, count + 1)), seen


async def cancellation(client):
    running, at = anyio.Event(), None

    async def step(progress, total, message):
        running.set()

    async def hang():
        await client.call_tool(*AT["hanging"], progress_callback=step)

    async with anyio.create_task_group() as group:
        group.start_soon(hang)
        await running.wait()
        at = time.time() * 1000
        if FIRST:  # it has no other way
            number = client._request_id - 1
            params = types.CancelledNotificationParams(requestId=number)
            await client.send_notification(types.ClientNotification(types.CancelledNotification(params=params)))
        group.cancel_scope.cancel()
    if AT["hanging"][0] == "hang":
        await said(client, ["was_cancelled", AT["hanging"][1]], "(?i)true")
    await said(client, AT["sum"], r"\b42\b")
    return at


async def sample(client):
    await said(client, AT["sampling"], "sampled answer")


async def elicit(client):
    await said(client, AT["elicitation"], "Ada")


async def subscriptions(client):
    name, arguments, uri = AT["update"]
    if not FIRST and client.protocol_version >= "2026-07-28":
        async with client.listen(resource_subscriptions=[uri]) as events:
            await client.call_tool(name, arguments)
            assert (await anext(events)).uri == uri
        return
    await client.subscribe_resource(AnyUrl(uri) if FIRST else uri)
    await client.call_tool(name, arguments)
    await updates.wait()


OPERATIONS = {
    "list": list_tools,
    "call": call,
    "prompts": prompts,
    "resources": resources,
    "progress": progress,
    "cancellation": cancellation,
    "sampling": sample,
    "elicitation": elicit,
    "subscriptions": subscriptions,
}


def tell(operation, **outcome):
    print(json.dumps({"operation": operation, **outcome}), flush=True)


async def main():
    async with host() as client:
        for operation in AT["operations"]:
            try:
                with anyio.fail_after(TIMEOUT):
                    at = await OPERATIONS[operation](client)
                tell(operation, ok=True, at=at)
            except Exception as error:
                tell(operation, ok=False, why=f"{type(error).__name__}: {error}")


anyio.run(main)
