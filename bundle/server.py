"""Start of the server in a bundle or plugin: the host's settings as variables, folders for inputs as arguments."""

import json
import os
import sys
from pathlib import Path

from kie_ai_mcp.__main__ import main

PREFIX = "KIE_AI_"
UNSET = "${user_config."
"""Beginning of what hosts leave in the place of a setting without a value."""


def is_set(value: str) -> bool:
    """Return whether the user gave a value."""
    return bool(value.strip()) and UNSET not in value


def start() -> None:
    """Serve over stdio, with the settings that the user gave in the host."""
    for name, value in list(os.environ.items()):
        if name.startswith(PREFIX):
            if is_set(value):
                os.environ[name] = value.replace("${HOME}", str(Path.home()))
            else:
                del os.environ[name]
    # A host passes several folders on as arguments alone: joined in one variable, it has no way to separate them. As a
    # list, each stays whole, whatever characters its name has.
    if folders := [folder for folder in sys.argv[1:] if is_set(folder)]:
        os.environ[f"{PREFIX}UPLOAD_ROOTS"] = json.dumps(folders)
    del sys.argv[1:]
    main()


if __name__ == "__main__":
    start()
