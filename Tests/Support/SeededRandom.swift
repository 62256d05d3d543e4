/// A small generator (SplitMix64, Steele, Lea and Flood, 2014), so that a failing run can be replayed by its seed.
public struct SeededRandom: RandomNumberGenerator {
  private var state: UInt64

  /// The numbers of this seed. It is mixed, since the next seed's numbers would else be this one's but for the first.
  public init(seed: UInt64) { state = SeededRandom.mix(seed &+ 0x632B_E59B_D9B4_E019) }

  /// The next number.
  public mutating func next() -> UInt64 {
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
  public mutating func once(in count: UInt64) -> Bool { next() % count == 0 }

  /// A number from 0 to `most`.
  public mutating func upTo(_ most: Int) -> Int { Int.random(in: 0...most, using: &self) }
}
