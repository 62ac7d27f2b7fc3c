"""``python -m detector``, and the installed command."""

import signal
import sys


def run() -> int:
    """Run the command line on the arguments of this process; returns its exit code."""
    try:
        # Here, not above: it takes a second, in which somebody may think better of it.
        from detector.cli.main import main

        code = main()
    except KeyboardInterrupt:
        code = 130
    if code == 130:
        # Python still waits for its threads; whoever cannot wait for that gets no traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return code


if __name__ == "__main__":
    sys.exit(run())
