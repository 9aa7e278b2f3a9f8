"""The official Python client, 1.x or 2.x, in front of BINARY bridge and the stand-in of AgentStack.

Usage: agentstack_host.py BINARY URL PART, where PART is `actions` or `anonymous`; prints what it got as one line of JSON.
"""

import json
import os
import sys
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio
from mcp.client.stdio import StdioServerParameters, stdio_client

FIRST = version("mcp").startswith("1.")
if FIRST:
    from mcp import ClientSession
else:
    from mcp import Client

binary, url, part = sys.argv[1:]
trace = os.path.join(os.environ["HOME"], "trace-python-%p")


@asynccontextmanager
async def host():
    arguments = ["-p", "agentstack", "--url", url, "--trace", trace, "bridge"]
    server = StdioServerParameters(command=binary, args=arguments, env=dict(os.environ))
    if not FIRST:
        async with Client(server, mode="auto") as client:
            yield client
        return
    async with stdio_client(server) as (reading, writing), ClientSession(reading, writing) as session:
        await session.initialize()
        yield session


def plain(result):
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


async def actions(client):
    names, pages, cursor = [], 0, None
    while pages == 0 or cursor:
        page = await client.list_tools(cursor=cursor)
        names += [tool.name for tool in page.tools]
        pages, cursor = pages + 1, plain(page).get("nextCursor")
    steps = []

    async def step(progress, total, message):
        steps.append(progress)

    return {
        "names": names,
        "pages": pages,
        "call": plain(await client.call_tool("domain30_action_100", {"n": 1})),
        "streamed": plain(await client.call_tool("domain30.action_100", {"n": 2}, progress_callback=step)),
        "steps": steps,
        "refused": plain(await client.call_tool("projects_add_user", {"n": 3})),
        "limited": plain(await client.call_tool("logic_limited", {"n": 4 + 1000 * FIRST})),
        "job": plain(await client.call_tool("scheduler_long", {"n": 5 + 1000 * FIRST})),
        "batch": plain(await client.call_tool("agentstack_execute", {"steps": [{"action": "projects.get_projects"}, {"action": "projects.add_user"}]})),
    }


async def anonymous(client):
    created = plain(await client.call_tool("projects_create_project_anonymous", {"name": "Mine"}))
    listed = plain(await client.call_tool("projects_get_projects", {}))
    data = created["structuredContent"]
    attach = {"project_id": data["project_id"], "auth_key": data["auth_key"], "user_id": 5}
    attached = plain(await client.call_tool("projects_attach_to_user", attach))
    return {"created": created, "listed": listed, "attached": attached, "again": plain(await client.call_tool("projects_get_projects", {}))}


async def main():
    async with host() as client:
        print(json.dumps(await {"actions": actions, "anonymous": anonymous}[part](client)))


anyio.run(main)
