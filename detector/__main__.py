"""``python -m detector``."""

import signal
import sys


def _run() -> int:
    try:
        # Here, not above: it takes a second, in which somebody may think better of it.
        from detector.cli import main

        return main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    code = _run()
    if code == 130:
        # Python still waits for its threads; whoever cannot wait for that gets no traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)
