"""The server as an OAuth resource: what clients discover, whose tokens are let in, and the SDK's client from 401 on."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import LIMIT_S, until, unused_port
from tests.issuer import RESOURCE, Issuer

if TYPE_CHECKING:
    from tests.wire.conftest import RunIn, SiteIn
    from tests.wire.processes import Site

METADATA = "/.well-known/oauth-protected-resource"
TOKEN = "a-token-of-the-tests"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}},
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with HTTPServer(host="127.0.0.1", threaded=True) as server:
        yield Issuer(server, "/kie", "/.well-known/oauth-authorization-server/kie")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("oauth")


@pytest.fixture(scope="module")
def site(site_in: "SiteIn", folder: Path, issuer: Issuer) -> Iterator["Site"]:
    """A server behind a proxy, that trusts an issuer."""
    settings = {
        "KIE_AI_OAUTH_ISSUER": issuer.url,
        "KIE_AI_PUBLIC_URL": RESOURCE.removesuffix("/mcp") + "/team",
        "KIE_AI_HTTP_TOKEN": TOKEN,
    }
    with Sandbox(speed=10_000) as sandbox, site_in(folder, "--host", "0.0.0.0", sandbox=sandbox, **settings) as site:
        yield site
    assert "Traceback" not in site.child.errors


@pytest.fixture(scope="module")
def resource() -> str:
    return RESOURCE.replace("/mcp", "/team/mcp")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("path", ["", "/mcp", "/team/mcp", "/mcp/"])
def test_clients_discover_the_issuer_without_a_token(site: "Site", issuer: Issuer, resource: str, path: str) -> None:
    answer = site.client.get(METADATA + path)
    assert answer.status_code == 200
    about = answer.json()
    assert (about["resource"], about["authorization_servers"]) == (resource, [issuer.url])
    assert about["bearer_methods_supported"] == ["header"]


@pytest.mark.parametrize(("path", "method"), [("/mcp", "POST"), ("/tools/call", "POST"), ("/uploads", "POST")])
def test_request_without_a_token_is_led_to_the_metadata(site: "Site", path: str, method: str) -> None:
    answer = site.client.request(method, path, json={})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == f'Bearer resource_metadata="https://kie.example/team{METADATA}/mcp"'
    assert "error" in answer.json()


def test_wrong_token_is_told_what_is_wrong_with_it(site: "Site", issuer: Issuer) -> None:
    for token, fault in ((issuer.token(aud="https://other.example"), "another resource"), (TOKEN, "can't be read")):
        answer = site.client.post("/tools/call", json={"name": "list_tasks"}, headers=bearer(token))
        challenge = answer.headers["www-authenticate"]
        assert answer.status_code == 401
        assert challenge.startswith('Bearer error="invalid_token", error_description="')
        assert 'resource_metadata="' in challenge
        assert fault in challenge
        assert fault in answer.json()["error"]
        assert token not in answer.text
        turned_away = [line for line in site.child.errors.splitlines() if "refused: who=- method=POST" in line]
        assert fault.replace("'", "") in turned_away[-1].replace("'", "").partition("reason=")[2]
        assert token not in site.child.errors


def test_token_of_the_issuer_opens_tools_and_pages(site: "Site", issuer: Issuer, resource: str) -> None:
    token = issuer.token(aud=resource)
    call = {"name": "list_tasks"}
    assert site.client.post("/tools/call", json=call, headers=bearer(token)).status_code == 200
    assert site.client.get("/gallery", headers=bearer(token)).status_code == 200
    basic = base64.b64encode(f"anybody:{token}".encode()).decode()
    assert site.client.get("/gallery", headers={"Authorization": f"Basic {basic}"}).status_code == 200
    assert site.client.get("/gallery").headers["www-authenticate"].startswith("Basic ")
    assert site.client.get("/healthz").status_code == 200


def test_session_belongs_to_the_user_who_began_it(site: "Site", issuer: Issuer, resource: str) -> None:
    ann, ben = (bearer(issuer.token(user, aud=resource)) for user in ("ann", "ben"))
    session = site.client.post("/mcp", json=HELLO, headers={**ACCEPT, **ann}).headers["mcp-session-id"]
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    headers = {**ACCEPT, "Mcp-Session-Id": session, "Mcp-Protocol-Version": "2025-11-25"}
    statuses = [site.client.post("/mcp", json=listing, headers={**headers, **who}).status_code for who in (ann, ben)]
    assert statuses == [200, 404]


def called(site: "Site", who: dict[str, str], tool: str, **arguments: Any) -> dict[str, Any]:
    answer = site.client.post("/tools/call", json={"name": tool, "arguments": arguments}, headers=who)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["structuredContent"])


def test_users_whom_the_issuer_names_see_their_own_alone(site: "Site", issuer: Issuer, resource: str) -> None:
    ann, ben = (bearer(issuer.token(user, aud=resource)) for user in ("ann@example.org", "ben@example.org"))
    made = called(site, ann, "generate_nano_banana", prompt="A fox of an issuer")
    (task,) = called(site, ann, "wait_for_tasks", task_ids=[made["task_id"]])["tasks"]
    (link,) = task["files"]
    assert link.startswith("https://kie.example/team/files/")
    assert site.client.get(urlsplit(link).path.removeprefix("/team")).status_code == 200
    assert called(site, ben, "list_tasks")["tasks"] == []
    assert [each["task_id"] for each in called(site, ann, "list_tasks")["tasks"]] == [task["task_id"]]


def test_user_who_was_removed_or_has_no_name_is_let_in_no_more(
    site: "Site", folder: Path, issuer: Issuer, resource: str, run_in: "RunIn"
) -> None:
    token, call = issuer.token("gone", aud=resource), {"name": "list_tasks"}
    assert site.client.post("/tools/call", json=call, headers=bearer(token)).status_code == 200
    assert run_in(folder, "users", "remove", "gone").returncode == 0
    until(lambda: site.client.post("/tools/call", json=call, headers=bearer(token)).status_code == 403)
    for name in ("", "a name", "a" * 101, "ann\x1b[31m"):
        odd = site.client.post("/tools/call", json=call, headers=bearer(issuer.token(name, aud=resource)))
        assert odd.status_code == 403, name


def test_program_gets_in_by_a_token_of_its_own(site: "Site", folder: Path, run_in: "RunIn") -> None:
    own = json.loads(run_in(folder, "users", "add", "robot", "--json").stdout)["token"]
    assert called(site, bearer(own), "list_tasks")["tasks"] == []
    call = {"name": "list_tasks"}
    assert site.client.post("/tools/call", json=call, headers=bearer(f"{own}x")).status_code == 401
    assert site.client.post("/tools/call", json=call, headers=bearer("kie-")).status_code == 401


def test_server_whose_issuer_is_away_says_so(site_in: "SiteIn", tmp_path: Path, issuer: Issuer) -> None:
    nowhere = f"http://127.0.0.1:{unused_port()}"
    settings = {"KIE_AI_OAUTH_ISSUER": nowhere, "KIE_AI_PUBLIC_URL": "https://kie.example"}
    with site_in(tmp_path, sandbox=None, **settings) as site:
        answer = site.client.post("/tools/call", json={"name": "list_tasks"}, headers=bearer(issuer.token()))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        assert "does not answer" in answer.json()["error"]


# The SDK's client ----------------------------------------------------------------------------------------------------


class Storage:
    """What a client keeps."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


def answers_of_an_issuer(issuer: Issuer, asked: list[dict[str, Any]]) -> None:
    """Let an issuer register clients and give tokens for the resource that they ask for."""

    def register(request: Request) -> Response:
        about = {**request.get_json(), "client_id": "desk"}
        return Response(json.dumps(about), 201, content_type="application/json")

    def give(request: Request) -> Response:
        asked.append(request.form.to_dict())
        token = issuer.token("ann", aud=request.form["resource"], client_id="desk")
        about = {"access_token": token, "token_type": "Bearer", "expires_in": 600}
        return Response(json.dumps(about), content_type="application/json")

    for name in ("authorize", "token", "register"):
        place = {"authorize": "authorization", "register": "registration"}.get(name, name)
        issuer.document[f"{place}_endpoint"] = issuer.server.url_for(f"/{name}")
    issuer.document |= {"response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"]}
    issuer.server.expect_request("/register").respond_with_handler(register)
    issuer.server.expect_request("/token").respond_with_handler(give)


@pytest.mark.anyio
async def test_client_of_the_sdk_gets_in_by_what_it_discovers(site_in: "SiteIn", tmp_path: Path) -> None:
    port, asked, shown = unused_port(), list[dict[str, Any]](), list[str]()
    url = f"http://127.0.0.1:{port}"

    async def show(address: str) -> None:
        shown.append(address)

    async def come_back() -> AuthorizationCodeResult:
        (state,) = parse_qs(urlsplit(shown[-1]).query)["state"]
        return AuthorizationCodeResult(code="a-code", state=state)

    with HTTPServer(host="127.0.0.1", threaded=True) as server:
        issuer = Issuer(server)
        answers_of_an_issuer(issuer, asked)
        settings = {"KIE_AI_OAUTH_ISSUER": issuer.url, "KIE_AI_PUBLIC_URL": url}
        about = {"redirect_uris": ["http://127.0.0.1:1/back"], "client_name": "a test"}
        metadata = OAuthClientMetadata.model_validate(about)
        auth = OAuthClientProvider(f"{url}/mcp", metadata, Storage(), show, come_back)
        with site_in(tmp_path, "--port", str(port), sandbox=None, **settings):
            async with (
                httpx2.AsyncClient(auth=auth, trust_env=False, timeout=LIMIT_S) as http,
                Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client,
            ):
                names = {tool.name for tool in (await client.list_tools()).tools}
    assert "generate_nano_banana" in names
    assert [form["resource"] for form in asked] == [f"{url}/mcp"]
    assert urlsplit(shown[0]).path == "/authorize"


def test_token_of_the_server_opens_it_where_there_is_no_issuer(site_in: "SiteIn", tmp_path: Path) -> None:
    with site_in(tmp_path, KIE_AI_HTTP_TOKEN=TOKEN) as site:
        assert site.client.get(METADATA, headers=bearer(TOKEN)).status_code == 404
        assert site.client.get(METADATA).headers["www-authenticate"] == "Bearer"
        call = {"name": "list_tasks"}
        assert site.client.post("/tools/call", json=call, headers=bearer(TOKEN)).status_code == 200
