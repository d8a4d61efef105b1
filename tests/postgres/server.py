#!/usr/bin/env python3
"""The servers that the tests start: they come up, replicate, and are gone when their test is."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import driver  # noqa: F401 - finds the library

from cases import case, main
from postgres import Failed, Servers, children_of, is_there, wait_for

CHILD = """
import sys, time
sys.path.insert(0, {lib!r})
from postgres import Servers
server = Servers({cache!r}).start()
{freeze}
print(server.process.pid, server.folder, flush=True)
time.sleep(600)
"""


@case
def a_server_takes_connections_and_keeps_its_data_over_a_crash(servers):
    server = servers.start()
    server.sql("CREATE TABLE kept (x int); INSERT INTO kept VALUES (7)")
    port = server.port
    server.kill()
    server.start()
    assert server.port == port and server.sql("SELECT x FROM kept") == "7"


@case
def a_server_with_wrong_settings_is_reported_with_its_log(servers):
    try:
        servers.start(shared_buffers="nonsense")
    except Failed as why:
        assert "shared_buffers" in str(why), why
    else:
        raise AssertionError("it came up")
    servers.all[-1].process = None


@case
def a_standby_follows_is_promoted_and_followed(servers):
    primary = servers.start()
    standby = primary.start_standby()
    primary.sql("CREATE TABLE copied (x int)")
    primary.wait_caught_up(standby)
    assert standby.sql("SELECT pg_is_in_recovery(), count(*) FROM copied") == "t|0"
    primary.stop()
    standby.promote()
    primary.follow(standby)
    standby.sql("INSERT INTO copied VALUES (1)")
    standby.wait_caught_up(primary)
    assert primary.sql("SELECT pg_is_in_recovery(), count(*) FROM copied") == "t|1"


@case
def a_frozen_server_is_silent_until_it_is_thawed(servers):
    server = servers.start()
    server.freeze()
    asking = subprocess.Popen([servers.programs / "psql", "-XAtq", "-h", server.folder, "-p",
                               str(server.port), "-U", "postgres", "-c", "SELECT 5"],
                              stdout=subprocess.PIPE, text=True)
    time.sleep(0.2)
    assert asking.poll() is None
    server.thaw()
    assert asking.communicate(timeout=60)[0] == "5\n"


@case
def reload_changes_who_may_connect(servers):
    server = servers.start()
    server.reload(hba="local all all trust\nhost all all 127.0.0.1/32 reject\n", work_mem="9MB")
    assert server.sql("SHOW work_mem") == "9MB"
    answer = subprocess.run([servers.programs / "psql", "-X", server.dsn(), "-c", "SELECT 1"],
                            check=False, capture_output=True, text=True, timeout=60)
    assert "pg_hba.conf rejects connection" in answer.stderr, answer


@case
def a_server_ends_when_its_test_is_killed_also_while_it_is_frozen(servers):
    lib = pathlib.Path(__file__).resolve().parent.parent / "lib"
    for freeze in ("", "server.freeze()"):
        text = CHILD.format(lib=str(lib), cache=str(servers.cache), freeze=freeze)
        child = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True,
                                 start_new_session=True)
        pid, folder = child.stdout.readline().split()
        pids = children_of(int(pid))
        assert len(pids) > 3 and all(is_there(pid) for pid in pids)
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate(timeout=60)
        wait_for(lambda pids=pids: not any(is_there(pid) for pid in pids), "the server is gone")
        wait_for(lambda folder=folder: not pathlib.Path(folder).parent.exists(), "and its files")


@case
def nothing_runs_as_root(servers):
    server = servers.start()
    user = pathlib.Path(f"/proc/{server.process.pid}").stat().st_uid
    assert user != 0 and (os.geteuid() == 0 or user == os.geteuid())


with Servers(pathlib.Path(sys.argv[1]).resolve().parent) as all_servers:
    main(all_servers)
