"""PostgreSQL servers for tests: real ones, each on a free port of 127.0.0.1, as an unprivileged
user, gone when the test is gone.

    with Servers(cache) as servers:
        primary = servers.start()                   # about 0.2 s, from a copied template
        primary.sql("CREATE ROLE app LOGIN")
        standby = primary.start_standby()           # streaming replication
        primary.kill(); primary.restart()           # as a crash; on the same port
        primary.stop(); standby.promote(); primary.follow(standby)
        primary.freeze()                            # accepts connections and never answers
        mark = primary.mark(); ...; primary.count("connection received", mark)

A server listens on TCP and on a socket in its directory, logs connections, and trusts everybody
unless `hba` says otherwise. The template that initdb makes is kept in the folder `cache` for the
next test; without one it is made anew. What is started must be started on the main thread: the
kernel ends a server when the thread that started it ends."""

import ctypes
import itertools
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from cases import Skip

READY_SECONDS_MAX = 120  # a guard against hanging, as all below
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PROGRAMS = ["initdb", "postgres", "pg_basebackup", "psql"]
SUPERUSER = "postgres"
TRUST = "local all all trust\nhost all all 127.0.0.1/32 trust\n" \
        "local replication all trust\nhost replication all 127.0.0.1/32 trust\n"
INITDB = ["--auth=trust", "--username=" + SUPERUSER, "--encoding=UTF8", "--locale=C", "--no-sync",
          "--wal-segsize=1", "--no-instructions"]
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "log_connections": "on",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "lc_messages": "C",
    "fsync": "off",  # the machine is not switched off, and a killed process loses nothing by it
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "dynamic_shared_memory_type": "mmap",
    "min_wal_size": "2MB",
    "max_wal_senders": 4,
    "wal_level": "replica",
    "hot_standby": "on",
    "autovacuum": "off",
    "jit": "off",
}


# What outlives a test that is killed, also while its server is frozen, and clears up behind it.
WATCHER = """
cat >/dev/null
for process in /proc/[0-9]*; do
    case "$(readlink "$process/cwd")" in "$1"/*) kill -9 "${process#/proc/}" ;; esac
done
rm -rf "$1"
"""


class Failed(AssertionError):
    """A program of PostgreSQL that did not do what it should."""


def wait_for(condition, what, seconds=READY_SECONDS_MAX):
    """Wait until the condition answers something true, and return that."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.005)


def find_programs():
    """The folder of PostgreSQL's programs; Skip if there is none."""
    folders = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"),
                     key=lambda path: int(path.parent.name), reverse=True)
    found = shutil.which("postgres")
    for folder in folders + ([pathlib.Path(found).parent] if found else []):
        if all((folder / name).exists() for name in PROGRAMS):
            return folder
    raise Skip("there is no PostgreSQL server (Debian: postgresql)")


def find_user():
    """Who runs the servers: nobody with rights. None: we are such a one."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    raise Skip("there is no user to run PostgreSQL as, which root may not")


def find_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def children_of(pid):
    """The process ids of a server and all below it."""
    try:
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [pid] + [inner for child in text.split() for inner in children_of(int(child))]


def is_there(pid):
    """Is it a process that still runs?"""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2]
    except OSError:
        return False
    return state.split()[0] not in ("Z", "X")


def send_all(pids, number):
    """A signal to those that are still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


class Servers:
    """The servers of one test."""

    def __init__(self, cache=None):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # for kill() to wait
        self.programs = find_programs()
        self.user = find_user()
        self.folder = self.make_folder()
        self.watcher = subprocess.Popen(["sh", "-c", WATCHER, "sh", self.folder],
                                        stdin=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        start_new_session=True)
        self.cache = pathlib.Path(cache) if cache else self.folder
        self.numbers = itertools.count(1)
        self.all = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.finish()

    def finish(self):
        """End all servers at once, and remove what they wrote."""
        for server in self.all:
            server.stop(signal.SIGQUIT)
        self.watcher.communicate()

    def make_folder(self):
        """A folder that the servers' user can reach, with a path short enough for a socket."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="pg"))
        if self.user:
            own = pathlib.Path(tempfile.gettempdir())
            if own.stat().st_uid == os.geteuid() and own != pathlib.Path("/tmp"):
                own.chmod(own.stat().st_mode | 0o011)
            os.chown(folder, self.user.pw_uid, self.user.pw_gid)
        is_reachable = subprocess.run(["test", "-w", folder], check=False,
                                      preexec_fn=self.become_user).returncode == 0
        if is_reachable and len(str(folder)) < 70:
            return folder
        folder.rmdir()
        folder = pathlib.Path(tempfile.mkdtemp(prefix="mantis-pg", dir="/tmp"))
        if self.user:
            os.chown(folder, self.user.pw_uid, self.user.pw_gid)
        return folder

    def become_user(self):
        """In a child: be the servers' user, and end when the test does."""
        if self.user:
            os.setgroups([])
            os.setgid(self.user.pw_gid)
            os.setuid(self.user.pw_uid)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT, 0, 0, 0)
        if os.getppid() == 1:
            os._exit(1)

    def run(self, program, *args):
        """Run one of PostgreSQL's programs as the servers' user."""
        command = [str(self.programs / program), *map(str, args)]
        done = subprocess.run(command, check=False, capture_output=True, text=True,
                              cwd=self.folder, preexec_fn=self.become_user,
                              env=self.environment(), timeout=READY_SECONDS_MAX)
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return done.stdout

    @staticmethod
    def environment():
        """Ours without what libpq would read."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {**kept, "LC_ALL": "C", "HOME": "/nonexistent"}

    def template(self):
        """The folder that initdb made; everything in it is to be copied."""
        version = self.run("postgres", "--version").split()[2]
        kept = self.cache / f"postgres-{version}-template"
        if not kept.exists():
            made = self.folder / "initdb"
            self.run("initdb", *INITDB, "-D", made)
            if self.cache == self.folder:
                made.rename(kept)
            else:
                self.keep(made, kept)
        return kept

    @staticmethod
    def keep(made, kept):
        """Move it to the cache, unless another test has done so meanwhile."""
        kept.parent.mkdir(parents=True, exist_ok=True)
        own = pathlib.Path(tempfile.mkdtemp(dir=kept.parent))
        shutil.copytree(made, own / "data", symlinks=True)
        shutil.rmtree(made)
        try:
            (own / "data").rename(kept)
        except OSError:
            pass
        shutil.rmtree(own)

    def copy_template(self, target):
        subprocess.run(["cp", "-r", self.template(), target], check=True)
        if self.user:
            subprocess.run(["chown", "-R", f"{self.user.pw_uid}:{self.user.pw_gid}", target],
                           check=True)
        target.chmod(0o700)

    def certificate(self):
        """(certificate, key) for 127.0.0.1 and localhost, signed by itself, made once."""
        certificate, key = self.folder / "server.crt", self.folder / "server.key"
        if not shutil.which("openssl"):
            raise Skip("openssl is not installed")
        if not key.exists():
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                            "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                            "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                            "-keyout", key, "-out", certificate], check=True, capture_output=True)
            key.chmod(0o600)
            if self.user:
                os.chown(key, self.user.pw_uid, self.user.pw_gid)
        return certificate, key

    def start(self, hba=TRUST, tls=False, **settings):
        """A new server, running; with tls it takes connections both with TLS and without."""
        if tls:
            certificate, key = self.certificate()
            settings = {"ssl": "on", "ssl_cert_file": certificate, "ssl_key_file": key, **settings}
        server = Server(self, next(self.numbers), hba, settings)
        self.copy_template(server.data)
        server.start()
        return server


class Server:
    """One server, also while it does not run. It keeps its port and its data."""

    def __init__(self, servers, number, hba, settings):
        self.servers = servers
        self.port = find_port()
        self.folder = servers.folder / str(number)
        self.folder.mkdir()
        if servers.user:
            os.chown(self.folder, servers.user.pw_uid, servers.user.pw_gid)
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.hba = hba
        self.settings = {**SETTINGS, **settings}
        self.process = None
        servers.all.append(self)

    # ---- running ----

    def start(self, is_ready=True):
        """Start it, and wait until it takes connections (is_ready=False: do not wait)."""
        assert not self.process, "it runs already"
        (self.data / "pg_hba.conf").write_text(self.hba, encoding="utf-8")
        settings = {**self.settings, "port": self.port, "unix_socket_directories": self.folder}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [self.servers.programs / "postgres", "-D", self.data, *words], cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.servers.environment(),
                preexec_fn=self.servers.become_user)
        if is_ready:
            wait_for(self.is_ready, "the server is ready")

    def is_ready(self):
        """Does it take connections? Asks its own file, so that nothing is in its log."""
        if self.process.poll() is not None:
            raise Failed(f"the server has ended\n{self.log_text()[-2000:]}")
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(self.process.pid) and lines[7].strip() == "ready"

    def stop(self, how=signal.SIGINT):
        """Shut it down in order, with the connections that there are. Without one it is fine."""
        if self.process:
            self.thaw()
            self.process.send_signal(how)
            self.process.wait(READY_SECONDS_MAX)
            self.process = None

    def kill(self):
        """End all of its processes at once, as a crash would."""
        if not self.process:
            return
        pids = children_of(self.process.pid)
        send_all(pids, signal.SIGKILL)
        self.process.wait(READY_SECONDS_MAX)
        for pid in pids[1:]:
            wait_for(lambda pid=pid: not is_there(pid), "its processes are gone")
            try:
                os.waitpid(pid, os.WNOHANG)  # without their parent they are ours
            except ChildProcessError:
                pass
        self.process = None

    def restart(self, **settings):
        """Start it again on its port, with other settings if some are named."""
        self.stop()
        self.settings.update(settings)
        self.start()

    def reload(self, hba=None, **settings):
        """Let it read hba and settings again, which then hold for what connects from now on."""
        if hba is not None:
            self.hba = hba
            (self.data / "pg_hba.conf").write_text(hba, encoding="utf-8")
        for name, value in settings.items():
            self.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        mark = self.mark()
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.count("received SIGHUP", mark), "it has read its settings")

    def freeze(self):
        """Stop all of its processes: the kernel accepts connections, and nobody answers."""
        send_all(children_of(self.process.pid), signal.SIGSTOP)

    def thaw(self):
        """Go on after freeze()."""
        send_all(children_of(self.process.pid), signal.SIGCONT)

    # ---- replication ----

    def start_standby(self, **settings):
        """A new standby of this server, streaming."""
        servers = self.servers
        standby = Server(servers, next(servers.numbers), self.hba,
                         {**self.settings, **settings})
        servers.run("pg_basebackup", "-h", self.folder, "-p", self.port, "-U", SUPERUSER, "-D",
                    standby.data, "-X", "stream", "-c", "fast", "--no-sync")
        standby.follow(self)
        return standby

    def follow(self, primary):
        """Be a standby of this primary from now on, also if it was one itself."""
        self.stop()
        (self.data / "standby.signal").touch()
        with (self.data / "postgresql.auto.conf").open("a", encoding="utf-8") as auto:
            auto.write(f"primary_conninfo = 'host={primary.folder} port={primary.port} "
                       f"user={SUPERUSER}'\nrecovery_target_timeline = 'latest'\n")
        self.start()

    def promote(self):
        """Make a primary of a standby, and wait until it is one."""
        assert self.sql("SELECT pg_promote(true, 60)") == "t"

    def wait_caught_up(self, standby):
        """Wait until the standby has all that was written here."""
        position = self.sql("SELECT pg_current_wal_lsn()")
        wait_for(lambda: standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == "t",
                 "the standby has caught up")

    # ---- looking ----

    def dsn(self, user=SUPERUSER, password=None, db="postgres", **parameters):
        """Its DSN by TCP."""
        secret = f":{password}" if password is not None else ""
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return f"postgres://{user}{secret}@127.0.0.1:{self.port}/{db}{'?' * bool(query)}{query}"

    def sql(self, text, user=SUPERUSER, db="postgres"):
        """What psql answers, a line a row and | between columns. Connects by the socket."""
        done = subprocess.run(
            [self.servers.programs / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", self.folder,
             "-p", str(self.port), "-U", user, "-d", db, "-c", text], check=False, text=True,
            capture_output=True, env=self.servers.environment(), timeout=READY_SECONDS_MAX)
        if done.returncode != 0:
            raise Failed(f"{text}\n{done.stderr}")
        return done.stdout.rstrip("\n")

    def log_text(self, mark=0):
        """Its log from a mark on."""
        with self.log.open("rb") as log:
            log.seek(mark)
            return log.read().decode("utf-8", "replace")

    def mark(self):
        """Where its log ends now."""
        return self.log.stat().st_size

    def count(self, words, mark=0):
        """How many lines of its log have these words, from a mark on. A connection that comes is
        one line "connection received: host=127.0.0.1", those of sql() have "host=[local]"."""
        return sum(words in line for line in self.log_text(mark).splitlines())


class Silent:
    """Something that accepts connections on a port, and never says a word."""

    def __init__(self, port=0):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", port))
        self.socket.listen(128)  # the kernel accepts
        self.port = self.socket.getsockname()[1]

    def dsn(self, **parameters):
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres{'?' * bool(query)}{query}"

    def take_all(self):
        """How many have connected since the last time; they stay connected."""
        self.socket.setblocking(False)
        self.taken = getattr(self, "taken", [])
        before = len(self.taken)
        try:
            while True:
                self.taken.append(self.socket.accept()[0])
        except BlockingIOError:
            return len(self.taken) - before

    def close(self):
        for conn in getattr(self, "taken", []):
            conn.close()
        self.socket.close()
