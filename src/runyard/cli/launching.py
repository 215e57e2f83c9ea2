"""
What `runyard launch` does: check the flags, make the job, submit, follow.

Nothing is sent before the flags are known to fit together.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from runyard.cli.launch_flags import Flags, check, chosen_values, spec_of, words
from runyard.cli.output import print_json, print_model, say
from runyard.domain.queues import DEFAULT_QUEUE

if TYPE_CHECKING:
    from runyard.client.api import Api
    from runyard.client.making import Draft, Recipe
    from runyard.wire.rest import SubmittedItem


def run(flags: Flags) -> int:
    """Launch, and return the exit code of the command.

    Raises:
        WrongUsage: the flags do not fit together. RunyardError: what the server says.
    """
    check(flags)
    spec = spec_of(flags)
    if flags.project_queue:
        say("note: --project-queue does nothing: queues belong to a user or team")
    wanted = flags.queue or spec.get("queue")
    if wanted is None:
        from runyard.cli import direct

        return direct.run_here(flags, spec)
    from runyard.cli.session import connect, split_queue

    with connect() as api:
        entity, queue = split_queue(api, wanted, spec.get("queue_entity") or flags.entity)
        if flags.uri and flags.dry_run:
            return planned(flags, spec)
        if flags.uri:
            if queue != DEFAULT_QUEUE:  # which is made by the first submission
                api.queue(entity, queue)  # before anything is uploaded for it
            spec["job"] = make_job(api, flags, spec, entity)
        if flags.set_var:
            values = chosen_values(flags.set_var, api.queue(entity, queue).variables)
            spec["template_variables"] = {**(spec.get("template_variables") or {}), **values}
        answer = api.submit(entity, queue, [spec], dry_run=flags.dry_run)
        item = answer.items[0]
        for warning in item.warnings:
            say(f"warning: {warning}")
        if flags.dry_run:
            print_json(item.spec)
            return 0
        return after(api, item, flags, where=f"{entity}/{queue}")


def after(api: Api, item: SubmittedItem, flags: Flags, *, where: str) -> int:
    """Tell what was submitted, and stay with it if that is wanted."""
    run = item.run
    path = f"{run.entity}/{run.project}/{run.run_id}"
    if not flags.follow:
        if flags.as_json:
            print_model(item)
        else:
            say(f"Queued {item.id} in {where} as run {path}")
            say(f"Follow it: runyard logs -f {path}")
        return 0
    from runyard.cli.following import follow

    say(f"Queued {item.id} in {where} as run {path}")
    return follow(api, run, raw=flags.raw, as_json=flags.as_json)


def make_job(api: Api, flags: Flags, spec: dict[str, Any], owner: str) -> str:
    """Make a version of what --uri names; return its path with the version's number.

    It goes where the run goes: the entity of the spec, else `owner`.
    """
    from runyard.cli.progress import Bar
    from runyard.client import making

    entity = spec.get("entity") or owner
    project = spec.get("project") or "default"
    with Bar() as bar, making.drafted(_recipe(flags), environ=os.environ, progress=bar) as draft:
        _notes(draft)
        version = making.save(api, entity, project, draft, bar)
    say(f"{'Saved' if version.created else 'Unchanged'} job {version.path}")
    return version.path


def _recipe(flags: Flags) -> Recipe:
    from runyard.client import making

    assert flags.uri is not None
    return making.Recipe(
        kind=making.kind_of(flags.uri),
        path=flags.uri,
        name=flags.job_name,
        entry_point=words(flags.entry_point),
        ref=flags.git_version,
        build_context=flags.build_context,
        base_image=flags.base_image,
    )


def planned(flags: Flags, spec: dict[str, Any]) -> int:
    """Show what would be made and sent; the server is not asked, since it lacks the job."""
    from runyard.client import making

    with making.drafted(_recipe(flags), environ=os.environ) as draft:
        _notes(draft)
        job = {
            "name": draft.name,
            "source": draft.source.to_json(),
            "upload_bytes": sum(upload.size for upload in draft.uploads),
        }
    print_json({"job": job, "spec": spec})
    say("note: the queue's part is filled in when the job is saved; nothing was sent")
    return 0


def _notes(draft: Draft) -> None:
    for note in draft.notes:
        say(f"note: {note}")
