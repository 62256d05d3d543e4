import Processes

// Swift Testing has one too.
typealias ExitStatus = Processes.ExitStatus
