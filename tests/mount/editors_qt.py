"""Saves as Qt's programs do (Kate): `editors_qt.py PATH TEXT`, by QSaveFile in the library itself.

Its functions are called by their mangled names, which says the same as a few lines of C++ and needs no compiler.
"""
import ctypes
import ctypes.util
import sys

WRITE_ONLY = 2
OBJECT_SIZE = 256  # more than a QString or a QSaveFile has
pointer = ctypes.c_void_p
qt = ctypes.CDLL(ctypes.util.find_library('Qt5Core'))


def call(symbol, result, *arguments):
    function = getattr(qt, symbol)
    function.restype, function.argtypes = result, [kind for kind, _ in arguments]
    return function(*[value for _, value in arguments])


def main(path, text):
    name, file = ctypes.create_string_buffer(OBJECT_SIZE), ctypes.create_string_buffer(OBJECT_SIZE)
    wide = path.encode('utf-16-le')
    call('_ZN7QStringC1EPK5QChari', None, (pointer, ctypes.addressof(name)), (ctypes.c_char_p, wide),
         (ctypes.c_int, len(wide) // 2))
    this = (pointer, ctypes.addressof(file))
    call('_ZN9QSaveFileC1ERK7QString', None, this, (pointer, ctypes.addressof(name)))
    assert call('_ZN9QSaveFile4openE6QFlagsIN9QIODevice12OpenModeFlagEE', ctypes.c_bool, this,
                (ctypes.c_int, WRITE_ONLY)), 'open'
    size = call('_ZN9QIODevice5writeEPKcx', ctypes.c_longlong, this, (ctypes.c_char_p, text),
                (ctypes.c_longlong, len(text)))
    assert size == len(text), 'write'
    assert call('_ZN9QSaveFile6commitEv', ctypes.c_bool, this), 'commit'


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2].encode())
