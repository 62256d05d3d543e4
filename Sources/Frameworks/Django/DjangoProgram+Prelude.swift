extension DjangoProgram {
  /// What both programs begin with: where results go, and how values and errors become lines of fields.
  ///
  /// Only the process that began may write results: a hook may fork, and its child come back here.
  static let prelude = #"""
    import os
    import sys
    import time
    import traceback

    PARENT = os.getpid()
    DIRECTORY = os.getcwd()
    # With `python -` the first place to import from is "", which would change with the directory.
    sys.path[:] = [DIRECTORY if place == "" else place for place in sys.path]

    # Not for the project's eyes, nor for what it starts.
    RESULT_FILE = os.environ.pop("SUPERVISOR_RESULT_FILE", "")
    RESULT_DESCRIPTOR = os.environ.pop("SUPERVISOR_RESULT_FD", "")
    if RESULT_FILE:
        RESULT_FILE = os.path.abspath(RESULT_FILE)
        RESULT_DESCRIPTOR = -1
    elif RESULT_DESCRIPTOR.isdigit():
        RESULT_DESCRIPTOR = int(RESULT_DESCRIPTOR)
        os.set_inheritable(RESULT_DESCRIPTOR, False)
    else:
        sys.stderr.write("neither SUPERVISOR_RESULT_FILE nor SUPERVISOR_RESULT_FD says where results go\n")
        sys.exit(64)


    def write_all(descriptor, data):
        while data:
            data = data[os.write(descriptor, data):]


    # One write a line, so that lines never mix. The file is opened anew each time: some hooks close all descriptors.
    def put(*fields):
        if os.getpid() != PARENT:
            return
        data = (" ".join(escaped(str(each)) for each in fields) + "\n").encode("ascii")
        if not RESULT_FILE:
            write_all(RESULT_DESCRIPTOR, data)
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(RESULT_FILE, flags, 0o600)
        try:
            write_all(descriptor, data)
        finally:
            os.close(descriptor)


    # A value inside one field of one line: all but visible ASCII becomes %XX, empty becomes -.
    def escaped(text):
        if text == "":
            return "-"
        if text == "-":
            return "%2D"
        try:
            data = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            data = text.encode("utf-8", "backslashreplace")
        return "".join(chr(byte) if 0x20 < byte < 0x7F and byte != 0x25 else "%%%02X" % byte for byte in data)


    # The fields of any value; what has no text form is named by its type.
    def encoded(value, depth=0):
        try:
            if value is None:
                return ["n"]
            if value is True or value is False:
                return ["t" if value else "f"]
            if isinstance(value, os.PathLike):
                value = os.fspath(value)
            if isinstance(value, bytes):
                value = os.fsdecode(value)
            if isinstance(value, str) and len(value) <= 65536:
                return ["s:" + str.__str__(value)]
            if isinstance(value, int):
                return ["i:" + int.__repr__(value)]
            if isinstance(value, float):
                return ["d:" + float.__repr__(value)]
            if depth < 8 and isinstance(value, (list, tuple, set, frozenset)) and len(value) <= 1000:
                fields = ["l:%d" % len(value)]
                for each in value:
                    fields += encoded(each, depth + 1)
                return fields
            if depth < 8 and isinstance(value, dict) and len(value) <= 1000:
                fields = ["m:%d" % len(value)]
                for name in value:
                    fields += encoded(str(name), depth + 1) + encoded(value[name], depth + 1)
                return fields
        except Exception:
            pass
        return ["x:" + type(value).__module__ + "." + type(value).__qualname__]


    def is_below(path, directory):
        return path == directory or path.startswith(directory.rstrip("/") + "/")


    def is_installed(path):
        return "/site-packages/" in path or "/dist-packages/" in path


    # Whether a file is the project's own and not a library's.
    def is_own(path):
        if is_installed(path) or not is_below(path, DIRECTORY):
            return False
        return not (is_below(sys.prefix, DIRECTORY) and is_below(path, sys.prefix))


    # The error in one line, as a traceback ends; a message may have several lines.
    def last_line(error):
        try:
            lines = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()
            text = lines[-1] if isinstance(error, SyntaxError) else " ".join(lines)
            return text[:2000] or type(error).__name__
        except Exception:
            return type(error).__name__


    # Where to look: the deepest line of the project's own, else the deepest of all.
    def place_of(error):
        if isinstance(error, SyntaxError) and error.filename:
            return error.filename, error.lineno or 0
        own, other = None, ("", 0)
        for frame, line in traceback.walk_tb(error.__traceback__):
            name = frame.f_code.co_filename
            if name.startswith("<"):
                continue
            other = (name, line)
            if is_own(os.path.abspath(name)):
                own = other
        return own or other


    def traceback_of(error):
        try:
            entry = error.__traceback__
            while entry is not None and entry.tb_frame.f_code.co_filename == "<stdin>":
                entry = entry.tb_next
            text = "".join(traceback.format_exception(type(error), error, entry))
        except Exception:
            text = last_line(error) + "\n"
        return text if len(text) <= 16384 else "...\n" + text[-16384:]


    def flush():
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass


    # For people. Past sys.stderr, which the project may have closed or replaced.
    def say(text):
        flush()
        try:
            write_all(2, text.encode("utf-8", "backslashreplace"))
        except OSError:
            pass


    def fail(kind, message, file="", line=0):
        put("error", kind, message, file, line)
        put("end")
        flush()
        sys.exit(1)


    def fail_by(kind, error):
        # What the file says of itself comes first; for the details there is the traceback.
        say(traceback_of(error))
        fail(kind, last_line(error), *place_of(error))


    def import_django():
        try:
            import django
        except BaseException as error:
            if isinstance(error, ModuleNotFoundError) and error.name == "django":
                fail("no_django", last_line(error))
            fail_by("no_django", error)
        put("django", django.get_version(), django.__file__)
        return django


    put("supervisor-django", 1)
    put("python", "%d.%d.%d" % sys.version_info[:3], sys.executable or "")

    """#
}
