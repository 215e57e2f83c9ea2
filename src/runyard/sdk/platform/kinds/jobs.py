"""Jobs whose source can be written down: an image, or a commit of a git repository."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

from runyard.client.api import Api
from runyard.domain.errors import Invalid, NotFound, Violation
from runyard.domain.inputs import check_inputs
from runyard.domain.jobs import LATEST, Source, check_aliases
from runyard.domain.sources import check_image, check_remote
from runyard.sdk.platform.kinds.base import Kind, Wish, without
from runyard.sdk.platform.things import Fields, Found, Key
from runyard.wire.rest import JobIn, JobVersionOut

_DEFAULTS: Final = {"description": "", "aliases": [], "input_schemas": {}}


class Job(Kind):
    """The newest version of a job. Another source makes a new version; none is ever deleted.

    An alias that is not named stays, and so does a description.
    """

    name, section, rank = "job", "jobs", 8
    pruned = False

    def check(self, fields: Fields) -> Iterable[Violation]:
        wrong: list[Violation] = []
        try:
            source = Source.from_json(fields["source"])
            if source.archive or source.patch:
                wrong.append(Violation("source", "an upload cannot be written down; use git"))
            if source.image:
                check_image(source.image)
            if source.remote:
                check_remote(source.remote)
        except Invalid as error:
            wrong += error.violations or [Violation("source", error.message)]
        for name, check in (("aliases", _aliases), ("input_schemas", check_inputs)):
            try:
                check(fields[name])
            except Invalid as error:
                wrong += error.violations or [Violation(name, error.message)]
        return wrong

    def wanted(self, part: Any) -> dict[str, Any]:
        return {
            "source": _normal(part.source),
            "description": part.description,
            "aliases": sorted(set(part.aliases)),
            "input_schemas": part.input_schemas,
        }

    def written(self, fields: Fields) -> Any:
        return without(fields, _DEFAULTS)

    def read(self, api: Api, owner: str) -> Iterable[tuple[str, Found]]:
        for job in api.jobs(entity=owner):
            newest = api.job_version(owner, job.project, job.name)
            yield f"{job.project}/{job.name}", _found(newest)

    def read_named(
        self, api: Api, owner: str, names: Collection[str]
    ) -> Iterable[tuple[str, Found]]:
        for path in names:
            project, _, name = path.partition("/")
            try:
                newest = api.job_version(owner, project, name)
            except NotFound:
                continue
            yield path, _found(newest)

    def compared(self, found: Fields, wanted: Fields) -> dict[str, Any]:
        there = dict(found)
        there["aliases"] = [alias for alias in found["aliases"] if alias in wanted["aliases"]]
        if not wanted["description"]:
            there["description"] = ""
        return there

    def create(self, api: Api, key: Key, wish: Wish) -> None:
        project, _, name = key.name.partition("/")
        api.save_job(key.owner, project, name, JobIn(**wish.fields))

    def update(self, api: Api, key: Key, wish: Wish) -> None:
        self.create(api, key, wish)


def _found(newest: JobVersionOut) -> Found:
    fields = {
        "source": _normal(newest.source),
        "description": newest.description,
        "aliases": sorted(set(newest.aliases) - {LATEST}),
        "input_schemas": newest.input_schemas,
    }
    uploaded = newest.source.get("archive") or newest.source.get("patch")
    return Found(fields, kept="an uploaded directory cannot be written down" if uploaded else "")


def _aliases(given: list[str]) -> None:
    check_aliases(tuple(given))


def _normal(source: dict[str, Any]) -> dict[str, Any]:
    """Return a source as the server would tell it. What it would refuse stays as it is."""
    try:
        return {name: _plain(v) for name, v in Source.from_json(source).to_json().items()}
    except Invalid:
        return source


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value
