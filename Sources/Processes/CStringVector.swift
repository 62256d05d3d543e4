import Glibc

/// C's argument vector for the time of one call: one allocation for all the bytes, one for the pointers.
enum CStringVector {
  static func with<Result>(
    _ strings: [RawString], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
  ) -> Result {
    let size = strings.reduce(0) { $0 + $1.bytes.count + 1 }
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: max(size, 1)) { storage in
      withUnsafeTemporaryAllocation(of: UnsafeMutablePointer<CChar>?.self, capacity: strings.count + 1) {
        vector in
        var at = 0
        for (index, string) in strings.enumerated() {
          vector.initializeElement(at: index, to: storage.baseAddress.map { $0 + at })
          for byte in string.bytes {
            storage.initializeElement(at: at, to: CChar(bitPattern: byte))
            at += 1
          }
          storage.initializeElement(at: at, to: 0)
          at += 1
        }
        vector.initializeElement(at: strings.count, to: nil)
        // A temporary allocation of at least one element always has an address.
        guard let start = vector.baseAddress else { preconditionFailure("an empty buffer was handed out") }
        return body(start)
      }
    }
  }
}
