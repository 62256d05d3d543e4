/// A small generator (SplitMix64), so that a failing run can be replayed by its seed.
struct SeededRandom: RandomNumberGenerator {
  private var state: UInt64

  /// Mixed, since the next seed's numbers would else be this one's but for the first.
  init(seed: UInt64) { state = SeededRandom.mix(seed &+ 0x632B_E59B_D9B4_E019) }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    return SeededRandom.mix(state)
  }

  private static func mix(_ value: UInt64) -> UInt64 {
    var mixed = value
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  /// True once in `count` times, on average.
  mutating func once(in count: UInt64) -> Bool { next() % count == 0 }
}
