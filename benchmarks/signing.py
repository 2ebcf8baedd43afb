"""What signing a picture costs, and verifying it, beside encoding the same picture.

    python benchmarks/signing.py        # half a minute

Writes benchmarks/signing.csv (appends). The picture is the starter's portrait of an example; key and certificate are
made for the run. Values are of one thread: the median, and the least of all runs, which on a busy machine says more.
The floor of signing is one ECDSA signature and one SHA-256 over the file; that of verifying is decoding the picture.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image
from record import ROOT, Result, print_results, write

from speech2face import load_model, reconstruct
from speech2face.app.service import PictureFormat, encoded, resized, sign_with
from speech2face.signing import (
    PictureSigner,
    inspect_picture,
    load_credential,
    release_digests,
    write_development_credential,
)

RUNS = 60


def milliseconds(call: Callable[[], object]) -> tuple[float, float]:
    """Median and least of the runs; the first is not counted."""
    call()
    spent = []
    for _ in range(RUNS):
        started = time.perf_counter()
        call()
        spent.append((time.perf_counter() - started) * 1e3)
    return float(np.median(spent)), min(spent)


def measured(signer: PictureSigner, form: PictureFormat, pixels: int, folder: Path) -> list[Result]:
    """One kind of picture: what signing adds to its time and its bytes, and what verifying takes."""
    portrait = reconstruct(load_model(), ROOT / "examples" / "female.mp3")
    image = resized(portrait.image, pixels)

    def draw() -> bytes:
        return encoded(portrait, form, image=image)

    sign_with(None)
    plain, without = draw(), milliseconds(draw)
    sign_with(signer)
    signed, with_signature = draw(), milliseconds(draw)
    sign_with(None)
    file = folder / f"signed.{form}"
    file.write_bytes(signed)
    key = ec.generate_private_key(ec.SECP256R1())
    floor = milliseconds(lambda: key.sign(plain, ec.ECDSA(hashes.SHA256())))
    decoding = milliseconds(lambda: np.asarray(Image.open(io.BytesIO(plain))))
    verifying = milliseconds(lambda: inspect_picture(file))
    name = f"{form} of {pixels} x {pixels}"
    added_bytes = len(signed) - len(plain)
    rows = [Result(f"{name}: bytes that signing adds", added_bytes, "B", len(plain), "the picture unsigned")]
    for number, which in enumerate(("median", "least")):
        added = with_signature[number] - without[number]
        rows += [
            Result(f"{name}: encoding unsigned, {which}", without[number], "ms", decoding[number], "decoding it"),
            Result(f"{name}: signing, {which}", added, "ms", floor[number], "one ECDSA signature with SHA-256"),
            Result(f"{name}: verifying, {which}", verifying[number], "ms", decoding[number], "decoding it"),
        ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        key, certificate, _ = write_development_credential(folder)
        signer = PictureSigner(load_credential(key, certificate), release_digests([None]))
        results = measured(signer, "png", 512, folder) + measured(signer, "webp", 256, folder)
    print_results(results)
    write(results, Path(__file__).with_suffix(".csv"))


if __name__ == "__main__":
    main()
