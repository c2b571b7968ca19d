"""Keys as people copy them: what comes along with a key, and what stands where a key belongs but is none."""

import re

from kie_ai_mcp.errors import KEYS_PAGE, ConfigError

BLANKS = " \t\r\n\v\f\u00a0\u200b\ufeff"  # around a copied value; the last one is the byte order mark
_QUOTES = "\"'`,;\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb"
# Compiled where they are needed: most keys are letters and digits alone, and no start should pay for more.
_BEFORE_A_KEY = r"(?i)((export|set)\s+)?(\w*API_?KEY\s*[=:]|authorization\s*:|bearer\s|key\s)\s*(?=\S)"
# What documentation writes in place of a key, a reference to a variable or a vault, the address of a page, and a key
# that was copied from where only its ends are shown.
_NO_KEY = (
    r"(?is)<.*>|\[.*\]|\(.*\)|\{.*\}|\$.*|%.*%|!\w+!|\w+://.*|your([\W_].*|\D*)|(insert|paste|enter|put|replace|change)\D*"
    r"|\D*(?<![a-z])here|((kie|ai|api|my)[\W_]*)*key|(\w{1,6}[\W_])*x{3,}([\W_]*x+)*|.*(\*{3}|\.{3}|\u2026|\u2022{2}).*"
    r"|bearer|none|null|undefined|todo|keyring"
)


def holds_key(setting: str) -> bool:
    """Return whether a setting or variable holds a key that was copied from a service."""
    return setting.lower().endswith(("key", "token")) and setting != "http_token"  # the user makes that one up


def unwrapped(text: str) -> str:
    """Return a key without the quotes, the blanks, the name and the ``Bearer`` that were copied with it."""
    before = ""
    while before != text and not text.isalnum():
        before, text = text, text.strip(BLANKS + _QUOTES)
        text = text.removeprefix(match[0] if (match := re.match(_BEFORE_A_KEY, text)) else "")
    return text


def is_no_key(text: str) -> bool:
    """Return whether a text stands where a key belongs, and can't be one."""
    is_plain = text.isalnum() and not text.isalpha()
    return not is_plain and re.fullmatch(_NO_KEY, text) is not None


def key_of(text: str) -> str:
    """Return a key without what was copied with it, as it is stored and sent; raise ConfigError where it is none."""
    key = unwrapped(text)
    if not key or is_no_key(key) or not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError("This is no key.", next_step=f"Copy it once more, whole. Kie.ai's are at {KEYS_PAGE}.")
    return key
