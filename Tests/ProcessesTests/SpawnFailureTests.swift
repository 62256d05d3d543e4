import CLinux
import EventLoop
import Glibc
import Testing

@testable import Processes

struct SpawnFailureTests {
  @Test(
    arguments: [
      (.exec, ENOENT, 127, false), (.exec, ENOTDIR, 127, false), (.exec, EACCES, 126, false),
      (.exec, ENOEXEC, 126, false), (.exec, E2BIG, 126, false), (.exec, ETXTBSY, 126, true),
      (.exec, ENOMEM, 126, true), (.exec, EAGAIN, 126, true), (.interpreter("/bin/x"), ENOENT, 127, false),
      (.clone, EAGAIN, 70, true), (.deadline, ETIMEDOUT, 70, true), (.vanished, 0, 70, true),
      (.identity, EPERM, 77, false), (.identity, EINVAL, 126, false), (.limit(0), EPERM, 77, false),
      (.limit(1), EINVAL, 126, false), (.directory, ENOENT, 126, false), (.group, EPERM, 126, false),
      (.standardDescriptors, EBADF, 126, false), (.deathSignal, EINVAL, 126, false),
    ] as [(SpawnFailure.Stage, CInt, CInt, Bool)])
  func `a failure has the code a shell would give, and says whether to try again`(
    stage: SpawnFailure.Stage, code: CInt, exitCode: CInt, isTemporary: Bool
  ) {
    let failure = SpawnFailure(stage: stage, code: code, command: "gunicorn", directory: "/app")
    #expect(failure.exitCode == exitCode)
    #expect(failure.isTemporary == isTemporary)
    #expect(failure.description.contains("gunicorn"))
  }

  @Test(
    arguments: [
      (.exec, ENOENT, nil, "gunicorn: not found"),
      (.exec, ENOENT, "/bin", "gunicorn: not found in PATH (/bin)"),
      (.exec, ENOENT, "", "gunicorn: not found in PATH (which is empty)"),
      (.interpreter("/bin/bash\\r"), ENOENT, nil, "Windows line endings"),
      (.interpreter("/lib/ld.so"), ENOENT, nil, "interpreter /lib/ld.so is missing"),
      (.interpreter(""), ENOENT, nil, "loader that it asks for is missing"),
      (.exec, ENOEXEC, nil, "#! line"), (.exec, E2BIG, nil, "too long"),
      (.directory, ENOENT, nil, "cannot enter its working directory /app"),
      (.limit(0), EPERM, nil, "resource limit 1"),
    ] as [(SpawnFailure.Stage, CInt, String?, String)])
  func `the sentence names the cause`(
    stage: SpawnFailure.Stage, code: CInt, searched: String?, expected: String
  ) {
    let failure = SpawnFailure(
      stage: stage, code: code, command: "gunicorn", searched: searched, directory: "/app")
    #expect(failure.description.contains(expected), "\(failure)")
  }

  @Test func `an empty command is said to be empty`() {
    #expect(SpawnFailure(stage: .exec, code: ENOENT, command: "").description == "the command is empty")
  }

  @Test(
    arguments: [
      (ExitStatus.exited(3), 3, "exit code 3"), (.signaled(.kill), 137, "killed by KILL"),
      (.signaled(.containerHalt), 165, "killed by RTMIN+3"),
    ] as [(ExitStatus, CInt, String)])
  func `an end reads as a shell counts it`(status: ExitStatus, code: CInt, text: String) {
    #expect(status.shellCode == code)
    #expect("\(status)" == text)
  }
}
