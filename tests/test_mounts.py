"""On a network file system every machine has an index of its own."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from stores import CHECKPOINT, Places, features, save, save_trial, trial

from zookeeper.records import FeatureSet
from zookeeper.results import Trial
from zookeeper.store import Store, layout
from zookeeper.store.mounts import is_network, kind_of_file_system

MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 27 0:40 / /home rw,relatime shared:1 - nfs4 server:/home rw,vers=4.2
31 30 0:41 / /home/me/local rw - xfs /dev/vdb rw
32 27 0:42 / /mnt/with\\040space rw,relatime - fuse.sshfs me@host:/ rw
33 27 0:43 / /scratch rw - ext4 /dev/vdc rw
34 33 0:44 / /scratch rw - lustre mgs@tcp:/fs rw
torn line
"""


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/", "ext4", False),
        ("/homes/x", "ext4", False),
        ("/home", "nfs4", True),
        ("/home/me/zoo", "nfs4", True),
        ("/home/me/local/zoo", "xfs", False),
        ("/mnt/with space/zoo", "fuse.sshfs", True),
        ("/mnt/with", "ext4", False),
        ("/scratch/zoo", "lustre", True),
    ],
)
def test_the_file_system_of_a_path_is_the_nearest_and_latest_that_is_mounted(
    path: str, kind: str, network: bool
) -> None:
    assert kind_of_file_system(PurePosixPath(path), MOUNTS) == kind
    assert is_network(kind) == network


@pytest.mark.parametrize("kind", ["nfs", "cifs", "smb3", "gpfs", "beegfs", "ceph", "fuse.glusterfs", "fuse"])
def test_other_machines_see_network_file_systems(kind: str) -> None:
    assert is_network(kind)


@pytest.mark.parametrize("kind", ["ext4", "btrfs", "tmpfs", "overlay", "apfs", "zfs", "fuseblk", None])
def test_no_other_machine_sees_local_file_systems(kind: str | None) -> None:
    assert not is_network(kind)


def test_on_a_network_file_system_every_machine_has_an_index_of_its_own(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "file_system_of", lambda _: "nfs4")
    caches = tmp_path / "caches of a user"
    monkeypatch.setattr(layout.platformdirs, "user_cache_path", lambda _: caches)
    here = Store(*places)
    save(here, 1)
    monkeypatch.setattr(layout.platform, "node", lambda: "another machine")
    there = Store(*places)
    save_trial(there, 1)
    save_trial(here, 2)
    here.add(CHECKPOINT)
    assert not (places[0] / "zoo.db").exists()
    assert len(list((caches / "index").glob("*.db"))) == 2
    for store in (here, there):
        assert store.all(Trial) == (trial(2),)
        assert store.all(FeatureSet) == (features(1),)
        assert store.checkpoints() == (CHECKPOINT,)
        assert store.verify().damaged == {}
