import EventLoop
import Phases

// Lock, record and readiness in servers, and what goes wrong with those.
extension Scenario {
  struct Database {
    /// How many connections a pooler in transaction mode has to the server; nil: there is none.
    var poolSize: Int?
    var maximumConnections = 100
    var slowPercent = 0
    /// In so many percent of all steps their work is done in the database.
    var stepsInDatabase = 60
    /// In so many percent of all kills the statement goes on.
    var goesOnPercent = 40
    var hasRedis = false
    /// How many nodes still run django-autoinit.
    var autoinitNodes = 0
    var timeToLive: Duration = .seconds(86400)
    var clockSkew: Duration = .zero
  }

  mutating func chooseDatabase(_ random: inout SeededGenerator) {
    var chosen = Database()
    rules.startsOver = true
    rules.endsRemains = true
    rules.place = "postgres"
    rules.pollInterval = .seconds(1)
    store = Store()
    if random.chance(40) {
      // Lock, leader's lock, record, and a statement of each step at a time, and as many of steps that were killed.
      chosen.poolSize = 4 + rules.parallelism + random.number(0...2)
    }
    if random.chance(10) { chosen.slowPercent = random.pick([2, 10]) }
    chosen.stepsInDatabase = random.pick([0, 60, 100])
    chosen.goesOnPercent = random.pick([0, 40, 100])
    chosen.hasRedis = random.chance(50)
    // It does not work through a pooler, and hooks that need each other are in their order.
    if chosen.hasRedis, chosen.poolSize == nil, releases.count == 1, random.chance(30) {
      chosen.autoinitNodes = random.number(1...4)
    }
    if random.chance(10) { chosen.timeToLive = .seconds(20) }
    chosen.clockSkew = random.pick([.zero, .seconds(-60), .seconds(7200)])
    if random.chance(30) { store.lostWakeups = random.pick([10, 50, 100]) }
    database = chosen
  }

  /// What would strike files strikes servers.
  mutating func moveFaultsToServers(_ random: inout SeededGenerator) {
    for index in faults.indices {
      switch faults[index].fault {
      case .killHelper: faults[index].fault = random.chance(60) ? .killAgent : serverFault(&random)
      case .killHelperOfPaused(let length): faults[index].fault = .killAgentOfPaused(length)
      case .diskFull, .readError, .ready, .spoilRecord, .removeRecord, .stateVanishes:
        faults[index].fault = serverFault(&random)
      case .damage where random.chance(50): faults[index].fault = serverFault(&random)
      default: break
      }
      if case .cut = faults[index].fault, random.chance(60) { faults[index].target = .infrastructure }
    }
    terminateSomeCutOff(&random)
  }

  /// Somebody ends the session of one that is cut off: what that one has sent before may still arrive.
  mutating func terminateSomeCutOff(_ random: inout SeededGenerator) {
    for item in faults {
      guard case .cut = item.fault, random.chance(40) else { continue }
      let at = item.at + random.duration(.milliseconds(100)...(.seconds(3)))
      faults.append((at, item.node, nil, .terminateHolder(.infrastructure)))
    }
  }

  private func serverFault(_ random: inout SeededGenerator) -> Fault {
    switch random.number(0...15) {
    case 0...2: return .terminateHolder(random.chance(70) ? .infrastructure : .leader)
    case 3...5: return .cut(random.duration(.milliseconds(100)...(.seconds(25))))
    case 6...7: return .restartServer(random.duration(.milliseconds(100)...(.seconds(20))))
    case 8: return .fewConnections(random.duration(.milliseconds(100)...(.seconds(10))))
    case 9: return .slowServer(random.duration(.milliseconds(100)...(.seconds(10))))
    case 10: return .dropDatabase
    case 11: return .flushRedis
    case 12: return .redisAway(random.duration(.milliseconds(100)...(.seconds(25))), keeps: random.chance(70))
    default:
      return .hangAgent(
        random.duration(random.chance(30) ? .milliseconds(100)...(.seconds(3)) : .seconds(3)...(.seconds(25)))
      )
    }
  }
}
