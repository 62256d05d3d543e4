extension DjangoProgram {
  /// Calls the hooks, or lists them.
  ///
  /// A hook counts as failed when it raises anything at all, `SystemExit(0)` included: it has not come to its end then.
  static let hooksBody = #"""
    METHODS = {"infrastructure": "handle_infrastructure_init", "node": "handle_node_init"}
    module, mode = sys.argv[1:3]
    options = sys.argv[3:]
    is_fatal = mode == "infrastructure" or "--fatal" in options
    only = [options[index + 1] for index, each in enumerate(options) if each == "--only"]
    # What an earlier start of the same run ID left undone.
    only = only or os.environ.pop("SUPERVISOR_RETRY", "").split()
    # What earlier tries of the same run ID have done.
    done = os.environ.pop("SUPERVISOR_DONE", "").split()

    sys.argv[:] = ["manage.py", "autoinit" if mode == "list" else "autoinit_" + mode]
    os.environ["DJANGO_SETTINGS_MODULE"] = module
    try:
        # Lines as they come, also into a pipe.
        sys.stdout.reconfigure(line_buffering=True)
    except Exception:
        pass


    # The hooks of one phase, in the order of INSTALLED_APPS. Duck typing: the mixin is not needed, and its own empty
    # methods are no hooks.
    def hooks_of(phase):
        found = []
        for config in apps.get_app_configs():
            hook = getattr(config, METHODS[phase], None)
            if callable(hook) and not getattr(hook, "__qualname__", "").startswith("AutoInitMixin."):
                found.append((config.label + "." + METHODS[phase], config, hook))
        return found


    # A fork of ours that came back from a hook: its end is its own, and nothing that follows here is for it.
    def end_child(error):
        code = 0
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else (0 if error.code is None else 1)
        elif error is not None:
            say(traceback_of(error))
            code = 1
        flush()
        os._exit(code & 255)


    def call(hook):
        failure = None
        try:
            result = hook()
            if hasattr(result, "__await__"):
                say("the hook is a coroutine, which is never awaited: it did nothing\n")
        except BaseException as error:
            failure = error
        if os.getpid() != PARENT:
            end_child(failure)
        return failure


    def run(name, hook):
        began, clock = time.time_ns(), time.monotonic()
        put("started", name, began)
        say("hook %s: started\n" % name)
        failure = call(hook)
        seconds = time.monotonic() - clock
        ended = time.time_ns()
        flush()
        if failure is None:
            put("done", name, began, ended, "%.6f" % seconds)
            say("hook %s: done in %.3f s\n" % (name, seconds))
            return None
        message = last_line(failure)
        if isinstance(failure, SystemExit):
            message = "SystemExit: the hook calls sys.exit(%r)" % (failure.code,)
        file, line = place_of(failure)
        put("failed", name, began, ended, "%.6f" % seconds, message, file, line, traceback_of(failure))
        say("hook %s: failed after %.3f s: %s\n%s" % (name, seconds, message, traceback_of(failure)))
        return failure


    django = import_django()
    try:
        django.setup()
        from django.apps import apps
    except SystemExit as error:
        fail("setup_exit", "it calls sys.exit(%r)" % (error.code,), *place_of(error))
    except BaseException as error:
        fail_by("setup_failed", error)
    if os.getpid() != PARENT:
        end_child(None)

    phases = ["infrastructure", "node"] if mode == "list" else [mode]
    code = 0
    for phase in phases:
        hooks = hooks_of(phase)
        for name, config, hook in hooks:
            put("hook", name, phase, config.label, type(config).__module__ + "." + type(config).__qualname__)
        if mode == "list":
            continue
        for name in only:
            if name not in [each[0] for each in hooks]:
                say("hook %s: there is none of this name any more\n" % name)
        for name, config, hook in hooks:
            if only and name not in only:
                continue
            if name in done:
                say("hook %s: recorded done\n" % name)
                continue
            failure = run(name, hook)
            if failure is not None:
                code = 1
                # Somebody wants this process to end: going on would be wrong in either phase.
                if is_fatal or isinstance(failure, KeyboardInterrupt):
                    break
    put("end")
    flush()
    sys.exit(code)
    """#
}
