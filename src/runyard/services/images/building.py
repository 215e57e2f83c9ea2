"""
Deciding which attempt builds an image, and following what agents say of their builds.

Two agents that ask at the same moment get one "build" and one "wait": whoever decides holds the
image's row, and of two that insert it the second waits for the first. Items come before images in
the order of what is locked; the item of whoever builds is only looked at, after the image's row is
held, so that what is seen of it is true until then.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from runyard.domain.agents import Agent
from runyard.domain.errors import Conflict, Invalid
from runyard.domain.image_builds import Asked, Do, Image, ImageName, ImageState, decide
from runyard.domain.images import ImageRef
from runyard.domain.items import Item, ItemState
from runyard.services.call import Call
from runyard.store import image_pruning, images
from runyard.store.items import Pair
from runyard.wire import agent as wire

OfImage = wire.Build | wire.Built | wire.Use

_MAX_PLACE: Final = 512
_MAX_ABOUT: Final = 20
_MAX_SIZE: Final = 1 << 62
_MAX_ERROR: Final = 2000


def name_of(agent: Agent, m: OfImage) -> ImageName:
    """Return the name of an image of the agent's entity.

    Raises:
        Invalid: it can be none.
    """
    ref = ImageRef.parse(f"{m.repository[:256]}:{m.tag[:129]}")
    if (ref.repository, ref.tag) != (m.repository, m.tag):
        raise Invalid(f"image {m.repository!r}, tag {m.tag!r}: a name without a tag, and a tag")
    if len(m.place) > _MAX_PLACE or not m.place.isprintable():
        raise Invalid(f"place: {_MAX_PLACE} printable characters at most")
    return ImageName(agent.entity_id, m.place, ref.repository, ref.tag)


def source_key(spec: Mapping[str, Any]) -> str:
    """Return what items have in common whose jobs have the same source: they need one image."""
    text = json.dumps(spec["source"], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Builds:
    """The images of one batch of moves. `present` is an item as the batch has it by now."""

    def __init__(
        self,
        call: Call,
        agent: Agent,
        moves: Sequence[wire.AnyMove],
        present: Callable[[str], Item | None],
    ) -> None:
        self._call, self._agent, self._present = call, agent, present
        names = {name for m in moves if (name := _name_or_none(agent, m)) is not None}
        self._images = images.locked(call.tx, names)

    def ask(self, pair: Pair, item: Item, m: wire.Build) -> wire.MayBuild:
        """Say what an attempt that found no image is to do.

        Raises:
            Invalid: no name of an image.
        """
        new = self._new(pair, item, m)
        image = self._found(new)
        asked = Asked(
            item_id=item.id,
            attempt=item.attempt,
            missing=m.missing,
            told=m.missing and images.used_by(self._call.tx, item.id) == image.id,
            waits=m.waits,
            anew=self._anew(pair),
        )
        lives = image.state is ImageState.BUILDING and self._lives(image)
        match decide(image, asked, holder_lives=lives, now=self._call.now):
            case Do.BUILD:
                if image != new:
                    self._save(replace(new, id=image.id, digest=image.digest, size=image.size,
                                       used_at=image.used_at, ready_at=image.ready_at))  # fmt: skip
                return wire.MayBuild(do=Do.BUILD)
            case Do.WAIT:
                return wire.MayBuild(do=Do.WAIT, by=self._builder(image))
            case Do.USE:
                self._use(image, item)
                return wire.MayBuild(do=Do.USE, digest=image.digest, by=self._builder(image))
            case Do.FAIL:
                by = self._builder(image)
                told = f"the image was to be built by {by}, and that failed: {image.error}"
                return wire.MayBuild(do=Do.FAIL, by=by, message=told)

    def built(self, item: Item, m: wire.Built) -> None:
        """Follow the end of a build. Repeatable. With neither digest nor error nothing was built.

        Raises:
            Conflict: this attempt has no right to build it, or has it no more.
            Invalid: no name of an image, or no digest.
        """
        name = name_of(self._agent, m)
        image = self._images.get(name)
        mine = image is not None and image.is_of(item.id, item.attempt)
        if not m.digest and not m.error:
            if image is not None and mine and image.state is ImageState.BUILDING:
                self._forget(image)
            return
        if image is None or not mine or (image.state is ImageState.FAILED and not m.error):
            raise Conflict(
                f"image {m.repository}:{m.tag} is not built by attempt {item.attempt} of item "
                f"{item.id}, or not any more; ask before building"
            )
        if not m.error:
            self._use(self._ready(image, m), item)
        elif image.state is ImageState.BUILDING:
            error, now = _text(m.error, _MAX_ERROR), self._call.now
            self._save(replace(image, state=ImageState.FAILED, error=error, used_at=now))

    def _ready(self, image: Image, m: wire.Built) -> Image:
        _check_digest(m)
        if image.state is not ImageState.BUILDING:  # told before; the answer was lost
            return replace(image, state=ImageState.READY)
        return replace(
            image,
            state=ImageState.READY,
            digest=m.digest,
            size=min(max(0, m.size), _MAX_SIZE),
            ready_at=self._call.now,
        )

    def use(self, pair: Pair, item: Item, m: wire.Use) -> None:
        """Note which image an attempt runs. What was doomed is needed again.

        One that nobody here has built was found: made by another server, or by hand.

        Raises:
            Invalid: no name of an image, or no digest.
        """
        _check_digest(m)
        now = self._call.now
        new = self._new(pair, item, m)
        found = replace(new, state=ImageState.READY, digest=m.digest, item_id="", attempt=0,
                        ready_at=now)  # fmt: skip
        image = self._found(found)
        others = image.state is ImageState.BUILDING and not image.is_of(item.id, item.attempt)
        if others and self._lives(image):  # built anew by another one, while this one runs it
            self._use(image, item)
        elif image.state is ImageState.DOOMED:
            self._use(replace(image, state=ImageState.READY, digest=m.digest), item)
        elif image.state is not ImageState.READY:
            self._use(replace(found, id=image.id), item)
        else:
            self._use(image, item)

    def _new(self, pair: Pair, item: Item, m: wire.Build | wire.Use) -> Image:
        """Return an image that this attempt begins to build."""
        now, spec = self._call.now, pair.spec
        about = {_text(k, 64): _text(v, 512) for k, v in list(m.about.items())[:_MAX_ABOUT]}
        return Image(
            id=self._call.new_id(),
            name=name_of(self._agent, m),
            state=ImageState.BUILDING,
            item_id=item.id,
            attempt=item.attempt,
            began_at=now,
            used_at=now,
            source=source_key(spec),
            job=spec.get("job") or "",
            about=about,
        )

    def _found(self, new: Image) -> Image:
        """Return the image of that name, which is `new` if there was none."""
        if new.name not in self._images:
            if images.add(self._call.tx, new, self._call.now):
                self._images[new.name] = new
            else:  # another one has added it meanwhile, and committed
                self._images |= images.locked(self._call.tx, [new.name])
        if new.name not in self._images:
            raise Conflict("the image was deleted at this very moment; ask again")
        return self._images[new.name]

    def _save(self, image: Image) -> None:
        images.save(self._call.tx, image)
        self._images[image.name] = image

    def _forget(self, image: Image) -> None:
        image_pruning.forget(self._call.tx, [image.id])
        del self._images[image.name]

    def _use(self, image: Image, item: Item) -> None:
        images.use(self._call.tx, image, item.id, self._call.now)
        self._images[image.name] = replace(image, used_at=self._call.now)

    def _lives(self, image: Image) -> bool:
        """Whether the attempt that builds still holds its item."""
        now = self._call.now
        if (item := self._present(image.item_id)) is not None:
            held = item.state is ItemState.CLAIMED and item.attempt == image.attempt
            return held and item.lease is not None and item.lease.expires_at > now
        return images.is_held(self._call.tx, image.item_id, image.attempt, now)

    def _anew(self, pair: Pair) -> datetime | None:
        if '"rebuild"' not in pair.spec_text or pair.spec.get("rebuild") is not True:
            return None
        return images.first_enqueued(self._call.tx, pair.item.id)

    def _builder(self, image: Image) -> str:
        return images.run_of(self._call.tx, image.item_id)


def _name_or_none(agent: Agent, m: wire.AnyMove) -> ImageName | None:
    """Return whose row a move wants; what is no name is refused when its turn comes."""
    if not isinstance(m, OfImage):
        return None
    try:
        return name_of(agent, m)
    except Invalid:
        return None


def _check_digest(m: wire.Built | wire.Use) -> None:
    if not m.digest:
        raise Invalid("digest: is needed, as sha256:<64 hex digits>")
    ImageRef.parse(f"{m.repository}@{m.digest}")


def _text(said: str, most: int) -> str:
    return said.replace("\0", "\ufffd")[:most]
