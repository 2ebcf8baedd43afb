"""What somebody agreed to who lends a voice and photographs: the form, the signed record, and the folder of both.

A folder of consent, as `speech2face studio` fills it and `learn --pairs FOLDER/pairs.csv` reads it:

    pairs.csv                a row a photograph, under a random id; no name
    people/ID/               voice.wav, photo-1.png ..., consent.json: the only place with a name
    forms/SHA256.txt         each wording that somebody signed
    tables.csv               number and SHA-256 of every pairs.csv there was: by these, models that learned are found
    tombstones.json          who withdrew, as salted hashes; `learn` and `data` honour it
    studio.key, studio.pub   signs the records (Ed25519); the first is its owner's alone

Whatever is added or erased appears whole or not at all; what a stopped process left is put right by `prepare`. What the
disk or a backup keeps of erased files is beyond this program.
"""

from __future__ import annotations

import base64
import calendar
import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, StringConstraints

from speech2face.data.record import Tombstones, read_tombstones, write_tombstones
from speech2face.data.storage import Storage, locked
from speech2face.errors import CannotWrite, DatasetError, InvalidOption, RunLocked
from speech2face.inputs import read_toml
from speech2face.outputs import TEMPORARY_PREFIX, decode_csv, encode_csv, replace_file, sync_folder, write_together
from speech2face.validation import Checked, checked, validated_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from speech2face.forget import Trace

# --- What is asked: the organiser's terms, and the form that a person reads and signs.


def _one_line(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("it is one line of printable text, and not empty")
    return text.strip()


Line = Annotated[str, Field(max_length=1000), AfterValidator(_one_line)]
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
"""As in a page's `lang`: en, de, pt-BR."""
MAX_TERM_MONTHS: Final = 240


@checked
class StudioTerms(Checked):
    """What an organiser asks of people, as a settings file (TOML) says it."""

    called: ClassVar[str] = "the studio's settings"
    organisation: Line
    """Who asks, and is answerable."""
    purpose: Line
    """What voices and photographs are for, in one or two plain sentences."""
    contact: Line
    """Where a person can withdraw without the code: an address that is answered."""
    licence: Line
    """Of recordings and photographs, as the table of pairs says it: an SPDX name, or LicenseRef- and a name."""
    term_months: Annotated[int, Field(ge=1, le=MAX_TERM_MONTHS)] | None = None
    """How long they may be kept and used, from the day of signing; or `until`."""
    until: date | None = None
    """The last day on which they may be, for everybody."""
    version: Line = "1"
    """Of this wording, raised by the organiser with each change."""
    more: tuple[Line, ...] = ()
    """Further paragraphs of the form: who else is given the recordings, what an ethics committee asks for."""
    languages: Annotated[tuple[Language, ...], Field(min_length=1)] = ("en",)
    """In which sentences to read are offered, the first at the top."""
    sentences: Mapping[Language, tuple[Line, ...]] = Field(default_factory=dict)
    """By language, in place of those that come with the program."""
    speech_seconds: Annotated[float, Field(ge=5, le=120)] = 30.0
    """Of speech that are asked for, pauses not counted."""
    photographs: Annotated[int, Field(ge=1, le=5)] = 3

    def __post_init__(self) -> None:
        if (self.term_months is None) == (self.until is None):
            raise ValueError("give the term: one of term_months and until")

    def last_day(self, signed: date) -> date:
        """Return the last day on which what was signed on a day may be kept.

        Raises:
            InvalidOption: that day is over.
        """
        if self.until is not None:
            if self.until < signed:
                raise InvalidOption(f"the term ended on {self.until}: nobody can sign any more; set a later `until`")
            return self.until
        months = signed.month - 1 + (self.term_months or 0)
        year, month = signed.year + months // 12, months % 12 + 1
        return date(year, month, min(signed.day, calendar.monthrange(year, month)[1]))

    @property
    def term_words(self) -> str:
        """As a sentence of the form ends."""
        if self.until is not None:
            return f"until {self.until.day} {self.until:%B %Y}"
        months = self.term_months or 0
        if months % 12:
            return f"for {months} month{'s' * (months > 1)} from the day you sign"
        return f"for {months // 12} year{'s' * (months > 12)} from the day you sign"


def local_day(moment: datetime) -> date:
    """Return the day that it was where the studio stands: people sign, and terms end, by the calendar on the wall."""
    return moment.astimezone().date()


def read_terms(path: Path) -> StudioTerms:
    """Read an organiser's settings, TOML.

    Raises:
        InvalidSettings: there is no such file, or it is no TOML.
        InvalidOption: a setting is missing, unknown or impossible.
    """
    values = read_toml(path)
    try:
        return StudioTerms(**values)
    except InvalidOption as error:
        raise InvalidOption(f"{path}, {error}") from error


@dataclass(frozen=True)
class ConsentForm:
    """Exactly what a person reads and ticks."""

    version: str
    sections: tuple[tuple[str, tuple[str, ...]], ...]
    """Headings with their paragraphs."""
    statements: tuple[str, ...]
    """Each is ticked, or nothing is signed."""

    @property
    def text(self) -> str:
        """The whole form as plain text; its SHA-256 stands in every record."""
        parts = [f"Consent, version {self.version}"]
        for heading, paragraphs in self.sections:
            parts += [f"{heading}\n{'-' * len(heading)}", *paragraphs]
        ticks = [f"[x] {statement}" for statement in self.statements]
        return "\n\n".join([*parts, *ticks]) + "\n"

    @property
    def sha256(self) -> str:
        """Of the text in UTF-8, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def consent_form(terms: StudioTerms) -> ConsentForm:
    """Return the form of an organiser's terms; the same terms always give the same words."""
    asked = (
        f"{terms.organisation} asks you to lend a recording of your voice, about {terms.speech_seconds:.0f} seconds of"
        f" reading aloud, and {_counted(terms.photographs, 'photograph')} of your face."
    )
    sections = (
        ("What is asked of you", (asked, "What they are for: " + terms.purpose)),
        (
            "What happens with them",
            (
                "A computer program compares the voices and faces of many people and learns which faces go with which"
                " voices on average. The faces that it draws are average faces. It is not made to recognise you, and"
                " your photographs are not shown by it.",
                "Your voice and photographs are stored under a random number. Your name is stored once, in the record"
                f" of this consent, together with what you may say about your age and gender. {terms.organisation} is"
                " answerable for all of it. This page sends nothing to anybody else.",
                f"In the organiser’s list they carry this licence: {terms.licence}.",
                *terms.more,
            ),
        ),
        (
            "For how long",
            (f"They may be kept and used {terms.term_words}. After that they are erased.",),
        ),
        (
            "How to change your mind",
            (
                "You can stop at any moment before the last step: then nothing is stored.",
                "Afterwards you can withdraw at any time, without a reason and without any disadvantage. At the end you"
                " are given a withdrawal code. Enter it on this page and your files are erased at once."
                f" Without the code, ask here: {terms.contact}.",
                "Programs that have learned from you before that day keep what they learned until they are made anew"
                " without you; the organiser is told which ones these are.",
            ),
        ),
    )
    statements = (
        f"I agree that {terms.organisation} stores my voice and my photographs for the time stated above and lets a"
        " program learn from them for the purpose above. Taking part is my own free choice.",
        "I am 18 years old or older.",
    )
    return ConsentForm(terms.version, sections, statements)


def _counted(count: int, thing: str) -> str:
    words = ("no", "one", "two", "three", "four", "five")
    return f"{words[count]} {thing}{'s' * (count != 1)}"


# --- The withdrawal code: said once, kept as a salted hash. With its 100 random bits a plain hash is slow enough.

CODE_LETTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: none is taken for another
CODE_GROUPS, GROUP_LETTERS = 4, 5
_ALIKE: Final = str.maketrans("OIL", "011")


def new_code() -> str:
    """Return a new withdrawal code, four groups of five letters and digits."""
    groups = ("".join(secrets.choice(CODE_LETTERS) for _ in range(GROUP_LETTERS)) for _ in range(CODE_GROUPS))
    return "-".join(groups)


def plain_code(text: str) -> str | None:
    """Return a code as it is hashed, however it was typed; None where it can be none."""
    letters = re.sub(r"[\s\-–_.]", "", text).upper().translate(_ALIKE)
    good = len(letters) == CODE_GROUPS * GROUP_LETTERS and set(letters) <= set(CODE_LETTERS)
    return letters if good else None


def _code_hash(code: str, salt: str) -> str:
    return hmac.new(bytes.fromhex(salt), code.encode(), hashlib.sha256).hexdigest()


# --- The record of one person's consent, and its signature.

RECORD_FORMAT: Final = 1
CONSENT_FILE: Final = "consent.json"
VOICE_FILE: Final = "voice.wav"
PERSON_ID: Final = re.compile(r"p[0-9a-f]{16}")
AgeRange = Literal["", "18-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70-79", "80-"]
"""In the words of the table of pairs; "" where nothing was said."""
StatedGender = Literal["", "female", "male", "other"]
Hexadecimal = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2})+$")]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=120), AfterValidator(_one_line)]


@dataclass(frozen=True)
class LentFile:
    """One file of a person as the record states it."""

    sha256: str
    bytes: int
    findings: tuple[str, ...]
    """What was noticed: codes of `app/studio.py`; "unchecked" where nothing could look."""


@dataclass(frozen=True)
class ConsentRecord:
    """What somebody signed, and what they lent under it."""

    format: int
    person: str
    """A random id: `speaker` in the table of pairs."""
    name: str
    organisation: str
    contact: str
    licence: str
    form_version: str
    form_sha256: str
    statements: tuple[str, ...]
    """That were ticked."""
    signed_at: str
    """Moment in UTC, ISO 8601."""
    until: str
    """Last day, ISO 8601."""
    language: str
    """Of the sentences that were read."""
    age: AgeRange
    gender: StatedGender
    speech_seconds: float
    files: Mapping[str, LentFile]
    code_salt: Hexadecimal
    code_hash: Hexadecimal
    """HMAC-SHA-256 of the withdrawal code."""
    table: int
    """Number, in tables.csv, of the first table of pairs with this person."""

    @property
    def consent(self) -> str:
        """Basis as the table of pairs says it."""
        return f"signed consent {self.form_version} (SHA-256 {self.form_sha256[:16]}), until {self.until}"

    def content(self) -> bytes:
        """What is signed: JSON with sorted keys and without spaces."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True)
class RecordSignature:
    """Of a record's content."""

    algorithm: Literal["Ed25519"]
    public_key: str
    """Raw, hexadecimal."""
    value: str
    """Base64."""


@dataclass(frozen=True)
class SignedRecord:
    """The content of a consent.json."""

    record: ConsentRecord
    signature: RecordSignature


def read_record(path: Path) -> SignedRecord:
    """Read a consent.json; its signature is not looked at.

    Raises:
        DatasetError: it cannot be read, or is none.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error
    return validated_json(SignedRecord, content, str(path), DatasetError)


def signed_record(record: ConsentRecord, key: Ed25519PrivateKey) -> bytes:
    """Return the consent.json of a record."""
    value = base64.b64encode(key.sign(record.content())).decode()
    signature = RecordSignature("Ed25519", _raw(key.public_key()), value)
    return (json.dumps(asdict(SignedRecord(record, signature)), ensure_ascii=False, indent=1) + "\n").encode()


def _raw(key: Ed25519PublicKey) -> str:
    return key.public_bytes_raw().hex()


@dataclass(frozen=True)
class Lent:
    """What a person signed and gave, before it is stored."""

    name: str
    form_sha256: str
    statements: tuple[str, ...]
    signed_at: datetime
    language: str
    voice: bytes
    """A WAV file."""
    photographs: tuple[bytes, ...]
    """PNG files."""
    speech_seconds: float
    findings: Mapping[str, tuple[str, ...]]
    """By name of file."""
    age: AgeRange = ""
    gender: StatedGender = ""


@dataclass(frozen=True)
class ConsentState:
    """One person of a folder, as `verify` found them."""

    person: str
    state: Literal["valid", "invalid", "expired", "withdrawn"]
    detail: str
    """Until when; or what is wrong."""


@dataclass(frozen=True)
class Withdrawn:
    """What an erasure did."""

    person: str
    files: tuple[str, ...]
    """That were erased."""
    models: tuple[Trace, ...]
    """What learned from this person, or another who withdrew: to be learned anew."""


PAIRS: Final = "pairs.csv"
PAIRS_COLUMNS: Final = (
    *("recording", "photograph", "speaker", "licence", "consent", "language", "gender", "age", "session"),
)
TABLES: Final = "tables.csv"
TABLES_COLUMNS: Final = ("number", "sha256")
PEOPLE, FORMS = "people", "forms"
KEY_FILE, PUBLIC_FILE = "studio.key", "studio.pub"
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
PATIENCE_SECONDS: Final = 10.0  # for another process that is writing


class ConsentFolder:
    """A folder of consent; holds nothing open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._storage = Storage(path)

    def prepare(self, form: ConsentForm | None = None) -> str:
        """Make the folder and its key where there are none, keep the form's words, and put right what was interrupted.

        Returns:
            The public key, hexadecimal: an organiser who notes it can tell later that no other one signed.

        Raises:
            CannotWrite: no room, no permission.
            DatasetError: the table or the tombstones are damaged.
            InvalidOption: others may read the key.
            RunLocked: another process does not let go of the folder.
        """
        with _explained(self.path):
            self.path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            (self.path / PEOPLE).mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            (self.path / FORMS).mkdir(exist_ok=True)
        with self._held(), _explained(self.path):
            if not (self.path / KEY_FILE).exists():
                self._make_key()
            if form is not None:
                self._keep_form(form)
            self._put_right()
        return _raw(self._key().public_key())

    def check(self) -> None:
        """Refuse a folder in which no studio ever was.

        Raises:
            DatasetError: it is not there, or none.
        """
        if not os.path.isfile(self.path / PUBLIC_FILE):
            raise DatasetError(f"{self.path} is no folder of a consent studio: it has no {PUBLIC_FILE}")

    def people(self) -> list[str]:
        """Ids of all whose files are there, sorted."""
        folder = self.path / PEOPLE
        if not folder.is_dir():
            return []
        return sorted(each.name for each in folder.iterdir() if each.is_dir() and PERSON_ID.fullmatch(each.name))

    def record(self, person: str) -> SignedRecord:
        """A person's record, unverified.

        Raises:
            DatasetError: it cannot be read.
        """
        return read_record(self.path / PEOPLE / person / CONSENT_FILE)

    # Adding

    def add(self, lent: Lent, terms: StudioTerms, code: str) -> ConsentRecord:
        """Store what somebody lent, sign the record, and put them into the table of pairs: all of it or nothing.

        Raises:
            InvalidOption: the form is another by now, a tick is missing, or the term is over.
            CannotWrite: no room, no permission.
            DatasetError: the table is damaged.
            RunLocked: another process does not let go of the folder.
        """
        form = consent_form(terms)
        if lent.form_sha256 != form.sha256 or lent.statements != form.statements:
            raise InvalidOption("what was signed is not this form; read and sign it again")
        until = terms.last_day(local_day(lent.signed_at))
        plain = plain_code(code)
        assert plain is not None, "a code of new_code"
        contents = {VOICE_FILE: lent.voice}
        contents |= {f"photo-{number}.png": each for number, each in enumerate(lent.photographs, start=1)}
        salt = secrets.token_hex(16)
        with self._held(), _explained(self.path):
            self._keep_form(form)
            person = f"p{secrets.token_hex(8)}"
            rows, first = self._table(), self._noted() + 1
            record = ConsentRecord(
                format=RECORD_FORMAT,
                person=person,
                name=lent.name,
                organisation=terms.organisation,
                contact=terms.contact,
                licence=terms.licence,
                form_version=form.version,
                form_sha256=form.sha256,
                statements=lent.statements,
                signed_at=lent.signed_at.astimezone(UTC).isoformat(timespec="seconds"),
                until=until.isoformat(),
                language=lent.language,
                age=lent.age,
                gender=lent.gender,
                speech_seconds=round(lent.speech_seconds, 1),
                files={
                    name: LentFile(hashlib.sha256(each).hexdigest(), len(each), tuple(lent.findings.get(name, ())))
                    for name, each in contents.items()
                },
                code_salt=salt,
                code_hash=_code_hash(plain, salt),
                table=first,
            )
            contents[CONSENT_FILE] = signed_record(record, self._key())
            staged = self.path / f"{TEMPORARY_PREFIX}{person}"
            try:
                self._stage(staged, contents)
                # The table first: a row without files is left out by whoever reads it, and taken back by `prepare`;
                # files without a row would be somebody who is stored and not counted.
                self._write_table([*rows, *_rows_of(record, rows[0])])
                os.rename(staged, self.path / PEOPLE / person)
                sync_folder(self.path / PEOPLE)
            except BaseException:
                shutil.rmtree(staged, ignore_errors=True)
                self._write_table(rows)
                raise
        return record

    def _stage(self, folder: Path, contents: Mapping[str, bytes]) -> None:
        folder.mkdir(mode=PRIVATE_FOLDER)
        for name, content in contents.items():
            handle = os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE_FILE)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(folder)

    # Withdrawing

    def person_of(self, code: str) -> str | None:
        """Whose withdrawal code this is; None where it is nobody's who is still here."""
        plain, found = plain_code(code), None
        if plain is None:
            return None
        for person in self.people():  # all of them, so that the time it takes tells nothing
            with contextlib.suppress(DatasetError):
                record = self.record(person).record
                if hmac.compare_digest(_code_hash(plain, record.code_salt), record.code_hash):
                    found = person
        return found

    def withdraw(self, code_or_person: str, *, models: Sequence[Path] = ()) -> Withdrawn:
        """Erase a person's files for good and keep a tombstone; without the code the organiser names the person's id.

        Raises:
            InvalidOption: nobody here has this code or id.
            DatasetError: the table or the tombstones are damaged, or a folder of models cannot be read; nothing is
                changed.
            CannotWrite: no permission; do it again afterwards.
            RunLocked: another process does not let go of the folder.
        """
        from speech2face.forget import check_models, trained_on  # it needs more than a studio does

        check_models(models)
        person = code_or_person if code_or_person in self.people() else self.person_of(code_or_person)
        with self._held(), _explained(self.path):
            if person not in self.people():  # nobody's, or erased by somebody else while this waited
                raise InvalidOption(
                    "nobody in this folder has this withdrawal code; look at it again, or name the person"
                )
            files = self._erase(person)
        tombstones = read_tombstones(self._storage)
        assert tombstones is not None
        return Withdrawn(person, files, trained_on(models, tombstones.manifests, tombstones.marks))

    def _erase(self, person: str) -> tuple[str, ...]:
        """The tombstone first: what is interrupted after it is finished by `prepare`."""
        self._bury(person)
        folder = self.path / PEOPLE / person
        files = tuple(sorted(f"{PEOPLE}/{person}/{each.name}" for each in folder.iterdir()))
        going = self.path / f"{TEMPORARY_PREFIX}{person}"
        os.rename(folder, going)
        rows = self._table()
        who = rows[0].index("speaker")
        self._write_table([row for row in rows if row[who] != person])
        self._clean_features(person)
        shutil.rmtree(going)
        sync_folder(self.path)
        return files

    def _clean_features(self, person: str) -> None:
        """Take a person out of the numbers that learning keeps beside the table."""
        from speech2face.forget import without_owners

        for path in self._numbers():
            content = path.read_bytes()
            kept = without_owners(content, lambda speaker, clip: speaker == person)
            if kept is None:  # it cannot be read, and learning makes it anew
                path.unlink()
            elif kept != content:
                replace_file(path, kept)

    def _numbers(self) -> list[Path]:
        """The files of numbers that learning keeps beside the table."""
        from speech2face.forget import FEATURES_SUFFIX

        return sorted(self.path.glob(f"*{FEATURES_SUFFIX}"))

    def _bury(self, person: str) -> None:
        from speech2face.forget import marks_of

        try:
            first = self.record(person).record.table
        except DatasetError:
            first = 1  # a damaged record does not say: rather one model too many
        self._noted()
        tombstones = (read_tombstones(self._storage) or Tombstones.new()).with_speakers([person])
        for number, sha256 in self._tables():
            if number >= first:
                tombstones = tombstones.with_manifest(sha256)
        numbers = [path.read_bytes() for path in self._numbers()]
        found = marks_of(numbers, lambda speaker, clip: speaker == person).values()
        tombstones = tombstones.with_marks(found if numbers else [tombstones.hash("speaker", person)])
        write_tombstones(self._storage, tombstones)

    def erase_expired(self, today: date, *, models: Sequence[Path] = ()) -> list[Withdrawn]:
        """Erase everybody whose term is over.

        Raises:
            As `withdraw`.
        """
        over = [each.person for each in self.verify(today) if each.state == "expired"]
        return [self.withdraw(person, models=models) for person in over]

    # Verifying

    def verify(self, today: date) -> list[ConsentState]:
        """Look at every person's record, signature and files.

        Raises:
            DatasetError: it is no folder of a studio, or the table or the tombstones are damaged.
        """
        self.check()
        public = self._public()
        tombstones = read_tombstones(self._storage)
        rows = self._table()
        who = rows[0].index("speaker")
        listed = {row[who] for row in rows[1:]}
        found = []
        for person in self.people():
            if tombstones is not None and tombstones.has_speaker(person):
                found.append(ConsentState(person, "withdrawn", "its files are not erased yet: withdraw it once more"))
                continue
            try:
                record = self._verified(person, public)
            except DatasetError as error:
                found.append(ConsentState(person, "invalid", str(error)))
                continue
            over = date.fromisoformat(record.until) < today
            detail = f"until {record.until}, form {record.form_version}"
            if person not in listed:
                detail += f"; not in {PAIRS}, so nothing learns from it"
            found.append(ConsentState(person, "expired" if over else "valid", detail))
        for person in sorted(listed - set(self.people())):
            found.append(ConsentState(person, "invalid", f"{PAIRS} names it, and there are no files"))
        return found

    def withdrawn(self) -> int:
        """How many people withdrew, or were erased when their term was over."""
        tombstones = read_tombstones(self._storage)
        return 0 if tombstones is None else len(tombstones)

    def _verified(self, person: str, public: Ed25519PublicKey) -> ConsentRecord:
        """A record whose signature and files are right.

        Raises:
            DatasetError: with what is not.
        """
        from cryptography.exceptions import InvalidSignature

        signed = self.record(person)
        record = signed.record
        if signed.signature.public_key != _raw(public):
            raise DatasetError("signed with another key than this studio's")
        try:
            public.verify(base64.b64decode(signed.signature.value, validate=True), record.content())
        except (InvalidSignature, ValueError):
            raise DatasetError("the record was changed after it was signed") from None
        if record.person != person:
            raise DatasetError(f"the record is that of {record.person}")
        if self._form_digest(record.form_sha256) != record.form_sha256:
            raise DatasetError(f"the form that was signed, {FORMS}/{record.form_sha256}.txt, is missing or was changed")
        folder = self.path / PEOPLE / person
        there = {each.name for each in folder.iterdir()} - {CONSENT_FILE}
        if there != set(record.files):
            odd = sorted(there ^ set(record.files))
            raise DatasetError(f"{odd[0]} is {'not in the record' if odd[0] in there else 'missing'}")
        for name, lent in record.files.items():
            with (folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != lent.sha256:
                    raise DatasetError(f"{name} was changed after it was signed")
        return record

    def _form_digest(self, name: str) -> str | None:
        if re.fullmatch(r"[0-9a-f]{64}", name):
            with contextlib.suppress(OSError):
                return hashlib.sha256((self.path / FORMS / f"{name}.txt").read_bytes()).hexdigest()
        return None

    # The key

    def _make_key(self) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        pem, key = serialization.Encoding.PEM, Ed25519PrivateKey.generate()
        secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        key_file = self.path / KEY_FILE
        write_together({self.path / PUBLIC_FILE: public, key_file: secret}, force=True, private=[key_file])

    def _key(self) -> Ed25519PrivateKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        path = self.path / KEY_FILE
        try:
            mode, content = stat.S_IMODE(path.stat().st_mode), path.read_bytes()
            key = load_pem_private_key(content, None)
        except OSError as error:
            raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error
        except (ValueError, TypeError) as error:
            raise DatasetError(f"{path} is no key of a studio: {error}") from error
        if mode & 0o077 and os.name == "posix":  # Windows' folders of a user are closed to others, and have no modes
            raise InvalidOption(f"others may read the key {path}: chmod 600 {path}")
        if not isinstance(key, Ed25519PrivateKey):
            raise DatasetError(f"{path} is no key of a studio: it is not Ed25519")
        return key

    def _public(self) -> Ed25519PublicKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        path = self.path / PUBLIC_FILE
        try:
            key = load_pem_public_key(path.read_bytes())
        except (OSError, ValueError) as error:
            raise DatasetError(f"cannot read {path}: {error}") from error
        if not isinstance(key, Ed25519PublicKey):
            raise DatasetError(f"{path} is no key of a studio: it is not Ed25519")
        return key

    @property
    def public_key(self) -> str:
        """By which the records are verified, hexadecimal.

        Raises:
            DatasetError: it cannot be read.
        """
        return _raw(self._public())

    # Tables

    def _table(self) -> list[list[str]]:
        """The rows of the table of pairs, the header first."""
        where = self.path / PAIRS
        if not where.exists():
            return [list(PAIRS_COLUMNS)]
        try:
            rows = [row for row in decode_csv(where.read_bytes()) if row]
        except (OSError, ValueError) as error:
            raise DatasetError(f"cannot read {where}: {error}") from error
        missing = [name for name in PAIRS_COLUMNS if not rows or name not in rows[0]]
        if missing:
            raise DatasetError(f"{where} has no column {missing[0]}; put it back: this studio writes into it")
        odd = next((number for number, row in enumerate(rows, start=1) if len(row) != len(rows[0])), None)
        if odd is not None:
            raise DatasetError(f"{where}: row {odd} has not the {len(rows[0])} cells of the head; mend it")
        return rows

    def _write_table(self, rows: Sequence[Sequence[str]]) -> None:
        content = encode_csv(rows)
        self._note(hashlib.sha256(content).hexdigest())  # before it is there: one that never was harms nobody
        replace_file(self.path / PAIRS, content)

    def _noted(self) -> int:
        """Note the table as it is now, which somebody may have changed by hand; how many were noted."""
        where = self.path / PAIRS
        if where.exists():
            self._note(hashlib.sha256(where.read_bytes()).hexdigest())
        return len(self._tables())

    def _note(self, sha256: str) -> None:
        known = self._tables()
        if not known or known[-1][1] != sha256:
            rows = [*known, (len(known) + 1, sha256)]
            replace_file(self.path / TABLES, encode_csv([TABLES_COLUMNS, *rows]))

    def _tables(self) -> list[tuple[int, str]]:
        """Number and SHA-256 of every table there was, in order."""
        where = self.path / TABLES
        if not where.exists():
            return []
        try:
            header, *rows = decode_csv(where.read_bytes())
            known = [(int(number), sha256) for number, sha256 in rows]
        except (OSError, ValueError) as error:
            raise DatasetError(f"{where} is damaged ({error}); restore it: it says which models saw whom") from error
        if tuple(header) != TABLES_COLUMNS or [number for number, _ in known] != list(range(1, len(known) + 1)):
            raise DatasetError(f"{where} is damaged; restore it: it says which models saw whom")
        return known

    def _keep_form(self, form: ConsentForm) -> None:
        path = self.path / FORMS / f"{form.sha256}.txt"
        if not path.exists():
            replace_file(path, form.text)

    # Order

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the folder for this process; another one is waited for a while."""
        end = time.monotonic() + PATIENCE_SECONDS
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(locked(self.path))
                    break
                except RunLocked:
                    if time.monotonic() > end:
                        raise RunLocked(f"another process is writing into {self.path}; try again") from None
                    time.sleep(0.05)
            yield

    def _put_right(self) -> None:
        """Erase what a stopped process left: people half stored or half erased, and their rows."""
        for path in self.path.glob(f"{TEMPORARY_PREFIX}*"):
            person = path.name.removeprefix(TEMPORARY_PREFIX)
            if not path.is_dir():
                path.unlink()
            elif PERSON_ID.fullmatch(person):
                rows = self._table()
                who = rows[0].index("speaker")
                kept = [row for row in rows if row[who] != person]
                if len(kept) < len(rows):
                    self._write_table(kept)
                shutil.rmtree(path)
        tombstones = read_tombstones(self._storage)
        for person in self.people():
            if tombstones is not None and tombstones.has_speaker(person):
                self._erase(person)


def _rows_of(record: ConsentRecord, columns: Sequence[str]) -> list[list[str]]:
    """A row a photograph; what is in columns that an organiser added stays empty."""
    folder = f"{PEOPLE}/{record.person}"
    common = {
        "recording": f"{folder}/{VOICE_FILE}",
        "speaker": record.person,
        "licence": record.licence,
        "consent": record.consent,
        "language": record.language,
        "gender": record.gender,
        "age": record.age,
        "session": record.signed_at[:10],
    }
    photographs = sorted(name for name in record.files if name != VOICE_FILE)
    return [
        [({**common, "photograph": f"{folder}/{name}"}).get(column, "") for column in columns] for name in photographs
    ]


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotWrite(f"cannot write in {path}: {error.strerror or error}") from error


def facts_of(record: ConsentRecord) -> dict[str, Any]:
    """What the person may be shown of what is stored, JSON-ready: everything but the code's hash."""
    values = asdict(record)
    return {name: value for name, value in values.items() if name not in ("code_salt", "code_hash", "table", "format")}
