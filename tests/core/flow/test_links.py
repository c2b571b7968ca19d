"""Links to results: which servers make the same ones."""

from pathlib import Path

import pytest

from kie_ai_mcp._flow.links import Links
from kie_ai_mcp._settings.settings import Settings

SECRETS = {
    "api_key": "key-of-the-tests",
    "http_token": "a-token-of-the-tests",
    "webhook_key": "a-signing-key",
    "database_url": "postgresql://me:secret@db/kie",
}


def path(base_url: str = "", **settings: str) -> str:
    links = Links.of(Settings.model_validate(settings), base_url, Path("/data/tasks.db"))
    return links.path("ann", "fal:a/b", 2, "a fox.png")


def test_link_depends_on_each_secret_and_on_nothing_else() -> None:
    whole = path(**SECRETS)
    assert whole == path("https://kie.example", **SECRETS, output_dir="/data/out")
    assert whole.endswith("/fal%3Aa%2Fb/2/a%20fox.png")
    others = [path(**{**SECRETS, name: f"{value}-another"}) for name, value in SECRETS.items()]
    assert len({whole, *others}) == 5


@pytest.mark.parametrize("base_url", ["", "https://kie.example"])
def test_server_without_secrets_opens_its_own_links(base_url: str) -> None:
    assert path(base_url) == path()
