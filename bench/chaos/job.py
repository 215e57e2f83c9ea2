"""A job that writes down when it began and when it ended, in a file of its item's own."""

import os
import sys
import time

record, seconds, code, lines = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])


def note(what: str) -> None:
    # One short write to a file opened for appending: whole, however many do it.
    line = f"{what} {os.environ['RUNYARD_WORKLOAD']} {os.getpid()} {time.time_ns()}\n"
    file = os.open(record, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(file, line.encode())
    os.close(file)


note("start")
for n in range(lines):
    print(f"{n:07d} " + "x" * 91)
sys.stdout.flush()
time.sleep(seconds)
note("end")
sys.exit(code)
