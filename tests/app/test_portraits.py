"""`POST /v1/portrait`, `/v1/portraits`, `GET /v1/models`: what comes back, and how bad input is answered."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import speech2face
from speech2face.app.http import BASE64_PIECE, Problem
from speech2face.app.server import wanted_by
from speech2face.drawn.contours import rasterise
from speech2face.portrait import Portrait
from tests import recordings as awkward
from tests.app.speaking import EXAMPLES, label_in, voice, wav
from tests.recordings import encode
from tests.voices import made_voice

FEMALE = EXAMPLES / "female.mp3"
BOUNDARY = "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nRIFF\r\n--x--\r\n'
JSON = {"Accept": "application/json"}


@pytest.fixture(scope="module")
def expected() -> Portrait:
    """What the library draws of the same recording."""
    return speech2face.reconstruct(speech2face.load_model(), FEMALE)


def picture_in(values: dict[str, Any]) -> bytes:
    return base64.b64decode(values["base64"], validate=True)


def test_a_recording_comes_back_as_the_librarys_portrait_with_its_label(served: TestClient, expected: Portrait) -> None:
    answer = served.post("/v1/portrait", content=FEMALE.read_bytes())
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), expected.image)
    assert json.loads(answer.headers["speech2face-facts"]) == expected.facts()
    provenance, facts = label_in(answer.content)
    assert provenance.kind == "portrait"
    assert facts == expected.facts()
    assert answer.headers["cache-control"] == "no-store"


def test_raw_bytes_a_form_and_json_in_base64_give_the_same(served: TestClient, expected: Portrait) -> None:
    content = FEMALE.read_bytes()
    answers = [
        served.post("/v1/portrait", content=content, headers=JSON),
        served.post("/v1/portrait", files={"file": ("anything.txt", content)}, headers=JSON),
        served.post("/v1/portrait", json={"recording": base64.b64encode(content).decode()}, headers=JSON),
    ]
    for answer in answers:
        assert answer.json()["facts"] == expected.facts()
        picture = Image.open(io.BytesIO(picture_in(answer.json()["picture"])))
        np.testing.assert_array_equal(np.asarray(picture), expected.image)


def test_the_accept_header_chooses_the_kind_of_answer() -> None:
    kinds = [("", "png"), ("*/*", "png"), ("image/webp", "webp"), ("application/json, image/png;q=0.5", "json")]
    kinds += [("image/svg+xml", "svg"), ("image/webp,image/svg+xml,*/*;q=0.8", "webp")]  # the second as browsers do
    assert [wanted_by(accept) for accept, _ in kinds] == [kind for _, kind in kinds]
    assert wanted_by("image/png;q=0.1,image/webp;q=0.9,text/html") == "webp"
    for accept in ("text/html", "image/png;q=0", "image/png;q=often"):
        with pytest.raises(Problem, match="application/json"):
            wanted_by(accept)


def test_webp_carries_its_label_too_and_has_the_size_asked_for(served: TestClient) -> None:
    answer = served.post("/v1/portrait?pixels=128", content=FEMALE.read_bytes(), headers={"Accept": "image/webp"})
    assert Image.open(io.BytesIO(answer.content)).size == (128, 128)
    assert label_in(answer.content)[0].kind == "portrait"


def test_the_drawn_style_comes_as_pixels_in_its_size_and_as_svg_in_json(served: TestClient) -> None:
    wanted = speech2face.reconstruct(speech2face.load_model(), FEMALE, style="drawn")
    query = "/v1/portrait?style=drawn&pixels=96&samples=1&seed=3"
    values = served.post(query, content=FEMALE.read_bytes(), headers=JSON).json()
    assert values["facts"]["style"] == "drawn"
    assert wanted.drawing is not None
    image = np.asarray(Image.open(io.BytesIO(picture_in(values["picture"]))))
    np.testing.assert_array_equal(image, rasterise(wanted.drawing, 96))
    assert values["drawing"]["media_type"] == "image/svg+xml"
    svg = picture_in(values["drawing"])
    assert svg.startswith(wanted.drawing.encode()[:200])
    assert label_in(svg, ".svg") == label_in(picture_in(values["picture"]))
    sample = np.asarray(Image.open(io.BytesIO(picture_in(values["samples"][0]))))
    assert len(np.unique(sample.reshape(-1, 3), axis=0)) < 0.5 * sample.shape[0] * sample.shape[1]  # flat tones
    in_form = served.post(
        "/v1/portraits", files={"file": ("she", FEMALE.read_bytes())}, data={"style": "drawn"}
    ).json()["results"][0]["portrait"]
    assert picture_in(in_form["drawing"]).startswith(wanted.drawing.encode()[:200])
    webp = served.post(query, content=FEMALE.read_bytes(), headers={"Accept": "image/webp"})
    assert label_in(webp.content)[0].kind == "contact sheet"


def test_accepting_svg_gives_the_drawing_alone_with_its_label(served: TestClient) -> None:
    svg = {"Accept": "image/svg+xml"}
    answer = served.post("/v1/portrait", content=FEMALE.read_bytes(), headers=svg)
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "image/svg+xml")
    provenance, facts = label_in(answer.content, ".svg")
    assert provenance.kind == "portrait"
    assert facts == json.loads(answer.headers["speech2face-facts"])
    assert facts["style"] == "drawn"
    for query, why in (("style=photographic", '"drawn"'), ("samples=2", "one face")):
        refused = served.post(f"/v1/portrait?{query}", content=FEMALE.read_bytes(), headers=svg).json()
        assert (refused["code"], why in refused["detail"]) == ("invalid_option", True)


def test_samples_come_one_by_one_and_as_a_sheet_and_a_seed_repeats_them(served: TestClient) -> None:
    query = "/v1/portrait?samples=2&seed=7&pixels=64"
    first, second = (served.post(query, content=FEMALE.read_bytes(), headers=JSON).json() for _ in range(2))
    assert first == second
    assert first["facts"]["seed"] == 7
    kinds = [label_in(picture_in(each))[0].kind for each in [*first["samples"], first["sheet"]]]
    assert kinds == ["sample", "sample", "contact sheet"]
    sheet = served.post(query, content=FEMALE.read_bytes())
    assert sheet.content == picture_in(first["sheet"])


def test_given_attributes_and_exaggeration_are_used_and_recorded(served: TestClient, expected: Portrait) -> None:
    query = "/v1/portrait?age=70&gender=male&group=black&exaggerate=0.5"
    facts = served.post(query, content=FEMALE.read_bytes(), headers=JSON).json()["facts"]
    assert facts["given"] == {"age": 70.0, "gender": "male", "group": "black"}
    assert facts["exaggerate"] == 0.5
    in_body = {"recording": base64.b64encode(FEMALE.read_bytes()).decode(), "given": {"age": 70}, "samples": 0}
    assert served.post("/v1/portrait", json=in_body, headers=JSON).json()["facts"]["given"] == {"age": 70.0}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("age=5", "invalid_given"),
        ("group=martian", "invalid_given"),
        ("age=nan", "invalid_request"),
        ("gender=other", "invalid_request"),
        ("samples=1000", "invalid_option"),
        ("samples=-1", "invalid_request"),
        ("exaggerate=3", "invalid_request"),
        ("pixels=1000000", "invalid_request"),
        ("style=oil", "invalid_request"),
        ("model=none", "unknown_model"),
        ("colour=red", "invalid_request"),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_its_name(served: TestClient, query: str, code: str) -> None:
    answer = served.post(f"/v1/portrait?{query}", content=FEMALE.read_bytes())
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b'{"recording": ', "application/json", 400, "bad_json"),
        (b"\xff\xfe", "application/json", 400, "bad_json"),
        (b"[" * 100_000, "application/json", 400, "bad_json"),
        (b"[1]", "application/json", 422, "invalid_request"),
        (b'{"recording": 5}', "application/json", 422, "invalid_request"),
        (b'{"recording": "not base64!"}', "application/json", 422, "bad_base64"),
        (b'{"recording": "UklGRg==UklG"}', "application/json", 422, "bad_base64"),
        (b'{"recording": "UklGR"}', "application/json", 422, "bad_base64"),
        (b'{"recording": "UklGRg==", "given": 3}', "application/json", 422, "invalid_request"),
        (b'{"recording": "UklGRg==", "extra": 3}', "application/json", 422, "invalid_request"),
        (b'{"recording": "UklGRg=="}', "application/json", 422, "corrupt_recording"),
        (b"--x\r\nnonsense", BOUNDARY, 400, "bad_multipart"),
        (b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nRIFF', BOUNDARY, 400, "bad_multipart"),
        (b"whatever", "multipart/form-data", 400, "bad_multipart"),
        (PART, f"{BOUNDARY}; charset=undefined", 400, "bad_multipart"),
        (PART, f"{BOUNDARY}; charset=no-such-one", 422, "corrupt_recording"),
        (b"--x--\r\n", BOUNDARY, 422, "invalid_request"),
        (b"", "application/octet-stream", 422, "empty_recording"),
    ],
)
def test_a_body_that_is_not_what_it_says_is_refused(
    served: TestClient, body: bytes, content_type: str, status: int, code: str
) -> None:
    answer = served.post("/v1/portrait", content=body, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_base64_longer_than_a_piece_is_read_whole(served: TestClient) -> None:
    long = wav(voice(60.0))
    assert len(long) > BASE64_PIECE
    answer = served.post("/v1/portrait", json={"recording": base64.b64encode(long).decode()}, headers=JSON)
    assert answer.json()["facts"]["seconds_recorded"] == 60.0


def test_two_files_belong_to_the_other_address(served: TestClient) -> None:
    answer = served.post("/v1/portrait", files=[("file", ("a", b"x")), ("file", ("b", b"x"))])
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "/v1/portraits" in answer.json()["detail"]


@pytest.mark.slow
def test_every_awkward_file_gives_a_portrait_or_says_why_not(
    served: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_lecture(sound: Any, rate: int, **options: Any) -> bytes:
        # The ten minutes are heard in tests/test_portrait.py; here they would only take time.
        return b"" if sound.shape[-1] > 100 * rate else encode(sound, rate, **options)

    monkeypatch.setattr(awkward, "encode", no_lecture)
    seen: dict[str, tuple[int, str]] = {}
    for file in awkward.awkward_files(voice(3.0), made_voice(3.0)):
        answer = served.post("/v1/portrait?pixels=64", content=file.content)
        body = {} if answer.status_code == 200 else answer.json()
        assert "Traceback" not in answer.text[:2000]
        assert not body or {"code", "detail", "exit_code", "kind"} <= set(body), file.name
        seen[file.name] = (answer.status_code, body.get("code", ""))
        if file.name not in ("lecture.opus", "late.wav"):
            assert (answer.status_code == 200) == file.wanted, (file.name, body)
    assert seen["hour.wav"] == (413, "recording_too_long")
    assert seen["text.wav"] == (422, "not_media")
    assert seen["mute.mp4"] == (422, "no_audio_stream")
    assert seen["cut.flac"] == (422, "corrupt_recording")
    assert seen["silence.wav"] == (422, "silent_recording")
    assert seen["noise.wav"] == (422, "no_speech")


def test_of_several_files_each_has_its_own_result(served: TestClient, expected: Portrait) -> None:
    files = [
        ("file", ("she.mp3", FEMALE.read_bytes())),
        ("file", ("silence.wav", wav(np.zeros(32_000, np.float32)))),
        ("other", ("words.txt", b"Dear diary")),
    ]
    answer = served.post("/v1/portraits", files=files)
    assert answer.status_code == 207
    she, silence, words = answer.json()["results"]
    assert (she["name"], she["status"], she["portrait"]["facts"]) == ("she.mp3", 200, expected.facts())
    assert (silence["status"], silence["problem"]["kind"]) == (422, "SilentRecording")
    assert (words["status"], words["problem"]["exit_code"]) == (422, 11)
    assert served.post("/v1/portraits", files=files[:1]).status_code == 200
    assert served.post("/v1/portraits", content=FEMALE.read_bytes()).json()["code"] == "not_multipart"
    too_many = served.post("/v1/portraits?samples=24", files=files[1:2] * 5).json()
    assert (too_many["code"], "at most 96" in too_many["detail"]) == ("invalid_option", True)


def test_the_models_say_what_may_be_given_to_them(served: TestClient) -> None:
    (model,) = served.get("/v1/models").json()["models"]
    assert (model["name"], model["default"], model["states_attributes"]) == ("starter", True, True)
    assert model["given"]["gender"] == ["female", "male"]
    assert model["given"]["age"] == [18, 80]
    assert len(model["given"]["group"]) >= 2
    assert model["samples"] == 24
    assert model["styles"] == ["photographic", "drawn", "line"]


def test_speakers_give_each_recording_a_portrait_of_each_and_who_spoke_when(served: TestClient) -> None:
    names = ("conversation.opus", "female.mp3")
    files = [("file", (name, (EXAMPLES / name).read_bytes())) for name in names]
    answer = served.post("/v1/portraits?speakers=auto&pixels=64", files=files)
    assert answer.status_code == 200
    talk, alone = (result["conversation"] for result in answer.json()["results"])
    drawn = [speaker for speaker in talk["facts"]["speakers"] if speaker["portrait"]]
    assert len(drawn) == len(talk["portraits"]) == 3
    assert [each["facts"] for each in talk["portraits"]] == [speaker["portrait"] for speaker in drawn]
    provenance, facts = label_in(picture_in(talk["timeline"]))
    assert (provenance.kind, facts) == ("comparison sheet", talk["facts"])
    assert [label_in(picture_in(each["picture"]))[0].kind for each in talk["portraits"]] == ["portrait"] * 3
    (portrait,) = alone["portraits"]
    assert portrait == served.post("/v1/portrait?pixels=64", content=FEMALE.read_bytes(), headers=JSON).json()
    for wrong in ("9", "many", ""):
        refused = served.post(f"/v1/portraits?speakers={wrong}", files=files)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
