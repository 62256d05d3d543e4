import Glibc
import Wire

/// The loop that every node runs for ever: become primary, or follow who is, or try again.
extension Store {
  func elect() {
    var handedOver: String?
    while !monitor.locked({ isClosing }) {
      let result = electOnce(&handedOver)
      if result == .pause, handedOver == nil { pause(configuration.durations["lease.reconnect-delay"] ?? 1) }
    }
  }

  private enum Outcome { case again, pause }

  private func pause(_ seconds: Double) {
    let deadline = monotonicSeconds() + seconds
    monitor.locked {
      while !isClosing, monotonicSeconds() < deadline { monitor.wait(seconds: deadline - monotonicSeconds()) }
    }
  }

  private func electOnce(_ handedOver: inout String?) -> Outcome {
    let existing: String
    do {
      existing = try leaser.clusterID()
    } catch {
      Log.info("cannot fetch cluster ID from \"\(leaser.type)\" lease, retrying: \(error)")
      return .pause
    }
    var followed: PrimaryInfo?
    if !existing.isEmpty, !clusterID.isEmpty, existing != clusterID {
      Log.info("cannot connect, \"\(leaser.type)\" lease already initialized with different ID: \(existing)")
      return .pause
    } else if !existing.isEmpty, clusterID.isEmpty {
      Log.info(
        "cannot become primary, local node has no cluster ID and \"\(leaser.type)\" lease already initialized "
          + "with cluster ID \(existing)")
      do {
        followed = try leaser.primary()
        if followed == nil { throw Failure("no primary") }
      } catch {
        Log.info("cannot find primary, retrying: \(error)")
        return .pause
      }
    } else {
      let lease: String?
      do {
        if let handed = handedOver {
          handedOver = nil
          Log.info("\(name): acquiring existing lease from handoff")
          do {
            lease = try leaser.acquire(existing: handed)
            if lease == nil { throw Failure("primary exists") }
          } catch {
            Log.info("\(name): cannot acquire existing lease from handoff, retrying: \(error)")
            return .pause
          }
        } else {
          (lease, followed) = try leaseOrPrimary()
        }
      } catch let failure as Failure {
        let ineligible = failure.description == "no primary" && !candidate
        Log.info(
          "\(name): \(ineligible ? "cannot find primary & ineligible to become primary" : "cannot acquire lease or find primary"), retrying: \(failure)"
        )
        return .pause
      } catch {
        return .pause
      }
      if let lease {
        Log.info("\(name): primary lease acquired, advertising as \(leaser.advertiseURL)")
        if let lost = reign(lease) { Log.info("\(name): primary lease lost, retrying: \(lost)") }
        recover()
        return .again
      }
    }
    guard let followed else { return .pause }
    Log.info(
      "\(name): existing primary found (\(followed.hostname)), connecting as replica to "
        + JSON.quoted(followed.advertiseURL))
    do {
      handedOver = try follow(followed)
      Log.info("\(name): disconnected from primary, retrying")
    } catch {
      Log.info("\(name): disconnected from primary with error, retrying: \(error)")
    }
    recover()
    return .pause
  }

  private func leaseOrPrimary() throws -> (String?, PrimaryInfo?) {
    do {
      if let primary = try leaser.primary() { return (nil, primary) }
    } catch {
      throw Failure("fetch primary url: \(error)")
    }
    guard candidate else { throw Failure("no primary") }
    if let lease = try leaser.acquire(existing: nil) { return (lease, nil) }
    guard let primary = try leaser.primary() else { throw Failure("no primary") }
    return (nil, primary)
  }

  /// As long as the lease lasts. Why it ended, unless that was asked for.
  private func reign(_ lease: String) -> String? {
    var keepsLease = false
    defer {
      if keepsLease {
        Log.info("\(name): exiting primary, preserving lease for handoff")
      } else {
        Log.info("\(name): exiting primary, destroying lease")
        leaser.release(lease)
      }
    }
    do {
      if try leaser.clusterID().isEmpty {
        let bytes = (0..<8).map { _ in UInt8.random(in: 0...255) }
        let random = bytes.reduce(0) { $0 << 8 | UInt64($1) }.hex.uppercased()
        let id = clusterID.isEmpty ? "LFSC" + random : clusterID
        try leaser.setClusterID(id)
        try setClusterID(id)
        Log.info("set cluster id on \"\(leaser.type)\" lease \"\(id)\"")
      }
    } catch {
      return "set cluster id: \(error)"
    }
    setPrimary(true)
    defer { setPrimary(false) }
    var renewed = monotonicSeconds()
    var wait = leaser.ttl / 2
    var next = renewed + wait
    while true {
      let (closing, target): (Bool, UInt64?) = monitor.locked {
        while !isClosing, handoffRequest == nil, monotonicSeconds() < next {
          monitor.wait(seconds: min(next - monotonicSeconds(), 1e6))
        }
        defer { handoffRequest = nil }
        return (isClosing, handoffRequest)
      }
      if closing { return nil }
      if let target {
        // Renewed once more, then the replica gets the lease's ID over its stream.
        guard (try? leaser.renew(lease)) == true, hand(lease, to: target) else {
          Log.info("\(name): handoff unsuccessful, continuing as primary")
          continue
        }
        keepsLease = true
        return nil
      }
      do {
        guard try leaser.renew(lease) else { return "lease expired" }
        renewed = monotonicSeconds()
        wait = leaser.ttl / 2
      } catch {
        if monotonicSeconds() - renewed + 1 > leaser.ttl {
          sleep(1)
          return "lease expired"
        }
        Log.info("\(name): lease renewal error, retrying: \(error)")
        wait = 1
      }
      next = monotonicSeconds() + wait
    }
  }

  private func hand(_ lease: String, to node: UInt64) -> Bool {
    monitor.locked {
      guard let subscriber = streams.values.first(where: { $0.nodeID == node }) else { return false }
      subscriber.handoff = lease
      monitor.wake()
      // Until the stream has sent it, this node still is the primary.
      let deadline = monotonicSeconds() + 5
      while subscriber.handoff != nil, monotonicSeconds() < deadline { monitor.wait(seconds: 0.1) }
      return subscriber.handoff == nil
    }
  }

  // MARK: Replica

  /// Follows the primary until that ends. A lease, when the primary hands one over.
  private func follow(_ info: PrimaryInfo) throws -> String? {
    setPrimaryInfo(info)
    defer { setPrimaryInfo(nil) }
    defer { monitor.locked { upstream = nil } }
    let positions = monitor.locked {
      databases.values.map { "\(escaped($0.name)) \($0.id.hex) \($0.checksum.hex)\n" }
    }
    let url = info.advertiseURL + "/stream"
    let status: Int
    let headers: [String: String]
    let connection: Connection
    do {
      (status, headers, connection) = try exchange(
        "POST", url, headers: [("Litefs-Id", name), ("Litefs-Stand-In", "1")],
        body: Array(positions.joined().utf8),
        opened: { connection in monitor.locked { upstream = connection } })
      guard status == 200 else { throw Failure("invalid response: code=\(status)") }
    } catch {
      throw Failure("connect to primary: \(error) ('\(info.advertiseURL)')")
    }
    let theirs = headers["litefs-cluster-id"] ?? ""
    if clusterID.isEmpty, !theirs.isEmpty { try setClusterID(theirs) }
    if clusterID != theirs {
      throw Failure("cannot stream from primary with a different cluster id: \(clusterID) <> \(theirs)")
    }
    while true {
      guard let line = try connection.line() else {
        throw Failure("next frame: unexpected EOF")
      }
      let words = line.split(separator: " ")
      switch words.first {
      case "TX":
        guard let transaction = try Transaction(head: words, image: { try connection.bytes($0) }) else {
          throw Failure("next frame: bad transaction")
        }
        let isWanted =
          configuration.lists["lease.databases"].map { $0.isEmpty || $0.contains(transaction.name) } ?? true
        if isWanted { try apply(transaction) }
      case "READY": markReady()
      case "HEARTBEAT": heard(at: words.count > 1 ? Int64(words[1]) ?? 0 : 0)
      case "HANDOFF": return words.count > 1 ? String(words[1]) : nil
      case "END": return nil
      default: throw Failure("next frame: invalid stream frame type: \(line)")
      }
    }
  }
}
