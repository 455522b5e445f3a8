"""What the acceptance and the judges share: processes that end, and checks that end the run."""

import contextlib
import signal
import socket
import subprocess
import sys
import time

HOST = "127.0.0.1"


def check(holds, message):
    if not holds:
        sys.exit(f"FAILED: {message}")


def eventually(what, seconds, attempt):
    """The first answer of `attempt` that is not `None`; it is asked again until then."""
    deadline = time.monotonic() + seconds
    while (answer := attempt()) is None:
        check(time.monotonic() < deadline, f"waited {seconds} s in vain: {what}")
        time.sleep(0.1)
    return answer


@contextlib.contextmanager
def process(arguments, log, stop, **options):
    """A process that is ended, by its id, when the block is left."""
    with log.open("w") as stderr:
        child = subprocess.Popen(arguments, stderr=stderr, **options)
    try:
        yield child
    finally:
        child.send_signal(stop)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def free_port():
    with socket.create_server((HOST, 0)) as listener:
        return listener.getsockname()[1]


def end_after(seconds):
    """Nothing waits for ever, not even for a build: what is open is closed when the time is up, or when asked to."""

    def give_up(number, _):
        sys.exit(f"FAILED: ended by {signal.Signals(number).name}")

    signal.signal(signal.SIGTERM, give_up)
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
