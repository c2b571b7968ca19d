"""Command ``gallery``: the history as one HTML page, written to a file and opened in the browser."""

import os
import sys
import webbrowser
from pathlib import Path

import click

from kie_ai_mcp._cli.console import Count, UserPath, echo, json_option, run_with_app, show
from kie_ai_mcp._gallery.page import FILE_NAME, LIMIT, write
from kie_ai_mcp._settings.load import load_settings

OUTPUT_HELP = f"File that is written.  [default: {FILE_NAME} in the folder of saved results, else beside the database]"


@click.command()
@click.option("--output", type=UserPath(dir_okay=False), help=OUTPUT_HELP)
@click.option("--limit", type=Count(min=1), default=LIMIT, show_default=True, help="Entries, newest first.")
@click.option("--open/--no-open", "opens", default=True, show_default=True, help="Open it in the browser.")
@json_option
def gallery(output: Path | None, limit: int, opens: bool) -> None:
    """Write the history as one HTML page: pictures, clips, prompts, costs. No network, no service is asked."""
    settings = load_settings()
    target = output or (settings.output_dir or settings.database.parent) / FILE_NAME
    path = run_with_app(settings, lambda app: write(app.engine.record, target, limit=limit))
    show({"path": str(path)}, str(path))
    if opens and not _open(path):
        echo("No browser was found here: open the file in one.", err=True)


def _open(path: Path) -> bool:
    # A browser for terminals would take over the terminal; where there is no screen, the path must do.
    visible = sys.platform in {"win32", "darwin"} or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
    return visible and webbrowser.open(path.as_uri())
