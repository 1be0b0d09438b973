"""Which build system a source tree has, seen from the names of its files, and its usual steps."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BuildSystem:
    """The steps that build and install with it. `program` is where `{name}` is likely to land."""

    title: str
    steps: tuple[str, ...]
    packages: tuple[str, ...] = ()
    program: str = "/usr/local/bin/{name}"
    version_option: str = "--version"


_MAKE = "make -j$JOBS"
_INSTALL = "make DESTDIR=$DESTDIR install"
_NGINX = BuildSystem(
    "nginx's own configure",
    ("./configure --prefix=/usr/local/nginx", _MAKE, _INSTALL),
    ("libpcre2-dev", "zlib1g-dev"),
    "/usr/local/nginx/sbin/nginx",
    "-v",
)
_OPENSSL = BuildSystem(
    "OpenSSL's own Configure",
    (
        "./Configure --prefix=/usr/local --libdir=lib --openssldir=/etc/ssl no-tests",
        _MAKE,
        "make DESTDIR=$DESTDIR install_sw",
    ),
    ("perl",),
    version_option="version",
)
_PHP = BuildSystem(
    "PHP's autoconf, which installs under INSTALL_ROOT",
    (
        "./configure --prefix=/usr/local --disable-all --without-pear",
        _MAKE,
        "make INSTALL_ROOT=$DESTDIR install",
    ),
)
_KCONFIG = BuildSystem(
    "Kconfig, as busybox has it",
    ("make defconfig", _MAKE, "make CONFIG_PREFIX=$DESTDIR install"),
    program="/bin/{name}",
    version_option="--help",
)
_AUTOCONF = BuildSystem("autoconf", ("./configure --prefix=/usr/local", _MAKE, _INSTALL))
_AUTORECONF = BuildSystem(
    "autoconf without the generated configure",
    ("autoreconf -fi", "./configure --prefix=/usr/local", _MAKE, _INSTALL),
    ("autoconf", "automake", "libtool"),
)
_MESON = BuildSystem(
    "meson",
    (
        "meson setup build --prefix=/usr/local --buildtype=release",
        "ninja -C build -j$JOBS",
        "DESTDIR=$DESTDIR meson install -C build --no-rebuild",
    ),
    ("meson", "ninja-build"),
)
_CMAKE = BuildSystem(
    "CMake",
    (
        "cmake -S . -B build -DCMAKE_INSTALL_PREFIX=/usr/local -DCMAKE_BUILD_TYPE=Release",
        "cmake --build build -j $JOBS",
        "DESTDIR=$DESTDIR cmake --install build",
    ),
    ("cmake",),
)
_PLAIN_MAKE = BuildSystem(
    "a makefile that knows DESTDIR",
    (_MAKE, "make PREFIX=/usr/local prefix=/usr/local DESTDIR=$DESTDIR install"),
)
_PREFIX_MAKE = BuildSystem(
    "a makefile without DESTDIR",
    (_MAKE, "make PREFIX=$DESTDIR/usr/local prefix=$DESTDIR/usr/local install"),
)


def _has(*names: str) -> Callable[[Set[str]], bool]:
    return lambda there: all(name in there for name in names)


# In order: a project's own system before the general one, and autoconf, which needs no further
# tools, before meson and CMake where a project has several.
_SYSTEMS: tuple[tuple[Callable[[Set[str]], bool], BuildSystem], ...] = (
    (_has("configure", "auto/options"), _NGINX),
    (_has("Configure", "configdata.pm.in"), _OPENSSL),
    (_has("configure", "main/php_version.h"), _PHP),
    (_has("Config.in", "Makefile"), _KCONFIG),
    (_has("configure"), _AUTOCONF),
    (_has("meson.build"), _MESON),
    (_has("CMakeLists.txt"), _CMAKE),
    (_has("configure.ac"), _AUTORECONF),
    (_has("configure.in"), _AUTORECONF),
)
_MAKEFILES = ("GNUmakefile", "makefile", "Makefile")


def find_build_system(names: Set[str], makefiles: str) -> BuildSystem | None:
    """The build system of a tree with these relative names, or None.

    `makefiles` is the text of its plain makefiles: whether they know DESTDIR decides how to stage.
    """
    for fits, system in _SYSTEMS:
        if fits(names):
            return system
    if any(name in names for name in _MAKEFILES):
        return _PLAIN_MAKE if "DESTDIR" in makefiles else _PREFIX_MAKE
    return None
