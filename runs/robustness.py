"""What each kind of awkward input gets: writes docs/robustness.csv.

    python runs/robustness.py            about half a minute on two cores; needs only the base install

Every input is handed to the real program in its own process, as a user would.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # what makes the recordings lies beside the tests

from speech2face.audio.recording import read_recording  # noqa: E402
from speech2face.outputs import encode_csv, replace_file  # noqa: E402
from tests.recordings import AwkwardFile, awkward_files  # noqa: E402

TABLE = ROOT / "docs" / "robustness.csv"
FIRST_VOICE = ROOT / "examples" / "female.mp3"
SECOND_VOICE = ROOT / "examples" / "male.flac"


class Result(NamedTuple):
    """What one input got."""

    file: AwkwardFile
    code: int
    text: str

    @property
    def as_wanted(self) -> bool:
        """A portrait where one is wanted, else a refusal with a code of its own."""
        return self.code == 0 if self.file.wanted else self.code >= 10


def program(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder."""
    command = [sys.executable, "-m", "speech2face", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def try_file(file: AwkwardFile, folder: Path) -> Result:
    """Hand one input to the program and put what it did into words; nothing may be left behind by a refusal."""
    (folder / file.name).write_bytes(file.content)
    before = set(folder.iterdir())
    ran = program(["portrait", file.name, "--json"], folder)
    if ran.returncode:
        assert set(folder.iterdir()) == before, f"{file.name}: refused, but something was written"
        assert ran.stderr.count("\n") == 1, ran.stderr
        return Result(file, ran.returncode, ran.stderr.strip().removeprefix("speech2face: error: "))
    facts = json.loads(ran.stdout)
    low, high = facts["age_interval_80"]
    cautions = ", ".join(caution["code"] for caution in facts["cautions"])
    text = (
        f"portrait: {facts['gender']['text']},"
        f" age {facts['age']:.0f} ({low:.0f} to {high:.0f}), {facts['seconds_heard']:.1f} s heard"
    )
    return Result(file, 0, text + (f"; cautions {cautions}" if cautions else ""))


def named_files(folder: Path) -> list[Result]:
    """Inputs that are names rather than contents."""
    (folder / "no recordings").mkdir()
    (folder / "no recordings" / "notes.txt").write_text("nothing to hear")
    results = []
    for kind, name in (("no such file", "nowhere.wav"), ("a folder without recordings", "no recordings")):
        ran = program(["portrait", name], folder)
        text = ran.stderr.strip().removeprefix("speech2face: error: ")
        results.append(Result(AwkwardFile(kind, name, b"", False), ran.returncode, text))
    return results


def write_csv(results: list[Result], out: Path) -> None:
    """One row an input, in the order in which they were tried."""
    rows = ([one.file.kind, one.code, "yes" if one.as_wanted else "no", one.text] for one in results)
    replace_file(out, encode_csv([["input", "exit_code", "as_wanted", "result"], *rows]))


def main() -> None:
    """Try every kind and write the table; exit code 1 if any did not get what it should."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path, default=TABLE)
    out = arguments.parse_args().out
    first, second = (read_recording(path).waveform for path in (FIRST_VOICE, SECOND_VOICE))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = []
        for number, file in enumerate(awkward_files(first, second)):
            own = folder / str(number)  # several kinds share a file name
            own.mkdir()
            results.append(try_file(file, own))
        results += named_files(folder)
    write_csv(results, out)
    wrong = [result for result in results if not result.as_wanted]
    for result in wrong:
        print(f"{result.file.kind}: exit code {result.code}, {result.text}")
    print(f"{len(results) - len(wrong)} of {len(results)} as wanted, written to {out}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
