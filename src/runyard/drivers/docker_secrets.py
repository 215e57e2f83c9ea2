"""
Handing secrets to a container without writing them into its configuration: pure.

Whatever is in `Env` can be read by everybody who may ask the engine about the container. So
secrets are files, and a fixed text for /bin/sh exports them and becomes the program; what the job
says comes to it as arguments. An image without a shell gets files alone, and a variable
`<NAME>_FILE` for each.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Collection, Mapping
from typing import Any, Final

from runyard.domain.errors import Rejected

PLACE: Final = "/run/runyard/secrets"  # in the container
SHELL: Final = "/bin/sh"
LABEL: Final = "io.runyard.secrets"
FILES_ONLY: Final = "files"
NO_SHELL: Final = (
    f"the image has no {SHELL}, so secrets are no variables in it: read them from the files that "
    "the variables <NAME>_FILE name"
)
# Builtins only, and names that no program uses. `read` keeps backslashes and spaces (-r, IFS=);
# the last line, which need not end, is what it leaves behind when it fails.
WRAPPER: Final = f"""\
for _ry_file in {PLACE}/*; do
  _ry_text=
  while IFS= read -r _ry_line; do
    _ry_text=$_ry_text$_ry_line'
'
  done <"$_ry_file" || exit 126
  export "${{_ry_file##*/}}=$_ry_text$_ry_line"
done
unset _ry_file _ry_text _ry_line
exec "$@"
"""


def with_shell(request: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request with its program behind the wrapper.

    `image` is the configuration of the image, for what the request leaves to it.

    Raises:
        Rejected: neither says what to run.
    """
    head, tail = request.get("Entrypoint"), request.get("Cmd")
    if head is None:
        head, tail = image.get("Entrypoint") or (), image.get("Cmd") if tail is None else tail
    program = [*head, *(tail or ())]
    if not program:
        raise Rejected(
            f"image {request['Image']} names no command, and the job has no entry point",
            hint='give one: runyard launch -E "python train.py" …',
        )
    return {**request, "Entrypoint": [SHELL, "-c", WRAPPER, "runyard"], "Cmd": program}


def with_files(request: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return the request for an image without a shell: variables that say where the files are."""
    variables = [f"{name}_FILE={PLACE}/{name}" for name in names]
    return {
        **request,
        "Env": [*request.get("Env", ()), *variables],
        "Labels": {**request.get("Labels", {}), LABEL: FILES_ONLY},
    }


def without_mount(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request without the mount of the files, which are copied in then."""
    settings = dict(request["HostConfig"])
    mounts = [m for m in settings.pop("Mounts", ()) if m["Target"] != PLACE]
    return {**request, "HostConfig": {**settings, **({"Mounts": mounts} if mounts else {})}}


def warnings(container: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return what the submitter should know of a container, as the engine describes it."""
    labels = ((container or {}).get("Config") or {}).get("Labels") or {}
    return (NO_SHELL,) if labels.get(LABEL) == FILES_ONLY else ()


def archive(values: Mapping[str, str]) -> bytes:
    """Return a tar of the files, to be unpacked at `/`: for engines that see no file of ours."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        place = PLACE.strip("/")
        for depth in range(1, place.count("/") + 1):
            tar.addfile(_entry("/".join(place.split("/")[: depth + 1]), tarfile.DIRTYPE, 0o755))
        for name, value in values.items():
            data = value.encode()
            entry = _entry(f"{place}/{name}", tarfile.REGTYPE, 0o444)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = kind, mode
    return entry
