"""``plugin`` where nothing is changed: the list, and what belongs to the server itself."""

import json
from typing import TYPE_CHECKING

import pytest

from kie_ai_mcp._cli import plugin as _cli_plugin
from kie_ai_mcp._settings import installation

if TYPE_CHECKING:
    from tests.cli.conftest import Run


def test_list_has_version_maker_and_state_of_each_plugin(run: "Run") -> None:
    rows = {row["provider"]: row for row in json.loads(run("plugin", "list", "--json").stdout)}
    assert (rows["flux"]["by"], rows["flux"]["state"], rows["flux"]["reason"]) == (
        "this project",
        "disabled",
        "by configuration",
    )
    assert (rows["nano-banana"]["distribution"], rows["nano-banana"]["state"]) == ("kie-ai-mcp-nano-banana", "enabled")
    text = run("plugin", "list").stdout
    assert "flux: by configuration" in text


@pytest.mark.parametrize("name", ["flux", "kie-ai-mcp-flux", "kie_ai_mcp_flux"])
def test_plugin_of_the_server_itself_is_disabled_instead_of_removed(run: "Run", name: str) -> None:
    ended = run("plugin", "remove", name, "--yes", KIE_AI_ENABLED_PROVIDERS="", KIE_AI_DISABLED_PROVIDERS="pika")
    assert (ended.code, ended.stdout) == (2, "")
    assert "config set disabled_providers pika,flux (and unset KIE_AI_DISABLED_PROVIDERS, or" in ended.stderr


def test_plugin_that_is_not_installed_is_named_with_what_is(run: "Run") -> None:
    ended = run("plugin", "remove", "fluxx", "--yes")
    assert (ended.code, "Did you mean flux" in ended.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("plugin", "remove", "nothing", "--yes"), "plugin list"),
        (("tools", "zzzz"), "tools"),
        (("call", "zzzz"), "tools"),
        (("config", "set", "zzzz", "1"), "config show"),
        (("config", "show", "zzzz"), "config show"),
    ],
)
def test_name_that_resembles_none_is_answered_with_the_command_that_lists_them(
    run: "Run", words: tuple[str, ...], command: str
) -> None:
    ended = run(*words, KIE_AI_ENABLED_PROVIDERS="")
    assert (ended.code, f": kie-ai-mcp-server {command}. See: " in ended.stderr) == (2, True), ended.stderr
    assert len(ended.stderr) < 200


@pytest.mark.parametrize("name", ["-r", "--index-url=https://elsewhere.example/simple", "", "  ", "-e."])
def test_option_of_an_installer_is_no_plugin(run: "Run", monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(_cli_plugin, "_run", lambda *_a, **_k: pytest.fail("something was run"))
    for command in ("install", "remove"):
        ended = run("plugin", command, "--yes", "--", "seedream", name)
        assert (ended.code, ended.stdout) == (2, "")
    assert "is no plugin" in run("plugin", "install", "--yes", "--", name).stderr


def test_server_that_starts_too_slowly_after_an_installation_is_one_line(
    run: "Run", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cli_plugin, "_run", lambda *_a, **_k: None)  # the installer's part
    monkeypatch.setattr(_cli_plugin, "LOOK_S", 0.01)
    ended = run("plugin", "install", "flux", "--yes")
    assert (ended.code, len(ended.stderr.splitlines())) == (1, 1)
    assert "the server did not start within 0.01 s; run: kie-ai-mcp-server doctor" in ended.stderr


def test_plugin_that_pip_put_into_a_folder_is_disabled_instead_of_removed(
    run: "Run", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cli_plugin, "made_by", lambda: "pip --target")
    monkeypatch.setattr(_cli_plugin, "is_needed", lambda _name: False)
    ended = run("plugin", "remove", "flux", "--yes", KIE_AI_ENABLED_PROVIDERS="")
    assert (ended.code, ended.stdout) == (2, "")
    assert "pip removes nothing that it installed so" in ended.stderr
    assert "config set disabled_providers flux" in ended.stderr


ADDRESSES = (
    ("https://me:tokensecret@x.example/p.whl", "https://HIDDEN@x.example/p.whl"),
    ("git+https://tokensecret@x.example/p.git@v1", "git+https://HIDDEN@x.example/p.git@v1"),
    ("it @ https://x.example/p.whl?sig=tokensecret&a=tokensecret", "it @ https://x.example/p.whl?HIDDEN"),
    ("git+ssh://git@x.example/p.git", "git+ssh://git@x.example/p.git"),
)


# Without a network uvx takes long to find nothing, so it is tried with one that has a token.
@pytest.mark.parametrize(("way", "address", "shown"), [*(("pip", *each) for each in ADDRESSES), ("uvx", *ADDRESSES[0])])
def test_token_in_an_address_is_not_shown(
    run: "Run", monkeypatch: pytest.MonkeyPatch, way: str, address: str, shown: str
) -> None:
    for module in (_cli_plugin, installation):
        monkeypatch.setattr(module, "made_by", lambda: way)
    ended = run("plugin", "install", address)
    said = ended.stdout if way == "uvx" else ended.stderr
    assert (ended.code, shown in said) == (1 if way == "uvx" else 2, True)
    assert "tokensecret" not in ended.stdout + ended.stderr
    assert ("in the place of HIDDEN" in said) is (way == "uvx" and "HIDDEN" in shown)
