"""Settings: one frozen value with a field for each setting.

The environment variable of a setting is ``KIE_AI_`` and the field's name in capitals; its key in the configuration
file is the field's name.
"""

import json
import os
import re
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, IPvAnyNetwork, SecretStr

from kie_ai_mcp._settings.databases import is_address, is_usable, passwords_in
from kie_ai_mcp._settings.folders import is_unusable_on_windows
from kie_ai_mcp._settings.hosts import host_of, is_local, named_host, named_origin
from kie_ai_mcp._settings.secrets import Mask
from kie_ai_mcp.errors import BASE_URL, ConfigError
from kie_ai_mcp.specs import Availability, Kind

PREFIX = "KIE_AI_"
SUBPREFIX = "KIE_AI_PROVIDER_"  # KIE_AI_PROVIDER_FAL_KEY is `key` in [providers.fal]
SECTIONS = ("providers", "provider_variables", "tools")  # fields that have no variable of their own
SECRET_SETTINGS = ("key", "token", "secret", "password")  # endings of the providers' settings that are never shown
TOKEN_CHARS = 16  # the shortest token that may open this server to other machines
APP = "kie-ai-mcp-server"
HERE = Path("tasks.db")  # where the seed's server kept its tasks: in the folder that the host started it in
NOT_ABSOLUTE = "it must be absolute or start with ~, since hosts start servers in folders of their own"
HOST = r"(\[[^@/?#\[\]]*\]|[^@/?#\[\]:,]*)(:\d*)?"  # in an address of PostgreSQL
UPLOAD_URL = "https://kieai.redpandaai.co"  # of the service
NOT_STORED = "[not stored]"  # stands for a prompt where `store_prompts` is false


def _split(value: object) -> object:
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


def _split_paths(value: object) -> object:
    """Return the folders in a text: a JSON list of them, one that exists under that name, or several as in PATH."""
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        try:
            return tuple(json.loads(value))
        except ValueError:
            raise ValueError("it must be a JSON list of folders, or folders as in PATH") from None
    if os.path.isdir(os.path.expanduser(value)):  # noqa: PTH111, PTH112  any text can be asked for, and raises nothing
        return (value,)
    return tuple(filter(None, value.split(os.pathsep)))


def at_home(path: Path) -> Path:
    """Return a path with its leading ~ expanded; raise ValueError where that home folder is unknown."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"no home folder is known for {path.parts[0]}; give an absolute path") from None


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("it must be an address that starts with https:// or http://")
    return value.rstrip("/")


def _uploads_of(base_url: str) -> str:
    """Return where local files are sent: never to the service itself where another address stands in for it."""
    is_service = urlsplit(base_url).hostname == urlsplit(BASE_URL).hostname
    return UPLOAD_URL if is_service else base_url.removesuffix(urlsplit(BASE_URL).path)


def _can_be_extended(value: str) -> str:
    if urlsplit(value).query or urlsplit(value).fragment:
        raise ValueError("it must end before any ? or #")
    host_of(urlsplit(value).hostname or "")
    return value


def _issuer(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local(parts.hostname or "")):
        raise ValueError("it must be an address that starts with https://")
    return _can_be_extended(value)


def _trusted(value: str) -> str:
    try:
        host_of(value)
    except ValueError:
        raise ValueError(f"{value} is no host; name each as in kie.example, kie:3000 or [fd00::5]") from None
    return value


def _long_enough(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value().strip()) < TOKEN_CHARS:
        raise ValueError(f"it must have at least {TOKEN_CHARS} characters")
    return value


def _can_be_sent(value: SecretStr) -> SecretStr:
    if not (value.get_secret_value().isascii() and value.get_secret_value().isprintable()):
        raise ValueError("it holds characters that no key has; copy it once more, without quotes")
    return value


def _unbroken(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value().split()) > 1:
        raise ValueError("it holds a blank, which no key does; copy it once more")
    return value


def _output_folder(value: Path) -> Path:
    if str(value) == "pictures":
        return own_folder("pictures", "KIE_AI_OUTPUT_DIR")
    if not value.is_absolute():
        raise ValueError(NOT_ABSOLUTE)
    if sys.platform == "win32" and (names := [*filter(is_unusable_on_windows, value.parts)]):
        raise ValueError(f"Windows takes {names[0]!r} for no folder's name")
    return value


def _database(value: Path) -> Path:
    if not value.is_absolute() and not is_usable(value):
        raise ValueError(f"{NOT_ABSOLUTE}; no task database is there")
    return value.absolute()


def _postgres(value: SecretStr) -> SecretStr:
    address = value.get_secret_value().strip()
    # What is cut wrongly is named in errors of the driver, so that a part of the password would be read there.
    if not re.fullmatch(rf"\w+://([^@/?#\[\]]*@)?{HOST}(,{HOST})*(/[^@?#]*)?(\?[^#]*)?", address):
        raise ValueError("its user and password must have %40 for @, %3A for :, %2F for /, %3F for ? and %23 for #")
    if re.search("%(?![0-9a-fA-F]{2})", address):
        raise ValueError("a % in it must be written as %25")
    if not is_address(address):
        raise ValueError("it must start with postgresql://")
    return value


def _pairs(value: SecretStr) -> SecretStr:
    for pair in filter(None, map(str.strip, value.get_secret_value().split(","))):
        name, _, key = pair.rpartition("=")
        if not (name.strip() and key.strip()):
            raise ValueError("it must be NAME=KEY, or several of them with commas in between")
    return value


def _absolute(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    if not all(folder.is_absolute() for folder in folders):
        raise ValueError("every folder must be absolute or start with ~")
    return folders


UserPath = Annotated[Path, AfterValidator(at_home)]
DatabasePath = Annotated[UserPath, AfterValidator(_database)]
OutputPath = Annotated[UserPath, AfterValidator(_output_folder)] | None
Folders = Annotated[tuple[UserPath, ...], BeforeValidator(_split_paths), AfterValidator(_absolute)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Networks = Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(_split)]
Hosts = Annotated[tuple[Annotated[str, AfterValidator(named_host)], ...], BeforeValidator(_split)]
TrustedHosts = Annotated[tuple[Annotated[str, AfterValidator(_trusted)], ...], BeforeValidator(_split)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(named_origin)], ...], BeforeValidator(_split)]
Kinds = Annotated[tuple[Kind, ...], BeforeValidator(_split)]
Availabilities = Annotated[tuple[Availability, ...], BeforeValidator(_split)]
Address = Annotated[str, AfterValidator(_web_address)]
Secret = Annotated[SecretStr, AfterValidator(_can_be_sent)]
Key = Annotated[Secret, AfterValidator(_unbroken)]
Sections = Mapping[str, Mapping[str, Any]]
Token = Annotated[SecretStr, AfterValidator(_long_enough), AfterValidator(_can_be_sent)]


class Settings(BaseModel):
    """The user's choices. Durations end in ``_s`` and are seconds; ``timeout`` is milliseconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    api_key: Key | None = Field(
        None, description='the Kie.ai key; in the file, "keyring" stands for the one in the system\'s keyring'
    )
    base_url: Address = Field(BASE_URL, description="the service's address")
    timeout: int = Field(60_000, ge=1_000, description="milliseconds that one call to the service may take")
    db_path: DatabasePath | None = Field(None, description="the task database")
    database_url: Annotated[Secret, AfterValidator(_postgres)] | None = Field(
        None, description="PostgreSQL address of a task database that servers on several machines share"
    )
    output_dir: OutputPath = Field(None, description="folder where finished media are saved; nothing is saved if unset")
    max_download_mb: int = Field(1024, ge=1, description="largest result file that is saved, in MB")
    upload_roots: Folders = Field((), description="folders whose files may be sent, or be saved in; none if unset")
    upload_url: Address = Field(
        default_factory=lambda data: _uploads_of(data.get("base_url", BASE_URL)),
        description="the service's upload address; where KIE_AI_BASE_URL is set, that one without its /api/v1",
    )
    max_upload_mb: int = Field(100, ge=1, description="largest local file that is sent, in MB")
    trusted_hosts: TrustedHosts = Field(
        (), description="host or host:port from which results may come although private"
    )
    trusted_networks: Networks = Field((), description="ranges of private addresses from which results may come")
    enabled_providers: Names = Field((), description="only these providers (default: all installed)")
    disabled_providers: Names = Field((), description="never these providers")
    max_provider_tools: int = Field(64, ge=1, description="tools that a third-party provider may offer")
    max_provider_kb: int = Field(64, ge=1, description="kB of names, descriptions and schemas of its tools")
    enabled_tools: Names = Field((), description="only these tools")
    disabled_tools: Names = Field((), description="never these tools")
    kinds: Kinds = Field((), description="only tools and models that make these: image, video, audio, text")
    availability: Availabilities = Field(
        (), description="only what the service has so: current, retired, undocumented (default: all)"
    )
    pinned_models: Names = Field((), description="models that are listed as tools of their own, by id")
    rate_limit: int = Field(20, ge=1, description="paid requests per window, over all processes on one database")
    rate_window_s: float = Field(10.0, gt=0, description="the rate limit's window, in seconds")
    max_credits_per_day: float | None = Field(None, ge=0, description="credits that may be spent in any 24 hours")
    max_credits_per_request: float | None = Field(None, ge=0, description="credits that one request may cost")
    assumed_credits: float | None = Field(
        None,
        gt=0,
        description="credits booked for a request of unknown price; else a limit of credits refuses such a request",
    )
    confirm_credits: float | None = Field(
        None,
        ge=0,
        description="credits above which, or at an unknown price or one in another unit, a person is asked beforehand",
    )
    max_submissions_per_hour: int | None = Field(None, ge=0, description="paid requests in any hour")
    compact: bool = Field(
        False, description="list only the tools over all models (find_models, run_model, ...) and the server's own"
    )
    wait_s: float = Field(0.0, ge=0, description="seconds a generation tool itself waits for its result")
    patience_s: float | None = Field(
        None, ge=1, description="seconds the client waits for one call (default: by the client's name, else 45)"
    )
    watch: bool = Field(True, description="whether a server reads running tasks and saves results in the background")
    store_prompts: bool = Field(
        True,
        description="whether prompts are kept in the database, beside saved files and in their names, "
        "and notes on requests in the database",
    )
    retention_days: int | None = Field(
        None,
        ge=1,
        le=36_500,
        description="days after which a server deletes finished tasks, with prompts and links, from the record",
    )
    http_token: Token | None = Field(
        None, description="bearer token that HTTP clients must send; needed to listen beyond this machine"
    )
    allowed_hosts: Hosts = Field((), description="further hosts by which HTTP clients may address this server")
    allowed_origins: Origins = Field((), description="further origins whose web pages may call this server over HTTP")
    user_keys: Annotated[Secret, AfterValidator(_pairs)] | None = Field(
        None, description="keys of users with accounts of their own: NAME=KEY, several with commas between them"
    )
    public_url: Annotated[Address, AfterValidator(_can_be_extended)] | None = Field(
        None, description="this server's address in the internet, to which the service then posts finished tasks"
    )
    oauth_issuer: Annotated[str, AfterValidator(_issuer)] | None = Field(
        None, description="OAuth issuer whose tokens HTTP clients must send; the name in a token is the user"
    )
    webhook_key: Key | None = Field(None, description="the account's key that signs what the service posts")
    log_level: Literal["debug", "info", "warning", "error"] | None = Field(
        None, description="what is logged to stderr (default: warning; by serve --http info)"
    )
    log_format: Literal["text", "json"] = Field("text", description="how a server writes its log: text or json")
    log_prompts: bool = Field(False, description="whether the log's line of a call has its arguments, prompts as well")
    providers: Sections = Field({}, repr=False, description="sections [providers.NAME], only in the file")
    provider_variables: dict[str, str] = Field({}, repr=False, description="environment variables of single providers")
    tools: Sections = Field(
        {}, repr=False, description="sections [tools.NAME], only in the file: defaults of arguments"
    )

    @property
    def key(self) -> str | None:
        """The key in clear; for the Authorization header, and for what the user asks to be written down."""
        return _clear(self.api_key)

    @property
    def token(self) -> str | None:
        """The token of HTTP clients in clear; for comparing."""
        return _clear(self.http_token)

    @property
    def signing_key(self) -> str | None:
        """The key of the service's signatures in clear; for checking them."""
        return _clear(self.webhook_key)

    @property
    def database_address(self) -> str:
        """The address of the PostgreSQL database in clear; empty where the record is the file `database`."""
        return _clear(self.database_url) or ""

    @property
    def database_passwords(self) -> list[str]:
        """The passwords in the database's address in clear."""
        return passwords_in(self.database_address)

    @cached_property
    def keys_of_users(self) -> Mapping[str, str]:
        """The keys of users with accounts of their own in clear, by name; for the Authorization header."""
        pairs = (pair.rpartition("=") for pair in (_clear(self.user_keys) or "").split(",") if pair.strip())
        return {name.strip(): key.strip() for name, _, key in pairs}

    @cached_property
    def database(self) -> Path:
        """The file of the task database: `db_path`, else ``./tasks.db`` if it is one, else that in the data folder."""
        if self.db_path is None and is_usable(HERE):
            return HERE.absolute()
        return self.db_path or own_folder("data", "KIE_AI_DB_PATH") / "tasks.db"

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every address of a service that the user chose: Kie.ai's, and those in providers' own settings."""
        sections = (self.provider_variables, *self.providers.values())
        values = [str(value) for section in sections for value in section.values()]
        own = [value for value in values if value.startswith(("http://", "https://"))]
        return (self.base_url, self.upload_url, *own)

    @cached_property
    def mask(self) -> Mask:
        """The mask of every secret: keys, tokens, passwords in addresses, secrets among the providers' settings."""
        secrets = [_clear(getattr(self, name)) or "" for name in SECRETS]
        secrets += [*self.keys_of_users.values(), *self.database_passwords]
        secrets += [unquote(urlsplit(address).password or "") for address in (self.base_url, self.upload_url)]
        for section in (self.provider_variables, *self.providers.values()):
            secrets += [str(value) for name, value in section.items() if name.lower().endswith(SECRET_SETTINGS)]
        return Mask(secrets)

    def without(self, setting: str, name: str) -> Self:
        """Return the settings less one name that a list or a mapping among them holds."""
        value = getattr(self, setting)
        less = [part for part in value if part != name]
        update = {setting: {part: value[part] for part in less} if isinstance(value, Mapping) else tuple(less)}
        return self.model_copy(update=update)

    def section(self, provider: str) -> dict[str, Any]:
        """Return a provider's own settings; its variables win over its section of the file."""
        start, variables = provider_variable(provider, ""), self.provider_variables
        own = {name.removeprefix(start).lower(): variables[name] for name in variables if name.startswith(start)}
        return {**self.providers.get(provider, {}), **own}


def secrets_of(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the fields that hold a secret, which their type alone says."""
    return tuple(name for name, field in model.model_fields.items() if _is_secret(field.annotation))


def _is_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(map(_is_secret, get_args(annotation)))


SECRETS = secrets_of(Settings)
SECRET_ENDINGS = (*SECRET_SETTINGS, *SECRETS)  # endings of the variables that hold a secret


def variable(field: str) -> str:
    """Return the environment variable of a setting."""
    return f"{PREFIX}{field.upper()}"


def provider_variable(provider: str, name: str) -> str:
    """Return the environment variable of one setting of a provider."""
    return f"{SUBPREFIX}{provider}_{name}".upper().replace("-", "_")


def _clear(secret: SecretStr | None) -> str | None:
    return (secret.get_secret_value().strip() or None) if secret else None


def windows_data_folders() -> list[Path]:
    """Return where this program's data may be on Windows, the place of new data first.

    It lies outside AppData, of which packaged programs, such as Claude Desktop, see a copy of their own.
    """
    local = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return [Path.home() / f".{APP}", *sorted((local / "Packages").glob(f"*/LocalCache/Local/{APP}")), local / APP]


def own_folder(sort: Literal["data", "config", "pictures"], setting: str) -> Path:
    """Return this program's folder among the user's; where there is none, the error names `setting` as the cure."""
    import platformdirs  # noqa: PLC0415  not needed where the settings name every path

    try:
        match sort:
            case "data" if sys.platform == "win32":
                folders = windows_data_folders()
                folder = next((place for place in folders if (place / "tasks.db").is_file()), folders[0])
            case "data":
                folder = platformdirs.user_data_path(APP, appauthor=False)
            case "config":
                folder = platformdirs.user_config_path(APP, appauthor=False)
            case "pictures":
                folder = platformdirs.user_pictures_path() / APP
    except RuntimeError:
        folder = Path()
    if not folder.is_absolute():
        problem = f"This user has no home folder, so there is none for {sort}."
        raise ConfigError(problem, next_step=f"Set HOME, or {setting}.")
    return folder
