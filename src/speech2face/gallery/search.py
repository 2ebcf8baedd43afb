"""From a recording to the faces of a gallery that are nearest to what its voice suggests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from speech2face.audio.recording import Recording, read_recording
from speech2face.gallery.entries import Where
from speech2face.gallery.gallery import Gallery, Ranking
from speech2face.gallery.spaces import limits_of, probe_of, space_of
from speech2face.given import Given
from speech2face.models.contract import Model
from speech2face.portrait import Portrait, reconstruct


@dataclass(frozen=True)
class Search:
    """What was found for a recording."""

    ranking: Ranking
    portrait: Portrait
    """What the voice suggests, as a picture."""
    gallery: dict[str, Any]
    """Name, size and how it is searched."""
    where: dict[str, str]
    limits: tuple[str, ...]
    """What must be said with the ranking."""

    def facts(self) -> dict[str, Any]:
        """JSON-ready."""
        mean, sd = self.ranking.random_cosine
        hits = [
            {"rank": hit.rank, "cosine": round(hit.cosine, 5), "chance": round(hit.chance, 8)} | hit.entry.facts()
            for hit in self.ranking.hits
        ]
        return {
            "hits": hits,
            "ranked": self.ranking.of,
            "random": {"cosine_mean": round(mean, 5), "cosine_sd": round(sd, 5)},
            "exact": self.ranking.exact,
            "gallery": self.gallery,
            "filter": self.where,
            "given": self.portrait.given.to_dict(),
            "seconds_heard": round(self.portrait.seconds_heard, 2),
            "cautions": [{"code": each.code, "text": each.text} for each in self.portrait.cautions],
            "model": {"name": self.portrait.model_name, "version": self.portrait.model_version},
            "limits": list(self.limits),
        }


def search_gallery(
    gallery: Gallery,
    model: Model,
    recording: str | Path | bytes | BinaryIO | Recording,
    *,
    top: int = 10,
    where: Where | None = None,
    given: Given | None = None,
) -> Search:
    """Rank a gallery's faces by how near they are to what a voice suggests.

    Raises:
        WeightsError: the gallery was built with another model's face embeddings.
        Speech2FaceError: of the recording, the gallery and the options.
    """
    given = given or Given()
    space = space_of(model)
    gallery.check_space(space)
    heard = recording if isinstance(recording, Recording) else read_recording(recording)
    portrait = reconstruct(model, heard, given=given)
    ranking = gallery.search(probe_of(model, np.asarray(portrait.belief.mean)), top, where)
    record = gallery.record
    facts = {"name": record.name, "backend": record.backend, "entries": len(gallery), "index": gallery.index_facts()}
    return Search(ranking, portrait, facts, dict(where or {}), limits_of(space))
