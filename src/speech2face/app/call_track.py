"""One voice in a call and the portrait of it so far; it outlives its sound by its last picture and facts alone."""

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from speech2face.app.pictures import encoded
from speech2face.app.problems import code_of
from speech2face.errors import Speech2FaceError
from speech2face.live import LiveLook, LiveSession, PcmFormat

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from speech2face.models.contract import Model


@dataclass(frozen=True)
class TrackOptions:
    """What is wanted of a portrait."""

    pixels: int | None = None
    exaggerate: float = 0.0


class CallTrack:
    """A `LiveSession` of a call; for worker threads, one at a time by its own lock."""

    def __init__(self, model: "Model", source: PcmFormat, options: TrackOptions) -> None:
        """Begin.

        Raises:
            Speech2FaceError: what the model cannot draw.
        """
        self._lock = threading.Lock()
        self._options = options
        self._session: LiveSession | None = LiveSession(model, source, exaggerate=options.exaggerate)
        self._look: LiveLook | None = None
        self._picture: tuple[int, bytes] | None = None  # the number of the look it is of, and a labelled PNG
        self.number = 0  # of looks that say something new
        self.facts: dict[str, Any] | None = None
        self.problem: dict[str, Any] | None = None  # why there will be no portrait

    @property
    def drawable(self) -> bool:
        """Whether there is a portrait."""
        return self._picture is not None or (self._look is not None and self._look.embedding is not None)

    def hear(self, sound: bytes, *, look: bool) -> bool:
        """Hear the next sound; whether there is speech that no look has seen, after looking where that is wanted.

        Raises:
            Speech2FaceError: the sound cannot be used.
        """
        with self._lock:
            if self._session is None:
                return False
            new = self._session.push(sound)
            if not new or not look:
                return new
            self._see(self._session.look())
            return False

    def look(self) -> None:
        """What is believed so far."""
        with self._lock:
            if self._session is not None:
                self._see(self._session.look())

    def _see(self, look: LiveLook) -> None:
        self._look, self.facts = look, look.facts()
        self.number += 1

    def image(self) -> "NDArray[np.uint8] | None":
        """The portrait's pixels, (height, width, 3); None where too little was heard, or the call has ended."""
        with self._lock:
            if self._session is None or self._look is None or self._look.embedding is None:
                return None
            return self._session.draw(self._look, pixels=self._options.pixels).image

    def picture(self) -> tuple[int, bytes] | None:
        """The portrait as a labelled PNG and the look it is of; drawn when it is first asked for."""
        with self._lock:
            return self._drawn()

    def _drawn(self) -> tuple[int, bytes] | None:
        look = self._look
        if self._session is None or look is None or look.embedding is None:
            return self._picture
        if self._picture is None or self._picture[0] != self.number:
            portrait = self._session.draw(look, pixels=self._options.pixels)
            self._picture = self.number, encoded(portrait.image, portrait.facts(), "portrait", "png")
        return self._picture

    def finish(self) -> None:
        """The end of the sound: the last portrait is drawn, the voice forgotten."""
        with self._lock:
            if self._session is None:
                return
            try:
                self._see(self._session.finish())
                self._drawn()
            except Speech2FaceError as error:
                self.problem = {"code": code_of(error), "text": str(error)}
                self._picture, self.facts = None, None
            self._forget_voice()

    def close(self) -> None:
        """Forget the voice; a picture that was drawn stays."""
        with self._lock:
            self._forget_voice()

    def _forget_voice(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session.reset()
        self._session, self._look = None, None
