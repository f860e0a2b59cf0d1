"""``python -m zookeeper``."""

from zookeeper.cli import main

if __name__ == "__main__":
    main()
