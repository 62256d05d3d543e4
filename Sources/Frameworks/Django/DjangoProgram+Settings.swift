extension DjangoProgram {
  /// Reads the settings and reports them.
  ///
  /// What the report depends on is part of it: files that were imported or opened on the way, and variables that were
  /// looked at. A cache of the report is good as long as none of them changes.
  static let settingsBody = #"""
    import ast
    import stat

    # What settings print is log output, and must not stand between anything else.
    os.dup2(2, 1)

    MODULE = "DJANGO_SETTINGS_MODULE"


    # The settings module that a script puts into the environment: os.environ.setdefault(MODULE, "x"), or
    # os.environ[MODULE] = "x". All that it may be; None stands for one that cannot be read.
    def modules_in(path):
        with open(path, "rb") as file:
            tree = ast.parse(file.read(), path)
        found = []
        for node in ast.walk(tree):
            name = value = None
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "setdefault" and len(node.args) == 2:
                if is_environ(node.func.value):
                    name, value = node.args
            elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Subscript):
                if is_environ(node.targets[0].value):
                    name, value = node.targets[0].slice, node.value
                    name = getattr(name, "value", name) if type(name).__name__ == "Index" else name
            if name is None or getattr(name, "value", None) != MODULE:
                continue
            value = getattr(value, "value", None)
            value = value if isinstance(value, str) else None
            if value not in found:
                found.append(value)
        return found


    def is_environ(node):
        return getattr(node, "attr", getattr(node, "id", "")) == "environ"


    def find_module():
        if os.environ.get(MODULE):
            return os.environ[MODULE], "environment"
        if len(ARGUMENTS) > 0 and ARGUMENTS[0]:
            return ARGUMENTS[0], "setting"
        places = ["manage.py", "wsgi.py", "asgi.py"]
        for name in sorted(os.listdir(".")):
            places += [name + "/wsgi.py", name + "/asgi.py"]
        for path in places:
            if not os.path.isfile(path):
                continue
            try:
                found = modules_in(path)
            except (OSError, SyntaxError, ValueError, RecursionError) as error:
                if path == "manage.py":
                    line = getattr(error, "lineno", 0) or 0
                    fail("manage_unreadable", last_line(error), os.path.abspath(path), line)
                continue
            if len(found) > 1:
                names = ", ".join(sorted(each or "one that is computed" for each in found))
                fail("no_settings_module", "it may be any of " + names, os.path.abspath(path))
            if found == [None]:
                fail("no_settings_module", "it is computed there", os.path.abspath(path))
            if found:
                return found[0], path
        has = "neither manage.py nor a wsgi.py names it" if os.path.isfile("manage.py") else "there is no manage.py"
        fail("no_settings_module", has)


    class RecordingEnvironment(type(os.environ)):
        def __getitem__(self, name):
            # subprocess asks for b"PATH", and takes the TypeError for a no.
            if isinstance(name, str):
                VARIABLES.add(name)
            return super().__getitem__(name)


    def record_open(event, arguments):
        if event != "open" or not RECORDING:
            return
        path, mode, flags = arguments
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, str) or len(OPENED) > LIMIT:
            return
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        OPENED.add(os.path.abspath(path))


    def is_input(path):
        if is_own(path):
            return "/__pycache__/" not in path
        if is_below(path, DIRECTORY) or is_installed(path):
            return False
        libraries = [sys.prefix, sys.base_prefix, os.path.dirname(os.__file__), "/proc", "/sys", "/dev"]
        return not any(is_below(path, each) for each in libraries)


    def put_file(path):
        try:
            found = os.stat(path)
        except OSError:
            put("absent", path)
            return
        if stat.S_ISREG(found.st_mode):
            put("file", path, found.st_mtime_ns, found.st_size)


    def put_value(kind, name, value):
        put(kind, name, *encoded(value))


    def get(name, default=None):
        try:
            return getattr(settings, name, default)
        except Exception as error:
            put("skipped", name, last_line(error))
            return default


    def chosen(entry, names):
        if not isinstance(entry, dict):
            return entry
        return {name: entry[name] for name in names if name in entry}


    # Of each entry of a map only what is asked for.
    def put_entry(kind, alias, entry, names, option_names):
        result = chosen(entry, names)
        if isinstance(result, dict) and option_names:
            options = entry.get("OPTIONS")
            result["OPTIONS"] = chosen(options if isinstance(options, dict) else {}, option_names)
        put_value(kind, alias, result)


    # No password leaves here, save those that are needed to reach what lock and readiness may be in: the default
    # database where it is PostgreSQL, and caches.
    def put_databases(entries):
        if not isinstance(entries, dict):
            put("skipped", "database", "it is no dict")
            return
        names = ["ENGINE", "NAME", "HOST", "PORT", "USER"]
        for alias in entries:
            engine = entries[alias].get("ENGINE") if isinstance(entries[alias], dict) else ""
            if alias == "default" and isinstance(engine, str) and ("postg" in engine or "psql" in engine):
                put_entry("database", alias, entries[alias], names + ["PASSWORD"], DATABASE_OPTIONS)
            else:
                put_entry("database", alias, entries[alias], names, [])


    def put_caches(entries):
        if not isinstance(entries, dict):
            put("skipped", "cache", "it is no dict")
            return
        for alias in entries:
            entry = entries[alias]
            if isinstance(entry, dict):
                entry = dict(entry, KEY_FUNCTION=entry.get("KEY_FUNCTION") is not None)
            put_entry(
                "cache", alias, entry, ["BACKEND", "LOCATION", "KEY_PREFIX", "VERSION", "KEY_FUNCTION"], CACHE_OPTIONS)


    # The release: as given, else as the settings have it, else the development one.
    def run_id():
        given, kind = (ARGUMENTS[1:3] + ["", ""])[:2]
        own = get("AUTOINIT_RUN_ID")
        return own if kind != "given" and isinstance(own, str) and own else given


    # Where a run ID goes in Redis; only the cache itself knows, and only with its own key function.
    def put_redis_key(caches_setting):
        alias = get("AUTOINIT_CACHE_ALIAS", "default")
        entry = caches_setting.get(alias) if isinstance(caches_setting, dict) else None
        if not isinstance(entry, dict) or "redis" not in str(entry.get("BACKEND", "")).lower():
            return
        try:
            from django.core.cache import caches

            prefix = get("AUTOINIT_READINESS_KEY_PREFIX", "autoinit:ready")
            key = str(caches[alias].make_key("%s:%s" % (prefix, "{run_id}")))
            put("redis_key", key)
            release = run_id()
            if release:
                put("redis_run_key", release, str(caches[alias].make_key("%s:%s" % (prefix, release))))
        except Exception as error:
            put("skipped", "the key in CACHES[%r]" % (alias,), last_line(error))


    CACHE_OPTIONS = ["db", "DB", "username", "USERNAME", "password", "PASSWORD", "CLIENT_CLASS"]
    # What is needed to reach a database and to be let in, and what changes who we are or where we come out.
    DATABASE_OPTIONS = [
        "dbname", "user", "password", "host", "hostaddr", "port", "service", "passfile", "requirepeer", "sslmode",
        "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslcrldir", "sslsni", "ssl_min_protocol_version",
        "ssl_max_protocol_version", "channel_binding", "gssencmode", "krbsrvname", "sslnegotiation", "sslcertmode",
        "require_auth", "gssdelegation", "target_session_attrs", "load_balance_hosts", "assume_role"]
    ARGUMENTS = sys.argv[1:]
    # Settings look at the command line; this is the one that they had so far.
    sys.argv[:] = ["manage.py", "autoinit"]
    put("directory", DIRECTORY)
    put("manage", "yes" if os.path.isfile("manage.py") else "no")
    module, module_from = find_module()
    put("module", module, module_from)
    django = import_django()

    VARIABLES, OPENED, LIMIT = set(), set(), 2000
    RECORDING = True
    sys.addaudithook(record_open)
    before = set(sys.modules)
    os.environ[MODULE] = module
    os.environ.__class__ = RecordingEnvironment
    try:
        from django.conf import settings

        settings.INSTALLED_APPS
    except SystemExit as error:
        fail("settings_exit", "it calls sys.exit(%r)" % (error.code,), *place_of(error))
    except ModuleNotFoundError as error:
        parts = module.split(".")
        if error.name in [".".join(parts[:count + 1]) for count in range(len(parts))]:
            fail("settings_not_found", last_line(error))
        fail_by("settings_failed", error)
    except BaseException as error:
        fail_by("settings_failed", error)

    for name in sorted(each for each in dir(settings) if each.startswith("AUTOINIT_")):
        put_value("setting", name, get(name))
    for name in ("INSTALLED_APPS", "STATIC_ROOT", "LITEFS"):
        value = get(name)
        if value is not None:
            put_value("setting", name, value)
    put_databases(get("DATABASES", {}))
    caches_setting = get("CACHES", {})
    put_caches(caches_setting)
    put_redis_key(caches_setting)

    # What was there before us is no input of the settings.
    RECORDING = False
    os.environ.__class__ = RecordingEnvironment.__bases__[0]
    loaded = [sys.modules[each] for each in set(sys.modules) - before if each in sys.modules]
    files = {os.path.abspath(each.__file__) for each in loaded if isinstance(getattr(each, "__file__", None), str)}
    inputs = {each for each in files | OPENED if is_input(each)}
    own = getattr(sys.modules.get(module), "__file__", None)
    inputs |= {os.path.abspath(each) for each in (own, django.__file__, sys.executable) if isinstance(each, str) and each}
    if os.path.isfile("manage.py"):
        inputs.add(os.path.abspath("manage.py"))
    if len(inputs) > LIMIT:
        put("uncacheable", "the settings read more than %d files" % LIMIT)
    else:
        for path in sorted(inputs):
            put_file(path)
        for name in sorted(VARIABLES):
            put("variable", name)
    put("end")
    flush()
    """#
}
