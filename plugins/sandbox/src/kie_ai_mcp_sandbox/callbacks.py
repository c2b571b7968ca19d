"""Callbacks: the finished task is posted to the client's address, signed when there is a key."""

import asyncio
import base64
import hashlib
import hmac
import time
from typing import Any

import httpx

from kie_ai_mcp_sandbox.service import Service
from kie_ai_mcp_sandbox.tasks import Task

TRIES = 4
PAUSE_S = 2.0
TIMEOUT_S = 15.0


def signature(key: str, task_id: str, timestamp: str) -> str:
    """Base64 of HMAC-SHA256 over ``taskId.timestamp``."""
    digest = hmac.new(key.encode(), f"{task_id}.{timestamp}".encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


class Callbacks:
    """Posts what has ended; lives as long as the server."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.running: set[asyncio.Task[None]] = set()
        self.client: httpx.AsyncClient | None = None

    def watch(self, task: Task) -> None:
        """Post this task when it ends, if its request asks for that."""
        url = task.body.get("callBackUrl")
        if isinstance(url, str) and url.startswith(("http://", "https://")):
            running = asyncio.get_running_loop().create_task(self._tell(task, url))
            self.running.add(running)
            running.add_done_callback(self.running.discard)

    async def close(self) -> None:
        """Give up what is still waiting."""
        for running in list(self.running):
            running.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)
        if self.client:
            await self.client.aclose()

    async def _tell(self, task: Task, url: str) -> None:
        await self.service.until_ended(task)
        if self.service.tasks.get(task.task_id) is not task:
            return
        body = task.family.callback(task, self.service.now())
        for n in range(TRIES):
            if n:
                await asyncio.sleep(PAUSE_S / self.service.settings.speed)
            if await self._post(url, task.task_id, body):
                return

    async def _post(self, url: str, task_id: str, body: dict[str, Any]) -> bool:
        headers = {}
        key = self.service.settings.webhook_key
        if key:
            timestamp = str(int(time.time()))
            headers = {"X-Webhook-Timestamp": timestamp, "X-Webhook-Signature": signature(key, task_id, timestamp)}
        self.client = self.client or httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False)
        try:
            answer = await self.client.post(url, json=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
        return answer.status_code == 200
