"""All tests, in two halves at once, for `make test`: those that want the machine for themselves, and beside them all others.

Tests of nodes in real time mostly wait, and a busy machine may disturb them: they run one after another (marked `alone` by conftest.py).
The others have what those leave of the machine, then all of it: two workers at a lower priority. The exit status is 1 where either half fails.
"""
import os
import signal
import subprocess
import sys
import tempfile
import time

PYTEST = sys.executable, '-m', 'pytest'
ALONE = *PYTEST, '-m', 'alone'
OTHERS = (*PYTEST, '-q', '-m', 'not alone', '-n', '2', '--dist', 'loadfile', '--no-loadscope-reorder', '--hypothesis-profile=shared',
          '-o', 'cache_dir=.pytest_cache/others')      # the halves must not write to the same files


def main():
    begun_s = time.monotonic()
    with tempfile.NamedTemporaryFile() as output, open(output.name) as shown:
        others = subprocess.Popen(OTHERS, env={**os.environ, 'OMP_NUM_THREADS': '1'}, stdout=output, stderr=subprocess.STDOUT, preexec_fn=lambda: os.nice(10))
        alone = subprocess.Popen(ALONE)
        signal.signal(signal.SIGTERM, lambda *_: [half.send_signal(signal.SIGINT) for half in (alone, others)])
        try:
            alone.wait()
            alone_s = time.monotonic() - begun_s
            print('--- beside them, on two workers', flush=True)
            while others.poll() is None:
                time.sleep(0.2)
                print(shown.read(), end='', flush=True)
        except KeyboardInterrupt:      # of the terminal, which has told both: they put away what they started
            return [half.wait() for half in (alone, others)] and 130
        print(shown.read(), end='')
    failed = [name for name, half in (('alone', alone), ('others', others)) if half.returncode]
    print(f'--- {"failed: " + ", ".join(failed) if failed else "passed"}; alone {alone_s:.0f} s, all {time.monotonic() - begun_s:.0f} s')
    return bool(failed)


if __name__ == '__main__':
    sys.exit(main())
