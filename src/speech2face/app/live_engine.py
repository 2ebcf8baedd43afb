"""One live session's side in the worker threads: sound and wishes in, ready messages out."""

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from speech2face.app.live_messages import Download, Samples, Set, Start
from speech2face.app.pictures import MEDIA_TYPES, WEBP_MOST_PIXELS, drawing, encoded
from speech2face.batch import contact_sheet
from speech2face.errors import InvalidOption
from speech2face.live import LiveLook, LiveSession

if TYPE_CHECKING:
    from speech2face.models.contract import Model


@dataclass(frozen=True)
class Reply:
    """One text message and the picture that follows it at once."""

    values: dict[str, Any]
    picture: bytes | None = None


class LiveEngine:
    """A `LiveSession` with what the client asked for; one thread at a time by its own lock."""

    def __init__(self, model: "Model", start: Start) -> None:
        """Begin.

        Raises:
            Speech2FaceError: what the model cannot draw.
        """
        self._start = start
        self._lock = threading.Lock()
        self._closed = False
        self._held = False
        self._number = 0
        given = start.given.given()
        self._session = LiveSession(model, start.source(), given=given, exaggerate=start.exaggerate, style=start.style)

    def hear(self, sound: bytes, *, look: bool) -> tuple[bool, Reply | None]:
        """Hear the next sound; whether there is something new to show, and the update itself where it is wanted now.

        Raises:
            Speech2FaceError: the sound cannot be used.
        """
        with self._lock:
            if self._closed:
                return False, None
            new = self._session.push(sound)
            return (False, self._update(self._session.look())) if new and look else (new, None)

    def update(self) -> Reply | None:
        """The portrait so far."""
        with self._lock:
            return None if self._closed else self._update(self._session.look())

    def _update(self, look: LiveLook) -> Reply:
        self._number += 1
        facts = look.facts()
        content = None
        if look.embedding is not None and self._start.picture != "none" and not self._held:
            image = self._session.draw(look, pixels=self._start.pixels).image
            content = encoded(image, facts, "portrait", self._start.picture)
        values = {"type": "update", "number": self._number, "facts": facts, "listening": facts["listening"]}
        if content is None or self._start.picture == "none":
            return Reply(values | {"picture": None})
        described = {"media_type": MEDIA_TYPES[self._start.picture], "bytes": len(content)}
        return Reply(values | {"picture": described}, content)

    def set(self, wish: Set) -> None:
        """Change what is given, exaggerated or the style.

        Raises:
            Speech2FaceError: the model cannot draw it; nothing is changed.
        """
        with self._lock:
            given = None if wish.given is None else wish.given.given()
            self._session.set(given=given, exaggerate=wish.exaggerate, style=wish.style)

    def hold(self, on: bool) -> None:
        """Whether the picture stays as it is."""
        with self._lock:
            self._held = on

    def sheet(self, wish: Samples) -> Reply:
        """The expected face and draws beside it; as a strip the draws alone, side by side without margins.

        A strip shows what is equally likely, so nothing in it is exaggerated.

        Raises:
            InvalidOption: too little was heard, or the strip would be too long.
        """
        strip = wish.layout == "strip"
        if strip and wish.count * wish.pixels > WEBP_MOST_PIXELS:
            too_wide = (
                f"{wish.count} faces of {wish.pixels} pixels are wider than {WEBP_MOST_PIXELS}, the most of a WebP"
            )
            raise InvalidOption(f"{too_wide}; ask for smaller or fewer ones")
        with self._lock:
            if wish.seed is not None:
                self._session.seed = wish.seed
            look = replace(self._heard(), exaggerate=0.0) if strip else self._heard()
            portrait = self._session.draw(look, samples=wish.count, pixels=wish.pixels if strip else None)
        faces = portrait.samples
        image = np.hstack(faces) if strip else contact_sheet(portrait)
        content = encoded(image, portrait.facts(), "contact sheet", "webp")
        described = {"media_type": MEDIA_TYPES["webp"], "bytes": len(content)}
        values = {"type": "sheet", "count": len(faces), "layout": wish.layout, "picture": described}
        return Reply(values, content)

    def portrait(self, wish: Download) -> Reply:
        """A labelled PNG or SVG to keep.

        Raises:
            InvalidOption: too little was heard, or an SVG is wanted of what is not drawn.
        """
        with self._lock:
            portrait = self._session.draw(self._heard(), pixels=wish.pixels)
        facts = portrait.facts()
        svg = wish.picture == "svg"
        content = drawing(portrait) if svg else encoded(portrait.image, facts, "portrait", "png")
        described = {"media_type": MEDIA_TYPES[wish.picture], "bytes": len(content)}
        return Reply({"type": "portrait", "facts": facts, "picture": described}, content)

    def _heard(self) -> LiveLook:
        look = self._session.look()
        if self._closed or look.embedding is None:
            raise InvalidOption("too little of a voice was heard to draw a portrait; go on speaking")
        return look

    def reset(self) -> Reply:
        """Forget the voice so far."""
        with self._lock:
            self._session.reset()
        return Reply({"type": "reset"})

    def finish(self) -> Reply:
        """The end of the sound: the last update.

        Raises:
            Speech2FaceError: there was no voice, or too little of it.
        """
        with self._lock:
            return self._update(self._session.finish())

    def close(self) -> None:
        """Let go of the decoder; waits for what is under way."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._session.close()
                self._session.reset()  # the voice goes now, not when the garbage is collected
