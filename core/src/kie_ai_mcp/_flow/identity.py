"""Identity of a request: a hash of what was asked, of which service and account, that two tries have in common."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._media.files import EXTENSIONS
from kie_ai_mcp._media.uploading import LocalFile, replaced
from kie_ai_mcp._providers.tools import BoundTool, CallOptions
from kie_ai_mcp.errors import InvalidArgument, PluginError
from kie_ai_mcp.specs import MARKET_CREATE, Submission, field_of

CONTENT = "https://content.invalid/"  # before the hash of a file's bytes: an address that stands for them
# Parameters of a link that only give access and differ each time it is signed. Those that do not begin with "x-" mean
# this only where the path names a media file.
ACCESS = re.compile(
    r"x-(amz|goog|oss)-(algorithm|credential|date|expires|signature|signature-version|signedheaders|security-token)"
    r"|q-(sign-algorithm|ak|sign-time|key-time|header-list|url-param-list|signature)|(aws|oss)accesskeyid|googleaccessid"
    r"|signature|expires|policy|key-pair-id|sig|s[eprtv]|spr|sk[estv]|sk[ot]id|ex|is|hm|exp|hmac|((access|auth)_?)?token"
)


async def identity_of(
    engine: Engine, tool: BoundTool, asked: Mapping[str, Any], made: Submission, files: Mapping[str, LocalFile]
) -> str:
    """Return the identity of a request by its arguments; `files` are the local ones among them, none of them sent yet.

    It is the hash of what the provider makes of the arguments, so that a default is the same given or left out. In
    place of a file stands its content, in place of a signed link the link alone; and nobody is called back.
    """
    account, media, request = engine.record.accounts.get(made.gateway, ""), tool.arguments.media, made
    if not asked.keys().isdisjoint((*map(field_of, media), *tool.arguments.callbacks)):
        content = await engine.record.uploads.hashes() | {text: file.sha256 for text, file in files.items()}
        same = replaced(asked, media, lambda text: CONTENT + content[text] if text in content else _unsigned(text))
        same = {name: value for name, value in same.items() if name not in tool.arguments.callbacks}
        try:
            request = await engine.asking.submission(tool, same)
        except (InvalidArgument, PluginError):  # the provider takes no such address, or wants a callback
            request = Submission("", same, tool.name)
    return hash_of(tool, made.gateway, request, account)


def exact_hash_of(identity: str, model: str | None, given: Mapping[str, Any], options: CallOptions) -> str:
    """Return the hash of a request with all that its `identity` leaves out: a person agrees to nothing else.

    Each argument counts as it was given, with the content of files in place of their paths.
    """
    exact = [identity, model, given, asdict(options)]
    return hashlib.sha256(json.dumps(exact, sort_keys=True).encode()).hexdigest()


def hash_of(tool: BoundTool, gateway: str, request: Submission, *account: str) -> str:
    """Return the hash of a request; without an account the one of what is sent, by which requests were known before."""
    # Of two forms the same one counts, whichever is sent first: not the service's common one.
    forms = (form for form in (request, request.otherwise) if form is not None)
    form = min(forms, key=lambda form: form.path == MARKET_CREATE)
    path = form.path if isinstance(form.path, str) else form.path[0]
    same = [tool.name, gateway, path, form.body, *account, *filter(None, [request.convert_to])]
    return hashlib.sha256(json.dumps(same, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _unsigned(url: str) -> str:
    link = urlsplit(url)
    names_file = link.path.lower().endswith((*EXTENSIONS, "jpeg"))
    names = {pair: pair.partition("=")[0].lower() for pair in link.query.split("&")}
    signs = [pair for pair, name in names.items() if ACCESS.fullmatch(name) and (names_file or name.startswith("x-"))]
    return link._replace(query="&".join(pair for pair in names if pair not in signs), fragment="").geturl()
