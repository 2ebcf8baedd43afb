"""Signing: one picture with its manifest in, the same picture that shows every later change out.

The manifest follows the C2PA specification, "Actions": an action `c2pa.created` whose digital source type is
"trainedAlgorithmicMedia"; beside it an assertion of our own. Nothing is asked of a network: no time stamp, no list of
revoked certificates.
"""

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import c2pa
import numpy as np
from numpy.typing import NDArray

from speech2face import __version__
from speech2face.errors import InvalidOption
from speech2face.provenance import Provenance
from speech2face.release import MANIFEST, SHIPPED, read_manifest, sha256
from speech2face.signing.credentials import Credential
from speech2face.signing.digests import Digests, digests_of
from speech2face.signing.names import ASSERTION, OFFLINE

PROGRAM: Final = "speech2face"


class PictureSigner:
    """Signs PNG and WebP pictures; may be shared by threads. `models`: name -> SHA-256 of the release's record."""

    def __init__(self, credential: Credential, models: Mapping[str, str]) -> None:
        """Sign a tiny picture at once, so that what is wrong with the certificate is known before the first portrait.

        Raises:
            InvalidOption: a certificate that C2PA does not accept.
        """
        self.credential = credential
        self.models = dict(models)
        self._context = c2pa.Context(c2pa.Settings.from_dict(OFFLINE))
        self._try()

    def sign(
        self,
        content: bytes,
        media_type: str,
        provenance: Provenance,
        facts: Mapping[str, Any],
        image: NDArray[np.uint8] | None = None,
    ) -> bytes:
        """The bytes of a picture with a signed manifest in them; `image` are its pixels, (height, width, 3).

        They save decoding; to be given only where the format keeps them exactly.

        Raises:
            InvalidOption: the certificate has expired meanwhile.
        """
        definition = manifest_definition(
            digests_of(content, image), provenance, facts, self.models.get(provenance.model_name)
        )
        return self._signed(content, media_type, definition)

    def _signed(self, content: bytes, media_type: str, definition: Mapping[str, Any]) -> bytes:
        own = self.credential
        signed = io.BytesIO()
        info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg[own.algorithm], own.chain, own.key, b"")
        info.ta_url = None  # no time stamp; before 0.38 the library does not take None above
        try:
            with c2pa.Signer.from_info(info) as signer:  # a new one each time: signers are not for several threads
                c2pa.Builder(json.dumps(definition), context=self._context).sign(
                    signer, media_type, io.BytesIO(content), signed
                )
        except c2pa.C2paError as error:
            raise InvalidOption(f"the certificate of {own.owner} cannot sign: {error}") from error
        return signed.getvalue()

    def _try(self) -> None:
        from PIL import Image

        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "PNG")
        created = {"action": "c2pa.created", "digitalSourceType": "http://c2pa.org/digitalsourcetype/empty"}
        self._signed(file.getvalue(), "image/png", _definition("trial", [_actions(created)]))


def manifest_definition(
    picture: Digests, provenance: Provenance, facts: Mapping[str, Any], model_sha256: str | None
) -> dict[str, Any]:
    """What the manifest of a picture says; nothing of the voice but what stands in the facts."""
    created = {
        "action": "c2pa.created",
        "digitalSourceType": provenance.digital_source_type,
        "softwareAgent": {"name": PROGRAM, "version": __version__},
        "description": provenance.notice,
    }
    own = {
        "provenance": asdict(provenance),
        "model": {"name": provenance.model_name, "version": provenance.model_version, "sha256": model_sha256},
        "given": provenance.given,
        # As text: the library shows lists of numbers in an assertion as if they were bytes.
        "facts": json.dumps(facts, ensure_ascii=False, allow_nan=False),
        "picture": asdict(picture),
    }
    # "created": the signer vouches for it; a gathered assertion would be somebody else's word.
    assertion = {"label": ASSERTION, "data": own, "kind": "Json", "created": True}
    return _definition(f"synthetic {provenance.kind}", [_actions(created), assertion])


def _definition(title: str, assertions: list[dict[str, Any]]) -> dict[str, Any]:
    generator = [{"name": PROGRAM, "version": __version__}]
    return {"claim_generator_info": generator, "title": title, "assertions": assertions}


def _actions(created: Mapping[str, Any]) -> dict[str, Any]:
    return {"label": "c2pa.actions.v2", "data": {"actions": [created]}, "created": True}


def release_digests(folders: Iterable[Path | None]) -> dict[str, str]:
    """SHA-256 of each release's model.json, which holds those of all its files, by name; None is the starter.

    Raises:
        WeightsError: a folder holds no release.
    """
    places = [SHIPPED if folder is None else folder for folder in folders]
    return {str(read_manifest(place)["name"]): sha256(place / MANIFEST) for place in places}
