"""Interviews of an archive as a data source of Speech2Face."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from speech2face.data.record import LABELS, Record, Reject
from speech2face.errors import DatasetError


@dataclass(frozen=True)
class Interviews:
    """A folder of WAV files, beside each a JSON file: speaker, consent, language."""

    folder: str
    name = "interviews"

    def settings(self):
        return asdict(self)

    def records(self):
        for facts in sorted(Path(self.folder).glob("*.json")):
            media = facts.with_suffix(".wav")
            try:
                stated = json.loads(facts.read_text())
                speaker, consent = stated["speaker"], stated["consent"]
            except (ValueError, KeyError) as error:
                raise DatasetError(f"{facts}: no speaker or no consent in it ({error})") from error
            if not media.is_file():
                yield Reject(facts.stem, speaker, str(media), "no_media", f"there is no {media}")
                continue
            yield Record(
                key=facts.stem,
                media=str(media),
                speaker=speaker,
                source=self.name,
                labels={**dict.fromkeys(LABELS, ""), "language": stated.get("language", "")},
                consent=consent,
            )

    @classmethod
    def example(cls, folder):
        (folder / "one.json").write_text('{"speaker": "Ann", "consent": "written"}')
        (folder / "one.wav").touch()
        return cls(str(folder))
