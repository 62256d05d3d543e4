import Glibc
import Testing

/// What a Django project consists of beside its phases: a web server as the app, a worker as a service.
@Suite(
  "Django: services", .drivesProcesses,
  .enabled(if: ProjectPython.folders["services"] != nil, "no Python with gunicorn and celery"))
struct DjangoServiceTests {
  private let variables = DjangoSite.path("services")

  @Test("gunicorn serves the project; a stop lets the request under way end, and everybody is gone")
  func gunicorn() throws {
    try DjangoSite.with { site in
      let web = try Listener.reservation()
      defer { web.close() }
      try site.append("ROOT_URLCONF = 'probe.urls'\nALLOWED_HOSTS = ['*']")
      try writeFile(
        site.project + "/probe/urls.py",
        """
        import time

        from django.http import HttpResponse
        from django.urls import path

        from probe.hooks import record


        def slow(request):
            record("request", "enter")
            time.sleep(0.5)
            return HttpResponse("slow\\n")


        urlpatterns = [path("", lambda request: HttpResponse("hello\\n")), path("slow", slow)]
        """)
      try writeFile(
        site.project + "/probe/wsgi.py",
        """
        import os

        from django.core.wsgi import get_wsgi_application

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "probe.settings")
        application = get_wsgi_application()
        """)
      let settings = DjangoSite.settings {
        $0.app = ["ready: {http: \"http://127.0.0.1:\(web.port)/\", interval: 200ms}"]
      }
      let app = ["gunicorn", "probe.wsgi", "--bind", "127.0.0.1:\(web.port)", "--workers", "2"]
      try Stage.run(site.run(settings, variables, app: app)) { stage in
        try site.node.waitFor("/readyz", 200, stage, within: 60)
        #expect(
          site.takeEvents() == DjangoSite.whole("infrastructure") + DjangoSite.whole("node"))
        let answer = try HTTPAnswer.get("/", port: web.port)
        #expect(answer.status == 200)
        #expect(answer.body.contains("hello\n"))

        let request = try Connection(port: web.port)
        try request.send("GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        try eventually("the request is under way") {
          try stage.pump()
          return site.takeEvents() == ["request enter"]
        }
        try stage.send(SIGTERM)
        let slow = HTTPAnswer(try request.receive())
        #expect(slow?.status == 200)
        #expect(slow?.body.contains("slow\n") == true)
        let ending = try stage.waitForEnd()
        let survivors = try stage.survivors()
        #expect(ending == .exited(0), "\(stage.errors.text)")
        #expect(survivors == [])
      }
    }
  }

  @Test("a celery worker as a service does a task that the app asks for, and stops in order")
  func celery() throws {
    try DjangoSite.with { site in
      let queue = site.node.folder + "/queue"
      try writeFile(
        site.project + "/tasks.py",
        """
        import os

        from celery import Celery

        from probe.hooks import record

        QUEUE = os.environ["PROBE_QUEUE"]
        for name in ("messages", "control"):
            os.makedirs(os.path.join(QUEUE, name), exist_ok=True)
        app = Celery("tasks", broker="filesystem://")
        app.conf.broker_transport_options = {
            "data_folder_in": QUEUE + "/messages", "data_folder_out": QUEUE + "/messages",
            "control_folder": QUEUE + "/control", "polling_interval": 0.1,
        }
        app.conf.task_ignore_result = True


        @app.task
        def work(name):
            record(name, "worked")
        """)
      let worker = RunSettings.list([
        "celery", "--app", "tasks", "worker", "--concurrency", "1", "--loglevel", "info", "--without-gossip",
        "--without-mingle", "--without-heartbeat",
      ])
      let settings = DjangoSite.settings { $0.services = ["worker: {command: \(worker)}"] }
      let script = "python -c 'import tasks; tasks.work.delay(\"task\")' && echo asked; exec sleep 1000"
      let app = ["/bin/sh", "-c", script]
      try Stage.run(site.run(settings, variables.merging(["PROBE_QUEUE": queue]) { $1 }, app: app)) { stage in
        try stage.line("asked", within: 60)
        try eventually("the task is done", within: 60) {
          try stage.pump(50)
          return readText(site.node.folder + "/events")?.contains("task worked") == true
        }
        try stage.send(SIGTERM)
        let ending = try stage.waitForEnd()
        let survivors = try stage.survivors()
        #expect(ending == .exited(143))
        #expect(survivors == [])
        // Not killed: it finished what it had and said so.
        #expect((stage.output.text + stage.errors.text).contains("worker: Warm shutdown"))
        #expect(
          site.takeEvents() == DjangoSite.whole("infrastructure") + DjangoSite.whole("node") + ["task worked"]
        )
      }
    }
  }
}
