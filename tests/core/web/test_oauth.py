"""Tokens of an issuer: which count, whose user they name, and how the keys are read."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pytest_httpserver import HTTPServer

from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp._web import oauth
from kie_ai_mcp._web.visitors import IssuerAway, TokenRefused
from tests.helpers import eventually
from tests.issuer import KEYS, METADATA, OPENID, RESOURCE, Issuer, new_key

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def running() -> Iterator[HTTPServer]:
    with HTTPServer(host="127.0.0.1", threaded=True) as server:
        yield server


@pytest.fixture
def server(running: HTTPServer) -> HTTPServer:
    running.clear()
    return running


@pytest.fixture
def issuer(server: HTTPServer) -> Issuer:
    return Issuer(server)


def verifier(url: str, public_url: str = "https://kie.example") -> oauth.Issuer:
    """The checks of a server that trusts an issuer."""
    return oauth.Issuer.of(Settings.model_validate({"oauth_issuer": url, "public_url": public_url}))


@pytest.fixture
def checked(issuer: Issuer) -> oauth.Issuer:
    return verifier(issuer.url)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets it be so many seconds later for the checks; the time of tokens goes on."""
    gone = 0.0
    real = time.monotonic

    def go(seconds: float) -> None:
        nonlocal gone
        gone += seconds

    class Clock:
        monotonic = staticmethod(lambda: real() + gone)

    monkeypatch.setattr(oauth, "time", Clock)
    return go


async def user(checks: oauth.Issuer, token: str) -> str | None:
    return (await checks.verify_token(token)).subject


# Whose it is ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["rsa", "ec"])
async def test_token_names_its_user_client_and_scopes(issuer: Issuer, checked: oauth.Issuer, by: str) -> None:
    known = await checked.verify_token(issuer.token("ann@example.org", by=by, client_id="desk", scope="read write"))
    assert (known.subject, known.client_id, known.scopes) == ("ann@example.org", "desk", ["read", "write"])
    assert (known.resource, (known.claims or {})["iss"]) == (RESOURCE, issuer.url)


async def test_resource_is_one_of_several_that_a_token_is_for(issuer: Issuer, checked: oauth.Issuer) -> None:
    assert await user(checked, issuer.token(aud=["https://other.example", RESOURCE])) == "ann"


async def test_clocks_may_differ_a_little(issuer: Issuer, checked: oauth.Issuer) -> None:
    now = int(time.time())
    assert await user(checked, issuer.token(exp=now - 20, nbf=now + 20)) == "ann"


def unsigned(issuer: Issuer) -> str:
    return jwt.encode(claims_of(issuer), "", "none", {"kid": "rsa"})


def claims_of(issuer: Issuer) -> dict[str, Any]:
    return dict(jwt.decode(issuer.token(), options={"verify_signature": False}))


def signed_with_the_public_key(issuer: Issuer) -> str:
    """A token with the public key as the secret of an algorithm whose key both sides know."""
    public = issuer.keys["rsa"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    parts = [json.dumps({"alg": "HS256", "typ": "JWT", "kid": "rsa"}), json.dumps(claims_of(issuer))]
    text = b".".join(base64.urlsafe_b64encode(part.encode()).rstrip(b"=") for part in parts)
    mac = base64.urlsafe_b64encode(hmac.new(public, text, hashlib.sha256).digest()).rstrip(b"=")
    return (text + b"." + mac).decode()


def of_another_key(issuer: Issuer) -> str:
    other = new_key(1)
    return jwt.encode(claims_of(issuer), other, "RS256", {"kid": "rsa"})


def changed(issuer: Issuer) -> str:
    head, _, mac = issuer.token().split(".")
    more = base64.urlsafe_b64encode(json.dumps({**claims_of(issuer), "sub": "root"}).encode()).decode().rstrip("=")
    return f"{head}.{more}.{mac}"


def of_no_algorithm(issuer: Issuer, algorithm: object) -> str:
    head = base64.urlsafe_b64encode(json.dumps({"alg": algorithm, "kid": "rsa"}).encode()).decode().rstrip("=")
    return ".".join([head, *issuer.token().split(".")[1:]])


NOW = int(time.time())
WRONG: dict[str, Callable[[Issuer], str]] = {
    "a list of algorithms": lambda issuer: of_no_algorithm(issuer, ["RS256"]),
    "an object as algorithm": lambda issuer: of_no_algorithm(issuer, {}),
    "another resource": lambda issuer: issuer.token(aud="https://kie.example"),
    "a resource below": lambda issuer: issuer.token(aud=f"{RESOURCE}/other"),
    "no resource": lambda issuer: issuer.token(aud=None),
    "another issuer": lambda issuer: issuer.token(iss="https://evil.example"),
    "an issuer below": lambda issuer: issuer.token(iss=f"{issuer.url}/other"),
    "no issuer": lambda issuer: issuer.token(iss=None),
    "expired": lambda issuer: issuer.token(exp=NOW - 3600),
    "without end": lambda issuer: issuer.token(exp=None),
    "end that is no number": lambda issuer: issuer.token(exp="soon"),
    "early": lambda issuer: issuer.token(nbf=NOW + 3600),
    "no user": lambda issuer: issuer.token(sub=None),
    "user that is no text": lambda issuer: issuer.token(sub=7),
    "unknown key": lambda issuer: issuer.token(header={"kid": "other"}),
    "key of another sort": lambda issuer: issuer.token(header={"kid": "ec"}),
    "no key named": lambda issuer: issuer.token(header={}) if issuer.keys.pop("ec") is None else "x.y.z",
    "unsigned": unsigned,
    "public key as secret": signed_with_the_public_key,
    "key of somebody else": of_another_key,
    "changed": changed,
    "nothing": lambda _: "",
    "no token": lambda _: "a-token-of-the-tests",
    "three parts": lambda _: "a.b.c",
    "not in ASCII": lambda _: "é.é.é",
}


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
async def test_token_that_does_not_count_is_refused(
    issuer: Issuer, checked: oauth.Issuer, make: Callable[[Issuer], str]
) -> None:
    token = make(issuer)
    with pytest.raises(TokenRefused) as refused:
        await checked.verify_token(token)
    words = checked.challenge(refused.value.message)
    assert words.isascii()
    assert words.isprintable()
    assert words.count('"') == 6
    assert not token or token not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"use": "enc"}, False),
        ({"alg": "PS256"}, False),
        ({"alg": "RS256"}, True),
        ({"kty": "oct"}, False),
        ({"n": 1}, False),
    ],
)
async def test_key_is_used_for_what_it_is_meant_for(
    issuer: Issuer, checked: oauth.Issuer, change: dict[str, Any], counts: bool
) -> None:
    issuer.content = json.dumps({"keys": [{**issuer.jwk("rsa"), **change}, "no key", None]}).encode()
    if counts:
        assert await user(checked, issuer.token()) == "ann"
    else:
        with pytest.raises(TokenRefused):
            await checked.verify_token(issuer.token())


async def test_only_key_needs_no_name(issuer: Issuer, checked: oauth.Issuer) -> None:
    del issuer.keys["ec"]
    assert await user(checked, issuer.token(header={})) == "ann"


# Where the keys are --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "metadata"),
    [("", METADATA), ("", OPENID), ("/kie", f"{METADATA}/kie"), ("/kie", f"{OPENID}/kie"), ("/kie", f"/kie{OPENID}")],
)
async def test_issuer_is_discovered_wherever_it_tells_of_itself(server: HTTPServer, path: str, metadata: str) -> None:
    issuer = Issuer(server, path, metadata)
    assert await user(verifier(issuer.url), issuer.token()) == "ann"


async def test_name_of_the_issuer_is_as_it_writes_itself(server: HTTPServer) -> None:
    issuer = Issuer(server)
    issuer.document["issuer"] = f"{issuer.url}/"
    checks = verifier(issuer.url)
    assert await user(checks, issuer.token(iss=f"{issuer.url}/")) == "ann"
    with pytest.raises(TokenRefused):
        await checks.verify_token(issuer.token(iss=issuer.url))


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://evil.example"},
        {"jwks_uri": "http://keys.example/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "http://127.0.0.1.evil.example/keys"},
        {"jwks_uri": "http://0.0.0.0:PORT/keys"},
        {"jwks_uri": None},
    ],
)
async def test_metadata_that_cannot_be_trusted_are_none(
    issuer: Issuer, checked: oauth.Issuer, change: dict[str, Any]
) -> None:
    change = {name: value and value.replace("PORT", str(issuer.server.port)) for name, value in change.items()}
    issuer.document.update(change)
    with pytest.raises(IssuerAway):
        await checked.verify_token(issuer.token())
    assert issuer.reads == 0


# When they are read --------------------------------------------------------------------------------------------------


async def test_keys_are_read_once_and_unknown_ones_seldom(
    issuer: Issuer, checked: oauth.Issuer, later: Callable[[float], None]
) -> None:
    for _ in range(3):
        await checked.verify_token(issuer.token())
    assert issuer.reads == 1
    for number in range(3):
        with pytest.raises(TokenRefused):
            await checked.verify_token(issuer.token(header={"kid": f"unknown {number}"}))
    assert issuer.reads == 1
    later(oauth.AGAIN_S)
    for number in range(3):
        with pytest.raises(TokenRefused):
            await checked.verify_token(issuer.token(header={"kid": f"unknown {number}"}))
    assert issuer.reads == 2


async def test_new_key_counts_and_an_old_one_ends(
    issuer: Issuer, checked: oauth.Issuer, later: Callable[[float], None]
) -> None:
    old = issuer.token()
    assert await user(checked, old) == "ann"
    issuer.keys = {"new": new_key(1)}
    later(oauth.AGAIN_S)
    assert await user(checked, issuer.token("ben", by="new")) == "ben"
    with pytest.raises(TokenRefused):
        await checked.verify_token(old)


async def test_known_keys_are_read_again_while_they_go_on(
    issuer: Issuer, checked: oauth.Issuer, later: Callable[[float], None]
) -> None:
    await checked.verify_token(issuer.token())
    later(oauth.KEPT_S + 1)
    with issuer.slow():
        assert await user(checked, issuer.token()) == "ann"
        await eventually(lambda: len(issuer.server.log) >= 2)
        assert await user(checked, issuer.token()) == "ann"
    await eventually(lambda: issuer.reads == 2)


async def test_known_keys_go_on_while_the_issuer_is_away(later: Callable[[float], None]) -> None:
    with HTTPServer(host="127.0.0.1", threaded=True) as server:
        issuer = Issuer(server)
        checked = verifier(issuer.url)
        await checked.verify_token(issuer.token())
    later(oauth.KEPT_S + 1)
    assert await user(checked, issuer.token()) == "ann"
    assert checked._reading is not None
    await checked._reading
    assert await user(checked, issuer.token()) == "ann"
    with pytest.raises(IssuerAway):  # its key may be a new one
        await checked.verify_token(issuer.token(header={"kid": "perhaps new"}))


async def test_issuer_that_comes_back_is_asked_again(
    server: HTTPServer, checked: oauth.Issuer, issuer: Issuer, later: Callable[[float], None]
) -> None:
    issuer.content = b"an error page"
    for _ in range(2):
        with pytest.raises(IssuerAway):
            await checked.verify_token(issuer.token())
    assert issuer.reads == 1
    issuer.content = None
    later(oauth.AGAIN_S)
    assert await user(checked, issuer.token()) == "ann"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"keys": {}}', b'{"keys": []}', b"[" * 100_000, b'{"keys": [' + b" " * 600_000 + b"]}"]
)
async def test_unusable_keys_are_as_none(issuer: Issuer, checked: oauth.Issuer, content: bytes) -> None:
    issuer.content = content
    with pytest.raises(IssuerAway):
        await checked.verify_token(issuer.token())


@pytest.mark.parametrize("drips", [False, True])
async def test_slow_issuer_is_waited_for_so_long(
    issuer: Issuer, checked: oauth.Issuer, monkeypatch: pytest.MonkeyPatch, drips: bool
) -> None:
    monkeypatch.setattr(oauth, "LIMIT_S", 0.2)
    began = time.monotonic()
    issuer.drips = drips
    with issuer.slow(), pytest.raises(IssuerAway):
        await checked.verify_token(issuer.token())
    assert time.monotonic() - began < 2


async def test_redirect_of_an_issuer_is_not_followed(issuer: Issuer, checked: oauth.Issuer) -> None:
    issuer.document["jwks_uri"] = issuer.server.url_for("/moved")
    issuer.server.expect_request("/moved").respond_with_data("", 302, {"Location": issuer.server.url_for(KEYS)})
    with pytest.raises(IssuerAway):
        await checked.verify_token(issuer.token())


async def test_resource_is_spelled_as_clients_spell_it() -> None:
    assert verifier("https://login.example", "https://KIE.example:443/team").resource == "https://kie.example/team/mcp"
