"""PyBullet greets on both standard streams from C; keep its greetings away from tables and JSON."""
import ctypes
import os
import sys
from contextlib import contextmanager


@contextmanager
def quiet_stdout():
    """Send the process's standard output and error to nowhere, C code's included, for the length of the block."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept, nowhere = (os.dup(1), os.dup(2)), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # C keeps its own buffer, which would come out after the block
        for descriptor, copy in zip((1, 2), kept):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nowhere)
