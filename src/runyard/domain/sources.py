"""
What people may name as the source of a job: a git remote and ref, an image, an entry point,
a Python version, and the job's own name.

Everything here is checked twice, where it is typed and where it is used, with the same
functions. A remote is allowed by its transport, never refused by its look: git knows
transports that run commands, and more of them will come.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

from runyard.domain.errors import Invalid

TRANSPORTS: Final = ("https", "ssh")
MAX_JOB_NAME: Final = 128
_ALLOWED: Final = "https://host/path, ssh://[user@]host/path or user@host:path"

_CONTROL = re.compile(r"[\x00-\x20\x7f\\]")
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_USER = r"[A-Za-z0-9_][A-Za-z0-9._+-]*"
_URL = re.compile(rf"(?P<scheme>[a-z]+)://(?:(?P<user>{_USER})@)?{_HOST}(?::\d{{1,5}})?/[^#]+")
_SCP_LIKE = re.compile(rf"{_USER}@{_HOST}:(?![-/]*-)[^:#]+")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(://|::)")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REF = re.compile(r"\w(?:[\w./+@#=,-]*[\w+#=,-])?")
_RUNTIME = re.compile(r"3\.\d{1,3}")
_UNSAFE_IN_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_SCRIPTS: Final = (".py", ".sh", ".ipynb")
_IMAGE = re.compile(
    r"(?:(?P<registry>(?:[A-Za-z0-9.-]+\.[A-Za-z0-9.-]+|[A-Za-z0-9.-]+(?=:\d)|localhost)(?::\d+)?)/)?"
    r"(?P<path>[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)


def looks_like_git(text: str) -> bool:
    """Tell a git address from the path of a directory: it has a scheme, or is user@host:path."""
    if text.startswith(("/", "~", ".")):
        return False
    return bool(_SCHEME.match(text) or re.match(r"[^/\s]+@[^/\s]+:", text))


def check_remote(remote: str, *, insecure_hosts: Collection[str] = ()) -> str:
    """Return the remote if git may be given it.

    `insecure_hosts` ("host" or "host:port") may be reached over plain http as well.

    Raises:
        Invalid: another transport, a local path, credentials within, something that git or
            ssh would read as an option.
    """
    if remote.startswith("-"):
        raise _remote(remote, "begins with '-', which git reads as an option")
    if not remote or _CONTROL.search(remote):
        raise _remote(
            remote, "has a space, a backslash or a control character", "Write a space as %20."
        )
    if len(remote) > 2048:
        raise _remote(remote[:60] + "…", "is longer than 2,048 characters")
    scheme = _SCHEME.match(remote)
    if scheme is None:
        if not _SCP_LIKE.fullmatch(remote):
            raise _remote(remote, "is neither a URL nor user@host:path")
        return remote
    return _check_url(remote, scheme[1].lower(), insecure_hosts)


def _check_url(remote: str, scheme: str, insecure_hosts: Collection[str]) -> str:
    if scheme == "http":
        host = _netloc(remote)
        if host not in insecure_hosts and host.rpartition(":")[0] not in insecure_hosts:
            raise _remote(
                without_credentials(remote),
                "plain http lets anyone on the way change the code",
                "Use https, or let an admin add the host to the agent's git.insecure_hosts.",
            )
    elif scheme not in TRANSPORTS:
        raise _remote(remote, f"the transport {scheme!r} is not allowed")
    userinfo = _netloc(remote).rpartition("@")[0]
    if userinfo and (scheme != "ssh" or ":" in userinfo):
        raise _remote(
            without_credentials(remote),
            "credentials in an address end up in logs and databases",
            "Leave them out; the machine that fetches uses its own git credential helper or SSH "
            f"key: {without_credentials(remote)}",
        )
    if not _URL.fullmatch(remote):
        raise _remote(remote, "has no host and path that git could use")
    return remote


def _netloc(remote: str) -> str:
    return remote.partition("://")[2].partition("/")[0]


def without_credentials(remote: str) -> str:
    """Return an address as it may be shown and stored: no password, no user but for ssh."""
    scheme, mark, rest = remote.partition("://")
    if not mark:
        return remote
    netloc, slash, path = rest.partition("/")
    userinfo, at, host = netloc.rpartition("@")
    user = userinfo.partition(":")[0] if scheme == "ssh" else ""
    return f"{scheme}://{user}{at if user else ''}{host}{slash}{path}"


def _remote(remote: str, why: str, hint: str = "") -> Invalid:
    return Invalid(f"git remote {remote!r}: {why}", hint=hint or f"Allowed are {_ALLOWED}.")


def is_commit(text: str) -> bool:
    """Tell whether the text is a full commit id, SHA-1 or SHA-256, in lower case."""
    return bool(_COMMIT.fullmatch(text))


def check_commit(commit: str) -> str:
    """Return the commit id if it is a full one.

    Raises:
        Invalid: anything else, so that a name that moves is never stored as a version.
    """
    if not is_commit(commit):
        raise Invalid(
            f"git commit {commit!r} is not 40 (or 64) lower-case hex digits",
            hint="Print it with: git rev-parse HEAD",
        )
    return commit


def check_ref(ref: str) -> str:
    """Return the branch, tag or commit name if git may be given it.

    Raises:
        Invalid: git would read it as an option or an expression, or refuse it as a name.
    """
    parts = ref.split("/")
    bad = not _REF.fullmatch(ref) or any(s in ref for s in ("..", "@{", "//"))
    if bad or len(ref) > 255 or any(p.startswith(".") or p.endswith(".lock") for p in parts):
        raise Invalid(
            f"git ref {ref!r} is not the name of a branch or tag, nor a commit",
            hint="List the names with: git ls-remote --heads --tags REMOTE",
        )
    return ref


def check_entry_point(words: Sequence[str], *, field: str = "entry_point") -> tuple[str, ...]:
    """Return the entry point if a job may have it: one word each, nothing above the job's root.

    Raises:
        Invalid: no words, a NUL, or a path that climbs out by `..`.
    """
    if not words or not words[0].strip():
        raise Invalid(f"{field} is empty", hint='Give a command: -E "python train.py"')
    for word in words:
        if "\0" in word:
            raise Invalid(f"{field}: {word!r} has a NUL character")
    # Arguments may name what they like; what is run lies in the job.
    for word in (words[0], *(w for w in words[1:] if w.endswith(_SCRIPTS))):
        if ".." in word.split("/"):
            raise Invalid(
                f"{field}: {word!r} leads out of the job's directory",
                hint="Paths are relative to the root of the code; they may not have '..'.",
            )
    return tuple(words)


def missing_interpreter(words: Sequence[str]) -> str:
    """Return a warning for an entry point that is a bare script ("train.py"), else ""."""
    first = words[0] if words else ""
    for suffix, program in ((".py", "python"), (".sh", "bash")):
        if first.endswith(suffix) and "/" not in first:
            return f"{first} is not a command: did you mean {program!r} {' '.join(words)}?"
    return ""


def check_runtime(runtime: str) -> str:
    """Return the Python version if it is "3.N".

    Raises:
        Invalid: anything else, with the shortened version as the hint where there is one.
    """
    if _RUNTIME.fullmatch(runtime):
        return runtime
    shorter = _RUNTIME.match(runtime.removeprefix("python-").strip())
    raise Invalid(
        f"runtime {runtime!r} is not a Python version of the form 3.N",
        hint=f"Try: --runtime {shorter[0] if shorter else '3.11'}",
    )


def check_job_name(name: str) -> str:
    """Return the job's name if it is letters, digits, '-', '_' and '.' only.

    Raises:
        Invalid: with a name that would do.
    """
    if len(name) <= MAX_JOB_NAME and name.strip(".") and not _UNSAFE_IN_NAME.search(name):
        return name
    raise Invalid(
        f"job name {name!r}: up to {MAX_JOB_NAME} letters, digits, '-', '_' and '.'",
        hint=f"Try: --name {_safe_name(name)}",
    )


def default_git_name(remote: str, path: str = "") -> str:
    """Return the name of a git job that was given none: job-<remote>_<path of the script>."""
    scheme, mark, rest = without_credentials(remote).partition("://")
    place = (rest if mark else scheme.rpartition("@")[2]).removesuffix(".git")
    return _safe_name(f"job-{place}_{path}" if path else f"job-{place}")


def default_code_name(directory_name: str, path: str = "") -> str:
    """Return the name of a code job that was given none."""
    return _safe_name(f"job-{directory_name}_{path}" if path else f"job-{directory_name}")


def default_image_name(image: str) -> str:
    """Return the name of an image job that was given none: job-<image without its tag>."""
    parts = _IMAGE.fullmatch(image)
    if parts is None:
        return _safe_name(f"job-{image}")
    return _safe_name("job-" + "/".join(filter(None, (parts["registry"], parts["path"]))))


def _safe_name(text: str) -> str:
    name = _UNSAFE_IN_NAME.sub("-", text).strip("-.") or "job"
    if len(name) <= MAX_JOB_NAME:
        return name
    # The head tells the host, the tail the script: what repeats lies in the middle.
    head = (MAX_JOB_NAME - 3) // 2
    return f"{name[:head]}...{name[-(MAX_JOB_NAME - 3 - head) :]}"


def check_image(image: str) -> str:
    """Return the image reference if it is [registry[:port]/]path[:tag][@sha256:…].

    Raises:
        Invalid: anything else; an engine would read a leading '-' as an option.
    """
    if len(image) <= 512 and _IMAGE.fullmatch(image):
        return image
    lower = _IMAGE.fullmatch(image.lower())
    raise Invalid(
        f"image {image!r} is not of the form registry/name:tag or registry/name@sha256:…",
        hint=f"Names are lower case: {image.lower()}" if lower and image != image.lower() else "",
    )


def image_tag_alias(image: str) -> str | None:
    """Return the tag that becomes an alias of the job's version; `latest` is the server's own."""
    parts = _IMAGE.fullmatch(image)
    tag = parts["tag"] if parts else None
    return None if tag is None or tag == "latest" or re.fullmatch(r"v\d+", tag) else tag
