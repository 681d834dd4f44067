"""Where compiled kernels are kept between starts, separately for each release.

Without `NUMBA_CACHE_DIR` machine code is kept next to the sources, as numba has
it; that needs a package directory that can be written to.  With it, as in an
image or under a service manager:

- each state of the sources has its own directory below it.  numba knows
  a kernel by the file that defines it, not by the files whose kernels it
  calls, so that a directory that outlives an upgrade would otherwise give old
  code to new sources;
- what was compiled beforehand (`IMPACTD_KERNELS`, ``impactd compile``) is
  copied there once, so that the first start compiles nothing.  numba asks for
  a directory that it may write to, which one inside an image is not.

Both must be settled before numba is imported.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

#: numba's own variable: where machine code is kept.
CACHE_VARIABLE: Final = "NUMBA_CACHE_DIR"

#: Where machine code that was compiled beforehand lies; read, never written to.
COMPILED_VARIABLE: Final = "IMPACTD_KERNELS"

_PACKAGE: Final = Path(__file__).resolve().parent.parent


class KernelCacheError(Exception):
    """Machine code can be kept nowhere; the text states what to set."""


def release_key(package: Path = _PACKAGE) -> str:
    """Return the name of this state of the sources: the same for the same files in any installation."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        source = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()}\0{len(source)}\0".encode())
        digest.update(source)
    return digest.hexdigest()[:16]


def prepare_kernels(environ: MutableMapping[str, str]) -> Path | None:
    """Have numba keep this release's machine code apart, with what was compiled before; return where, if it decides.

    Parameters
    ----------
    environ : mutable mapping of str to str
        The process's environment: `CACHE_VARIABLE` is set to the release's own directory.

    Raises
    ------
    KernelCacheError
        If the directory cannot be made or written to.
    """
    named = environ.get(CACHE_VARIABLE)
    if not named:
        return None
    key = release_key()
    # A process that was started by one of ours has the release's directory already.
    directory = Path(named) if Path(named).name == key else Path(named) / key
    try:
        if not directory.exists():
            _fill(directory, environ.get(COMPILED_VARIABLE))
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise KernelCacheError(
            f"{directory}: {error.strerror or error}; compiled kernels are kept there: name another directory in "
            f"{CACHE_VARIABLE}, or mount one that this user may write to"
        ) from error
    environ[CACHE_VARIABLE] = str(directory)
    return directory


def _fill(directory: Path, compiled: str | None) -> None:
    """Make the directory, whole at once: another process may be making it too."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    made.chmod(0o755)
    try:
        if compiled is not None and (beforehand := Path(compiled) / directory.name).is_dir():
            shutil.copytree(beforehand, made, dirs_exist_ok=True, copy_function=shutil.copyfile)
        try:
            made.rename(directory)
        except OSError:
            # Another process made the same directory first.
            if not directory.is_dir():
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
