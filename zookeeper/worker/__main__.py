"""The process that `zookeeper.worker` starts; of no use on its own."""

import os
import shutil
import sys
from socket import socket

from zookeeper.worker.server import serve

try:
    serve(socket(fileno=int(sys.argv[1])), parent=int(sys.argv[2]), forks=sys.argv[3] == "forks")
finally:
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
os._exit(0)  # nothing is left to clear up, and torch takes its time about that
