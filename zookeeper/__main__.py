"""``zoo``, and ``python -m zookeeper``: from the first moment on it can be stopped in order.

What is imported before `listen` is nothing that takes time.
"""

from __future__ import annotations

import sys

from zookeeper import interrupts


def main() -> None:
    """Run the command line."""
    interrupts.listen()
    try:
        try:
            from zookeeper.cli import main as run

            run()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        interrupts.say_stopped()
        sys.exit(interrupts.INTERRUPTED)
    except BrokenPipeError:
        interrupts.forget_output()
        sys.exit(interrupts.UNREAD)
    finally:
        interrupts.finish()


if __name__ == "__main__":
    main()
