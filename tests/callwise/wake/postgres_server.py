"""A real Postgres server of a test: a temporary folder, a password, and a socket in that folder."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

__all__ = ["PASSWORD", "USER", "PostgresServer", "program"]

PASSWORD = "planted-p@ssword-of-postgres"
USER = "postgres"


def program(name: str) -> str | None:
    """Return the path of a program of Postgres, which Debian does not put on the PATH."""
    found = shutil.which(name)
    others = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return found or (str(others[-1]) if others else None)


class PostgresServer:
    """A server that a test may stop and start again."""

    def __init__(self) -> None:
        # A socket's path may have some 100 characters, and the server refuses to run as root.
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._user = {"user": USER, "group": USER, "extra_groups": []} if os.getuid() == 0 else {}
        if self._user:
            shutil.chown(self.folder, USER, USER)
        words = self.folder / "password"
        words.write_text(PASSWORD)
        words.chmod(0o644)
        made = ("-D", self._data, "-U", USER, "-A", "scram-sha-256", "--pwfile", str(words))
        self._run("initdb", *made, "-E", "UTF8", "--locale=C", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        """Its address for a client, with the password."""
        return self.url_with(PASSWORD.replace("@", "%40"))

    def url_with(self, password: str) -> str:
        """Return its address with another password."""
        return f"postgresql://{USER}:{password}@/postgres?host={self.folder}"

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", self._data, "-l", log, "-w", "-t", "60", "-o", options, "start")

    def stop(self) -> None:
        """End it, and its connections."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def remove(self) -> None:
        """Remove its folder."""
        shutil.rmtree(self.folder)

    def _run(self, name: str, *arguments: str) -> None:
        path = program(name)
        assert path is not None
        # The server inherits what it may write to, and would keep a pipe open.
        with (self.folder / "output").open("ab") as output:
            subprocess.run(  # noqa: S603 - our own arguments
                [path, *arguments],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                **self._user,
            )
