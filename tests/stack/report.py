"""What a run of tests/stack says: a line per event with its second, a line per check, and the counts at its end.

A check that fails does not stop the run; an exception does, and is one more.
"""
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PATIENCE_S = 90

began = time.monotonic()
results = []


def say(text):
    print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)


def check(text, good, found=""):
    results.append(bool(good))
    say(f"{'ok    ' if good else 'FAILED'} {text}{f' ({found})' if found != '' else ''}")
    return bool(good)


def poll(ask, patience=PATIENCE_S):
    """Asks until the answer is true or patience is over; the last answer."""
    end, found = time.monotonic() + patience, ask()
    while not found and time.monotonic() < end:
        time.sleep(0.25)
        found = ask()
    return found


def wait(text, ask, patience=PATIENCE_S):
    """Polls until ask() is true, and checks that it became so; what it was last is shown."""
    found = poll(ask, patience)
    check(text, found, found if found is not True else "")
    return found


def skip(reason):
    print(f"SKIP: {reason}")
    listed = reason in (ROOT / "tests/skips").read_text().splitlines()
    sys.exit(1 if os.environ.get("CI") == "true" and not listed else 0)


def late(*_):
    raise TimeoutError("not done within its time")


def run(name, deadline_s, body, stop):
    """body(folder) in a new folder, which stays when something is wrong; stop() ends what was started. Returns the
    exit code."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=name + "-"))
    signal.signal(signal.SIGALRM, late)
    signal.alarm(deadline_s)
    good = False
    try:
        body(folder)
        good = all(results)
    except Exception as error:
        traceback.print_exc()
        check(f"no {type(error).__name__}", False)
    finally:
        signal.alarm(0)
        stop()
        print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
        if good:
            shutil.rmtree(folder)
        else:
            print(f"logs are in {folder}")
    return not good
