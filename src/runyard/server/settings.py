"""
What an operator can choose. Flags win over the environment, the environment over defaults.

Every setting `name` is read from the variable `RUNYARD_NAME`; lists are separated by commas.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from runyard.domain.errors import Invalid, Violation
from runyard.domain.hooks import is_address
from runyard.domain.targets import PORTS

PREFIX = "RUNYARD_"
OidcAlgorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
    "EdDSA", "Ed25519",
]  # fmt: skip


class ServerSettings(BaseModel):
    """Each setting is a flag of `runyard server` or a variable `RUNYARD_<NAME>`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    home: Annotated[
        Path, Field(description="Directory of the server's data: database, files, first key.")
    ] = Path("~/.runyard")
    database_url: Annotated[
        str,
        Field(
            description="`sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`. Empty: the "
            "file `runyard.db` in `home`."
        ),
    ] = ""
    files_dir: Annotated[
        Path | None,
        Field(description="Directory of uploads. Unset: `files` in `home`. Replicas share it."),
    ] = None
    host: Annotated[
        str, Field(description="Address to listen on. `0.0.0.0` is every IPv4 address.")
    ] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port to listen on; 0 takes any.")] = (
        8080
    )
    public_url: Annotated[
        str,
        Field(description="Address that people and agents use, if a proxy is in between."),
    ] = ""
    allowed_hosts: Annotated[
        tuple[str, ...],
        Field(
            description="Host names that requests may name, beside `localhost`, IP addresses and "
            "the host of `public_url`. Exact names, no patterns."
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        Field(
            description="Addresses of proxies whose `X-Forwarded-For` and `-Proto` are believed."
        ),
    ] = ()
    admin_name: Annotated[
        str, Field(description="Name of the admin that the first start creates.")
    ] = "admin"
    max_body_bytes: Annotated[
        int, Field(ge=1 << 16, description="Largest body of an ordinary request, in bytes.")
    ] = 8 << 20
    max_upload_bytes: Annotated[
        int, Field(ge=1, description="Largest upload of code or of a patch, in bytes.")
    ] = 1 << 30
    max_protocol_bytes: Annotated[
        int,
        Field(
            ge=1 << 24,
            description="Largest request of wandb, in bytes: a document, or a piece "
            "of a run's stream. Files are not among them.",
        ),
    ] = 32 << 20
    max_file_bytes: Annotated[
        int,
        Field(ge=1, description="Largest file of a run or an artifact, in bytes."),
    ] = 100 << 30
    files_url: Annotated[
        str,
        Field(
            description="Where files of runs and artifacts lie: `s3://BUCKET/PREFIX` (needs "
            "`runyard[aws]`) or `gs://BUCKET/PREFIX` (`runyard[gcs]`). Empty: `files_dir`.",
        ),
    ] = ""
    files_endpoint: Annotated[
        str, Field(description="Address of an S3 service other than Amazon's, `https://HOST`.")
    ] = ""
    link_seconds: Annotated[
        int,
        Field(ge=60, le=7 * 86_400, description="Seconds for which a link to a file is good."),
    ] = 6 * 3600
    silence_s: Annotated[
        int,
        Field(
            ge=30,
            description="Seconds of silence after which a run that no agent watches has crashed.",
        ),
    ] = 300
    testing_switch: Annotated[
        bool,
        Field(
            description="Open `/api/testing/`, which makes and deletes users for conformance "
            "suites. Refused unless the server listens on loopback. Never for real data.",
        ),
    ] = False
    max_log_bytes: Annotated[
        int, Field(ge=1 << 10, description="Most output that is kept of one run, in bytes.")
    ] = 1 << 30
    max_history_bytes: Annotated[
        int,
        Field(
            ge=1 << 10,
            description="Most rows of history and system metrics kept of one run, in bytes; later "
            "ones are counted, not kept.",
        ),
    ] = 8 << 30
    max_streams: Annotated[
        int, Field(ge=1, description="Most event and log streams that one user has open.")
    ] = 100
    sweep_interval_s: Annotated[
        float,
        Field(gt=0, le=60, description="Seconds between looks for leases that ran out."),
    ] = 5.0
    log_format: Annotated[
        str, Field(pattern="^(console|json)$", description="How the log is written.")
    ] = "console"
    secrets_key_file: Annotated[
        Path | None,
        Field(
            description="File of the keys that secrets are sealed with. Unset: `secrets.key` in "
            "`home`, made when the first secret is written. Replicas need the same one."
        ),
    ] = None
    secrets_kms_key: Annotated[
        str,
        Field(
            description="Id, ARN or alias of an AWS KMS key that wraps the keys in that file, "
            "which are useless without it then. Needs `runyard[aws]`."
        ),
    ] = ""

    oidc_issuer: Annotated[
        str,
        Field(
            description="Address of the OpenID Connect provider that people log in with, exactly "
            "as it names itself. Empty: nobody logs in so. See [Single sign-on](../guides/sso.md)."
        ),
    ] = ""
    oidc_client_id: Annotated[
        str, Field(description="The name under which the provider knows this server.")
    ] = ""
    oidc_client_secret_file: Annotated[
        Path | None, Field(description="File with the client's secret; read anew for each login.")
    ] = None
    oidc_client_secret: Annotated[
        SecretStr, Field(description="The client's secret, where a file is not at hand.")
    ] = SecretStr("")
    oidc_scopes: Annotated[
        tuple[str, ...], Field(description="What the provider is asked for; `openid` always is.")
    ] = ("openid", "profile", "email")
    oidc_user_claim: Annotated[
        str, Field(min_length=1, description="The claim that new users are named after.")
    ] = "preferred_username"
    oidc_groups_claim: Annotated[
        str, Field(min_length=1, description="The claim with the groups, or the dotted path to it.")
    ] = "groups"
    oidc_allowed_groups: Annotated[
        tuple[str, ...],
        Field(description="Who may log in: people of these groups. `*` is everybody there."),
    ] = ()
    oidc_teams: Annotated[
        tuple[str, ...],
        Field(description="What groups give: `GROUP=TEAM:ROLE`, `GROUP=*:instance-admin`."),
    ] = ()
    oidc_link_by_email: Annotated[
        bool,
        Field(
            description="Whether a first login takes over the account with the same address, if "
            "the provider has verified it and an admin has entered it."
        ),
    ] = False
    oidc_algorithms: Annotated[
        tuple[OidcAlgorithm, ...],
        Field(min_length=1, description="Signatures of ID tokens that are accepted."),
    ] = ("RS256", "ES256")
    oidc_session_hours: Annotated[
        int, Field(ge=1, le=24 * 90, description="Hours for which a login is good.")
    ] = 12
    oidc_button: Annotated[
        str, Field(min_length=1, max_length=60, description="What a button to log in so says.")
    ] = "Log in with single sign-on"

    smtp_host: Annotated[
        str, Field(description="Server through which e-mail is sent. Empty: none is.")
    ] = ""
    smtp_port: Annotated[int, Field(ge=1, le=65535, description="Port of that server.")] = 587
    smtp_security: Annotated[
        Literal["starttls", "tls", "none"],
        Field(
            description="`starttls` (as a rule port 587) and `tls` (465) check the certificate. "
            "`none` is for a server on the same machine, and sends no password."
        ),
    ] = "starttls"
    smtp_user: Annotated[
        str, Field(description="User to log in to that server as. Empty: nobody logs in.")
    ] = ""
    smtp_password_file: Annotated[
        Path | None, Field(description="File with that user's password; read for each message.")
    ] = None
    smtp_from: Annotated[
        str, Field(description="Address that e-mail comes from, as in `runyard@example.org`.")
    ] = ""
    webhook_allowed_networks: Annotated[
        tuple[IPvAnyNetwork, ...],
        Field(
            description="Networks that webhooks may be sent to although they are not public, as "
            "in `10.1.0.0/16`. Services that hand out a cloud machine's credentials stay closed."
        ),
    ] = ()
    webhook_ports: Annotated[
        tuple[Annotated[int, Field(ge=1, le=65535)], ...],
        Field(description="Ports that webhooks may be sent to."),
    ] = PORTS
    metrics_queues: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            description="Most queues that `/metrics` names; all others are told together.",
        ),
    ] = 100
    otlp_endpoint: Annotated[
        str,
        Field(
            pattern=r"^(https?://[^\s/?#]+[^\s?#]*)?$",
            description="Address of an OpenTelemetry collector, `http://HOST:4318`, that gets the "
            "trace of each item. Empty: none. Needs `runyard[otel]`. See "
            "[Monitoring](../guides/monitoring.md#traces).",
        ),
    ] = ""
    otlp_headers_file: Annotated[
        Path | None,
        Field(description="File of headers for the collector, `Name: value` one a line."),
    ] = None

    @model_validator(mode="after")
    def _know_paths(self) -> ServerSettings:
        home = self.home.expanduser().absolute()
        object.__setattr__(self, "home", home)
        if not self.database_url:
            object.__setattr__(self, "database_url", f"sqlite:///{home / 'runyard.db'}")
        object.__setattr__(self, "files_dir", (self.files_dir or home / "files").expanduser())
        keys = (self.secrets_key_file or home / "secrets.key").expanduser()
        object.__setattr__(self, "secrets_key_file", keys)
        return self

    @model_validator(mode="after")
    def _know_sender(self) -> ServerSettings:
        if self.smtp_host and not is_address(self.smtp_from):
            raise ValueError("smtp_host needs smtp_from, a plain e-mail address")
        return self

    @model_validator(mode="after")
    def _keep_testing_at_home(self) -> ServerSettings:
        if self.testing_switch and not self.is_loopback:
            raise ValueError("testing_switch needs host 127.0.0.1, ::1 or localhost")
        return self

    @classmethod
    def load(cls, environ: Mapping[str, str], **flags: Any) -> ServerSettings:
        """Read settings; flags that are None were not given.

        Raises:
            Invalid: with a violation for each bad value.
        """
        given: dict[str, Any] = {}
        for name, field in cls.model_fields.items():
            value = environ.get(PREFIX + name.upper())
            if value:
                is_list = "tuple" in str(field.annotation)
                given[name] = _listed(value) if is_list else value
        given |= {name: value for name, value in flags.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as error:
            wrong = [
                Violation(".".join(map(str, e["loc"])), e["msg"] + _given(e))
                for e in error.errors()
            ]
            raise Invalid(
                "the server's settings are not valid: " + "; ".join(map(str, wrong)),
                hint="runyard server --help",
                violations=wrong,
            ) from None

    @property
    def is_sqlite(self) -> bool:
        return self.database_url.startswith("sqlite")

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def url(self) -> str:
        """The address to give to people."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def hosts(self) -> frozenset[str]:
        """Names that the Host header may carry, in lower case, without port."""
        public = urlsplit(self.public_url).hostname if self.public_url else None
        names = {"localhost", self.host, *self.allowed_hosts, *([public] if public else [])}
        return frozenset(name.lower() for name in names)


def _given(error: ErrorDetails) -> str:
    # What is wrong with all of them together has all of them as its input, passwords included.
    return f"; given was {error['input']!r}" if error["loc"] else ""


def _listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
