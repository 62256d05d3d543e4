import Agent
import Glibc

@main
struct SupervisorAgent {
  // Synchronous on purpose: an async entry point parks the main thread with an empty signal mask.
  static func main() {
    exit(AgentProgram.main())
  }
}
