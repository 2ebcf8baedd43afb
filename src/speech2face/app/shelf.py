"""The models of one service, opened and warmed beside its start; the first one answers where none is named."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from speech2face.app.problems import Problem, not_ready
from speech2face.config import MAX_SAMPLES
from speech2face.errors import InvalidOption, Speech2FaceError, WeightsError
from speech2face.portrait import MAX_EXAGGERATION
from speech2face.release import SHIPPED, read_manifest

if TYPE_CHECKING:
    from speech2face.models.contract import Model

State = Literal["starting", "ready", "failed"]


class Shelf:
    """Models by name; `folders` are releases, None being the starter inside the package."""

    def __init__(self, folders: Sequence[Path | None]) -> None:
        self._folders = tuple(folders) or (None,)
        self._models: dict[str, Model] = {}
        self.state: State = "starting"
        self.failure: Speech2FaceError | None = None

    def check(self) -> None:
        """Refuse at once what is no release or has two of one name; the files themselves are read by `open`.

        Raises:
            WeightsError: no manifest, or none of this program's.
            InvalidOption: two models of one name.
        """
        names: list[str] = []
        for folder in self._folders:
            values = read_manifest(SHIPPED if folder is None else folder)
            missing = [name for name in values.get("files", ()) if not ((folder or SHIPPED) / name).is_file()]
            if missing:
                raise WeightsError(f"the release {folder or SHIPPED} lacks {missing[0]}; install or fetch it again")
            if values.get("name") in names:
                raise InvalidOption(f'two models are named "{values["name"]}"; the name is how a request chooses')
            names.append(str(values.get("name")))

    def open(self) -> None:
        """Open and warm all models; to be called in a thread of its own.

        Raises:
            Speech2FaceError: a release is damaged; also kept as `failure`.
        """
        from speech2face.model import load_model

        try:
            for folder in self._folders:
                model = load_model(folder, threads=1)  # requests run beside each other
                model.warm()
                self._models[model.release.name] = model
        except Speech2FaceError as error:
            self.failure, self.state = error, "failed"
            raise
        self.state = "ready"

    def model(self, name: str | None = None) -> "Model":
        """The named model, or the first.

        Raises:
            Problem: 503 while the models are being loaded, 422 for an unknown name.
        """
        if self.state != "ready":
            raise not_ready()
        if name is None:
            return next(iter(self._models.values()))
        if name not in self._models:
            raise Problem(422, "unknown_model", f'no model "{name[:80]}" here; there is {", ".join(self._models)}')
        return self._models[name]

    def describe(self, samples: int = MAX_SAMPLES) -> list[dict[str, Any]]:
        """What each model is and what may be asked of it, JSON-ready; empty while they are being loaded.

        `samples` is how many one answer may hold.
        """
        models = self._models.values() if self.state == "ready" else ()
        return [describe(model, samples) | {"default": number == 0} for number, model in enumerate(models)]


def describe(model: "Model", samples: int) -> dict[str, Any]:
    """One model, JSON-ready; `given` names the attributes that may be stated, empty where it takes none."""
    from speech2face.voice.belief import ADULT_AGE, OLDEST_FACE

    groups = list(model.population)
    given = {"age": [ADULT_AGE, OLDEST_FACE], "gender": ["female", "male"], "group": groups} if groups else {}
    return {
        "name": model.release.name,
        "version": model.release.version,
        "licence": model.release.licence,
        "states_attributes": bool(groups),
        "given": given,
        "exaggerate": [0, MAX_EXAGGERATION],
        "samples": samples,
        "styles": [style.value for style in model.styles],
        "notice": model.notice,
    }
