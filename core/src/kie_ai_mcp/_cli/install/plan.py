"""Plan of an installation: what a client's file and the settings are to hold, shown, checked and carried out."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import click

from kie_ai_mcp._cli.console import PROGRAM, echo
from kie_ai_mcp._cli.install import yaml_text
from kie_ai_mcp._cli.install.clients import CLIENTS, KEY, Client, Env, Remote
from kie_ai_mcp._cli.install.entries import KeyFrom, Spoiled, edited, holds_secret
from kie_ai_mcp._cli.install.files import show_change, without_secrets
from kie_ai_mcp._cli.install.jsonc import Malformed
from kie_ai_mcp._cli.install.questions import Shared
from kie_ai_mcp._cli.text_files import TextFile
from kie_ai_mcp._settings.load import find_origins, load_settings
from kie_ai_mcp.errors import ConfigError


@dataclass(frozen=True)
class Plan:
    """One entry for one client's file, and what is to be kept for all clients."""

    client_name: str
    file: TextFile
    wanted: Env | Remote
    name: str
    shared: Shared = field(default_factory=Shared)

    @property
    def client(self) -> Client:
        """The client whose file it is."""
        return CLIENTS[self.client_name]

    def text(self) -> str:
        """Return the client's file as it is to be; raise what click raises where it can't be changed."""
        path = self.file.path
        try:
            return self._edit(text=self.file.text)
        except Spoiled:
            echo(self.entry())
            reason = f"{path} would have changed in more than this entry, so nothing was written."
            raise click.ClickException(f"{reason} Enter the entry by hand.") from None
        except Malformed as exc:
            cure = f"Correct it, or enter this by hand: {PROGRAM} install {self.client_name} --print"
            raise click.ClickException(f"{path} can't be understood ({exc}), so it was not changed. {cure}") from None

    def check(self, after: str) -> None:
        """Raise what click raises, or ConfigError, where the client's file or the settings file can't be written."""
        if after != self.file.text:
            self.file.check()
        self.shared.check()

    def show(self, after: str) -> None:
        """Show the lines of the client's file that change, without secrets."""
        masked = partial(without_secrets, public=self.entry(), plain=self.client.form is yaml_text)
        show_change(self.file.text, after, self.file.path, masked)

    def carry_out(self, after: str) -> Path | None:
        """Write the client's file, then keep what all clients share; return the path of the file's copy."""
        backup, private = None, any(holds_secret(self.client, text, self.name) for text in (self.file.text, after))
        if after != self.file.text:
            backup = self.file.replace(after, private=private, copied=True)
        if private:
            self.file.make_private()
        try:
            self.shared.keep()
        except (ConfigError, click.ClickException) as exc:
            reason = str(exc) if isinstance(exc, ConfigError) else exc.message
            entered = f"The entry is written to {self.file.path}, but what all clients share was not kept"
            raise click.ClickException(f"{entered}: {reason}" if after != self.file.text else reason) from exc
        return backup

    def entry(self) -> str:
        """Return the entry as it can be shown, and entered by hand: a key or a token is left to the user."""
        if isinstance(self.wanted, Remote):
            remote = replace(self.wanted, token=self.wanted.token and "YOUR_TOKEN")
            return self._edit(text="", wanted=remote).rstrip()
        mask = load_settings({**self.wanted, "KIE_AI_CONFIG": os.devnull}, faults=[]).mask
        wanted = {**self.wanted, **({KEY: "YOUR_KEY"} if KEY in self.wanted else {})}
        return mask.text(self._edit(text="", wanted=wanted).rstrip())

    @property
    def _edit(self) -> Callable[..., str]:
        origin = "install" if self.shared.key else find_origins().get("api_key")
        key: KeyFrom = "asked" if origin is None else "environment" if origin == KEY else "kept"
        return partial(edited, self.client, wanted=self.wanted, name=self.name, key=key)
