"""PostgreSQL and PgBouncer for benches: started here, on free ports, as an unprivileged user."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import peers

sys.path.insert(0, str(peers.ROOT / "tests" / "lib"))

import cases  # noqa: E402
import postgres  # noqa: E402

CONNECTIONS_MAX = 100 * (os.cpu_count() or 1) + 200
SECONDS_MAX = 120
READY_SECONDS = 20
TICKS = os.sysconf("SC_CLK_TCK")
BOUNCER = """[databases]
bench = host={host} port={port} dbname=postgres user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {servers}
max_client_conn = 10000
logfile = {folder}/pgbouncer.log
pidfile = {folder}/pgbouncer.pid
log_connections = 0
log_disconnections = 0
"""


def start_postgres():
    """A server with the table of pgbench: (servers, server). Missing if there is none."""
    peers.install({"/usr/lib/postgresql": "postgresql"})
    try:
        servers = postgres.Servers()
        server = servers.start(max_connections=CONNECTIONS_MAX, shared_buffers="128MB",
                               log_connections="off")
    except (cases.Skip, postgres.Failed, AssertionError) as why:
        raise peers.Missing(str(why)) from None
    folder = servers.programs
    peers.call(folder / "pgbench", "-i", "-q", "-s", "1", "-h", "127.0.0.1", "-p", server.port,
               "-U", "postgres", "postgres")
    return servers, server


def conninfo(port, name="postgres"):
    return f"host=127.0.0.1 port={port} dbname={name} user=postgres " \
        "sslmode=disable gssencmode=disable"


def build_select():
    """The program that sends queries through a pool, or through connections of its own."""
    peers.install({"/usr/include/postgresql/libpq-fe.h": "libpq-dev"})
    flags = peers.pkg_config("libpq")
    return peers.compile_against_stage(peers.HERE / "postgres/select.c", "select", flags,
                                       package="mantispool-pq")


def cpu_seconds(pid):
    """What a process has used so far."""
    words = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS


def resident_bytes(pid):
    """The memory that a process has now."""
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise peers.Missing("/proc has no Pss")


class Bouncer:
    """A PgBouncer in transaction mode before a server."""

    def __init__(self, servers, server, pool_size):
        peers.install({"/usr/sbin/pgbouncer": "pgbouncer"})
        self.port = postgres.find_port()
        folder = servers.folder / f"bouncer{self.port}"
        folder.mkdir()
        config = folder / "pgbouncer.ini"
        config.write_text(BOUNCER.format(host="127.0.0.1", port=server.port, listen=self.port,
                                         servers=pool_size, folder=folder), encoding="utf-8")
        if servers.user:
            for path in (folder, config):
                os.chown(path, servers.user.pw_uid, servers.user.pw_gid)
        self.process = subprocess.Popen(
            ["/usr/sbin/pgbouncer", "-q", config], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=servers.become_user)
        end = time.monotonic() + READY_SECONDS
        while not self.is_ready():
            if time.monotonic() > end or self.process.poll() is not None:
                self.stop()
                raise peers.Missing("pgbouncer does not start")
            time.sleep(0.02)

    def is_ready(self):
        try:
            with postgres.socket.create_connection(("127.0.0.1", self.port), 1):
                return True
        except OSError:
            return False

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @staticmethod
    def version():
        return peers.call("/usr/sbin/pgbouncer", "-V").splitlines()[0].split()[-1]
