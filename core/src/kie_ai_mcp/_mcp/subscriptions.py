"""Subscriptions to resources: each client is notified of changes on record, as its revision has it."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio
import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    ResourcesListChanged,
    ResourceUpdated,
    ToolsListChanged,
)

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.changes import Change, ListChanged, Listener
from kie_ai_mcp._mcp.content import RESOURCE_NOT_FOUND, Context, answered, has_handshake
from kie_ai_mcp.errors import InvalidArgument

SEND_S = 5.0  # how long a client may take to take a notification
LISTENER = "listener"  # in the state of a connection


class ChangingServer(Server[Any]):
    """A server whose list of resources changes while it runs, and whose prompts stay as they are.

    Its tools stay, too, but an early answer with their list may be corrected where `tools_change`.
    """

    tools_change = False

    def get_capabilities(self, *args: Any, **kwargs: Any) -> types.ServerCapabilities:
        """Return what the server can do, as it is."""
        capabilities = super().get_capabilities(*args, **kwargs)
        for part, changes in (
            (capabilities.tools, self.tools_change),
            (capabilities.prompts, False),
            (capabilities.resources, True),
        ):
            if part is not None:
                part.list_changed = changes
        return capabilities


@dataclass(frozen=True)
class Subscriptions:
    """The requests about subscriptions: those of a session until its end, or of a stream until that ends."""

    app: App

    def serve(self, server: Server[Any]) -> None:
        """Let a server answer the requests."""
        server.add_request_handler("resources/subscribe", types.SubscribeRequestParams, self.subscribe)
        server.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, self.unsubscribe)
        server.add_request_handler("subscriptions/listen", types.SubscriptionsListenRequestParams, self.listen)

    async def subscribe(self, ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        """Notify a session of a task's changes from now on."""
        listener = self._of_session(ctx)
        adding = self.app.changes.add(listener, params.uri)
        await answered(self.app, adding, RESOURCE_NOT_FOUND, {"uri": self.app.clean(params.uri)})
        self.app.changes.open(listener)
        return types.EmptyResult()

    async def unsubscribe(self, ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        """Notify a session no more of a task."""
        self.app.changes.remove(self._of_session(ctx), params.uri)
        return types.EmptyResult()

    async def listed(self, ctx: Context) -> None:
        """Notify a session that reads the list of resources when that changes; others ask for it by themselves."""
        if has_handshake(ctx):
            listener = self._of_session(ctx)
            if listener.listing is None:
                await answered(self.app, self.app.changes.add_list(listener))
                self.app.changes.open(listener)

    async def listen(
        self, ctx: Context, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """Notify of what a stream asks for until it ends: no unknown address, and no list that never changes."""
        bus = InMemorySubscriptionBus()
        stream = ListenHandler(bus)

        async def notify(change: Change) -> None:
            match change:
                case ListChanged.RESOURCES:
                    await bus.publish(ResourcesListChanged())
                case ListChanged.TOOLS:
                    await bus.publish(ToolsListChanged())
                case str() as uri:
                    await bus.publish(ResourceUpdated(uri))

        listener = Listener(notify, stream.close)
        honored = await answered(self.app, self._added(listener, params.notifications))
        self.app.changes.open(listener)
        try:
            return await stream(ctx, params.model_copy(update={"notifications": honored}))
        finally:
            self.app.changes.close(listener)

    async def _added(self, listener: Listener, wanted: types.SubscriptionFilter) -> types.SubscriptionFilter:
        """Add a listener to what is wanted; return what there is of it."""
        uris = list[str]()
        for uri in wanted.resource_subscriptions or ():
            with suppress(InvalidArgument):
                await self.app.changes.add(listener, uri)
                uris.append(uri)
        if wanted.resources_list_changed:
            await self.app.changes.add_list(listener)
        listener.tools = bool(wanted.tools_list_changed) and self.app.changes.tools_may_change
        return types.SubscriptionFilter(
            tools_list_changed=listener.tools or None,
            resources_list_changed=wanted.resources_list_changed,
            resource_subscriptions=uris,
        )

    def _of_session(self, ctx: Context) -> Listener:
        """Return the listener of a request's session; it is closed with the session."""
        # The SDK documents the exit stack of a connection as the place for this, and gives handlers no other way to it.
        session, connection = ctx.session, ctx.session._connection

        async def notify(change: Change) -> None:
            with anyio.move_on_after(SEND_S):
                match change:
                    case ListChanged.RESOURCES:
                        await session.send_notification(types.ResourceListChangedNotification())
                    case ListChanged.TOOLS:
                        await session.send_notification(types.ToolListChangedNotification())
                    case str() as uri:
                        await session.send_resource_updated(uri)

        if LISTENER not in connection.state:
            listener = connection.state[LISTENER] = Listener(notify)
            connection.exit_stack.callback(self.app.changes.close, listener)
        found: Listener = connection.state[LISTENER]
        return found
