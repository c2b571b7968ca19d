"""Hosts and origins that users name: understood in every spelling, or refused with the right one."""

import pytest

from kie_ai_mcp._settings.hosts import host_of, named_host, named_origin, names_of


@pytest.mark.parametrize(
    ("named", "host"),
    [
        ("kie", "kie"),
        ("kie:3000", "kie"),
        ("kie:*", "kie"),
        ("KIE.Example", "kie.example"),
        ("kie.example.", "kie.example"),
        ("KIE.example.:443", "kie.example"),
        ("kie_ai", "kie_ai"),
        ("https://kie.example", "kie.example"),
        ("https://kie.example:8443/mcp", "kie.example"),
        ("http://[fd00::5]:3000/", "fd00::5"),
        ("[fd00::5]", "fd00::5"),
        ("[FD00:0:0::5]:3000", "fd00::5"),
        ("fd00::5", "fd00::5"),
        ("10.0.0.7:3000", "10.0.0.7"),
        ("b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example", "xn--bcher-kva.example"),
    ],
)
def test_host_is_understood_in_every_spelling(named: str, host: str) -> None:
    assert named_host(named) == host


@pytest.mark.parametrize(
    "named",
    [
        *("*", "*.kie.example", "kie example", "kie:port", "kie:65536", "kie:3000:1", "a@kie", "https://"),
        *("kie..a", "[fd00::5", "[kie]", "fd00::zz", "kie?", "kie#a", "\\\\kie", "a" * 300),
    ],
)
def test_text_that_is_no_host_is_refused_with_how_to_name_one(named: str) -> None:
    with pytest.raises(ValueError, match=r"is no host; name each as in kie\.example, kie:3000 or"):
        named_host(named)


@pytest.mark.parametrize(
    ("header", "host"), [("Kie.:3000", "kie"), ("[FD00::5]:1", "fd00::5"), ("127.0.0.1", "127.0.0.1")]
)
def test_host_of_a_request_is_compared_in_the_same_spelling(header: str, host: str) -> None:
    assert host_of(header) == host


@pytest.mark.parametrize(
    "header", ["", "kie/a", "a@127.0.0.1", "127.0.0.1/@kie", "localhost#", "http://kie", "kie,other"]
)
def test_host_of_a_request_may_be_nothing_else(header: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  it says nothing, since the caller words the refusal
        host_of(header)


@pytest.mark.parametrize(
    ("named", "origin"),
    [
        ("https://app.example", "https://app.example"),
        ("HTTPS://App.Example.:443/", "https://app.example"),
        ("http://app.example:80", "http://app.example"),
        ("http://app.example:443", "http://app.example:443"),
        ("http://app.example:*", "http://app.example:*"),
        ("http://[FD00::5]:3000", "http://[fd00::5]:3000"),
        ("tauri://localhost", "tauri://localhost"),
        ("vscode-webview://*", "vscode-webview://*"),
    ],
)
def test_origin_is_understood_in_every_spelling(named: str, origin: str) -> None:
    assert named_origin(named) == origin


@pytest.mark.parametrize(
    "named",
    [
        *("*", "null", "app.example", "https://", "https://*", "http://*", "https://*.app.example"),
        *("https://app.example/a", "https://a@app.example", "://app.example", "1a://b", "vscode-webview://*.a"),
    ],
)
def test_text_that_is_no_origin_is_refused_with_how_to_name_one(named: str) -> None:
    with pytest.raises(ValueError, match=r"is no origin of pages; name each as in https://app\.example, tauri"):
        named_origin(named)


def test_origin_is_allowed_by_itself_by_any_port_and_by_its_scheme() -> None:
    assert names_of("http://App.example:8080") == {"http://app.example:8080", "http://app.example:*", "http://*"}
    assert names_of("vscode-webview://0abc") == {
        "vscode-webview://0abc",
        "vscode-webview://0abc:*",
        "vscode-webview://*",
    }
