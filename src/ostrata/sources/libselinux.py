"""The part of libselinux that looks up labels (selabel_open(3), selabel_lookup(3)), by ctypes.

The library is looked for by its name, when labels are asked for and not before. It reads a policy's ``file_contexts``
with all that belongs to it: the compiled ``.bin``, ``.homedirs``, ``.local``, ``.subs`` and ``.subs_dist``. No policy
of the running system is looked at, and nothing is written anywhere: what libselinux has to say on its log is dropped.
"""

from __future__ import annotations

import ctypes
import errno
import os
from weakref import finalize

from ostrata.errors import MalformedError, UnsupportedError, escape, from_os_error

LIBRARY = "libselinux.so.1"

_CTX_FILE = 0
_OPT_PATH = 3
_CB_LOG = 0
_PACKAGES = "install it (libselinux1 in Debian, libselinux in Fedora), or commit without labels"


class _Option(ctypes.Structure):
    """``struct selinux_opt``."""

    _fields_ = (("type", ctypes.c_int), ("value", ctypes.c_char_p))


_Log = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p)


_BE_SILENT = _Log(lambda _type, _format: 0)


class LabelHandle:
    """An open ``file_contexts``; closed when nobody holds it any more.

    Raises: UnsupportedError when there is no `library`; NotFoundError, AccessError, MalformedError for a file that
    cannot be read.
    """

    def __init__(self, file_contexts: str, library: str = LIBRARY) -> None:
        self._library = _open_library(library)
        option = _Option(_OPT_PATH, os.fsencode(file_contexts))
        handle = self._library.selabel_open(_CTX_FILE, ctypes.byref(option), 1)
        if not handle:
            raise _failed(escape(file_contexts), "libselinux cannot read these file contexts")
        self._handle = ctypes.c_void_p(handle)
        finalize(self, self._library.selabel_close, self._handle)

    def look_up(self, path: str, mode: int) -> bytes | None:
        """The label (without a NUL) of what lies at the absolute `path`; of `mode` the file type counts.

        None where the policy has none. Raises: MalformedError, AccessError.
        """
        label = ctypes.c_void_p()
        if self._library.selabel_lookup_raw(self._handle, ctypes.byref(label), os.fsencode(path), mode) == 0:
            try:
                return ctypes.string_at(label.value or 0)
            finally:
                self._library.freecon(label)
        if ctypes.get_errno() == errno.ENOENT:
            return None
        raise _failed(escape(path), "libselinux cannot look up the label")


def _open_library(name: str) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(name, use_errno=True)
        library.selabel_open.argtypes = (ctypes.c_uint, ctypes.POINTER(_Option), ctypes.c_uint)
        library.selabel_open.restype = ctypes.c_void_p
        library.selabel_close.argtypes = (ctypes.c_void_p,)
        library.selabel_close.restype = None
        library.selabel_lookup_raw.argtypes = (
            ctypes.c_void_p,
            ctypes.POINTER(ctypes.c_void_p),
            ctypes.c_char_p,
            ctypes.c_int,
        )
        library.freecon.argtypes = (ctypes.c_void_p,)
        library.freecon.restype = None
        library.selinux_set_callback.argtypes = (ctypes.c_int, _Log)
        library.selinux_set_callback.restype = None
    except (OSError, AttributeError) as error:
        raise UnsupportedError(f"SELinux labels need {escape(name)}, which is not here", hint=_PACKAGES) from error
    library.selinux_set_callback(_CB_LOG, _BE_SILENT)
    return library


def _failed(where: str, what: str) -> Exception:
    code = ctypes.get_errno()
    if code in (0, errno.EINVAL):
        return MalformedError(what, where=where)
    return from_os_error(OSError(code, os.strerror(code)), where=where)
