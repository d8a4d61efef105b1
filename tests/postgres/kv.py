#!/usr/bin/env python3
"""Starts a server for a program of tests that needs one, and runs that. Usage: kv.py PROGRAM"""

import os
import pathlib
import subprocess
import sys

import driver  # noqa: F401 - finds the library

from postgres import Servers

program = pathlib.Path(sys.argv[1]).resolve()
with Servers(program.parent) as servers:
    server = servers.start(max_connections=50, wal_writer_delay="10s", deadlock_timeout="50ms")
    done = subprocess.run([program, *sys.argv[2:]], check=False,
                          env={**os.environ, "MANTIS_TEST_DSN": server.dsn()})
sys.exit(done.returncode)
