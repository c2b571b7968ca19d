"""The command ``new-provider``: the package of a new provider, written from templates.

The package passes its own tests, type checks and lint as it is written.
"""

import re
from collections.abc import Container
from importlib.metadata import distributions, entry_points
from pathlib import Path
from urllib.parse import urlsplit

import click
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from kie_ai_mcp import InvalidArgument
from kie_ai_mcp.hookspecs import FIRST_PARTY, PARTS, PROJECT
from kie_ai_mcp_authors.package import PREFIX, Author, Package, Sort

PATTERN = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 24
"""How long a name may be: ``generate_NAME_image`` must be a tool name of at most 40 characters."""

SERVICE = "kie"
"""The name that the record and saved files give to the service itself."""


def _at_home(_ctx: click.Context, _param: click.Parameter, path: Path | None) -> Path | None:
    """Return a path with ~ filled in.

    Raises:
        click.BadParameter: No user of that name has a home folder.
    """
    try:
        return path and path.expanduser()
    except RuntimeError:
        assert path is not None  # noqa: S101  only ~ raises this
        raise click.BadParameter(f"no home folder is known for {path.parts[0]}; give an absolute path") from None


def _licence(_ctx: click.Context, _param: click.Parameter, text: str) -> str:
    """Return an SPDX expression in its usual spelling.

    Raises:
        click.BadParameter: It is none.
    """
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        example = "MIT, Apache-2.0, GPL-3.0-or-later or LicenseRef-Proprietary"
        raise click.BadParameter(f"{text!r} is no SPDX licence id; give one such as {example}") from None


def _web_page(_ctx: click.Context, _param: click.Parameter, address: str) -> str:
    """Return a web address without a slash at its end.

    Raises:
        click.BadParameter: It is none.
    """
    try:
        parts = urlsplit(address)
        is_whole = parts.scheme == "https" and "." in (parts.hostname or "")
    except ValueError:
        is_whole = False
    if address and not (is_whole and address.isprintable() and " " not in address):
        raise click.BadParameter(f"{address!r} is no address that begins with https://")
    return address.rstrip("/")


SWITCHES = (
    "--gateway and --models take no value; the service's address and its models go into the files that are written"
)


def _no_more(_ctx: click.Context, _param: click.Parameter, more: tuple[str, ...]) -> None:
    """Refuse further arguments.

    Raises:
        click.BadArgumentUsage: There are some.
    """
    if more:
        raise click.BadArgumentUsage(f"{more[0]!r} has no place: {SWITCHES}.")


class NewProvider(click.Command):
    """A command that says of a switch with a value (``--gateway=URL``) where the value goes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises:
            click.BadOptionUsage: A switch has a value.
        """
        for each in args:
            name, is_set, value = each.partition("=")
            if is_set and name in {"--gateway", "--models"}:
                what = f"{SWITCHES}. Write {name} without {value!r}."
                raise click.BadOptionUsage(name, what, ctx)
        return super().parse_args(ctx, args)


@click.command("new-provider", cls=NewProvider)
@click.argument("name")
@click.argument("more", nargs=-1, metavar="", expose_value=False, callback=_no_more)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    callback=_at_home,
    help="The folder to write; it must not exist.  [default: ./kie-ai-mcp-NAME]",
)
@click.option("--models", is_flag=True, help="Write models as data, and no tool.")
@click.option(
    "--gateway",
    is_flag=True,
    help="Write it for a service other than Kie.ai; a tool with a small service for its tests.",
)
@click.option(
    "--license", "license_id", metavar="ID", default="MIT", show_default=True, callback=_licence, help="An SPDX id."
)
@click.option("--repository", metavar="URL", default="", callback=_web_page, help="Where its source will be.")
@click.option("--workflows", is_flag=True, help="Add GitHub Actions that test it, and publish it without a token.")
def new_provider(
    name: str, output: Path | None, models: bool, gateway: bool, license_id: str, repository: str, workflows: bool
) -> None:
    """Write the package of a new provider: a module with one tool, its tests and a README.

    It is for a model of Kie.ai's market; with --gateway for another service. With --models it has a data file in place
    of the tool.
    """
    packages = {each.name.removeprefix(PREFIX) for each in distributions() if each.name.startswith(PREFIX)}
    check_name(name, taken=packages | {entry.name for entry in entry_points(group=PROJECT)})
    sorts: dict[tuple[bool, bool], Sort] = {(False, False): "tool", (True, False): "models", (False, True): "gateway"}
    sort = sorts.get((models, gateway), "models_gateway")
    package = Package(name, sort, license_id, Author.from_git(), repository, workflows)
    folder = output or Path(f"{PREFIX}{name}")
    for path in package.write(folder):
        click.echo(folder / path)
    click.echo(package.next_steps(folder))


def check_name(name: str, taken: Container[str] = ()) -> None:
    """Check that a provider can have this name.

    Raises:
        InvalidArgument: It can't; the message gives the nearest name that can be.
    """
    near = _nearest(name)
    if near in taken or near in {SERVICE, *PARTS, *FIRST_PARTY}:
        near = f"my-{near}"[:LONGEST].rstrip("-")
    if not PATTERN.fullmatch(name) or len(name) > LONGEST or f"{name}-".startswith(PREFIX):
        rule = f"use at most {LONGEST} small letters and digits, a letter first, in words joined by dashes"
        rule += f", without {PREFIX} before them"
        raise InvalidArgument("NAME", name, f"{rule}; for example {near}")
    if name == SERVICE:
        raise InvalidArgument("NAME", name, f"it stands for the service itself; for example {near}")
    if name in PARTS:
        raise InvalidArgument("NAME", name, f"{PREFIX}{name} is a package of the server itself; for example {near}")
    if name in taken:
        raise InvalidArgument("NAME", name, f"a provider of that name is installed already; for example {near}")
    if name in FIRST_PARTY:
        raise InvalidArgument("NAME", name, f"one of this project's own providers has it; for example {near}")


def _nearest(name: str) -> str:
    """Return a name that is accepted, made of the words of one that is not."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
    words = re.findall(r"[a-z0-9]+", split)
    near = "-".join(words).removeprefix(PREFIX).removeprefix("kie-ai-mcp")
    if near[:1].isdigit():
        near = f"my-{near}"
    return near[:LONGEST].rstrip("-") or "my-provider"
