"""The consent studio over HTTP: who is let in, each step, and what is left of somebody who does not finish."""

import io
import logging
import re
import threading
import time
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the studio needs the extra `serve`")
pytest.importorskip("cryptography", reason="the studio needs the extra `serve`")

from PIL import Image
from starlette.testclient import TestClient

from speech2face.app.service import PAGE_FOLDER
from speech2face.app.studio import (
    ADVICE_CODES,
    REFUSED_CODES,
    SESSION_HEADER,
    UNCHECKED,
    VOICE_CODES,
    NoJudge,
    Studio,
    StudioLimits,
    StudioSettings,
    VoiceCheck,
    create_studio,
    judge_voice,
    make_studio_server,
    open_voice_check,
    sentences_of,
)
from speech2face.consent import ConsentFolder
from speech2face.errors import InvalidOption
from tests.app.studio_people import AT_HOME, StandInJudge, photograph, signing, speech, terms

ASKED = terms(speech_seconds=5.0, photographs=2)
RATE = 16_000


def studio_of(client: TestClient) -> Studio:
    studio = client.app.state.studio  # type: ignore[attr-defined]
    assert isinstance(studio, Studio)
    return studio


@pytest.fixture(scope="module")
def check_voice() -> VoiceCheck:
    """The shipped model, opened once."""
    return open_voice_check()


@pytest.fixture
def client(tmp_path: Path, check_voice: VoiceCheck) -> Iterator[TestClient]:
    limits = StudioLimits(sessions=2, sound_seconds=20.0, upload_bytes=2**20, wrong_code_seconds=0.0)
    app = create_studio(StudioSettings(tmp_path / "consent", ASKED, limits=limits), StandInJudge(), check_voice)
    with TestClient(app, base_url=AT_HOME, raise_server_exceptions=False) as opened:
        yield opened


def signed(client: TestClient, **changes: Any) -> dict[str, str]:
    """The header of a new session."""
    answer = client.post("/studio/sign", json=signing(ASKED, **changes))
    assert answer.status_code == 200, answer.text
    return {SESSION_HEADER: answer.json()["session"]}


def say(client: TestClient, key: dict[str, str], sound: bytes, part: int = 0, rate: int = RATE) -> Any:
    return client.post(f"/studio/voice?rate={rate}&part={part}", headers=key, content=sound)


def show(client: TestClient, key: dict[str, str], place: int, content: bytes | None = None) -> Any:
    content = photograph() if content is None else content
    return client.post(f"/studio/photographs/{place}", headers=key | {"Content-Type": "image/jpeg"}, content=content)


def lend(client: TestClient, key: dict[str, str]) -> None:
    """Everything up to the last step."""
    assert say(client, key, speech(6.0)).json()["enough"]
    for place in (1, 2):
        assert show(client, key, place).json()["refused"] == []


def stored_files(client: TestClient) -> list[Path]:
    return [path for path in (studio_of(client).folder.path / "people").rglob("*") if path.is_file()]


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


# The whole way


def test_a_person_reads_signs_lends_and_is_given_a_code(client: TestClient) -> None:
    form = client.get("/studio/form").json()
    assert [tick for tick in form["statements"] if "18" in tick]
    assert form["sentences"].keys() == {"en", "de"}
    key = signed(client, name="  Ada Example ")
    lend(client, key)
    assert stored_files(client) == [], "nothing is stored before the last step"
    done = client.post("/studio/finish", headers=key, json={"age": "40-49", "gender": "other"})
    assert done.status_code == 200
    answer = done.json()
    assert re.fullmatch(r"([0-9A-Z]{5}-){3}[0-9A-Z]{5}", answer["code"])
    assert {each["name"] for each in answer["files"]} == {"voice.wav", "photo-1.png", "photo-2.png"}
    assert not {"code_hash", "code_salt"} & answer["record"].keys()
    folder = studio_of(client).folder
    (person,) = folder.people()
    record = folder.record(person).record
    assert (record.name, record.age, record.gender, record.language) == ("Ada Example", "40-49", "other", "en")
    assert record.form_sha256 == form["sha256"]
    assert 5.0 <= record.speech_seconds <= 6.0
    with wave.open(str(folder.path / "people" / person / "voice.wav")) as voice:
        assert (voice.getframerate(), voice.getnchannels()) == (RATE, 1)
        assert voice.readframes(10**7) == speech(6.0)
    again = client.post("/studio/finish", headers=key, json={})
    assert again.json()["code"] == answer["code"], "an answer that got lost can be asked for again"
    assert folder.people() == [person]
    assert folder.person_of(answer["code"]) == person


def test_what_a_camera_writes_beside_the_pixels_is_not_stored(client: TestClient) -> None:
    key = signed(client)
    lend(client, key)
    assert client.post("/studio/finish", headers=key, json={}).status_code == 200
    pictures = [path for path in stored_files(client) if path.suffix == ".png"]
    assert len(pictures) == 2
    assert b"taken at" in photograph()
    for path in pictures:
        assert b"taken at" not in path.read_bytes()
        assert Image.open(path).size == (320, 240)


def test_what_was_noticed_is_written_into_the_record(client: TestClient) -> None:
    key = signed(client)
    say(client, key, speech(6.0, gain=0.01))
    show(client, key, 1, photograph(250))
    show(client, key, 2)
    client.post("/studio/finish", headers=key, json={})
    folder = studio_of(client).folder
    files = folder.record(folder.people()[0]).record.files
    assert files["voice.wav"].findings == ("too_quiet",)
    assert files["photo-1.png"].findings == ("too_bright",)
    assert files["photo-2.png"].findings == ()


def test_without_a_finder_of_faces_photographs_are_marked_as_unchecked(tmp_path: Path, check_voice: VoiceCheck) -> None:
    app = create_studio(StudioSettings(tmp_path, ASKED), NoJudge(), check_voice)
    with TestClient(app, base_url=AT_HOME) as client:
        key = signed(client)
        lend(client, key)
        client.post("/studio/finish", headers=key, json={})
        folder = studio_of(client).folder
        assert folder.record(folder.people()[0]).record.files["photo-1.png"].findings == (UNCHECKED,)


# Signing


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"statements": []}, "not_agreed"),
        ({"statements": ["I am 18 years old or older."]}, "not_agreed"),
        ({"statements": ["yes", "yes"]}, "not_agreed"),
        ({"form_sha256": "0" * 64}, "other_form"),
        ({"name": "   "}, "invalid_request"),
        ({"name": "Ada\nExample"}, "invalid_request"),
        ({"name": "A" * 121}, "invalid_request"),
        ({"language": "fr"}, "invalid_request"),
        ({"age": 17}, "invalid_request"),
    ],
)
def test_a_signature_that_is_none_opens_no_session(client: TestClient, changes: dict[str, Any], code: str) -> None:
    assert code_of(client.post("/studio/sign", json=signing(ASKED, **changes))) == (422, code)
    assert studio_of(client).sessions == {}


def test_nobody_can_sign_after_the_last_day(tmp_path: Path) -> None:
    from datetime import date

    asked = terms(term_months=None, until=date(2020, 1, 1))
    app = create_studio(StudioSettings(tmp_path, asked), NoJudge(), lambda waveform: ())
    with TestClient(app, base_url=AT_HOME) as client:
        answer = client.post("/studio/sign", json=signing(asked))
        assert code_of(answer) == (422, "invalid_option")
        assert "2020-01-01" in answer.json()["detail"]


def test_more_people_than_can_be_recorded_are_told_to_wait(client: TestClient) -> None:
    for _ in range(2):
        signed(client)
    answer = client.post("/studio/sign", json=signing(ASKED))
    assert code_of(answer) == (429, "too_many")
    assert answer.headers["retry-after"] == "30"


# The voice


def test_speech_is_counted_by_the_projects_own_finder_and_not_silence(client: TestClient) -> None:
    key = signed(client)
    first = say(client, key, bytes(2 * 2 * RATE)).json()
    assert (first["speech_seconds"], first["advice"], first["enough"]) == (0.0, ["no_sound"], False)
    second = say(client, key, speech(4.0), part=1).json()
    assert 3.5 <= second["speech_seconds"] <= 4.0
    assert second["advice"] == []
    assert not second["enough"]
    assert say(client, key, speech(2.0), part=2).json()["enough"]


def test_a_piece_that_comes_twice_is_heard_once(client: TestClient) -> None:
    key = signed(client)
    say(client, key, speech(2.0))
    before = say(client, key, speech(2.0), part=1).json()
    assert say(client, key, speech(2.0), part=1).json() == before
    assert before["seconds"] == 4.0


@pytest.mark.parametrize(("piece", "part", "rate"), [(b"odd", 1, RATE), (b"ab", 3, RATE), (b"ab", 1, 48_000)])
def test_pieces_that_do_not_fit_are_refused(client: TestClient, piece: bytes, part: int, rate: int) -> None:
    key = signed(client)
    before = say(client, key, speech(1.0)).json()["seconds"]
    assert code_of(say(client, key, piece, part, rate)) == (422, "invalid_request")
    assert say(client, key, b"", part=1).json()["seconds"] == before


def test_a_piece_that_is_too_short_to_be_judged_is_refused_each_time_and_leaves_nothing(client: TestClient) -> None:
    key = signed(client)
    for _ in range(2):
        assert code_of(say(client, key, b"\0\0", rate=192_000)) == (422, "empty_recording")
    assert say(client, key, speech(1.0)).json()["seconds"] == 1.0


def test_a_recording_without_end_is_stopped_and_can_be_begun_anew(client: TestClient) -> None:
    key = signed(client)
    for part in range(2):
        assert say(client, key, speech(10.0), part).status_code == 200
    assert code_of(say(client, key, speech(1.0), 2)) == (413, "recording_too_long")
    assert client.delete("/studio/voice", headers=key).status_code == 200
    assert say(client, key, speech(1.0)).json()["seconds"] == 1.0


def test_advice_on_a_voice_says_what_is_wrong_with_it() -> None:
    rng = np.random.default_rng(0)
    good = np.frombuffer(speech(8.0), "<i2")
    assert judge_voice(good, RATE).advice == ()
    assert judge_voice(np.frombuffer(speech(8.0, gain=0.01), "<i2"), RATE).advice == ("too_quiet",)
    assert judge_voice(np.frombuffer(speech(8.0, gain=20.0), "<i2"), RATE).advice == ("clipping",)
    hum = (good / 2 + rng.normal(0, 1200, good.size)).astype(np.int16)
    assert "noisy" in judge_voice(hum, RATE).advice
    paused = np.concatenate([good, np.zeros(6 * RATE, np.int16)])
    assert judge_voice(paused, RATE).advice == ("no_sound",)
    assert judge_voice(paused, RATE).findings == ()
    assert judge_voice(good[:0], RATE).speech_seconds == 0.0


def test_what_is_no_voice_is_not_taken_for_one(client: TestClient) -> None:
    tone = (8000 * np.sin(2 * np.pi * 3000 * np.arange(6 * RATE) / RATE)).astype("<i2")
    key = signed(client)
    answer = say(client, key, tone.tobytes()).json()
    assert answer["speech_seconds"] > 5, "the finder of speech alone takes it"
    assert not answer["enough"]
    assert "not_a_voice" in answer["findings"]
    finished = client.post("/studio/finish", headers=key, json={})
    assert code_of(finished) == (422, "not_complete")
    assert "no voice" in finished.json()["detail"]


# The photographs


def test_a_photograph_without_a_face_is_not_taken(client: TestClient) -> None:
    key = signed(client)
    answer = show(client, key, 1, photograph(5)).json()
    assert (answer["refused"], answer["taken"]) == (["no_face"], [])
    assert show(client, key, 1).json()["taken"] == [1]
    assert show(client, key, 1, photograph(5)).json()["taken"] == [1], "the one before stays"


def test_a_look_through_the_camera_is_forgotten(client: TestClient) -> None:
    key = signed(client)
    answer = client.post("/studio/look", headers=key, content=photograph())
    assert answer.json() == {"refused": [], "advice": [], "box": [0.2, 0.2, 0.7, 0.8]}
    assert studio_of(client).sessions[key[SESSION_HEADER]].photographs == {}


def test_what_is_no_photograph_too_large_or_has_no_place_is_refused(client: TestClient) -> None:
    key = signed(client)
    assert code_of(show(client, key, 1, b"no picture at all")) == (415, "not_a_photograph")
    assert code_of(show(client, key, 1, bytes(2**20 + 1))) == (413, "upload_too_large")
    assert code_of(show(client, key, 3)) == (404, "not_found")
    assert code_of(show(client, key, 0)) == (404, "not_found")


# Not finishing


@pytest.mark.parametrize(("steps", "words"), [(0, "0 s of speech"), (1, "0 photographs"), (2, "1 photographs")])
def test_finishing_early_says_what_is_missing_and_stores_nothing(client: TestClient, steps: int, words: str) -> None:
    key = signed(client)
    if steps >= 1:
        say(client, key, speech(6.0))
    if steps == 2:
        show(client, key, 2)
    answer = client.post("/studio/finish", headers=key, json={})
    assert code_of(answer) == (422, "not_complete")
    assert words in answer.json()["detail"]
    assert stored_files(client) == []


def test_who_leaves_leaves_nothing(client: TestClient) -> None:
    key = signed(client)
    lend(client, key)
    assert client.delete("/studio/session", headers=key).status_code == 200
    assert studio_of(client).sessions == {}
    assert code_of(client.post("/studio/finish", headers=key, json={})) == (401, "session_gone")
    assert stored_files(client) == []
    assert client.delete("/studio/session", headers=key).status_code == 200


def test_who_is_gone_for_long_leaves_nothing(client: TestClient) -> None:
    studio, now = studio_of(client), 1000.0
    studio.clock = lambda: now
    early, late = signed(client), signed(client)
    now += studio.limits.idle_seconds - 1
    assert say(client, late, speech(1.0)).status_code == 200
    now += 2
    assert code_of(say(client, early, speech(1.0))) == (401, "session_gone")
    assert list(studio.sessions) == [late[SESSION_HEADER]]


def test_who_leaves_while_it_is_being_stored_leaves_nothing(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, studio = signed(client), studio_of(client)
    lend(client, key)
    real = ConsentFolder.add

    def add(self: ConsentFolder, *arguments: Any) -> Any:
        studio.sessions.clear()
        return real(self, *arguments)

    monkeypatch.setattr(ConsentFolder, "add", add)
    assert code_of(client.post("/studio/finish", headers=key, json={})) == (401, "session_gone")
    assert stored_files(client) == []


def test_sound_and_pictures_that_come_while_all_is_stored_are_not_kept(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, studio, real, storing = signed(client), studio_of(client), ConsentFolder.add, threading.Event()
    lend(client, key)

    def add(*arguments: Any) -> Any:
        storing.set()
        time.sleep(0.3)  # the others are here by then
        return real(*arguments)

    monkeypatch.setattr(ConsentFolder, "add", add)
    with ThreadPoolExecutor() as threads:
        done = threads.submit(client.post, "/studio/finish", headers=key, json={})
        assert storing.wait(60)
        late = [threads.submit(say, client, key, speech(1.0), 1), threads.submit(show, client, key, 1)]
        assert [code_of(each.result()) for each in late] == 2 * [(422, "wrong_step")]
    assert done.result().status_code == 200
    (session,) = studio.sessions.values()
    assert not session.sound and not session.photographs


def test_a_full_disk_is_said_and_can_be_tried_again(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    key = signed(client)
    lend(client, key)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", fail)
    answer = client.post("/studio/finish", headers=key, json={})
    assert code_of(answer) == (422, "cannot_write")
    monkeypatch.undo()
    assert client.post("/studio/finish", headers=key, json={}).status_code == 200
    assert len(stored_files(client)) == 4


# Erasing


def test_what_was_stored_can_be_erased_right_there(client: TestClient) -> None:
    key = signed(client)
    assert code_of(client.post("/studio/erase", headers=key)) == (422, "wrong_step")
    lend(client, key)
    client.post("/studio/finish", headers=key, json={})
    assert client.post("/studio/erase", headers=key).json() == {"files": 4}
    assert stored_files(client) == []
    assert code_of(client.post("/studio/erase", headers=key)) == (401, "session_gone")


def test_a_code_erases_its_person_later_and_a_wrong_one_nobody(client: TestClient) -> None:
    key = signed(client)
    lend(client, key)
    code = client.post("/studio/finish", headers=key, json={}).json()["code"]
    client.delete("/studio/session", headers=key)
    assert len(stored_files(client)) == 4, "leaving after the end erases nothing"
    wrong = client.post("/studio/withdraw", json={"code": "00000-00000-00000-00000"})
    assert code_of(wrong) == (404, "unknown_code")
    person = studio_of(client).folder.people()[0]
    by_id = client.post("/studio/withdraw", json={"code": person})
    assert code_of(by_id) == (404, "unknown_code"), "an id is no secret: it is the organiser's way, not the page's"
    assert client.post("/studio/withdraw", json={"code": code.lower()}).json() == {"files": 4}
    assert stored_files(client) == []


@pytest.mark.parametrize("how", ["erase erase", "withdraw withdraw", "withdraw erase"])
def test_who_erases_twice_at_once_is_told_the_same_twice(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    key, real = signed(client), ConsentFolder.withdraw
    lend(client, key)
    code = client.post("/studio/finish", headers=key, json={}).json()["code"]

    def slowly(*arguments: Any) -> Any:
        time.sleep(0.3)  # the other one is here by then
        return real(*arguments)

    monkeypatch.setattr(ConsentFolder, "withdraw", slowly)

    def ask(what: str) -> Any:
        return client.post(f"/studio/{what}", headers=key, json={"code": code} if what == "withdraw" else None)

    with ThreadPoolExecutor() as threads:
        answers = list(threads.map(ask, how.split()))
    assert [(answer.status_code, answer.json()) for answer in answers] == 2 * [(200, {"files": 4})]
    assert (stored_files(client), studio_of(client).sessions) == ([], {})


def test_who_was_erased_by_the_organiser_meanwhile_can_still_erase_and_is_forgotten(client: TestClient) -> None:
    key, studio = signed(client), studio_of(client)
    lend(client, key)
    client.post("/studio/finish", headers=key, json={})
    ConsentFolder(studio.folder.path).withdraw(studio.folder.people()[0])
    assert client.post("/studio/erase", headers=key).json() == {"files": 0}
    assert studio.sessions == {}


def test_a_code_ends_the_session_of_its_person_where_that_is_still_open(client: TestClient) -> None:
    key, other = signed(client), signed(client)
    lend(client, key)
    code = client.post("/studio/finish", headers=key, json={}).json()["code"]
    assert client.post("/studio/withdraw", json={"code": code}).json() == {"files": 4}
    assert code_of(client.post("/studio/finish", headers=key, json={})) == (401, "session_gone")
    assert [*studio_of(client).sessions] == list(other.values())


# Who is let in


def test_only_this_machine_is_served(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "192.168.1.5", "myhost"):
        with pytest.raises(InvalidOption, match="this machine alone"):
            make_studio_server(StudioSettings(tmp_path / "consent", ASKED, host=host))
    assert not (tmp_path / "consent").exists()


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "evil.example"}, (421, "wrong_host")),
        ({"Origin": "https://evil.example"}, (403, "wrong_origin")),
        ({"Origin": "null"}, (403, "wrong_origin")),
    ],
)
def test_another_site_can_neither_read_nor_sign(
    client: TestClient, headers: dict[str, str], code: tuple[int, str]
) -> None:
    assert code_of(client.get("/studio/form", headers=headers)) == code
    assert code_of(client.post("/studio/sign", json=signing(ASKED), headers=headers)) == code
    assert studio_of(client).sessions == {}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/studio/voice?rate=16000&part=0"),
        ("DELETE", "/studio/voice"),
        ("POST", "/studio/look"),
        ("POST", "/studio/photographs/1"),
        ("POST", "/studio/finish"),
        ("POST", "/studio/erase"),
    ],
)
def test_without_a_signature_no_door_opens(client: TestClient, method: str, path: str) -> None:
    signed(client)
    for headers in ({}, {SESSION_HEADER: "guessed"}):
        assert code_of(client.request(method, path, headers=headers, json={})) == (401, "session_gone"), path


def test_the_page_may_use_camera_and_microphone_and_talk_to_this_machine_alone(client: TestClient) -> None:
    for path in ("/", "/page/studio.js", "/studio/form"):
        headers = client.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["connect-src"] == policy["script-src"] == "'self'"
        assert "camera=(self)" in headers["permissions-policy"]
        assert "microphone=(self)" in headers["permissions-policy"]
        assert headers["x-frame-options"] == "DENY"
    assert client.get("/studio/form").headers["cache-control"] == "no-store"
    assert client.get("/openapi.json").status_code == 404


def test_the_logs_hold_no_name_code_or_key(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "speech2face"):
        key = signed(client, name="Unmistakable Person")
        lend(client, key)
        code = client.post("/studio/finish", headers=key, json={}).json()["code"]
        client.post("/studio/withdraw", json={"code": code})
    said = " ".join(f"{each.getMessage()} {getattr(each, 'data', '')}" for each in caplog.records)
    assert "/studio/finish" in said
    for secret in ("Unmistakable", code, key[SESSION_HEADER]):
        assert secret not in said


# Words


def test_the_page_has_words_for_every_code_and_none_too_many() -> None:
    text = (PAGE_FOLDER / "studio_texts.js").read_text(encoding="utf-8")

    def codes(name: str) -> set[str]:
        body = re.search(rf"export const {name} = \{{(.*?)\}};", text, re.DOTALL)
        assert body is not None
        return set(re.findall(r"^  (\w+):", body[1], re.MULTILINE))

    assert codes("VOICE") == set(VOICE_CODES)
    assert codes("PHOTOGRAPH") == {*REFUSED_CODES, *ADVICE_CODES, UNCHECKED}


def test_sentences_come_in_the_organisers_languages_or_are_his_own() -> None:
    found = sentences_of(terms(languages=("de", "nl"), sentences={"nl": ("De eerste zin.",)}))
    assert list(found) == ["de", "nl"]
    assert found["nl"] == ("De eerste zin.",)
    with pytest.raises(InvalidOption, match="'xx'"):
        sentences_of(terms(languages=("xx",)))


def test_a_photograph_of_a_telephone_comes_back_upright(client: TestClient) -> None:
    image, sink, exif = Image.new("RGB", (320, 240), (120, 120, 120)), io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(sink, "JPEG", exif=exif)
    key = signed(client)
    assert show(client, key, 1, sink.getvalue()).json()["taken"] == [1]
    kept = studio_of(client).sessions[key[SESSION_HEADER]].photographs[1][0]
    assert Image.open(io.BytesIO(kept)).size == (240, 320)
