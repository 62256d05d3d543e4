import Commands
import Glibc

@main
struct Supervisor {
  // Synchronous on purpose: an async entry point parks the main thread with an empty signal mask.
  static func main() {
    exit(EntryPoint.main())
  }
}
