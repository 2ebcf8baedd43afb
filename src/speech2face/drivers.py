"""Drivers: parts that other packages add by an entry point, without an edit here.

A package that declares `[project.entry-points."speech2face.measures"]` with `name = "module:attribute"` adds the
measure `name`; the same holds for every kind of `KINDS`. Each kind has a protocol of a few members, described in
docs/extending.md, and a conformance check that anybody can run on their own driver:

    speech2face drivers check measures NAME
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from speech2face.errors import InvalidOption

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


@dataclass(frozen=True)
class DriverKind:
    """One kind of driver: where its entry points are, what is built in, and how one is checked."""

    name: str
    """Name of the kind, plural, as in the entry-point group `speech2face.<name>`."""
    conformance: str
    """`module:function` of the check, which takes a loaded driver and raises AssertionError with what is wrong."""
    built_in: Mapping[str, str] = field(default_factory=dict)
    """`module:attribute` by name, of the drivers that this package brings; no other package can take their names."""

    @property
    def group(self) -> str:
        """Name of the group of entry points."""
        return f"speech2face.{self.name}"

    def added(self) -> dict[str, EntryPoint]:
        """Return the entry points that other packages have installed, by name; nothing of theirs is imported."""
        return {name: point for name, point in self._declared().items() if name not in self.built_in}

    def hidden(self) -> dict[str, EntryPoint]:
        """Return the entry points that are never used, by name: what is built in has their names."""
        return {name: point for name, point in self._declared().items() if name in self.built_in}

    def _declared(self) -> dict[str, EntryPoint]:
        from importlib.metadata import entry_points  # it brings half of the mail library, for the few commands that ask

        return {point.name: point for point in entry_points(group=self.group)}

    def names(self) -> list[str]:
        """Return the names of all drivers of this kind: first what is built in, then what was added."""
        return [*self.built_in, *sorted(self.added())]

    def load(self, name: str) -> Any:
        """Import one driver by name.

        Raises:
            InvalidOption: no driver has this name, or the package that brings it cannot be imported.
        """
        if name in self.built_in:
            return _attribute(self.built_in[name])
        added = self.added()
        if name not in added:
            raise InvalidOption(
                f"{self.name.replace('_', ' ')}: no {name!r} here; known are {', '.join(self.names()) or 'none'}."
                f" Another package can add one by an entry point of the group {self.group}"
            )
        try:
            return added[name].load()
        except Exception as error:  # another package's code: whatever it raises, its name belongs into the message
            raise InvalidOption(
                f"{name!r} ({added[name].value}, an entry point of {self.group}) cannot be loaded:"
                f" {type(error).__name__}: {error}; mend or remove the package that brings it"
            ) from error

    def load_added(self) -> dict[str, Any]:
        """Import every driver that other packages have added, by name."""
        return {name: self.load(name) for name in sorted(self.added())}

    def check(self, name: str) -> None:
        """Run the conformance check on one driver.

        Raises:
            InvalidOption: there is no such driver.
            AssertionError: it does not keep to its protocol; the message says where.
        """
        hidden = self.hidden().get(name)
        if hidden is not None:
            raise AssertionError(f"{hidden.value} is never used: {name!r} is built in; take another name")
        check: Callable[[Any], None] = _attribute(self.conformance)
        driver = self.load(name)
        check(driver)
        stated = getattr(driver, "name", None)  # of a class it may be a property, which says nothing yet
        assert stated == name or not isinstance(stated, str), (
            f"it calls itself {stated!r}, its entry point {name!r}; give both one name"
        )


def _attribute(place: str) -> Any:
    """What `module:attribute` names."""
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


_MEASURES = {
    name: f"speech2face.metrics.measures:{name.upper()}"
    for name in (
        *("angle_degrees", "cosine", "centred_angle_degrees", "l2_unit", "l1_unit", "l2", "l1", "mean_rank_percent"),
        *("two_way_choice", "two_way_choice_same_gender", "spread_coverage", "gender_right", "gender_brier"),
        *("age_error_years", "age_bias_years", "age_interval_coverage"),
        *("child_missed", "adult_called_child", "refused"),
    )
}

KINDS = {
    kind.name: kind
    for kind in (
        DriverKind(
            "voice_encoders",
            "speech2face.voice.encoder:check_voice_encoder",
            {"paper": "speech2face.voice.encoder:PAPER", "whisper": "speech2face.training.pretrained:WHISPER"},
        ),
        DriverKind(
            "face_decoders",
            "speech2face.decoder.paper:check_face_decoder",
            {"paper": "speech2face.decoder.paper:PAPER"},
        ),
        DriverKind(
            "face_embedders",
            "speech2face.face.embedders:check_face_embedder",
            {
                "dlib": "speech2face.face.embedders:open_dlib",
                "vggface": "speech2face.face.embedders:open_vggface",
                "onnx": "speech2face.face.embedders:open_onnx",
            },
        ),
        DriverKind(
            "data_sources",
            "speech2face.data.sources:check_data_source",
            {
                "avspeech": "speech2face.data.corpora:AVSpeech",
                "voxceleb1": "speech2face.data.corpora:VoxCeleb1",
                "voxceleb2": "speech2face.data.corpora:VoxCeleb2",
                "pairs": "speech2face.data.corpora:Pairs",
                "videos": "speech2face.data.corpora:Videos",
            },
        ),
        DriverKind("measures", "speech2face.metrics.measures:check_measure", _MEASURES),
        DriverKind(
            "voice_activity",
            "speech2face.audio.speech:check_voice_activity",
            {"webrtc": "speech2face.audio.speech:WebRtcActivity"},
        ),
        DriverKind(
            "gallery_stores",
            "speech2face.gallery.entries:check_gallery_store",
            {"files": "speech2face.gallery.files:FILES", "postgres": "speech2face.gallery.postgres:POSTGRES"},
        ),
    )
}
"""Every kind of driver by name."""
