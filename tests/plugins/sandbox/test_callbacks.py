"""Callbacks of the sandbox: signed, posted to the client's address, and tried again."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue
from threading import Thread
from typing import Any

import httpx
import pytest

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import LIMIT_S

Connect = Callable[[Sandbox], httpx.Client]


class Listener:
    """An address that notes what is posted to it and answers with the next of `answers`, else 200."""

    def __init__(self) -> None:
        self.posts: Queue[tuple[dict[str, str], Any]] = Queue()
        self.answers: list[int] = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(listener.answers.pop(0) if listener.answers else 200)
                self.send_header("content-length", "0")
                self.end_headers()
                listener.posts.put(({name.lower(): value for name, value in self.headers.items()}, json.loads(body)))

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/callback"


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    thread = Thread(target=listener.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield listener
    listener.server.shutdown()
    thread.join()
    listener.server.server_close()


def create(client: httpx.Client, url: str, prompt: str = "a fox") -> str:
    body = {"model": "google/nano-banana", "input": {"prompt": prompt}, "callBackUrl": url}
    return str(client.post("jobs/createTask", json=body).json()["data"]["taskId"])


def test_callback_has_the_body_of_the_status_answer(connect: Connect, listener: Listener) -> None:
    with Sandbox(speed=100) as sandbox:
        client = connect(sandbox)
        made = create(client, listener.url)
        headers, body = listener.posts.get(timeout=LIMIT_S)
        assert body == client.get("jobs/recordInfo", params={"taskId": made}).json()
        assert json.loads(json.loads(body["data"]["param"])["input"]) == {"prompt": "a fox"}
        assert "x-webhook-signature" not in headers


def test_callback_of_a_failed_task_has_code_501(connect: Connect, listener: Listener) -> None:
    with Sandbox(speed=100) as sandbox:
        create(connect(sandbox), listener.url, "a fox [fail]")
        _, body = listener.posts.get(timeout=LIMIT_S)
        assert (body["code"], body["data"]["state"]) == (501, "fail")


def test_callback_is_signed_when_there_is_a_key(connect: Connect, listener: Listener) -> None:
    with Sandbox(speed=100, webhook_key="secret") as sandbox:
        made = create(connect(sandbox), listener.url)
        headers, _ = listener.posts.get(timeout=LIMIT_S)
        timestamp = headers["x-webhook-timestamp"]
        message = f"{made}.{timestamp}".encode()
        assert abs(int(timestamp) - time.time()) < 5
        assert (
            headers["x-webhook-signature"] == base64.b64encode(hmac.digest(b"secret", message, hashlib.sha256)).decode()
        )


def test_callback_waits_for_a_held_task(connect: Connect, listener: Listener) -> None:
    with Sandbox(hold=True) as sandbox:
        made = create(connect(sandbox), listener.url)
        sandbox.advance(100)
        assert listener.posts.empty()
        sandbox.finish(made, fail="asleep")
        assert listener.posts.get(timeout=LIMIT_S)[1]["data"]["failMsg"] == "asleep"


def test_callback_is_repeated_three_times_at_most(connect: Connect, listener: Listener) -> None:
    listener.answers = [500, 302, 404, 500, 500]
    with Sandbox(speed=1000) as sandbox:
        create(connect(sandbox), listener.url)
        bodies = [listener.posts.get(timeout=LIMIT_S)[1] for _ in range(4)]
        assert bodies == [bodies[0]] * 4
        create(connect(sandbox), listener.url)
        # The fifth refusal was left for the next task: the first one was not asked for a fifth time.
        assert listener.posts.get(timeout=LIMIT_S)[1] != bodies[0]


def test_callback_that_reaches_no_server_disturbs_nothing(connect: Connect) -> None:
    with Sandbox(speed=1000) as sandbox:
        client = connect(sandbox)
        made = create(client, "http://127.0.0.1:9/nobody")
        create(client, "http://[broken/")
        sandbox.advance(10)
        assert client.get("jobs/recordInfo", params={"taskId": made}).json()["data"]["state"] == "success"


def test_task_that_was_forgotten_is_not_called_back(connect: Connect, listener: Listener) -> None:
    with Sandbox() as sandbox:
        client = connect(sandbox)
        create(client, listener.url, "forgotten")
        sandbox.reset()
        create(client, listener.url, "remembered")
        sandbox.advance(10)
        _, body = listener.posts.get(timeout=LIMIT_S)
        assert "remembered" in body["data"]["param"]
        assert listener.posts.empty()
