"""What tests of several folders share."""

import gc
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says something of the machine alone.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

TESTS = Path(__file__).parent
# What starts browsers, services, clusters, worker processes or other programs, or trains, learns, exports and prepares,
# or finds faces and voices in much material. All others, those of `start.py test --fast`, are to end in two minutes. A
# single slow test is marked where it stands.
SLOW = (
    *(
        "app/test_addresses.py",
        "app/test_call_platforms.py",
        "app/test_calls_page.py",
        "app/test_faults.py",
        "app/test_leaving.py",
    ),
    *("app/test_docs_page.py", "app/test_nginx.py", "app/test_page_beside.py"),
    *("app/test_live_socket.py", "app/test_media_stream.py", "app/test_openapi.py", "app/test_page.py"),
    *("app/test_page_call.py", "app/test_page_states.py", "app/test_studio_browser.py", "app/test_webrtc.py"),
    *(
        "audio/test_apart.py",
        "audio/test_foreign_bytes.py",
        "data/test_clips.py",
        "data/test_duplicates.py",
        "data/test_packets.py",
    ),
    *("data/test_preparation_page.py", "data/test_prepare.py", "data/test_prepare_real.py", "data/test_session.py"),
    "data/test_ray_runner.py",
    *("evaluation/audit/test_audit_whole.py", "evaluation/readers/test_appearance_reader.py"),
    *("evaluation/test_evaluate.py", "evaluation/test_picture_parts.py", "fuzz/test_fuzz.py"),
    *("gallery/test_build.py", "gallery/test_postgres.py", "learning/test_command.py", "learning/test_learn.py"),
    *("learning/test_recogniser.py", "training/test_added_networks.py"),
    *("models/test_encoding.py", "planted/test_ridge.py"),
    *("planted/test_shards.py", "test_packaging.py", "test_quiet.py", "test_streams.py"),
    *(
        "app/test_page_voices.py",
        "test_benchmarks.py",
        "test_conversation.py",
        "test_systems.py",
        "training/test_calibration.py",
    ),
    *("training/test_checkpoint.py", "training/test_decoder_stage.py", "training/test_engine.py"),
    *("training/test_export_session.py", "training/test_paired_release.py", "training/test_session.py"),
    *("app/test_client.py", "app/test_costs.py", "app/test_guidance.py", "app/test_studio_command.py"),
    *("app/test_security.py", "app/test_server.py", "audio/test_voice_activity.py", "models/test_encoder_state.py"),
    *("evaluation/test_oracle.py", "face/test_embedder_drivers.py"),
    *("face/test_fit.py", "face/test_material.py", "face/test_onnx_embedder.py", "learning/test_belief.py"),
    *("learning/test_like_any_other.py", "learning/test_sums.py", "planted/test_movement.py", "test_export.py"),
    *("test_live.py", "test_site.py", "test_terminal.py", "training/test_pretrained.py", "voice/test_column_stream.py"),
)
# A minute and more each: they come first, the longest before all, so that no process is still at one when the others
# are done.
LONGEST = (
    *("test_walks.py", "test_notebook.py", "test_quiet.py", "fuzz/test_fuzz.py", "training/test_added_networks.py"),
    *("training/test_engine.py", "learning/test_recogniser.py", "learning/test_real_pairs.py", "app/test_deploy.py"),
)
# The ways in to the program, each a line of its own at the end of a run: what its tests came to.
JOBS = {
    "one door": ("test_start.py", "test_cli.py", "test_commands.py", "test_microphone.py", "test_readme.py"),
    "packaging": ("test_packaging.py", "test_plugin.py", "test_public.py"),
    "systems": ("test_systems.py",),
    "terminal": ("test_terminal.py", "test_streams.py", "test_quiet.py"),
    "deployment": ("app/test_deploy.py", "app/test_nginx.py", "app/test_docs_page.py", "app/test_security.py"),
    "training": ("training/",),
    "documentation": ("test_docs.py", "test_notebook.py", "test_site.py", "test_walks.py", "app/test_page_beside.py"),
}


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say of each way in how many of its tests passed, failed or were skipped."""
    found = {name: Counter[str]() for name in JOBS}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            path = report.nodeid.split("::")[0].removeprefix("tests/")
            for name, files in JOBS.items():
                found[name][outcome] += path.startswith(files)
    for name, counts in found.items():
        if counts.total():
            said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
            terminalreporter.write_line(f"job {name}: {said}")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without the slow tests the files that have no others are not imported: some take seconds, in every process."""
    named = collection_path.is_relative_to(TESTS) and collection_path.relative_to(TESTS).as_posix() in SLOW
    return True if named and config.getoption("markexpr") == "not slow" else None


def pytest_collection() -> None:
    """Collect tests without looking for garbage: hardly any is made, and all the rest would be looked through."""
    gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Take what was imported and collected out of every later garbage collection: all of it stays to the end."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is slow: by its file, and whatever needs an exported release, which takes half a minute to make."""
    files = [item.path.relative_to(TESTS).as_posix() for item in items]
    for item, file in zip(items, files, strict=True):
        if "paired_folder" in getattr(item, "fixturenames", ()) or file in SLOW:
            item.add_marker(pytest.mark.slow)
    rank = {file: place for place, file in enumerate(LONGEST)}
    first = sorted(
        (item for item, file in zip(items, files, strict=True) if file in rank),
        key=lambda item: rank[item.path.relative_to(TESTS).as_posix()],
    )
    rest = [item for item, file in zip(items, files, strict=True) if file not in rank]
    items[:] = dealt(first, rest, getattr(config, "workerinput", {}).get("workercount", 1))


def dealt(first: list[pytest.Item], rest: list[pytest.Item], processes: int) -> list[pytest.Item]:
    """Begin the share of each process, an equal part of all in their order, with some of the longest tests.

    Were they all at the front, they would be the first process's, one after the other.
    """
    order: list[pytest.Item] = []
    count, taken = len(first) + len(rest), 0
    for number in range(processes):
        long, share = first[number::processes], (count - len(order)) // (processes - number)
        end = len(rest) if number == processes - 1 else taken + max(0, share - len(long))
        order += [*long, *rest[taken:end]]
        taken = end
    return order


@pytest.fixture(scope="session", autouse=True)
def _one_thread_a_network() -> Iterator[None]:
    """Networks that are given no number of threads work on one: the tests run side by side already.

    A thread a core, in every process of the tests, wait actively for each other: twice the work, for thrice the time.
    Programs that tests start are told so by `start.py test`, in OMP_NUM_THREADS.
    """
    from speech2face.outputs import load_onnxruntime

    onnxruntime = load_onnxruntime()
    plain = onnxruntime.InferenceSession.__init__

    def opened(session: object, path_or_bytes: object, sess_options: Any = None, *others: Any, **named: Any) -> None:
        options = sess_options or onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.intra_op_num_threads or 1
        plain(session, path_or_bytes, options, *others, **named)

    opened.plain = plain  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(onnxruntime.InferenceSession, "__init__", opened)
        yield


@pytest.fixture
def threads_as_for_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that are given no number of threads work on one a core, as outside of the tests."""
    from speech2face.outputs import load_onnxruntime

    created = load_onnxruntime().InferenceSession
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(created, "__init__", created.__init__.plain)


@pytest.fixture(scope="session")
def paired_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A paired release of tiny networks, written once for all processes of a run: it takes half a minute."""
    from filelock import FileLock  # torch needs it too

    from tests.paired import write_tiny

    processes = "PYTEST_XDIST_WORKER" in os.environ
    folder = tmp_path_factory.getbasetemp().parent if processes else tmp_path_factory.mktemp("paired")
    release = folder / "paired-release"
    with FileLock(folder / "paired-release.lock"):
        if not release.exists():
            write_tiny(release)
    return release


@pytest.fixture
def quick_export(paired_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing a release of the tiny networks takes the files that are there instead of exporting for seconds."""
    from speech2face.training import export as paired_release

    def copied(out: Path, *arguments: object) -> dict[str, float]:
        for path in paired_folder.iterdir():
            shutil.copyfile(path, out / path.name)
        return {"face_embedding": 0.0, "grey_levels": 0.0}

    monkeypatch.setattr(paired_release, "write_networks", copied)
