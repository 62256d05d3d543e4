import CLinux
import EventLoop
import Glibc
import Processes
import Testing

extension KernelSuite {
  @Suite struct SpawnTests {
    private let world: KernelWorld
    private let directory: TemporaryDirectory

    init() throws {
      world = try KernelWorld()
      directory = try TemporaryDirectory()
    }

    private func image(_ arguments: RawString..., path: String? = nil) -> ProcessImage {
      ProcessImage(
        arguments: arguments, environment: ProcessEnvironment(path.map { [RawString("PATH=\($0)")] } ?? []))
    }

    @Test func `a program starts, ends, and is told of once`() throws {
      let life = try world.run(image("true", path: "/nowhere:/bin"))
      #expect(life.failure == nil)
      #expect(life.ends == [.exited(0)])
      #expect(world.table.isEmpty)
      try world.turn("no children") { world.table.hasNoChildren }
    }

    @Test(arguments: [
      ("exit 0", ExitStatus.exited(0)), ("exit 255", .exited(255)), ("kill -9 $$", .signaled(.kill)),
    ])
    func `the end is that of the program`(line: String, status: ExitStatus) throws {
      #expect(try world.run(KernelWorld.shell(line)).ends == [status])
    }

    @Test func `fifty at once are fifty lives, each with its own end`() throws {
      let lives = try (0..<50).map { try world.spawn(KernelWorld.shell("exit \($0)")) }
      try world.turn("all ends") { world.table.isEmpty }
      #expect(lives.map(\.ends) == (0..<50).map { [.exited(CInt($0))] })
      #expect(Set(lives.map(\.pid)).count == 50)
    }

    // MARK: Failures

    private func failure(of image: ProcessImage) throws -> SpawnFailure {
      let life = try world.run(image)
      #expect(life.ends == [])
      return try #require(life.failure)
    }

    @Test func `a command that is nowhere`() throws {
      let searched = try failure(of: image("no-such-thing", path: "/bin:/usr/bin"))
      #expect(searched.stage == .exec && searched.code == ENOENT && searched.exitCode == 127)
      #expect(searched.description == "no-such-thing: not found in PATH (/bin:/usr/bin)")
      let absolute = try failure(of: image("/no/such/thing"))
      #expect(absolute.description == "/no/such/thing: not found")
      #expect(try failure(of: image("")).exitCode == 127)
      #expect(try failure(of: image("/bin/sh/x")).exitCode == 127)
    }

    @Test func `a file that may not be executed, or is none`() throws {
      let file = try directory.file("data", "text", mode: 0o644)
      let denied = try failure(of: image(RawString(file)))
      #expect(denied.stage == .exec && denied.code == EACCES && denied.exitCode == 126)
      #expect(denied.description.contains(file))
      #expect(try failure(of: image(RawString(directory.path))).exitCode == 126)
    }

    @Test func `what may not be executed in one folder of PATH is looked for in the next`() throws {
      _ = try directory.file("true", "text", mode: 0o644)
      #expect(try world.run(image("true", path: directory.path + ":/bin")).ends == [.exited(0)])
      let denied = try failure(of: image("true", path: directory.path + ":/nowhere"))
      #expect(denied.code == EACCES && denied.path == directory.path + "/true")
    }

    @Test func `a script without an interpreter, with a missing one, and with Windows line endings`() throws {
      let bare = try failure(of: image(RawString(try directory.file("bare", "echo hello\n", mode: 0o755))))
      #expect(bare.code == ENOEXEC && bare.exitCode == 126)
      let missing = try directory.file("missing", "#!/no/such/shell -x\n", mode: 0o755)
      let failed = try failure(of: image(RawString(missing)))
      #expect(failed.stage == .interpreter("/no/such/shell") && failed.exitCode == 127)
      #expect(failed.description == "\(missing): interpreter /no/such/shell is missing")
      let windows = try directory.file("windows", "#!/bin/sh\r\necho\r\n", mode: 0o755)
      #expect(try failure(of: image(RawString(windows))).description.contains("Windows line endings"))
    }

    @Test func `a working directory that cannot be entered`() throws {
      var image = KernelWorld.shell("pwd >\(directory.path)/out")
      image.directory = "/no/such/folder"
      let failed = try failure(of: image)
      #expect(failed.stage == .directory && failed.code == ENOENT)
      #expect(failed.description.contains("/no/such/folder"))
      image.directoryIsOptional = true
      #expect(try world.run(image).ends == [.exited(0)])
      #expect(try contents(of: directory.path + "/out") == "/\n")
    }

    @Test func `a limit that cannot be set names its place in the list`() throws {
      var image = KernelWorld.shell("exit 0")
      image.limits = [
        ResourceLimit(resource: CInt(RLIMIT_CORE.rawValue), soft: 0, hard: 0),
        // A soft limit above the hard one is refused to everybody.
        ResourceLimit(resource: CInt(RLIMIT_CPU.rawValue), soft: 2, hard: 1),
      ]
      let failed = try failure(of: image)
      #expect(failed.stage == .limit(1) && failed.code == EINVAL)
    }

    @Test func `an argument that is too long for the kernel`() throws {
      let long = RawString(String(repeating: "x", count: 200_000))
      let failed = try failure(of: image("/bin/true", long))
      #expect(failed.code == E2BIG && failed.description.contains("too long"))
    }

    // MARK: What the child is given

    @Test func `arguments and environment arrive byte for byte`() throws {
      var odd = RawString("ODD=")
      odd.bytes += [0xff, 0x0a, 0x3d, 0x80]
      var argument = RawString("")
      argument.bytes = [0xfe, 0x20, 0x27]
      let entries = [odd, "A=1", "A=2", "no equals", ""]
      let line = """
        tr '\\0' '|' </proc/$$/environ >\(directory.path)/env
        tr '\\0' '|' </proc/$$/cmdline >\(directory.path)/cmd
        """
      let dumped = try world.run(
        ProcessImage(
          arguments: ["/bin/sh", "-c", RawString(line), argument],
          environment: ProcessEnvironment(["PATH=/bin:/usr/bin"] + entries)))
      #expect(dumped.ends == [.exited(0)])
      let bar = UInt8(ascii: "|")
      let expected = (["PATH=/bin:/usr/bin"] + entries).flatMap { $0.bytes + [bar] }
      #expect(try bytes(of: directory.path + "/env") == expected)
      #expect(try bytes(of: directory.path + "/cmd").suffix(4) == [0xfe, 0x20, 0x27, bar])
    }

    @Test func `umask, limits and directory are as they were asked for`() throws {
      var image = KernelWorld.shell("umask; ulimit -n; ulimit -Hn; pwd")
      image.arguments[2] = RawString("{ umask; ulimit -n; ulimit -Hn; pwd; } >\(directory.path)/out")
      image.umask = 0o027
      image.limits = [ResourceLimit(resource: CInt(RLIMIT_NOFILE.rawValue), soft: 123, hard: 234)]
      image.directory = "/usr"
      #expect(try world.run(image).ends == [.exited(0)])
      #expect(try contents(of: directory.path + "/out") == "0027\n123\n234\n/usr\n")
    }

    @Test(.enabled(if: geteuid() == 0, "needs root")) func `user and groups are as they were asked for`()
      throws
    {
      let out = try directory.file("out", "", mode: 0o666)
      var image = KernelWorld.shell("id -u >\(out); id -g >>\(out); id -G >>\(out)")
      #expect(chmod(directory.path, 0o755) == 0)
      image.identity = Identity(user: 65534, group: 65533, supplementaryGroups: [65533, 44])
      #expect(try world.run(image).ends == [.exited(0)])
      #expect(try contents(of: out) == "65534\n65533\n65533 44\n")
    }

    /// The start is told when exec closes the report's pipe, and others may be closed after it.
    private func descriptors(of pid: CInt) -> [String] {
      var found: [String] = []
      guard let folder = opendir("/proc/\(pid)/fd") else { return [] }
      defer { closedir(folder) }
      while let entry = readdir(folder) {
        found.append(
          withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        )
      }
      return found.filter { !$0.hasPrefix(".") }.sorted()
    }

    @Test func `a child has a group of its own and no descriptor above 2`() throws {
      // One that is not close-on-exec, as a careless library would leave it.
      let careless = dup(0)
      defer { close(careless) }
      let life = try world.spawn(image("/bin/sleep", "100"))
      try world.turn("the start") { life.isTold }
      #expect(getpgid(life.pid) == life.pid)
      try world.turn("its descriptors") { descriptors(of: life.pid) == ["0", "1", "2"] }
      world.table.signal(life.pid, .terminate)
      try world.turn("the end") { !world.table.contains(life.pid) }
      #expect(life.ends == [.signaled(.terminate)])
      #expect(world.table.signal(life.pid, .terminate) == nil)
    }

    /// Whatever number it and the pipe of the report have here.
    @Test func `a kept descriptor is the child's third, and the only one above 2`() throws {
      var numbers: Set<CInt> = []
      var blocked: [CInt] = []
      defer { for descriptor in blocked { close(descriptor) } }
      for round in 0..<6 {
        let out = try directory.file("kept-\(round)", "")
        let kept = open(out, O_WRONLY | O_CLOEXEC)
        try #require(kept > 2)
        numbers.insert(kept)
        var image = self.image("/bin/sleep", "100")
        image.keptDescriptor = kept
        let life = try world.spawn(image)
        try world.turn("the start") { life.isTold }
        try world.turn("its descriptors") { descriptors(of: life.pid) == ["0", "1", "2", "3"] }
        var place = [UInt8](repeating: 0, count: 4096)
        let size = place.withUnsafeMutableBytes { bytes -> Int in
          guard let start = bytes.baseAddress?.assumingMemoryBound(to: CChar.self) else { return -1 }
          return readlink("/proc/\(life.pid)/fd/3", start, bytes.count)
        }
        #expect(String(decoding: place.prefix(max(size, 0)), as: UTF8.self) == out)
        world.table.signal(life.pid, .kill)
        try world.turn("the end") { !world.table.contains(life.pid) }
        // A failure is still told, over a pipe that may have to give way.
        var missing = self.image("/no/such/thing")
        missing.keptDescriptor = kept
        #expect(try failure(of: missing).stage == .exec)
        #expect(fcntl(kept, F_GETFD) == FD_CLOEXEC)
        // The next round's has another number.
        blocked.append(kept)
      }
      #expect(numbers.count == 6)
      var closed = KernelWorld.shell("exit 0")
      closed.keptDescriptor = 999
      #expect(try failure(of: closed).stage == .standardDescriptors)
    }

    // MARK: Groups and strays

    @Test func `a group is there until its last member is gone`() throws {
      let life = try world.spawn(KernelWorld.shell("sleep 100 & exit 0"))
      try world.turn("the leader's end") { !world.table.contains(life.pid) }
      #expect(world.table.groupExists(life.pid))
      world.table.signalGroup(life.pid, .kill)
      try world.turn("the group's end") { !world.table.groupExists(life.pid) }
    }

    @Test func `signals to group 0, 1 and below go nowhere`() throws {
      for group in [-1, 0, 1] as [CInt] {
        world.table.signalGroup(group, .kill)
        #expect(!world.table.groupExists(group))
      }
    }

    @Test func `an orphan that is adopted is reaped, counted and told`() throws {
      #expect(clinux_subreaper_set(true) == 0)
      defer { _ = clinux_subreaper_set(false) }
      var told: [CInt: ExitStatus] = [:]
      world.table.onStrayReaped = { pid, status in told[pid] = status }
      // It waits for a line, so that it outlives its parent.
      #expect(mkfifo(directory.path + "/gate", 0o600) == 0)
      let gate = open(directory.path + "/gate", O_RDWR | O_CLOEXEC)
      defer { close(gate) }
      let life = try world.spawn(
        KernelWorld.shell("setsid sh -c 'read line; exit 7' <\(directory.path)/gate & exit 0"))
      try world.turn("the parent's end") { !world.table.contains(life.pid) }
      #expect(write(gate, "\n", 1) == 1)
      try world.turn("the orphan's end") { told.values.contains(.exited(7)) }
      #expect(world.table.reapedStrays == UInt64(told.count))
      #expect(life.ends == [.exited(0)])
    }

    @Test func `a burst is reaped in portions`() throws {
      let count = ProcessTable.portion + 20
      let lives = try (0..<count).map { _ in try world.spawn(image("/bin/true")) }
      // Not one turn of the loop in between: all of them are zombies when the first look comes.
      let end = MonotonicInstant.now + .seconds(30)
      while lives.contains(where: { state(of: $0.pid) != "Z" }), MonotonicInstant.now < end { usleep(1000) }
      #expect(world.table.reap() == false)
      #expect(world.table.reap() == true)
      #expect(lives.allSatisfy { $0.ends == [.exited(0)] })
    }
  }
}
