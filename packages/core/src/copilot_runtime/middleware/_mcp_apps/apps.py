"""`MCPApps`: which servers' apps are shown, and for which agents."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Collection, Sequence

from ... import _validation as validation
from ...agents._mcp import MCPServer
from ...agents._mcp.server import parse_mcp_servers


@dataclasses.dataclass(frozen=True, slots=True)
class MCPApps:
    """MCP servers whose apps are shown in the chat (extra ``mcp``).

    Tools that have an app are offered to the agents, whatever these are. A call of one is run here, and the frontend
    shows the app with its result. What the app then asks of its server passes through the runtime, with the headers of
    the user who looks at it.

    Args:
        servers: the servers. One with ``agents`` is used by these only; ``server_id`` distinguishes those with the same
            URL; ``allowed_tools`` bounds what agents and apps may call.
        agents: the ids of the agents that have apps; None for all.

    Raises:
        TypeError: if ``servers`` is not a list of `MCPServer` values, or ``agents`` not a list of ids.
        ValueError: if two servers of an agent could not be told apart.
    """

    servers: Sequence[MCPServer]
    agents: Collection[str] | None = None

    def __post_init__(self) -> None:
        servers = parse_mcp_servers("MCPApps: servers", self.servers)
        object.__setattr__(self, "servers", servers)
        if self.agents is not None:
            object.__setattr__(self, "agents", validation.check_names("MCPApps: agents", self.agents))
        for one, other in itertools.combinations(servers, 2):
            _check_distinct(one, other)

    def servers_of(self, agent_id: str) -> tuple[MCPServer, ...]:
        """Returns the servers that an agent uses."""
        if self.agents is not None and agent_id not in self.agents:
            return ()
        return tuple(server for server in self.servers if server.agents is None or agent_id in server.agents)


def find_server(servers: Sequence[MCPServer], server_id: str | None, server_hash: str | None) -> MCPServer | None:
    """Returns the server that an app came from, by its id or else by its hash; None if there is none, or several."""
    by_id = [server for server in servers if server_id is not None and server.server_id == server_id]
    found = by_id or [server for server in servers if hash_of(server) == server_hash]
    return found[0] if len(found) == 1 else None


def hash_of(server: MCPServer) -> str:
    """Returns what identifies a server to frontends that have no id of it: a hash of its transport and URL.

    The same as other runtimes compute, so that the apps of threads that come from them find their server.
    """
    if server.url is None:
        return _hash("stdio", json.dumps(server.command))
    return _hash("sse" if server.transport == "sse" else "http", server.url)


@functools.lru_cache(maxsize=1024)
def _hash(transport: str, url: str) -> str:
    described = json.dumps({"type": transport, "url": url}, ensure_ascii=False, separators=(",", ":"))
    return hashlib.md5(described.encode(), usedforsecurity=False).hexdigest()


def _check_distinct(one: MCPServer, other: MCPServer) -> None:
    if one.agents is not None and other.agents is not None and not set(one.agents) & set(other.agents):
        return
    if one.server_id == other.server_id and (one.server_id is not None or hash_of(one) == hash_of(other)):
        raise ValueError(
            f"MCPApps: {one!r} and {other!r} cannot be told apart: give each of them a server_id=... of its own"
        )
    if hash_of(one) == hash_of(other) and None in (one.server_id, other.server_id):
        raise ValueError(f"MCPApps: {one!r} is listed twice: give both a server_id=..., or each its own agents=[...]")
